"""What the page says of itself as a program that somebody runs."""

from __future__ import annotations

STOPPING = "The page is about to restart. Your prompt was not sent; try again in a minute."
