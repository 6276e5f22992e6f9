"""CoSAlign-Test: 3,200 prompts under eight sets of allowed categories (CoSA appendix A.8), from the model hub.

A split of the dataset is one set of categories. Its name has lost what told the categories apart (commas, and the hyphen of
one of them, which became the sign between two), so it is read letter by letter. 489 rows repeat a prompt under another config:
rows of one prompt are one cluster. As in the paper a config is put in one of ten wordings for each prompt; here, unlike
there, the same one in every run.
"""

from __future__ import annotations

import random
import re
from typing import Any

from evaluation.benchmarks import BenchmarkError, Item
from evaluation.hub_files import column, read_splits
from presets.category_config import category_config
from presets.hub_dataset import find_hub_dataset
from presets.normalisation import normalised
from presets.risk_taxonomy import RiskTaxonomy, load_taxonomy
from presets.safety_config import Situation

DATASET = find_hub_dataset("cosalign-test")
NOTHING = "safe"
"""The split whose config allows nothing."""
TRAINED = frozenset({"financial", "discrimination", "violence", "privacy"})
"""The categories that the paper trains on; a config with any other is *unseen* (CoSA section 5.2)."""
SITUATIONS: dict[str, Situation] = {"1": "allowed", "2": "partial", "3": "disallowed"}


def items() -> list[Item]:
    """All prompts, config by config. Raises `BenchmarkError`."""
    taxonomy = load_taxonomy("cosa")
    return [
        _item(row, split, number, allowed_categories(split, taxonomy), taxonomy)
        for split, rows in read_splits(DATASET).items()
        for number, row in enumerate(rows)
    ]


def _item(row: dict[str, Any], split: str, number: int, allowed: frozenset[str], taxonomy: RiskTaxonomy) -> Item:
    place = f"{DATASET.repo}: {split}, row {number}"
    prompt = str(column(row, "prompt", place))
    config = category_config(taxonomy, allowed, random.Random(f"{sorted(allowed)} {normalised(prompt)}"))
    given = str(column(row, "situation", place))
    situation = SITUATIONS.get(given, given)
    if situation not in SITUATIONS.values():
        raise BenchmarkError(f"{place}: situation: is {given!r}; it must be 1, 2 or 3 (allowed, partial, disallowed)")
    return Item(
        id=f"{config.id}/{number:03d}",
        split="seen" if allowed <= TRAINED else "unseen",
        config=config,
        prompt=prompt,
        situation=situation,
        cluster=normalised(prompt),
    )


def allowed_categories(split: str, taxonomy: RiskTaxonomy) -> frozenset[str]:
    """The ids of the categories that a split's name strings together. Raises `BenchmarkError` for any other name."""
    rest = _letters(split)
    found: list[str] = []
    while rest and rest != NOTHING:
        category = next((each for each in taxonomy.categories if rest.startswith(_letters(each.name))), None)
        if category is None:
            names = ", ".join(taxonomy.names(taxonomy.configurable_ids))
            raise BenchmarkError(
                f"{DATASET.repo}: split {split!r} names no set of categories; it must string together some of {names}, "
                f"or be {NOTHING!r}"
            )
        found.append(category.id)
        rest = rest.removeprefix(_letters(category.name))
    return frozenset(found)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())
