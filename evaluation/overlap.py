"""Test prompts that were trained on: how many there are, and the same items without them, to be scored apart.

Two prompts are the same when they are after `normalised`. The paper's own test set shares most of its prompts with the pool
that its training set was drawn from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.benchmarks import BenchmarkError, Item
from evaluation.hub_files import column, is_here, read_splits
from evaluation.json_lines import JsonLinesError, read_json_lines
from presets.hub_dataset import find_hub_dataset
from presets.normalisation import normalised

CLEAN = "-clean"
"""Ends the name of the part of a split that was not trained on."""
TRAINED_ON = {"cosalign-test": "cosalign-train"}
"""The hub dataset that the models measured on a benchmark were, as far as is known, trained on."""


@dataclass(frozen=True)
class Overlap:
    """Of the `n` items of a split, how many have a prompt that stands among the training prompts."""

    n: int
    trained_on: int


def training_prompts(source: str) -> frozenset[str]:
    """The normalised prompts of a `.jsonl` file, or of the training splits of a hub dataset.

    Raises as `read_prompts` does.
    """
    return frozenset(normalised(prompt) for prompt, _ in read_prompts(source))


def read_prompts(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each prompt of a `.jsonl` file, or of the training splits of a hub dataset, with the whole row.

    Rows need the field `prompt`: a text, or messages of which the last is the user's. Raises `BenchmarkError`, and
    `PresetError` for an unknown name.
    """
    for place, row in _file_rows(Path(source)) if source.endswith(".jsonl") else _dataset_rows(source):
        yield _text(column(row, "prompt", place), place), row


def find_training_prompts(source: str | None, benchmark: str) -> frozenset[str] | None:
    """The training prompts to hold against a benchmark: those named, or what TRAINED_ON names, if it is on this disk."""
    if source is not None:
        return training_prompts(source)
    known = TRAINED_ON.get(benchmark)
    return training_prompts(known) if known and is_here(find_hub_dataset(known)) else None


def overlaps(items: Sequence[Item], trained: frozenset[str]) -> dict[str, Overlap]:
    """The overlap of each split, in the order in which the splits occur."""
    n = Counter(item.split for item in items)
    found = Counter(item.split for item in items if normalised(item.prompt) in trained)
    return {split: Overlap(count, found[split]) for split, count in n.items()}


def clean_copies(items: Sequence[Item], trained: frozenset[str]) -> list[Item]:
    """The items that were not trained on, each in the clean part of its split: `seen-clean` beside `seen`."""
    clean = [item for item in items if normalised(item.prompt) not in trained]
    return [replace(item, split=item.split + CLEAN) for item in clean]


def _file_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        for number, row in read_json_lines(path):
            place = f"{path}: line {number}"
            if not isinstance(row, dict):
                raise BenchmarkError(f"{place}: is {row!r}; an object with the field prompt is needed")
            yield place, row
    except JsonLinesError as error:
        raise BenchmarkError(str(error)) from error


def _dataset_rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    dataset = find_hub_dataset(name)
    for split, rows in read_splits(dataset).items():
        if "train" in split:
            yield from ((f"{dataset.repo}: {split}, row {number}", row) for number, row in enumerate(rows))


def _text(given: Any, place: str) -> str:
    """A prompt's text; of a list of messages, the last one's."""
    message = given[-1] if isinstance(given, list) and given else given
    text = message.get("content") if isinstance(message, dict) else message
    if not isinstance(text, str):
        raise BenchmarkError(f"{place}: prompt: is {given!r}; a text or a list of messages is needed")
    return text
