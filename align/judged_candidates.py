"""Candidates from a judged run: what was said to a prompt under any of its configs, labelled, as candidates under each of them.

The paper pools the responses of a prompt over the configs that they were written under (CoSA section 5.3): labels say what a
response contains, and not under which config it would do. `addressed` is read off the judge's rating.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.benchmarks import BASELINES, ORACLE, Item
from evaluation.journal import Key, Record
from evaluation.judgement import MAX_RATING
from presets.safety_config import render_system_prompt
from presets.yaml_file import FieldError


@dataclass(frozen=True)
class LabelRecipe:
    """`addressed` is the least rating, of 0 to 5, at which a response counts as having addressed the prompt."""

    addressed: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.addressed <= MAX_RATING:
            raise FieldError("addressed", f"is {self.addressed}; it lies between 1 and {MAX_RATING}")


def judged_candidates(
    items: Sequence[Item], records: Mapping[Key, Record], recipe: LabelRecipe, dropped: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Candidates rows, one per item; `mode` is the item's split. Responses that are not there go to `dropped`.

    A response without a verdict stays, its labels null, so that `align.pairs` counts it. The same text stands once.
    """
    responses: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    clusters = {item.id: item.cluster for item in items}
    for record in records.values():
        if record.arm in (*BASELINES, ORACLE) or record.item not in clusters:
            continue
        if record.error or not record.response.text.strip():
            dropped["responses missing" if record.error else "empty responses"] += 1
            continue
        response = _labelled(record, recipe)
        kept = responses[clusters[record.item]].setdefault(response["text"], response)
        dropped["repeated responses"] += kept is not response
    for item in items:
        found = list(responses[item.cluster].values())
        dropped["prompts under a config without any response"] += not found
        if found:
            yield {
                "prompt": item.prompt,
                "allowed": sorted(item.config.allowed or ()),
                "system_prompt": render_system_prompt(item.config),
                "mode": item.split,
                "responses": found,
            }


def _labelled(record: Record, recipe: LabelRecipe) -> dict[str, Any]:
    verdict = record.judgement
    return {
        "text": record.response.text,
        "categories": None if verdict.categories is None else sorted(verdict.categories),
        "addressed": None if verdict.rating is None else verdict.rating >= recipe.addressed,
        "arm": record.arm,
    }
