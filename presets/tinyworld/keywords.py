"""Find the word that tells which risk category a phrase of a config is about.

A causal model reading "games of chance" knows at "chance" that gambling is meant, and not yet at "games". Readings quote
that word, since it can be found by what it means and copied in one step (align/tinyworld/LOG.md).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache

from presets.tinyworld import load_words

WORD = re.compile(r"[a-z]+(?:[-'’][a-z]+)*", re.IGNORECASE)
DOUBT = 0.3
"""Added to every count, so that a word met often in its category and once elsewhere beats one met a single time."""


@cache
def keyword(category: str, phrase: str) -> str:
    """The word of `phrase`, as it stands there, that most clearly tells `category` from the other risk categories.

    The measure is the odds of the category among the training phrases that hold the word, whichever hand wrote `phrase`;
    the first of equals wins. Raises `KeyError` for a category that tinyworld lacks, `ValueError` for a phrase without words.
    """
    counts = _category_counts()

    def odds(word: str) -> float:
        inside, total = counts[category][word.lower()], sum(each[word.lower()] for each in counts.values())
        return math.log((inside + DOUBT) / (total - inside + DOUBT))

    return max(WORD.findall(phrase), key=odds)


@cache
def _category_counts() -> dict[str, Counter[str]]:
    """Of every category, in how many of its training phrases each word stands; names count twice, as they are drawn more."""
    return {
        category: _counted([*phrases.names * 2, *phrases.allow, *phrases.deny])
        for category, phrases in load_words("train").phrases.items()
    }


def _counted(lines: Iterable[str]) -> Counter[str]:
    return Counter(word for line in lines for word in set(map(str.lower, WORD.findall(line))))
