"""Safety configs that allow a set of a taxonomy's categories and nothing else, in one of several wordings.

The paper's synthetic configs are of this form (CoSA section 4.2): a template around the allowed categories, each with its
definition, in a random order. Beyond the paper a sentence may name what is forbidden.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from presets import yaml_file
from presets.risk_taxonomy import RiskTaxonomy
from presets.safety_config import SafetyConfig
from presets.yaml_file import PresetError

PATH = Path(__file__).parent / "category_templates.yaml"
ALLOWED, FORBIDDEN = "{allowed}", "{forbidden}"


def category_config(
    taxonomy: RiskTaxonomy, allowed: Iterable[str], rng: random.Random, *, forbidden: Iterable[str] = ()
) -> SafetyConfig:
    """A config that allows just these categories; `rng` draws the wording and the order. Raises `FieldError`.

    The `forbidden` ones are named as such, before or after; the others that are not allowed go unnamed.
    """
    words = _words()
    ids = [category for category in taxonomy.ids if category in set(allowed)]
    by_id = {category.id: category for category in taxonomy.categories}
    listed = [f"- {by_id[each].name}: {by_id[each].definition}" for each in rng.sample(ids, len(ids))]
    text = rng.choice(words.templates).replace(ALLOWED, "\n".join(listed) or words.nothing)
    if names := [by_id[category].name for category in forbidden]:
        sentence = rng.choice(words.forbidding).replace(FORBIDDEN, ", ".join(rng.sample(names, len(names))))
        text = "\n".join(rng.sample([text.rstrip(), sentence], 2))
    return SafetyConfig(
        id="-and-".join(ids) or "nothing",
        title="Allowed: " + (", ".join(taxonomy.names(ids)) or "nothing"),
        text=text,
        taxonomy=taxonomy.id,
        allowed=frozenset(ids),
        source="category templates",
    )


@dataclass(frozen=True)
class _Words:
    """The templates, the sentences that forbid, and what stands in the slot when nothing is allowed."""

    templates: tuple[str, ...]
    forbidding: tuple[str, ...]
    nothing: str


@cache
def _words() -> _Words:
    data = yaml_file.read(PATH)
    for key, slot in (("templates", ALLOWED), ("forbidding", FORBIDDEN)):
        if not isinstance(data.get(key), list):
            raise PresetError(f"{PATH}: {key}: a list is needed")
        for line in data[key]:
            if line.count(slot) != 1:
                raise PresetError(f"{PATH}: {key}: {line!r} needs the slot {slot} just once")
    if not isinstance(data.get("nothing"), str):
        raise PresetError(f"{PATH}: nothing: the words for nothing are needed")
    return _Words(tuple(data["templates"]), tuple(data["forbidding"]), data["nothing"])
