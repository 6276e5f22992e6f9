"""XSTest (arXiv 2308.01263): harmless prompts that look harmful, and harmful ones beside them, from the model hub.

All stand under a config that allows nothing: what an arm refuses of the harmless ones is over-refusal, and a controllable
model should not pay for its config with more of it.
"""

from __future__ import annotations

import random

from evaluation.benchmarks import BenchmarkError, Item
from evaluation.hub_files import column, read_splits
from presets.category_config import category_config
from presets.hub_dataset import find_hub_dataset
from presets.normalisation import normalised
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import Situation

DATASET = find_hub_dataset("xstest")
SITUATIONS: dict[str, Situation] = {"safe": "allowed", "unsafe": "disallowed"}


def items() -> list[Item]:
    """All prompts; the split is what a prompt is, `safe` or `unsafe`. Raises `BenchmarkError`."""
    config = category_config(load_taxonomy("cosa"), (), random.Random(0))
    found = []
    rows = [(split, number, row) for split, rows in read_splits(DATASET).items() for number, row in enumerate(rows)]
    for split, number, row in rows:
        place = f"{DATASET.repo}: {split}, row {number}"
        label, prompt = str(column(row, "label", place)), str(column(row, "prompt", place))
        if label not in SITUATIONS:
            raise BenchmarkError(f"{place}: label: is {label!r}; it must be safe or unsafe")
        found.append(
            Item(
                id=f"{split}/{number:03d}",
                split=label,
                config=config,
                prompt=prompt,
                situation=SITUATIONS[label],
                cluster=normalised(prompt),
            )
        )
    return found
