"""A person's vote on one turn: which arm answered best, or a tie, or all bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Outcome = Literal["best", "tie", "all_bad"]
Axis = Literal["helpful", "keeps"]
"""What else may be voted on, apart from each other: which answer helps more, and which keeps to the config."""

Flag = Literal["up", "down", "breaks", "refused"]
"""What may be said of one answer: good, bad, it breaks the config, it refused without need."""


@dataclass(frozen=True)
class Choice:
    """An arm (`best`, with the outcome `best`), or a tie, or all of them bad."""

    outcome: Outcome
    best: str | None = None

    def __post_init__(self) -> None:
        if self.outcome not in get_args(Outcome):
            raise ValueError(f"outcome is {self.outcome!r}; it is 'best', 'tie' or 'all_bad'")
        if (self.outcome == "best") != (self.best is not None):
            raise ValueError(f"outcome {self.outcome!r} goes with best={self.best!r}; only 'best' names an arm")


@dataclass(frozen=True)
class Vote:
    """One vote. `best` is the winning arm's id for the outcome `best`, and None otherwise.

    `id` is made by whoever votes, so that the same click sent twice is one vote. `presented` is the order in which the
    arms stood on the screen; `blind`, that their names were not shown. `axes` and `flags` (by arm id) hold what was said
    beside: nothing there means that nothing was said.
    """

    id: str
    turn_id: str
    session_id: str
    outcome: Outcome
    best: str | None
    presented: tuple[str, ...]
    reason: str = ""
    blind: bool = False
    axes: Mapping[Axis, Choice] = field(default_factory=dict, hash=False)
    flags: Mapping[str, frozenset[Flag]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        named = {choice.best for choice in (self.choice, *self.axes.values())} | set(self.flags)
        if strangers := sorted(named - {None} - set(self.presented)):
            raise ValueError(f"{strangers[0]!r} was not among the arms shown: {', '.join(self.presented)}")
        if unknown := set(self.axes) - set(get_args(Axis)):
            raise ValueError(f"axes has {sorted(unknown)}; there are {', '.join(get_args(Axis))}")
        for arm_id, flags in self.flags.items():
            if unknown := set(flags) - set(get_args(Flag)):
                raise ValueError(
                    f"the flags of {arm_id!r} are {sorted(unknown)}; there are {', '.join(get_args(Flag))}"
                )
            if {"up", "down"} <= set(flags):
                raise ValueError(f"{arm_id!r} is flagged both up and down; an answer is one of them, or neither")

    @property
    def choice(self) -> Choice:
        """The vote on the whole."""
        return Choice(self.outcome, self.best)
