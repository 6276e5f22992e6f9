"""Invented names: of each domain as many as one likes, so that a name can be told by its head, and must be copied to be said.

A world of two thousand names is learnt by heart, and a visitor's name that is none of them comes out garbled.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from presets import yaml_file
from presets.tinyworld import OUTSIDE, WORDS, Topic, load_world
from presets.yaml_file import PresetError

SLOT = re.compile(r"\{[xX]\}")
NAMED = 0.4
"""How often a made-up name stands where an everyday word might."""


def invent(rng: random.Random, domain: str) -> Topic:
    """A thing of `domain`, a risk category, safe domain or the outside, that in all likelihood has never been named."""
    parts = _parts()

    def filled(slot: re.Match[str]) -> str:
        if slot[0] == "{x}" and rng.random() >= NAMED:
            return rng.choice(parts["modifiers"])
        return rng.choice(parts["syllables"]).capitalize() + _middle(rng) + rng.choice(parts["endings"])

    return Topic(SLOT.sub(filled, rng.choice(parts["heads"][domain])), domain, {})


def _middle(rng: random.Random) -> str:
    return rng.choice(_parts()["syllables"]) if rng.random() < 0.3 else ""


@cache
def _parts() -> Mapping[str, Any]:
    """The file's lists. Raises `PresetError` for one that is missing or a head without a slot."""
    path = WORDS / "invented.yaml"
    parts = yaml_file.read(path)
    for key in ("modifiers", "syllables", "endings"):
        if not parts.get(key):
            raise PresetError(f"{path}: {key}: is missing; a list of words is needed")
    world = load_world()
    wanted = {*world.risks, *world.safe_domains, OUTSIDE}
    if set(parts.get("heads", ())) != wanted:
        raise PresetError(f"{path}: heads: needs a list for each of {', '.join(sorted(wanted))}")
    for domain, heads in parts["heads"].items():
        for head in heads:
            if not SLOT.search(head):
                raise PresetError(f"{path}: heads.{domain}: {head!r} has no {{x}} or {{X}}")
    return parts
