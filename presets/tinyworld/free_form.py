"""Free-form requests: whole messages, each written for the one subject that stands in [brackets] in it.

A prompt composed from a frame and a topic teaches frames; these teach that a request's subject tells what it is about,
whatever words stand around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from presets import yaml_file
from presets.tinyworld import KINDS, OUTSIDE, WORDS, Topic, load_world
from presets.yaml_file import PresetError

REQUESTS = WORDS / "requests"
SUBJECT = re.compile(r"\[([^\[\]]+)\]")
BOUND = re.compile(r"\b(?:an?|the|my|your|our|his|her|their|some|any|no|one|this|that|these|those) $", re.IGNORECASE)
"""What stands before a subject that no other name can take the place of."""


@dataclass(frozen=True)
class FreeRequest:
    """A message as somebody typed it, the kind of answer that it asks for, and what it is about, as that stands in it.

    `begin` and `end` stand around its subject.
    """

    begin: str
    end: str
    kind: str
    topic: Topic

    @property
    def text(self) -> str:
        """The whole message."""
        return f"{self.begin}{self.topic.name}{self.end}"

    @property
    def is_open(self) -> bool:
        """True when the message can be about something else of its domain as well."""
        return not BOUND.search(self.begin)

    def about(self, topic: Topic) -> FreeRequest:
        """The same message about another topic."""
        return replace(self, topic=topic)


@cache
def load_free_requests() -> Mapping[str, tuple[FreeRequest, ...]]:
    """The requests of every domain and of the outside, in the order of their lines. Raises `PresetError`."""
    world = load_world()
    topics = {topic.name.lower(): topic for topic in world.topics}
    found = {}
    for domain in (*world.risks, *world.safe_domains, OUTSIDE):
        path = REQUESTS / f"{domain}.yaml"
        data = yaml_file.read(path)
        if set(data) != set(KINDS):
            raise PresetError(f"{path}: has {', '.join(data)}; a list for each of {', '.join(KINDS)} is needed")
        found[domain] = tuple(_request(line, kind, domain, topics, path) for kind in KINDS for line in data[kind])
    return found


def _request(line: str, kind: str, domain: str, topics: Mapping[str, Topic], path: Path) -> FreeRequest:
    parts = SUBJECT.split(line) if isinstance(line, str) else []
    if len(parts) != 3:
        raise PresetError(f"{path}: {kind}: {line!r} has {len(parts) // 2} subjects in [brackets]; one is needed")
    begin, name, end = parts
    known = topics.get(name.lower(), Topic(name, domain, {}))
    if known.domain != domain:
        raise PresetError(f"{path}: {kind}: {line!r} is about {known.name!r}, a topic of {known.domain}")
    return FreeRequest(begin, end, kind, replace(known, name=name))
