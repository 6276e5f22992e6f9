"""Draw tinyworld's candidate responses: prompts under configs, and everything that could be said to them, judged.

For each prompt the candidates answer every subset of what was asked, so that answer, partial answer and refusal are always
among them; each opens with the reading that fits what it does, and the config's verdict is right in one of them only. One
more is a *slip*: it reads the config rightly, and then does not do what it has read.
`addressed` means that every part which the config allows is answered: asked for two things of which one is allowed, a
reply that gives the one and declines the other is what the config wants, and must not score below a refusal.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from align.tinyworld.chat_format import with_reading
from align.tinyworld.documents import Writer, outside_reading
from evaluation.tinyworld_judge import TinyworldJudge
from presets.arm import Message
from presets.safety_config import SafetyConfig, render_system_prompt
from presets.tinyworld import OUTSIDE, Topic, World, load_words, load_world
from presets.tinyworld.compose import ComposedConfig, ComposedPrompt, held_out_sets
from presets.tinyworld.patterns import draw
from presets.tinyworld.replies import capabilities, outside, reading, reading_all, reply

SMALL_TALK = ("greeting", "thanks", "identity", *("capabilities",) * 3, *(OUTSIDE,) * 4)
"""What small talk is about. To tell a whole config is the hardest of it, and here, unlike in the base's text, told rightly."""


@dataclass(frozen=True)
class CandidatesRecipe:
    """How many prompts to draw, and the shares of small talk and of later turns among them, in [0, 1]."""

    prompts: int = 8_000
    small_talk: float = 0.2
    later_turns: float = 0.35
    seed: int = 0


def candidates(recipe: CandidatesRecipe) -> Iterator[dict[str, Any]]:
    """Candidates rows as `align.pairs` reads them. The configs allow no held-out set of categories."""
    world = load_world()
    writer = Writer(world, load_words("train"), recipe.seed + 77, held_out_sets(world.risks))
    judge = TinyworldJudge(world)
    for _ in range(recipe.prompts):
        composed = writer.config()
        config = SafetyConfig("drawn", "drawn", composed.text, "tinyworld", composed.allowed)
        if writer.rng.random() < recipe.small_talk:
            yield _small_talk(writer, composed, config)
        else:
            yield _row(writer, judge, composed, config, recipe)


def _row(
    writer: Writer, judge: TinyworldJudge, composed: ComposedConfig, config: SafetyConfig, recipe: CandidatesRecipe
) -> dict[str, Any]:
    prompt = writer.next_prompt(None, risky=0.85)
    history: list[Message] = []
    while writer.rng.random() < recipe.later_turns and len(history) < 8:
        said = reply(writer.world, writer.rng, prompt, _permitted(writer, prompt, config), composed.rules)
        history += [{"role": "user", "content": prompt.text}, {"role": "assistant", "content": said}]
        prompt = writer.next_prompt(prompt, risky=0.85)
    return {
        "prompt": prompt.text,
        "allowed": sorted(composed.allowed),
        "system_prompt": render_system_prompt(config),
        "history": history,
        "responses": [
            _response(writer, judge, composed, config, prompt, answered, read=read)
            for answered, read in [*((chosen, chosen) for chosen in _subsets(prompt)), _slip(writer, prompt, config)]
        ],
    }


def _response(
    writer: Writer,
    judge: TinyworldJudge,
    composed: ComposedConfig,
    config: SafetyConfig,
    prompt: ComposedPrompt,
    answered: tuple[Topic, ...],
    *,
    read: tuple[Topic, ...],
) -> dict[str, Any]:
    """A reply about the topics in `answered`, after a reading that says yes to those in `read`."""
    text = reply(writer.world, writer.rng, prompt, answered, composed.rules)
    verdicts = {topic.domain: topic in read for topic in prompt.topics}
    judgement = judge.verdict(config, *_in_topics(writer.world, prompt, text))
    permitted = _permitted(writer, prompt, config)
    return {
        "text": with_reading(reading(writer.world, prompt.kind, prompt.topics, composed.rules, verdicts), text),
        "categories": None if judgement.categories is None else sorted(judgement.categories),
        "addressed": bool(answered) and set(permitted) <= set(answered),
    }


def _in_topics(world: World, prompt: ComposedPrompt, text: str) -> tuple[str, str]:
    """What is asked, and what was said, with a topic of its domain in the place of each thing, as the judge knows few things.

    What is asked is named: a later turn may go on about a topic without naming it, and the judge reads no earlier ones.
    """
    asked = []
    for topic in prompt.topics:
        known = world.in_domain(topic.domain)[0] if topic.is_thing else topic
        asked.append(known.name)
        text = re.sub(rf"(?<!\w){re.escape(topic.name)}(?!\w)", known.name, text, flags=re.IGNORECASE)
    return " and ".join(asked), text


def _small_talk(writer: Writer, composed: ComposedConfig, config: SafetyConfig) -> dict[str, Any]:
    kind = writer.rng.choice(SMALL_TALK)
    if kind == "capabilities":
        return _capabilities(writer, composed, config)
    if kind == OUTSIDE:
        asked, thing = writer.outside()
        text = with_reading(outside_reading(thing), outside(writer.world, writer.rng, thing))
    else:
        asked = writer.small_prompt(kind)
        text = with_reading(kind, draw(writer.rng, writer.world.replies[kind]))
    return _row_without_risk(asked, config, [{"text": text, "categories": [], "addressed": True}])


def _capabilities(writer: Writer, composed: ComposedConfig, config: SafetyConfig) -> dict[str, Any]:
    """The question what may be talked about: the config's answer, one that reads it wrongly, and a slip."""
    right = {category: rule.allowed for category, rule in composed.rules.items()}
    misread = writer.rng.sample(writer.world.risks, writer.rng.choice((1, 2, 3)))
    wrong = {category: allowed != (category in misread) for category, allowed in right.items()}
    responses = [
        {
            "text": with_reading(
                reading_all(writer.world, composed.rules, read), capabilities(writer.world, writer.rng, told)
            ),
            "categories": [],
            "addressed": told is right,
        }
        for read, told in ((right, right), (wrong, wrong), (right, wrong))
    ]
    return _row_without_risk(writer.small_prompt("capabilities"), config, responses)


def _row_without_risk(prompt: str, config: SafetyConfig, responses: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "allowed": sorted(config.allowed or ()),
        "system_prompt": render_system_prompt(config),
        "responses": responses,
    }


def _permitted(writer: Writer, prompt: ComposedPrompt, config: SafetyConfig) -> list[Topic]:
    closed = set(writer.world.risks) - (config.allowed or frozenset())
    return [topic for topic in prompt.topics if topic.domain not in closed]


def _slip(writer: Writer, prompt: ComposedPrompt, config: SafetyConfig) -> tuple[tuple[Topic, ...], tuple[Topic, ...]]:
    """What a slip answers, and what it has read that it may: it refuses what is all permitted, and answers all that is not."""
    permitted = tuple(_permitted(writer, prompt, config))
    return () if permitted == prompt.topics else prompt.topics, permitted


def _subsets(prompt: ComposedPrompt) -> list[tuple[Topic, ...]]:
    sizes = range(len(prompt.topics) + 1)
    return [chosen for size in sizes for chosen in itertools.combinations(prompt.topics, size)]
