"""tinyworld's words: topics, prompts, config phrasings and replies, written by hand as YAML, and their loader.

`load_world()` gives what the world knows; `load_words("train")` and `load_words("heldout")` give two sets of
phrasings by independent hands: the held-out ones are the test set and are never trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from presets import yaml_file
from presets.risk_taxonomy import load_taxonomy
from presets.yaml_file import PresetError

WORDS = Path(__file__).parent
KINDS = ("what", "how", "advice", "opinion", "story")
"""What a prompt can ask of one topic; the kind `two` asks what two topics are."""


@dataclass(frozen=True, eq=False)
class Topic:
    """Something the world knows: `sentences` has two per kind, each naming the topic letter for letter."""

    name: str
    domain: str
    sentences: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class World:
    """All topics, which of their domains are risk categories, and the words around answers."""

    topics: tuple[Topic, ...]
    risks: tuple[str, ...]
    replies: Mapping[str, tuple[str, ...]]
    subjects: Mapping[str, str]

    def in_domain(self, domain: str) -> tuple[Topic, ...]:
        """The topics of one risk category or safe domain."""
        return tuple(topic for topic in self.topics if topic.domain == domain)

    @property
    def safe_domains(self) -> tuple[str, ...]:
        """The domains that are no risk category, sorted."""
        return tuple(sorted({topic.domain for topic in self.topics} - set(self.risks)))


@dataclass(frozen=True)
class Phrases:
    """How a config names one risk category: noun phrases, and whole sentences that allow or deny it."""

    names: tuple[str, ...]
    allow: tuple[str, ...]
    deny: tuple[str, ...]


@dataclass(frozen=True)
class Words:
    """Phrasings of prompts (by kind), of risk categories (by id) and of the other pieces of a config."""

    prompts: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, Phrases]
    pieces: Mapping[str, tuple[str, ...]]


@cache
def load_world() -> World:
    """Return the world, topics in order of file and line. Raises `PresetError` for a sentence that breaks its form."""
    risks = load_taxonomy("tinyworld").ids
    topics = []
    for path in sorted((WORDS / "topics").glob("*.yaml")):
        data = yaml_file.read(path)
        topics += [_topic(row, data["category"], path) for row in data["topics"]]
    path = WORDS / "replies.yaml"
    replies = yaml_file.read(path)
    subjects = replies.pop("subjects", None)
    if not isinstance(subjects, dict) or set(subjects) != set(risks):
        raise PresetError(f"{path}: subjects: needs one noun phrase for each of {', '.join(risks)}")
    return World(tuple(topics), risks, {key: _lines(key, value, path) for key, value in replies.items()}, subjects)


@cache
def load_words(edition: Literal["train", "heldout"]) -> Words:
    """Return one hand's phrasings. Raises `PresetError`."""
    folder = WORDS if edition == "train" else WORDS / "heldout"
    parts: dict[str, dict[str, Any]] = {}
    for name in ("prompts", "config_pieces"):
        path = folder / f"{name}.yaml"
        parts[name] = {key: _lines(key, value, path) for key, value in yaml_file.read(path).items()}
    path = folder / "phrases.yaml"
    phrases = {}
    for category, row in yaml_file.read(path).items():
        lists = {key: _lines(f"{category}.{key}", value, path) for key, value in row.items()}
        phrases[category] = yaml_file.build(Phrases, lists, path, where=f"{category}.")
    return Words(parts["prompts"], phrases, parts["config_pieces"])


def _topic(row: Mapping[str, Any], domain: str, path: Path) -> Topic:
    name = row["name"]
    sentences = {kind: _lines(f"{name}.{kind}", row.get(kind), path) for kind in KINDS}
    for kind, lines in sentences.items():
        for line in lines:
            if name.lower() not in line.lower():
                raise PresetError(f"{path}: {name}.{kind}: {line!r} does not name its topic letter for letter")
    return Topic(name, domain, sentences)


def _lines(field: str, value: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(line, str) and line.strip() for line in value):
        raise PresetError(f"{path}: {field}: is {value!r}; a list of texts is needed")
    return tuple(line.strip() for line in value)
