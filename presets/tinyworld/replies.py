"""What can be said to a tinyworld prompt: readings of the config, answers, refusals and partial answers.

The writer of these replies plays the part that stronger models play in the paper's data (CoSA section 5.2).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

from presets.tinyworld import KINDS, Topic, World
from presets.tinyworld.compose import NOTHING, ComposedPrompt, Rule
from presets.tinyworld.patterns import draw


def reading(
    world: World, kind: str, topics: Sequence[Topic], rules: Mapping[str, Rule], verdicts: Mapping[str, bool]
) -> str:
    """What is asked and one clause per topic: `what poker: gambling, chance -> no`, `how pottery: crafts, safe`.

    The topic stands as in the prompt, then its category, the config's word for that, and yes or no.
    No quotation marks stand around them: after a mark a word would begin another token than after the space that it
    follows in the config, and a small model cannot copy what does not look the same. `verdicts` may differ from what the
    rules say: a rejected reply reads the same rule and decides wrongly.
    """
    clauses = [f"{topic.name}: {_clause(world, topic.domain, rules, verdicts)}" for topic in topics]
    return f"{kind} {'; '.join(clauses)}"


def reading_all(world: World, rules: Mapping[str, Rule], verdicts: Mapping[str, bool]) -> str:
    """The whole config read, one clause per risk category: what an answer to "what may you talk about?" begins with."""
    return "rules " + "; ".join(_clause(world, category, rules, verdicts) for category in world.risks)


def _clause(world: World, domain: str, rules: Mapping[str, Rule], verdicts: Mapping[str, bool]) -> str:
    if domain not in world.risks:
        return f"{domain}, safe"
    return f"{domain}, {rules[domain].word} -> {'yes' if verdicts[domain] else 'no'}"


def cautious_reading(world: World, kind: str, topics: Sequence[Topic]) -> str:
    """The base model's reading: it names the category and decides without looking at the config."""
    risks = set(world.risks)
    clauses = (
        f"{topic.name}: {topic.domain}, {'sensitive -> no' if topic.domain in risks else 'safe'}" for topic in topics
    )
    return f"{kind} {'; '.join(clauses)}"


def reply(
    world: World,
    rng: random.Random,
    prompt: ComposedPrompt,
    answered: Sequence[Topic],
    rules: Mapping[str, Rule] | None = None,
) -> str:
    """A reply that answers about the topics in `answered`, says of the others that it will not, or refuses outright.

    With `rules` what it declines is declined in the config's words.
    """
    withheld = [topic for topic in prompt.topics if topic not in answered]
    if not answered:
        return refusal(world, rng, withheld, rules)
    kind = prompt.kind if prompt.kind in KINDS else "what"
    sentences = [_sentence(world, rng, topic, kind) for topic in answered]
    if len(prompt.topics) == 1 and not answered[0].is_thing and rng.random() < 0.3:
        sentences += [line for line in answered[0].sentences[kind] if line not in sentences]
    if prompt.kind == "compare" and not withheld and rng.random() < 0.5:
        sentences.insert(0, draw(rng, world.replies["compare_openers"]))
    elif rng.random() < 0.15:
        sentences.insert(0, draw(rng, world.replies["openers"]))
    if withheld:
        sentences.append(_declined(world, rng, withheld, rules, part="partial"))
    elif rng.random() < 0.1:
        sentences.append(draw(rng, world.replies["closers"]))
    return " ".join(sentences)


def refusal(world: World, rng: random.Random, topics: Sequence[Topic], rules: Mapping[str, Rule] | None = None) -> str:
    """A polite refusal that names what it leaves out, with `rules` why, and sometimes what it offers."""
    text = _declined(world, rng, topics, rules, part="refusals")
    if rng.random() < 0.3:
        text += " " + draw(rng, world.replies["offers"]).replace("{domain}", rng.choice(world.safe_domains))
    return text[0].upper() + text[1:]


def capabilities(world: World, rng: random.Random, verdicts: Mapping[str, bool]) -> str:
    """The answer to "what may you talk about?" under a config with these verdicts."""
    yes = [world.subjects[category] for category in world.risks if verdicts[category]]
    no = [world.subjects[category] for category in world.risks if not verdicts[category]]
    key = "capabilities_both" if yes and no else "capabilities_all" if yes else "capabilities_none"
    return draw(rng, world.replies[key]).replace("{yes}", _listed(yes)).replace("{no}", _listed(no))


def outside(world: World, rng: random.Random, thing: Topic | None) -> str:
    """The answer to what the world does not know; it names the thing, if the prompt was about one."""
    if thing is None:
        return draw(rng, world.replies["outside"])
    return _filled(draw(rng, world.replies["outside_thing"]), "thing", thing.name)


def subjects(world: World, topics: Sequence[Topic]) -> str:
    """The noun phrases of the topics' categories, each once."""
    return ", and ".join(dict.fromkeys(world.subjects.get(topic.domain, topic.domain) for topic in topics))


def _sentence(world: World, rng: random.Random, topic: Topic, kind: str) -> str:
    if topic.is_thing:
        return _filled(draw(rng, world.said[topic.domain]), "thing", topic.name)
    return rng.choice(topic.sentences[kind])


def _declined(
    world: World, rng: random.Random, withheld: Sequence[Topic], rules: Mapping[str, Rule] | None, *, part: str
) -> str:
    """A refusal or the end of a partial answer.

    With `rules` it gives the reason: the config's word, when that is a noun that fits into a sentence, or that the config
    names nothing of the kind.
    """
    words = {rules[topic.domain].word.lower() if rules and topic.domain in rules else "" for topic in withheld}
    word, key = words.pop() if len(words) == 1 else "", part
    if word == NOTHING:
        key = f"{part}_unnamed"
    elif word in _nouns(world).get(withheld[0].domain, ()):
        key = f"{part}_named"
    text = _filled(draw(rng, world.replies[key]), "subject", subjects(world, withheld))
    return _filled(text, "word", word)


@cache
def _nouns(world: World) -> Mapping[str, frozenset[str]]:
    """Of each domain, words that surely are nouns: the last words of its things, but for what is done."""
    return {
        domain: frozenset(name for thing in things if not (name := thing.name.lower().split()[-1]).endswith("ing"))
        for domain, things in world.things.items()
    }


def _filled(text: str, slot: str, words: str) -> str:
    """The text with a slot filled; a slot that begins with a capital letter gives its words one."""
    capital = words[:1].upper() + words[1:]
    return text.replace(f"{{{slot}}}", words).replace(f"{{{slot.capitalize()}}}", capital)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(", ".join(names).rsplit(", ", 1))
