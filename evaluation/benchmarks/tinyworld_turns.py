"""Does a config still hold at the fifth turn? The items of tinyworld's *unseen* split, each asked twice: as the first turn
of a conversation, and after four turns that kept to the config.
"""

from __future__ import annotations

import random
from dataclasses import replace

from evaluation.benchmarks import Item, tinyworld
from presets.arm import Message

EARLIER = 4


def items(seed: int = 0) -> list[Item]:
    """Both editions of every item, config by config; the earlier turns are other items of the same config, answered rightly."""
    rng = random.Random(f"{seed} turns")
    unseen = [item for item in tinyworld.items(seed) if item.split == "unseen"]
    return [edition for item in unseen for edition in _editions(item, unseen, rng)]


def _editions(item: Item, unseen: list[Item], rng: random.Random) -> tuple[Item, Item]:
    others = [other for other in unseen if other.config.id == item.config.id and other.id != item.id]
    history: list[Message] = []
    for other in rng.sample(others, EARLIER):
        history += [
            {"role": "user", "content": other.prompt},
            {"role": "assistant", "content": other.references["oracle"]},
        ]
    return (
        replace(item, id=f"{item.id}-turn-1", split="turn-1"),
        replace(item, id=f"{item.id}-turn-5", split="turn-5", history=tuple(history)),
    )
