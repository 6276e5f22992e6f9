"""A person's vote on one turn: which arm answered best, or a tie, or all bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["best", "tie", "all_bad"]


@dataclass(frozen=True)
class Vote:
    """One vote. `best` is the winning arm's id for the outcome `best`, and None otherwise.

    `id` is made by whoever votes, so that the same click sent twice is one vote. `presented` is the order in which the
    arms stood on the screen; `blind`, that their names were not shown.
    """

    id: str
    turn_id: str
    session_id: str
    outcome: Outcome
    best: str | None
    presented: tuple[str, ...]
    reason: str = ""
    blind: bool = False

    def __post_init__(self) -> None:
        if self.outcome not in ("best", "tie", "all_bad"):
            raise ValueError(f"outcome is {self.outcome!r}; it is 'best', 'tie' or 'all_bad'")
        if (self.outcome == "best") != (self.best is not None):
            raise ValueError(f"outcome {self.outcome!r} goes with best={self.best!r}; only 'best' names an arm")
        if self.best is not None and self.best not in self.presented:
            raise ValueError(f"{self.best!r} was not among the arms shown: {', '.join(self.presented)}")
