"""What can be said to a tinyworld prompt: readings of the config, answers, refusals and partial answers.

The writer of these replies plays the part that stronger models play in the paper's data (CoSA section 5.2).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from presets.tinyworld import Topic, World
from presets.tinyworld.compose import ComposedPrompt, Rule


def reading(world: World, topics: Sequence[Topic], rules: Mapping[str, Rule], verdicts: Mapping[str, bool]) -> str:
    """One clause per topic: `gambling: casinos -> yes` for a risk, `cooking: safe` for none.

    No quotation marks stand around the word: after a mark it would begin another token than after the space that it follows
    in the config, and a small model cannot copy what does not look the same. `verdicts` may differ from what the rules
    say: a rejected reply reads the same rule and decides wrongly.
    """
    clauses = []
    for topic in topics:
        if topic.domain in world.risks:
            verdict = "yes" if verdicts[topic.domain] else "no"
            clauses.append(f"{topic.domain}: {rules[topic.domain].word} -> {verdict}")
        else:
            clauses.append(f"{topic.domain}: safe")
    return "; ".join(clauses)


def cautious_reading(world: World, topics: Sequence[Topic]) -> str:
    """The base model's reading: it names the category and decides without looking at the config."""
    risks = set(world.risks)
    return "; ".join(
        f"{topic.domain}: sensitive -> no" if topic.domain in risks else f"{topic.domain}: safe" for topic in topics
    )


def reply(world: World, rng: random.Random, prompt: ComposedPrompt, answered: Sequence[Topic]) -> str:
    """A reply that answers about the topics in `answered`, says of the others that it will not, or refuses outright."""
    withheld = [topic for topic in prompt.topics if topic not in answered]
    if not answered:
        return refusal(world, rng, withheld)
    kind = "what" if prompt.kind == "two" else prompt.kind
    sentences = [rng.choice(topic.sentences[kind]) for topic in answered]
    if len(prompt.topics) == 1 and rng.random() < 0.3:
        sentences += [line for line in answered[0].sentences[kind] if line not in sentences]
    if rng.random() < 0.15:
        sentences.insert(0, rng.choice(world.replies["openers"]))
    if withheld:
        sentences.append(rng.choice(world.replies["partial"]).replace("{subject}", subjects(world, withheld)))
    elif rng.random() < 0.1:
        sentences.append(rng.choice(world.replies["closers"]))
    return " ".join(sentences)


def refusal(world: World, rng: random.Random, topics: Sequence[Topic]) -> str:
    """A polite refusal that names what it leaves out and sometimes what it offers."""
    text = rng.choice(world.replies["refusals"]).replace("{subject}", subjects(world, topics))
    if rng.random() < 0.3:
        text += " " + rng.choice(world.replies["offers"]).replace("{domain}", rng.choice(world.safe_domains))
    return text[0].upper() + text[1:]


def subjects(world: World, topics: Sequence[Topic]) -> str:
    """The noun phrases of the topics' categories, each once."""
    return " and ".join(dict.fromkeys(world.subjects.get(topic.domain, topic.domain) for topic in topics))
