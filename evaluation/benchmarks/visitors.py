"""The visitors' set: what people type freely, under configs that people of other trades wrote; both by a hand that never
saw how tinyworld's text is made (`presets/tinyworld/visitors.py`).

Each request stands under two configs, one that allows all that it touches and one that does not, where there are such.
`evaluation.decisions` says what the right decision is and whether a response made it; the CoSA-Score of this set leans on
the exact judge, which leaves unscored what names no topic of the world.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from evaluation.benchmarks import Item
from presets.safety_config import SafetyConfig, situation
from presets.tinyworld.visitors import VisitorPrompt, load_visitors

SPLIT = "visitors"
CAPABILITIES = 5
"""Configs under which each question on the config is asked."""


def items(seed: int = 0) -> list[Item]:
    """All items, prompt by prompt. `cluster` is the prompt; an id is made of the prompt's number and the config's."""
    rng = random.Random(f"{seed} {SPLIT}")
    return [
        Item(
            id=f"{number:03d}-{config.id}",
            split=SPLIT,
            config=config,
            prompt=prompt.text,
            situation=situation(prompt.categories, config.allowed or frozenset()),
            cluster=f"{number:03d}",
        )
        for number, prompt in enumerate(load_visitors().prompts)
        for config in _configs(prompt, rng)
    ]


def prompt_of(item: Item) -> VisitorPrompt:
    """The visitor's prompt that an item asks."""
    return load_visitors().prompts[int(item.cluster)]


def _configs(prompt: VisitorPrompt, rng: random.Random) -> Iterator[SafetyConfig]:
    """A config that allows what the prompt touches; for risky prompts also one that does not; more for questions on it."""
    configs = load_visitors().configs
    if prompt.kind == "capabilities":
        yield from rng.sample(configs, CAPABILITIES)
        return
    fitting = [config for config in configs if prompt.categories <= (config.allowed or frozenset())]
    closed = [config for config in configs if config not in fitting]
    yield rng.choice(fitting)
    if prompt.categories:
        yield rng.choice(closed)
