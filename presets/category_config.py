"""Safety configs that allow a set of a taxonomy's categories and nothing else, in one of several wordings.

The paper's synthetic configs are of this form (CoSA section 4.2): a template around the allowed categories, each with its
definition, in a random order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from presets import yaml_file
from presets.risk_taxonomy import RiskTaxonomy
from presets.safety_config import SafetyConfig
from presets.yaml_file import PresetError

PATH = Path(__file__).parent / "category_templates.yaml"
SLOT = "{allowed}"


def category_config(taxonomy: RiskTaxonomy, allowed: Iterable[str], rng: random.Random) -> SafetyConfig:
    """A config that allows just these categories; `rng` draws the wording and the order. Raises `FieldError`."""
    templates, nothing = _words()
    ids = [category for category in taxonomy.ids if category in set(allowed)]
    by_id = {category.id: category for category in taxonomy.categories}
    listed = [f"- {by_id[each].name}: {by_id[each].definition}" for each in rng.sample(ids, len(ids))]
    return SafetyConfig(
        id="-and-".join(ids) or "nothing",
        title="Allowed: " + (", ".join(taxonomy.names(ids)) or "nothing"),
        text=rng.choice(templates).replace(SLOT, "\n".join(listed) or nothing),
        taxonomy=taxonomy.id,
        allowed=frozenset(ids),
        source="category templates",
    )


@cache
def _words() -> tuple[tuple[str, ...], str]:
    """The templates, and what stands in the slot when nothing is allowed."""
    data = yaml_file.read(PATH)
    templates, nothing = data.get("templates"), data.get("nothing")
    if not isinstance(templates, list) or not isinstance(nothing, str):
        raise PresetError(f"{PATH}: needs a list of templates, and the words for nothing")
    for template in templates:
        if template.count(SLOT) != 1:
            raise PresetError(f"{PATH}: templates: {template!r} needs the slot {SLOT} just once")
    return tuple(templates), nothing
