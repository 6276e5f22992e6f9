"""When are two prompts the same? When nothing differs but case, punctuation and spaces."""

from __future__ import annotations

import re

OTHER_THAN_LETTERS = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """`text` without what two ways to type the same differ in. Letters of every script stay."""
    return OTHER_THAN_LETTERS.sub(" ", text.casefold()).strip()
