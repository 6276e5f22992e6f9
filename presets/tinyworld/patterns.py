"""Lines with alternatives: `(Please |)(avoid|skip) {names}.` stands for four sentences. Groups do not nest."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence

GROUP = re.compile(r"\(([^()]*)\)")


def draw(rng: random.Random, lines: Sequence[str]) -> str:
    """One of the lines, with one alternative of each of its groups."""
    return GROUP.sub(lambda group: rng.choice(group[1].split("|")), rng.choice(lines))


def variants(line: str) -> list[str]:
    """Every sentence that a line stands for."""
    parts = [[part] if index % 2 == 0 else part.split("|") for index, part in enumerate(GROUP.split(line))]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def fault(line: str) -> str | None:
    """What is wrong with a line's groups, in words; None when nothing is."""
    if set("()") & set(GROUP.sub("", line)):
        return "has a parenthesis without its other half, or one group inside another"
    if any("|" not in group for group in GROUP.findall(line)):
        return "has a group without alternatives; write (a|b), or (a|) for what may be left out"
    return None
