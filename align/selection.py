"""Which preference pairs are made of a file of candidates: the paper's, all of them, or what goes beyond.

Beyond the paper: a *counterfactual* pair of pairs prefers one response under one config and the other under another config to
the same prompt, so that nothing but the config can tell which is better; a cap on the pairs of one row, and modes in equal
numbers, keep a few prompts or an easy mode from deciding what is learnt.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from align.pairs import Cell, PairsRecipe, cells, pair, pairs, unreadable

Row = Mapping[str, Any]

COUNTERFACTUAL = "counterfactual"
"""The field `kind` of such pairs; the paper's have none."""


def selected(read: Callable[[], Iterable[Row]], recipe: PairsRecipe, told: Counter[str]) -> Iterator[dict[str, Any]]:
    """The pairs of the rows that `read` gives, in their order; `told` counts the rows and what they lack.

    To balance modes the rows are read twice; only one prompt's rows are held at a time. Raises what `read` raises.
    """
    if not recipe.balance:
        yield from _made(read(), recipe, told)
        return
    left = Counter(made["mode"] for made in _made(read(), recipe, Counter()))
    wanted = dict.fromkeys(left, min(left.values(), default=0))
    rng = random.Random(f"{recipe.seed} balance")
    for made in _made(read(), recipe, told):
        mode = made["mode"]
        # Selection sampling (Knuth 3.4.2, S): exactly the wanted number of each mode, every pair equally likely.
        if rng.random() * left[mode] < wanted[mode]:
            wanted[mode] -= 1
            yield made
        else:
            told["pairs of modes that have more"] += 1
        left[mode] -= 1


def _made(rows: Iterable[Row], recipe: PairsRecipe, told: Counter[str]) -> Iterator[dict[str, Any]]:
    rng = random.Random(recipe.seed)
    for _, group in itertools.groupby(rows, key=_asked):
        together = list(group)
        for row in together:
            made = list(pairs(row, recipe, rng))
            told["rows"] += 1
            told["rows without a pair"] += not made
            told["responses with unreadable labels"] += unreadable(row)
            if 0 < recipe.cap < len(made):
                told["pairs over the cap"] += len(made) - recipe.cap
                made = [made[place] for place in sorted(rng.sample(range(len(made)), recipe.cap))]
            yield from made
        if recipe.counterfactual:
            yield from _counterfactual(together, recipe, rng)


def _asked(row: Row) -> str:
    """What a person asked, whatever the config: rows of one prompt stand together in a candidates file."""
    return json.dumps([row.get("history") or [], row["prompt"]])


def _counterfactual(rows: Sequence[Row], recipe: PairsRecipe, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Two pairs for every two configs and kinds of response that those two rank the other way round."""
    for here, there in itertools.combinations(rows, 2):
        ours, theirs = ({cell.content: cell for cell in cells(row, recipe)} for row in (here, there))
        for one, other in itertools.combinations([content for content in ours if content in theirs], 2):
            if ours[one].error > ours[other].error:
                one, other = other, one
            if not (_prefers(ours[one], ours[other], recipe) and _prefers(theirs[other], theirs[one], recipe)):
                continue
            said = [_common(ours[content], theirs[content]) for content in (one, other)]
            if all(said):
                good, bad = (rng.choice(texts) for texts in said)
                made = pair(here, recipe, (ours[one], good), (ours[other], bad))
                reversed_pair = pair(there, recipe, (theirs[other], bad), (theirs[one], good))
                yield from (each | {"kind": COUNTERFACTUAL} for each in (made, reversed_pair))


def _prefers(better: Cell, worse: Cell, recipe: PairsRecipe) -> bool:
    return better.error < worse.error and better.error < recipe.beta


def _common(one: Cell, other: Cell) -> list[str]:
    known = set(other.texts)
    return [text for text in one.texts if text in known]
