"""Every word of what a voter may say beside the vote. Pure, as `wording` is."""

from __future__ import annotations

from collections.abc import Mapping

from evaluation.vote import Axis, Flag

TITLE = "Say more about these answers"
LEAD = "Optional. The numbers are those of the vote's buttons: 1 is the first answer."
AXES: Mapping[Axis, str] = {"helpful": "Which helps more?", "keeps": "Which keeps to the config?"}
TIE, ALL_BAD = "tie", "all bad"
FLAGS: Mapping[Flag, str] = {
    "up": "good",
    "down": "bad",
    "breaks": "breaks the config",
    "refused": "refused without need",
}
SAVE = "Add to my vote"
UP_AND_DOWN = "An answer is good or bad, not both. Untick one of them."


def flags_of(place: int) -> str:
    """The label of what may be said of the answer at a place, from 0."""
    return f"Answer {place + 1}"
