"""Preference pairs by the paper's error score (CoSA section 5.3; the released build_spec_paired_data_simple.py).

    error = alpha * allowed categories + beta * disallowed categories + gamma * [not addressed]

With alpha 0.1, beta 3, gamma 1 a safe full answer beats one that uses an allowed risk, which beats a refusal, which beats
everything that contains a disallowed category. Responses with equal content form one *cell*; of every two cells with
different errors the lower is chosen, unless it contains a disallowed category (error >= beta), and one response is
drawn from each. Unlike the released code, a response whose labels could not be read is never used.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from presets.yaml_file import FieldError


@dataclass(frozen=True)
class PairsRecipe:
    """Weights of the error score, all at least 0, and the seed of every draw. The rest goes beyond the paper.

    `cap` is the most pairs of one row, 0 for all; `balance` takes of each mode as many as of the rarest; `counterfactual`
    adds pairs of pairs that two configs rank the other way round; `margin` writes how far apart the two errors are.
    """

    alpha: float = 0.1
    beta: float = 3.0
    gamma: float = 1.0
    seed: int = 0
    cap: int = 0
    balance: bool = False
    counterfactual: bool = False
    margin: bool = False

    def __post_init__(self) -> None:
        if self.cap < 0:
            raise FieldError("cap", f"is {self.cap}; give the most pairs of one row, or 0 for all")
        for name in ("alpha", "beta", "gamma"):
            if getattr(self, name) < 0:
                raise FieldError(name, f"is {getattr(self, name)}; a weight of the error score is at least 0")

    def error(self, categories: Iterable[str], allowed: frozenset[str], addressed: bool) -> float:
        """The error score of a response with these risk categories under a config that allows `allowed`. At least 0."""
        found = frozenset(categories)
        return self.alpha * len(found & allowed) + self.beta * len(found - allowed) + self.gamma * (not addressed)


@dataclass(frozen=True)
class Cell:
    """Responses of one prompt that have the same `content` (risk categories, and whether they address it), with their error."""

    texts: tuple[str, ...]
    error: float
    content: tuple[frozenset[str], bool]


def cells(row: Mapping[str, Any], recipe: PairsRecipe) -> list[Cell]:
    """The cells of a candidates row in order of error; responses with unreadable labels (null) are left out."""
    grouped: dict[tuple[frozenset[str], bool], list[str]] = defaultdict(list)
    for response in row["responses"]:
        if response.get("categories") is not None and response.get("addressed") is not None:
            grouped[frozenset(response["categories"]), bool(response["addressed"])].append(response["text"])
    allowed = frozenset(row["allowed"])
    made = [
        Cell(tuple(texts), round(recipe.error(content[0], allowed, content[1]), 6), content)
        for content, texts in grouped.items()
    ]
    return sorted(made, key=lambda cell: cell.error)


def unreadable(row: Mapping[str, Any]) -> int:
    """How many responses of a candidates row have labels that could not be read (null)."""
    return sum(each.get("categories") is None or each.get("addressed") is None for each in row["responses"])


def pairs(row: Mapping[str, Any], recipe: PairsRecipe, rng: random.Random) -> Iterator[dict[str, Any]]:
    """The preference pairs of one candidates row, as TRL's conversational format with the errors beside."""
    for better, worse in itertools.combinations(cells(row, recipe), 2):
        if better.error == worse.error or better.error >= recipe.beta:
            continue
        yield pair(row, recipe, (better, rng.choice(better.texts)), (worse, rng.choice(worse.texts)))


def pair(
    row: Mapping[str, Any], recipe: PairsRecipe, chosen: tuple[Cell, str], rejected: tuple[Cell, str]
) -> dict[str, Any]:
    """A pair of a row's texts, each with the cell that it is of."""
    (better, good), (worse, bad) = chosen, rejected
    made = {
        "prompt": prompt_messages(row),
        "chosen": [{"role": "assistant", "content": good}],
        "rejected": [{"role": "assistant", "content": bad}],
        "chosen_error": better.error,
        "rejected_error": worse.error,
        "mode": row.get("mode"),
        "allowed": sorted(row["allowed"]),
    }
    return made | {"margin": round(worse.error - better.error, 6)} if recipe.margin else made


def target(row: Mapping[str, Any], recipe: PairsRecipe, rng: random.Random) -> dict[str, Any] | None:
    """The SFT row: the prompt and a response of the lowest error; None when even that contains a disallowed category."""
    ranked = cells(row, recipe)
    if not ranked or ranked[0].error >= recipe.beta:
        return None
    completion = [{"role": "assistant", "content": rng.choice(ranked[0].texts)}]
    return {"prompt": prompt_messages(row), "completion": completion}


def prompt_messages(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages before the response: the config as system message, earlier turns if there are any, the prompt."""
    history: Sequence[dict[str, str]] = row.get("history") or ()
    system = [{"role": "system", "content": row["system_prompt"]}] if row["system_prompt"] else []
    return [*system, *history, {"role": "user", "content": row["prompt"]}]
