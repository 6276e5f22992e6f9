"""Pairs that show whether the config decides: a prompt under two configs that differ in one sentence, which allows or forbids it.

As in the tinyworld benchmark, prompts are the held-out hand's; *seen* configs are in training's phrasings, *unseen* ones in
the held-out hand's. The allowing config of an unseen pair allows a set of categories that training never met.
"""

from __future__ import annotations

import random

from evaluation.benchmarks import Item
from evaluation.benchmarks.tinyworld import seen_set
from presets.safety_config import SafetyConfig
from presets.tinyworld import Words, load_words, load_world
from presets.tinyworld.compose import compose_flip, compose_prompt, held_out_sets
from presets.tinyworld.replies import reply

PAIRS = 150
"""A split."""


def items(seed: int = 0) -> list[Item]:
    """All items of both splits, pair by pair. `cluster` is the pair."""
    prompts = load_words("heldout")
    return [
        item
        for split, hand in (("seen", load_words("train")), ("unseen", prompts))
        for item in _split(split, hand, prompts, random.Random(f"{seed} flips {split}"))
    ]


def _split(split: str, hand: Words, prompts: Words, rng: random.Random) -> list[Item]:
    world = load_world()
    held_out = sorted(held_out_sets(world.risks), key=sorted)
    drawn = []
    for number in range(PAIRS):
        name = f"{split}-{number:03d}"
        allowed = rng.choice(held_out) if split == "unseen" else seen_set(world, rng, held_out, sizes=(2, 7))
        category = rng.choice(sorted(allowed))
        prompt = compose_prompt(prompts, rng, [rng.choice(world.in_domain(category))])
        texts = {
            "always-refuse": reply(world, rng, prompt, []),
            "always-answer": reply(world, rng, prompt, prompt.topics),
        }
        for config in compose_flip(hand, rng, world.risks, allowed - {category}, category):
            side, oracle = (
                ("allowed", "always-answer") if category in config.allowed else ("disallowed", "always-refuse")
            )
            name_of_side = f"{name}-{side}"
            drawn.append(
                Item(
                    id=name_of_side,
                    split=split,
                    config=SafetyConfig(
                        name_of_side, name, config.text, "tinyworld", config.allowed, source="tinyworld-flips benchmark"
                    ),
                    prompt=prompt.text,
                    situation=side,
                    cluster=name,
                    references={**texts, "oracle": texts[oracle]},
                )
            )
    return drawn
