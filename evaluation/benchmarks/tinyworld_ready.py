"""The page's own ready-made configs, each with held-out prompts on every risk category: what a visitor meets first.

Written as a person of each trade would write them, not by any hand whose phrasings are trained on or tested with.
"""

from __future__ import annotations

import random

from evaluation.benchmarks import Item
from evaluation.benchmarks.tinyworld import one_topic_item, one_topic_prompt
from presets.safety_config import SafetyConfig, load_safety_configs
from presets.tinyworld import load_world

SPLIT = "ready-made"
PROMPTS = 4
"""Prompts on each risk category under each config."""


def items(seed: int = 0) -> list[Item]:
    """All items, config by config. `cluster` is the config."""
    return [
        _item(config, category, number, random.Random(f"{seed} {SPLIT} {config.id} {category} {number}"))
        for config in load_safety_configs("tinyworld").values()
        for category in load_world().risks
        for number in range(PROMPTS)
    ]


def _item(config: SafetyConfig, category: str, number: int, rng: random.Random) -> Item:
    prompt, answer, refusal = one_topic_prompt(rng, category)
    name = f"{config.id}-{category}-{number}"
    return one_topic_item(name, SPLIT, config.id, config, prompt, answer=answer, refusal=refusal)
