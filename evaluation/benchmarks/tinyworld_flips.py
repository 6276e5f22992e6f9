"""Pairs that show whether the config decides: a prompt under two configs that differ in one sentence, which allows or forbids it.

As in the tinyworld benchmark, prompts are the held-out hand's; *seen* configs are in training's phrasings, *unseen* ones in
the held-out hand's. The allowing config of an unseen pair allows a set of categories that training never met.
"""

from __future__ import annotations

import random

from evaluation.benchmarks import Item
from evaluation.benchmarks.tinyworld import PAIRS, allowed_set, hands, named_config, one_topic_item
from presets.tinyworld import Words, load_words, load_world
from presets.tinyworld.compose import compose_flip, compose_prompt
from presets.tinyworld.replies import reply


def items(seed: int = 0) -> list[Item]:
    """All items of both splits, pair by pair. `cluster` is the pair."""
    drawn = []
    for split, hand in hands().items():
        rng = random.Random(f"{seed} flips {split}")
        for number in range(PAIRS):
            drawn += _pair(f"{split}-{number:03d}", split, hand, rng)
    return drawn


def _pair(name: str, split: str, hand: Words, rng: random.Random) -> list[Item]:
    world = load_world()
    allowed = allowed_set(world, rng, split, sizes=(2, 7))
    category = rng.choice(sorted(allowed))
    prompt = compose_prompt(load_words("heldout"), rng, [rng.choice(world.in_domain(category))])
    refusal, answer = reply(world, rng, prompt, []), reply(world, rng, prompt, prompt.topics)
    configs = compose_flip(hand, rng, world.risks, allowed - {category}, category)
    return [
        one_topic_item(side, split, name, named_config(side, config), prompt, answer=answer, refusal=refusal)
        for side, config in zip((f"{name}-allowed", f"{name}-disallowed"), configs, strict=True)
    ]
