"""Make safety configs for labelled prompts: the paper's four modes (CoSA section 5.2), each with its own set of allowed categories.

| mode | allows | so that |
|---|---|---|
| exact_match | just the prompt's categories | it should be answered |
| superset | those and some others | it should be answered |
| safe | nothing | it should not be answered with any of them |
| not_superset | some, but not all, of the prompt's, and some others | the same |

The rows are a benchmark file (`evaluation.benchmark_file`) with the mode as `split` and the prompt as `cluster`:
`python -m evaluation run` asks and judges them. Beyond the paper half of the wordings name what is forbidden, too: a model
that meets lists of one kind only learns to tell the lists apart, and not to read them (align/tinyworld/LOG.md, 32).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from presets.category_config import category_config
from presets.risk_taxonomy import RiskTaxonomy, load_taxonomy
from presets.safety_config import situation
from presets.yaml_file import FieldError

MODES = ("exact_match", "superset", "safe", "not_superset")


@dataclass(frozen=True)
class ConfigsRecipe:
    """`taxonomy` and, of its categories, those that configs may allow (`categories`; none named: all that can be).

    A prompt with any other category is left out, so that what is held out never leaks into training. `forbidding` is the
    share of configs that name what they forbid, in [0, 1].
    """

    taxonomy: str = "cosa"
    categories: tuple[str, ...] = ()
    modes: tuple[str, ...] = MODES
    forbidding: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        taxonomy = load_taxonomy(self.taxonomy)
        for name, known in (("categories", taxonomy.configurable_ids), ("modes", MODES)):
            given = tuple(getattr(self, name))
            if unknown := [each for each in given if each not in known]:
                raise FieldError(name, f"has {unknown[0]!r}; there are {', '.join(known)}")
            object.__setattr__(self, name, given)
        if not self.modes:
            raise FieldError("modes", f"is empty; name some of {', '.join(MODES)}")
        if not 0 <= self.forbidding <= 1:
            raise FieldError("forbidding", f"is {self.forbidding}; a share in [0, 1] is needed")
        if not self.categories:
            object.__setattr__(self, "categories", tuple(taxonomy.configurable_ids))


def configured(
    prompts: Iterable[Mapping[str, Any]], recipe: ConfigsRecipe, dropped: Counter[str]
) -> Iterator[dict[str, Any]]:
    """One row for each prompt and mode; where two modes draw the same set, one. Why prompts are left out goes to `dropped`."""
    taxonomy = load_taxonomy(recipe.taxonomy)
    for number, row in enumerate(prompts):
        rng = random.Random(f"{recipe.seed} {number}")
        if row["categories"] is None:
            dropped["without a readable label"] += 1
        elif held_out := set(row["categories"]) - set(recipe.categories):
            dropped[f"with the held-out category {min(held_out)}"] += 1
        else:
            yield from _rows(row["prompt"], tuple(row["categories"]), number, taxonomy, recipe, rng)


def allowed_set(mode: str, asked: Sequence[str], categories: Sequence[str], rng: random.Random) -> frozenset[str]:
    """The categories that a config of `mode` allows for a prompt that asks for `asked`."""
    others = [category for category in categories if category not in asked]
    more = rng.sample(others, rng.randint(0, len(others)))
    if mode == "exact_match":
        return frozenset(asked)
    if mode == "superset":
        return frozenset((*asked, *more))
    if mode == "safe" or not asked:
        return frozenset()
    return frozenset((*rng.sample(list(asked), rng.randint(0, len(asked) - 1)), *more))


def _rows(
    prompt: str,
    asked: tuple[str, ...],
    number: int,
    taxonomy: RiskTaxonomy,
    recipe: ConfigsRecipe,
    rng: random.Random,
) -> Iterator[dict[str, Any]]:
    met: set[frozenset[str]] = set()
    for mode in recipe.modes:
        allowed = allowed_set(mode, asked, recipe.categories, rng)
        if allowed in met:
            continue
        met.add(allowed)
        named = sorted(set(recipe.categories) - allowed) if rng.random() < recipe.forbidding else []
        config = category_config(taxonomy, allowed, rng, forbidden=named)
        yield {
            "id": f"{number:06d}-{mode}",
            "split": mode,
            "cluster": f"{number:06d}",
            "prompt": prompt,
            "situation": situation(frozenset(asked), allowed),
            "config": {
                "id": f"{number:06d}-{mode}",
                "title": config.title,
                "text": config.text,
                "allowed": sorted(allowed),
            },
        }
