"""tinyworld's words: topics, prompts, config phrasings and replies, written by hand as YAML, and their loader.

`load_world()` gives what the world knows; `load_words("train")` the phrasings of several hands, `load_words("heldout")`
those of one more: the held-out ones are the test set and are never trained on. Lines may hold alternatives
(`presets.tinyworld.patterns`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from presets import yaml_file
from presets.risk_taxonomy import load_taxonomy
from presets.tinyworld import patterns
from presets.yaml_file import PresetError

WORDS = Path(__file__).parent
KINDS = ("what", "how", "advice", "opinion", "story")
"""What a prompt can ask of one topic."""
PAIR_KINDS = ("two", "compare")
"""What a prompt can ask of two topics: what they are, or how they differ."""
OUTSIDE = "outside"
"""The domain of things that belong to none of the world's."""


@dataclass(frozen=True, eq=False)
class Topic:
    """Something to ask about. `sentences` has two per kind, each naming the topic letter for letter.

    Of a *thing* the world knows no more than its domain: it has no sentences.
    """

    name: str
    domain: str
    sentences: Mapping[str, tuple[str, ...]]

    @property
    def is_thing(self) -> bool:
        """True when nothing is known of it but its domain."""
        return not self.sentences


@dataclass(frozen=True, eq=False)
class World:
    """All topics, which of their domains are risk categories, things by domain, and the words around answers.

    `said` has, by domain, what can honestly be said of its things, with a slot for the thing.
    """

    topics: tuple[Topic, ...]
    risks: tuple[str, ...]
    things: Mapping[str, tuple[Topic, ...]]
    said: Mapping[str, tuple[str, ...]]
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
    replies = {key: _lines(key, value, path) for key, value in replies.items()}
    return World(tuple(topics), risks, *_lexicon({topic.domain for topic in topics}), replies, subjects)


def _lexicon(domains: set[str]) -> tuple[dict[str, tuple[Topic, ...]], dict[str, tuple[str, ...]]]:
    """The things of every domain and of none, and what can be said of those of each domain."""
    path = WORDS / "lexicon.yaml"
    lexicon = yaml_file.read(path)
    parts = {}
    for part, wanted in (("things", {*domains, OUTSIDE}), ("said", domains)):
        if not isinstance(lexicon.get(part), dict) or set(lexicon[part]) != wanted:
            raise PresetError(f"{path}: {part}: needs a list for each of {', '.join(sorted(wanted))}")
        parts[part] = {key: _lines(f"{part}.{key}", value, path) for key, value in lexicon[part].items()}
    things = {domain: tuple(Topic(name, domain, {}) for name in names) for domain, names in parts["things"].items()}
    return things, parts["said"]


@cache
def load_words(edition: Literal["train", "heldout"]) -> Words:
    """Return the phrasings of the training hands together, or the held-out hand's. Raises `PresetError`."""
    folders = sorted(path for path in (WORDS / "train").iterdir() if path.is_dir())
    return _together([_hand(folder) for folder in (folders if edition == "train" else [WORDS / "heldout"])])


@cache
def load_configs_by(hand: str) -> Words:
    """Return the training hands' prompts together, and the config phrasings of one `hand` only. Raises `PresetError`."""
    folder = WORDS / "train" / hand
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in folder.parent.iterdir() if path.is_dir()))
        raise PresetError(f"{hand!r} is no hand that wrote training phrasings; those are {known}")
    return replace(_together([_hand(folder)]), prompts=load_words("train").prompts)


def _together(hands: Sequence[Words]) -> Words:
    phrases = {
        category: Phrases(
            *(
                tuple(
                    line for hand in hands if category in hand.phrases for line in getattr(hand.phrases[category], part)
                )
                for part in ("names", "allow", "deny")
            )
        )
        for category in dict.fromkeys(category for hand in hands for category in hand.phrases)
    }
    return Words(_merged([hand.prompts for hand in hands]), phrases, _merged([hand.pieces for hand in hands]))


def _hand(folder: Path) -> Words:
    """One hand's phrasings; a hand may have written some of the files only."""
    parts: dict[str, dict[str, Any]] = {"prompts": {}, "config_pieces": {}}
    for name in parts:
        path = folder / f"{name}.yaml"
        if path.exists():
            parts[name] = {key: _lines(key, value, path) for key, value in yaml_file.read(path).items()}
    path = folder / "phrases.yaml"
    phrases = {}
    for category, row in yaml_file.read(path).items() if path.exists() else ():
        lists = {key: _lines(f"{category}.{key}", value, path) for key, value in row.items()}
        phrases[category] = yaml_file.build(Phrases, lists, path, where=f"{category}.")
    return Words(parts["prompts"], phrases, parts["config_pieces"])


def _merged(hands: Sequence[Mapping[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Each key's lines of all hands, in their order, each once."""
    keys = dict.fromkeys(key for hand in hands for key in hand)
    return {key: tuple(dict.fromkeys(line for hand in hands for line in hand.get(key, ()))) for key in keys}


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
    for line in value:
        if reason := patterns.fault(line):
            raise PresetError(f"{path}: {field}: {line!r} {reason}")
    return tuple(line.strip() for line in value)
