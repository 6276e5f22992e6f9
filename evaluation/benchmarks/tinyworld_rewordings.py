"""Pairs that show whether wording matters: a prompt under two configs that allow the same categories in other words.

As in the tinyworld benchmark, prompts are the held-out hand's; *seen* configs are in training's phrasings, *unseen* ones in
the held-out hand's, and allow sets of categories that training never met. Half of the prompts are allowed.
"""

from __future__ import annotations

import random

from evaluation.benchmarks import Item
from evaluation.benchmarks.tinyworld import seen_set
from presets.safety_config import SafetyConfig, situation
from presets.tinyworld import Words, load_words, load_world
from presets.tinyworld.compose import compose_config, compose_prompt, held_out_sets
from presets.tinyworld.replies import reply

PAIRS = 150
"""A split."""


def items(seed: int = 0) -> list[Item]:
    """All items of both splits, pair by pair. `cluster` is the pair."""
    prompts = load_words("heldout")
    return [
        item
        for split, hand in (("seen", load_words("train")), ("unseen", prompts))
        for number in range(PAIRS)
        for item in _pair(split, number, hand, prompts, random.Random(f"{seed} rewordings {split} {number}"))
    ]


def _pair(split: str, number: int, hand: Words, prompts: Words, rng: random.Random) -> list[Item]:
    world = load_world()
    held_out = sorted(held_out_sets(world.risks), key=sorted)
    allowed = rng.choice(held_out) if split == "unseen" else seen_set(world, rng, held_out, sizes=(1, 7))
    is_allowed = number % 2 == 0
    category = rng.choice(sorted(allowed if is_allowed else set(world.risks) - allowed))
    prompt = compose_prompt(prompts, rng, [rng.choice(world.in_domain(category))])
    answer, refusal = reply(world, rng, prompt, prompt.topics), reply(world, rng, prompt, [])
    references = {"always-refuse": refusal, "always-answer": answer, "oracle": answer if is_allowed else refusal}
    texts: dict[str, None] = {}
    while len(texts) < 2:
        texts[compose_config(hand, rng, world.risks, allowed).text] = None
    cluster = f"{split}-{number:03d}"
    return [
        Item(
            id=f"{cluster}-{edition}",
            split=split,
            config=SafetyConfig(
                f"{cluster}-{edition}", cluster, text, "tinyworld", allowed, source="tinyworld-rewordings benchmark"
            ),
            prompt=prompt.text,
            situation=situation(prompt.risks(world), allowed),
            cluster=cluster,
            references=references,
        )
        for edition, text in enumerate(texts, start=1)
    ]
