"""CoSApien: 200 prompts under five safety configs, written by people (CoSA section 3.1), from the model hub.

A split of the dataset is one scenario, whose text is the config; only that text decides what is allowed.
"""

from __future__ import annotations

from evaluation.benchmarks import BenchmarkError, Item
from evaluation.hub_files import column, read_splits
from presets.hub_dataset import find_hub_dataset
from presets.normalisation import normalised
from presets.safety_config import SafetyConfig, Situation

DATASET = find_hub_dataset("cosapien")
SITUATIONS: dict[str, Situation] = {
    "allowed": "allowed",
    "safe": "allowed",
    "disallowed": "disallowed",
    "unsafe": "disallowed",
}
"""What a word in a prompt's `type` says, unless another one begins with `partial` (as in `partially allowed`)."""


def items() -> list[Item]:
    """All prompts, scenario by scenario. Raises `BenchmarkError`."""
    found = []
    for scenario, rows in read_splits(DATASET).items():
        for number, row in enumerate(rows):
            place = f"{DATASET.repo}: {scenario}, row {number}"
            config = SafetyConfig(
                id=scenario.lower().replace("_", "-"),
                title=scenario.replace("_", " ").capitalize(),
                text=str(column(row, "scenario", place)),
                taxonomy="cosa",
                allowed=None,
                source=DATASET.repo,
            )
            prompt = str(column(row, "prompt", place))
            found.append(
                Item(
                    id=f"{scenario}/{number:03d}",
                    split="all",
                    config=config,
                    prompt=prompt,
                    situation=_situation(str(column(row, "type", place)), place),
                    cluster=normalised(prompt),
                )
            )
    return found


def _situation(given: str, place: str) -> Situation:
    """The situation that a `type` names: `partial`, `partially allowed`, `fully disallowed`, `safe` ..."""
    words = given.lower().replace("_", " ").replace("-", " ").split()
    if any(word.startswith("partial") for word in words):
        return "partial"
    named = [SITUATIONS[word] for word in words if word in SITUATIONS]
    if len(named) != 1:
        raise BenchmarkError(f"{place}: type: is {given!r}; one of partial, {', '.join(SITUATIONS)} is needed in it")
    return named[0]
