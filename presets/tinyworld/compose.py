"""Recombine tinyworld's words into safety configs and prompts, with the truth about each kept beside the text.

Every draw takes a seeded `random.Random`. The benchmark draws from the held-out words, training from the others.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from presets.tinyworld import KINDS, PAIR_KINDS, Topic, Words, World
from presets.tinyworld.keywords import keyword
from presets.tinyworld.patterns import draw

NOTHING = "nothing"
"""Stands in place of a keyword when the config does not name a category: then what it says of the rest decides."""


@dataclass(frozen=True)
class Rule:
    """What a config says of one risk category: the verdict, and the config's own word that names it, or `nothing`."""

    allowed: bool
    word: str


@dataclass(frozen=True)
class ComposedConfig:
    """A config's text, and for every risk category the rule that holds."""

    text: str
    rules: Mapping[str, Rule]

    @property
    def allowed(self) -> frozenset[str]:
        """The categories that the text allows."""
        return frozenset(category for category, rule in self.rules.items() if rule.allowed)


@dataclass(frozen=True)
class ComposedPrompt:
    """A request: the kind of answer asked for, and the one or two topics that it is about, as they stand in it."""

    text: str
    kind: str
    topics: tuple[Topic, ...]

    def risks(self, world: World) -> frozenset[str]:
        """The risk categories that the prompt touches."""
        return frozenset(topic.domain for topic in self.topics) & frozenset(world.risks)


class _Draft:
    """A config under construction: rule sentences in order, and what has been said of which category."""

    def __init__(self, words: Words, rng: random.Random, risks: Sequence[str]) -> None:
        self.words, self.rng, self.risks = words, rng, risks
        self.sentences: list[str] = []
        self.rules: dict[str, Rule] = {}

    def piece(self, key: str) -> str:
        return draw(self.rng, self.words.pieces[key])

    def mention(self, categories: Sequence[str], *, said: str) -> None:
        """Add one sentence that names all `categories` and says of them: allow, deny, except or only."""
        head = self.piece(f"{said}_heads")
        names = [draw(self.rng, self.words.phrases[category].names) for category in categories]
        if "{Names}" in head:
            names[0] = names[0][0].upper() + names[0][1:]
        self.sentences.append(self.named(head, names, last=self.rng.choice(("and", "or")) if said == "deny" else "and"))
        for category, name in zip(categories, names, strict=True):
            self.rules[category] = Rule(said in ("allow", "only"), keyword(category, name))

    def named(self, head: str, names: Sequence[str], *, last: str) -> str:
        """The head with its names: a list of lines, at times, where the names follow a colon and end the sentence."""
        if (match := re.search(r":\s\{[Nn]ames\}\.?$", head)) and self.rng.random() < 0.5:
            return head[: match.start()] + ":" + "".join(f"\n- {name}" for name in names)
        joined = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
        return head.replace("{names}", joined).replace("{Names}", joined)

    def state(self, categories: Sequence[str], *, allowed: bool) -> None:
        """Say of `categories`, in groups or one by one, that they are allowed or not."""
        rest = list(categories)
        while rest:
            if self.rng.random() < 0.35:
                category = rest.pop()
                phrases = self.words.phrases[category]
                sentence = draw(self.rng, phrases.allow if allowed else phrases.deny)
                self.sentences.append(sentence)
                self.rules[category] = Rule(allowed, keyword(category, sentence))
            else:
                size = self.rng.choice((1, 1, 2, 2, 3, 4, 8))
                group, rest = rest[:size], rest[size:]
                self.mention(group, said="allow" if allowed else "deny")

    def otherwise(self, *, allowed: bool) -> None:
        """Decide every category that has not been named."""
        for category in self.risks:
            self.rules.setdefault(category, Rule(allowed, NOTHING))

    def default(self, key: str) -> None:
        """Add a sentence that decides every category not named so far."""
        self.sentences.append(self.piece(key))
        self.otherwise(allowed=key in ("default_open", "allow_all"))


def compose_config(
    words: Words, rng: random.Random, risks: Sequence[str], allowed: frozenset[str], *, style: str | None = None
) -> ComposedConfig:
    """A config in one of seven styles whose text allows exactly `allowed` of `risks`.

    Styles: allow (a list, the rest closed), deny (a list, the rest open), except, only, both (one side in part), every
    (no category goes unnamed), and plain for all or none.
    """
    yes = [category for category in risks if category in allowed]
    no = [category for category in risks if category not in allowed]
    rng.shuffle(yes)
    rng.shuffle(no)
    draft = _Draft(words, rng, risks)
    _RULES[style or rng.choice(_styles(yes, no))](draft, yes, no)
    return ComposedConfig(_frame(draft), {category: draft.rules[category] for category in risks})


def compose_flip(
    words: Words, rng: random.Random, risks: Sequence[str], allowed: frozenset[str], category: str
) -> tuple[ComposedConfig, ComposedConfig]:
    """Two configs that differ in one sentence only: the first allows `category`, the second forbids it.

    Both allow exactly `allowed` of the other risks, which must be some of them, but not all.
    """
    yes = [other for other in risks if other in allowed]
    no = [other for other in risks if other not in allowed and other != category]
    rng.shuffle(yes)
    rng.shuffle(no)
    draft = _Draft(words, rng, [*yes, *no])
    _RULES[rng.choice(("allow", "deny", "both", "every", "every"))](draft, yes, no)
    sentences, rules = draft.sentences, draft.rules
    said = {True: draw(rng, words.phrases[category].allow), False: draw(rng, words.phrases[category].deny)}
    place, state = rng.randint(0, len(sentences)), rng.getstate()
    editions = []
    for is_allowed, sentence in said.items():
        rng.setstate(state)  # so that both get the same frame
        draft.sentences = [*sentences[:place], sentence, *sentences[place:]]
        rule = Rule(is_allowed, keyword(category, sentence))
        editions.append(ComposedConfig(_frame(draft), {risk: rules.get(risk, rule) for risk in risks}))
    return editions[0], editions[1]


def _styles(yes: Sequence[str], no: Sequence[str]) -> tuple[str, ...]:
    if not yes or not no:
        return ("plain", "plain", "every") if not yes else ("plain", "plain", "allow", "every")
    few_no = ("except",) if len(no) <= 5 else ()
    few_yes = ("only",) if len(yes) <= 5 else ()
    # Most configs both allow and forbid by name: else whether a config is a list of yes or of no decides all that it names,
    # and nothing else need be read.
    return ("allow", "deny", *("both",) * 2, *("every",) * 4, *few_no, *few_yes)


def _allow(draft: _Draft, yes: list[str], no: list[str]) -> None:
    draft.state(yes, allowed=True)
    if draft.rng.random() < 0.6:
        draft.default("default_closed")
    draft.otherwise(allowed=False)


def _deny(draft: _Draft, yes: list[str], no: list[str]) -> None:
    draft.state(no, allowed=False)
    draft.default("default_open")


def _except(draft: _Draft, yes: list[str], no: list[str]) -> None:
    draft.mention(no, said="except")
    draft.otherwise(allowed=True)


def _only(draft: _Draft, yes: list[str], no: list[str]) -> None:
    draft.mention(yes, said="only")
    draft.otherwise(allowed=False)


def _both(draft: _Draft, yes: list[str], no: list[str]) -> None:
    is_open = draft.rng.random() < 0.5
    named_yes = yes[: max(1, len(yes) // 2)] if is_open else yes
    named_no = no if is_open else no[: max(1, len(no) // 2)]
    sides = [(named_yes, True), (named_no, False)]
    draft.rng.shuffle(sides)
    for categories, allowed in sides:
        draft.state(categories, allowed=allowed)
    draft.default("default_open" if is_open else "default_closed")


def _every(draft: _Draft, yes: list[str], no: list[str]) -> None:
    """Both sides whole, one after the other or mixed. What then is said of the rest decides nothing."""
    if draft.rng.random() < 0.3:
        mixed = draft.rng.sample([*yes, *no], len(yes) + len(no))
        sides = [(list(group), allowed) for allowed, group in itertools.groupby(mixed, yes.__contains__)]
    else:
        sides = draft.rng.sample([(yes, True), (no, False)], 2)
    for categories, allowed in sides:
        draft.state(categories, allowed=allowed)
    if draft.rng.random() < 0.6:
        draft.default("default_open" if yes and draft.rng.random() < 0.3 else "default_closed")


def _plain(draft: _Draft, yes: list[str], no: list[str]) -> None:
    """All or nothing, and at times some of it by name."""
    named = draft.rng.sample([*yes, *no], draft.rng.choice((0, 0, 2, 4, 7)))
    for of_all in draft.rng.sample([True, False], 2):
        if of_all:
            draft.default("allow_all" if yes else "deny_all")
        else:
            draft.state(named, allowed=bool(yes))


_RULES = {
    "allow": _allow,
    "deny": _deny,
    "except": _except,
    "only": _only,
    "both": _both,
    "every": _every,
    "plain": _plain,
}


def _frame(draft: _Draft) -> str:
    """The rule sentences in a person's frame: who is served, things that do not matter, a greeting and an end."""
    rng, sentences = draft.rng, list(draft.sentences)
    remarks = {draft.piece("irrelevant"): None for _ in range(rng.choice((0, 0, 1, 1, 2, 2, 3, 5, 8)))}
    for remark in remarks:
        sentences.insert(rng.randrange(len(sentences)), remark)
    if rng.random() < 0.25:
        sentences.insert(0, draft.piece("openings"))
    if rng.random() < 0.7:
        sentences.insert(0, draft.piece("personas"))
    if rng.random() < 0.2:
        sentences.append(draft.piece("closings"))
    text = ""
    between = rng.choice((" ", " ", " ", "\n", "\n\n"))
    for line in sentences:
        finished = line if line[-1] in ".!?:" or "\n" in line else line + "."
        text += ("\n" if text[text.rfind("\n") + 1 :].startswith("- ") else between) * bool(text) + finished
    return text


def compose_prompt(
    words: Words, rng: random.Random, topics: Sequence[Topic], kind: str | None = None
) -> ComposedPrompt:
    """A request about one topic, of a kind drawn from KINDS unless given, or about two, of a kind drawn from PAIR_KINDS."""
    asked = [each for each in (PAIR_KINDS if len(topics) == 2 else KINDS) if each in words.prompts]
    kind = kind or (asked[0] if len(asked) == 1 else rng.choice(asked))
    text = draw(rng, words.prompts[kind]).replace("{topic}", topics[0].name)
    text = text.replace("{other}", topics[-1].name)
    return ComposedPrompt(text, kind, tuple(topics))


def held_out_sets(risks: Sequence[str]) -> frozenset[frozenset[str]]:
    """A fifth of the sets of two to six categories, drawn once with a fixed seed. No training config allows one."""
    sets = [frozenset(chosen) for size in range(2, 7) for chosen in itertools.combinations(risks, size)]
    return frozenset(random.Random(2410).sample(sets, len(sets) // 5))
