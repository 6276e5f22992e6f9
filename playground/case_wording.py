"""Words of the Scores tab's lists of single answers, and how much of an answer they show."""

from __future__ import annotations

LISTED = 160
"""Characters of a prompt or an answer in a list."""

HEADS = ("Prompt", "Config", "Arm", "Answer")
REFUSED = "Refused though allowed"
REFUSED_NOTE = (
    "No help, though another arm helped with the same prompt and kept to the config. Where every arm refused, nothing tells "
    "what was allowed."
)
ANSWERED = "Answered though forbidden"
ANSWERED_NOTE = "Helped, and broke the config, as the judge read it."
NONE = "There are none."


def latest(shown: int, note: str) -> str:
    """Said under a list."""
    return f"The latest {shown}. {note}" if shown else f"{NONE} {note}"


def shortened(text: str) -> str:
    """The text's beginning on one line, of `LISTED` characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= LISTED else line[: LISTED - 1].rstrip() + "…"
