"""HTML for what the page says of itself as a program that somebody runs."""

from __future__ import annotations

from datetime import datetime
from html import escape

from playground import operating_wording as wording


def copies(last_good: datetime | None, *, failed: bool) -> str:
    """When the store was last copied to another place; a warning when the latest try failed."""
    words = wording.NO_COPY_YET if last_good is None else wording.last_copy(last_good)
    if failed:
        return f'<p class="notice bad">{escape(words)} {escape(wording.NO_COPY_LATELY)}</p>'
    return f'<div class="foot"><p>{escape(words)}</p></div>'
