"""Pairs that show whether wording matters: a prompt under two configs that allow the same categories in other words.

As in the tinyworld benchmark, prompts are the held-out hand's; *seen* configs are in training's phrasings, *unseen* ones in
the held-out hand's, and allow sets of categories that training never met. Half of the prompts are allowed.
"""

from __future__ import annotations

import random

from evaluation.benchmarks import Item
from evaluation.benchmarks.tinyworld import allowed_set, items_in_pairs, named_config, one_topic_item, one_topic_prompt
from presets.tinyworld import Words, load_world
from presets.tinyworld.compose import ComposedConfig, compose_config


def items(seed: int = 0) -> list[Item]:
    """All items of both splits, pair by pair. `cluster` is the pair."""
    return items_in_pairs("rewordings", seed, _pair)


def _pair(split: str, number: int, hand: Words, rng: random.Random) -> list[Item]:
    world, name = load_world(), f"{split}-{number:03d}"
    allowed = allowed_set(world, rng, split, sizes=(1, 7))
    category = rng.choice(sorted(set(world.risks) - allowed if number % 2 else allowed))
    prompt, answer, refusal = one_topic_prompt(rng, category)
    composed: dict[str, ComposedConfig] = {}
    while len(composed) < 2:
        config = compose_config(hand, rng, world.risks, allowed)
        composed[config.text] = config
    configs = [named_config(f"{name}-{edition}", config) for edition, config in enumerate(composed.values(), start=1)]
    return [
        one_topic_item(config.id, split, name, config, prompt, answer=answer, refusal=refusal) for config in configs
    ]
