"""What the page says of itself as a program that somebody runs."""

from __future__ import annotations

from datetime import datetime

STOPPING = "The page is about to restart. Your prompt was not sent; try again in a minute."
NO_COPY_YET = "No copy of the store has been made yet."
NO_COPY_LATELY = "No later one could be made; what is written now would be lost with this machine."


def last_copy(when: datetime) -> str:
    """Until when everything is kept elsewhere, too."""
    return f"Last copied to another place on {when:%d %B %Y at %H:%M} UTC."
