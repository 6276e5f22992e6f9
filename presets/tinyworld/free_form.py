"""Free-form requests: whole messages, each written for the one subject that stands in [brackets] in it.

A prompt composed from a frame and a topic teaches frames; these teach that a request's subject tells what it is about,
whatever words stand around it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from presets import yaml_file
from presets.tinyworld import KINDS, OUTSIDE, WORDS, Topic, World, load_world
from presets.yaml_file import PresetError

REQUESTS = WORDS / "requests"
SUBJECT = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True)
class FreeRequest:
    """A message as somebody typed it, the kind of answer that it asks for, and what it is about, as that stands in it."""

    text: str
    kind: str
    topic: Topic


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


def with_subjects(world: World) -> World:
    """The world with the subjects of all requests among its things, for a judge that shall know them, too."""
    things = defaultdict(tuple, world.things)
    for domain, requests in load_free_requests().items():
        known = {thing.name.lower() for thing in things[domain]}
        new = {request.topic.name.lower(): request.topic for request in requests if request.topic.is_thing}
        things[domain] += tuple(topic for name, topic in new.items() if name not in known)
    return replace(world, things=dict(things))


def _request(line: str, kind: str, domain: str, topics: Mapping[str, Topic], path: Path) -> FreeRequest:
    subjects = SUBJECT.findall(line) if isinstance(line, str) else []
    if len(subjects) != 1:
        raise PresetError(f"{path}: {kind}: {line!r} has {len(subjects)} subjects in [brackets]; one is needed")
    topic = topics.get(subjects[0].lower(), Topic(subjects[0], domain, {}))
    if topic.domain != domain:
        raise PresetError(f"{path}: {kind}: {line!r} is about {topic.name!r}, a topic of {topic.domain}")
    return FreeRequest(SUBJECT.sub(r"\1", line), kind, topic)
