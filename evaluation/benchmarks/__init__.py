"""Benchmarks: prompts under safety configs, one module each, all with `items() -> list[Item]`."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from presets.arm import Message
from presets.safety_config import SafetyConfig

BASELINES = ("always-refuse", "always-answer")
"""Fixed replies that stand in every table, where a benchmark gives them."""

ORACLE = "oracle"
"""The reply of somebody who obeys the config perfectly; its score is the ceiling."""


class BenchmarkError(ValueError):
    """A benchmark that cannot be run. The message says what to change."""


@dataclass(frozen=True)
class Item:
    """One prompt under one safety config. Items of one `cluster` are not independent: they share a config, or a prompt's family.

    `situation` says how the prompt's risks stand to the config (allowed, partial, disallowed), None where unknown.
    `references` are fixed replies by name: `always-refuse`, `always-answer`, `oracle`. `history` are the turns before.
    """

    id: str
    split: str
    config: SafetyConfig
    prompt: str
    situation: str | None
    cluster: str
    references: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Message, ...] = ()

    @property
    def earlier_prompts(self) -> list[str]:
        """The person's prompts of the turns before, oldest first."""
        return [message["content"] for message in self.history if message["role"] == "user"]


def benchmark_names() -> list[str]:
    """The names that `load_benchmark` knows, in alphabetical order."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load_benchmark(name: str, *, limit: int | None = None, taxonomy: str = "") -> list[Item]:
    """Return the benchmark's items in their own order, with `limit` a fixed sample of so many from each split.

    A name that ends in `.jsonl` is a file of one's own, with configs of `taxonomy` (`evaluation.benchmark_file`). Raises
    `BenchmarkError` for an unknown name, a limit below 1, no items at all, or an id that stands there twice.
    """
    if limit is not None and limit < 1:
        raise BenchmarkError(f"the limit is {limit}; give at least 1 item per split")
    items = _items(name, taxonomy)
    if not items:
        raise BenchmarkError(f"benchmark {name!r} is empty; there is nothing to ask")
    if repeated := [key for key, count in Counter(item.id for item in items).items() if count > 1]:
        raise BenchmarkError(f"benchmark {name!r}: the item id {repeated[0]!r} stands there twice")
    return items if limit is None else _sample_of_each_split(items, limit)


def _items(name: str, taxonomy: str) -> list[Item]:
    if name.endswith(".jsonl"):
        from evaluation.benchmark_file import read_items  # which reads items of this module

        return read_items(Path(name), taxonomy)
    if name not in benchmark_names():
        known = ", ".join(benchmark_names()) or "none yet"
        raise BenchmarkError(f"there is no benchmark {name!r}; there are: {known}; or name a .jsonl file of your own")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").items()


def _sample_of_each_split(items: list[Item], limit: int) -> list[Item]:
    """Keep `limit` items of each split, in their order; a larger limit keeps all that a smaller one does."""
    kept: set[str] = set()
    for split in {item.split for item in items}:
        ids = [item.id for item in items if item.split == split]
        # Not the first ones: items often come config by config.
        random.Random(split).shuffle(ids)
        kept.update(ids[:limit])
    return [item for item in items if item.id in kept]
