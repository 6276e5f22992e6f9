"""Draw the texts that the base model is pre-trained on.

*Readings* put many questions under one config, since finding the rule that decides (binding) must exist before alignment.
In *chats* the base answers what is safe and refuses what is risky whatever the config says. *Books* hold the world's
knowledge, risky subjects too, and how one declines; *small talk* includes questions on the assistant and prompts from
outside the world.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from align.tinyworld.chat_format import ANSWER, ASSISTANT, END, SYSTEM, THINK, USER
from presets.normalisation import normalised
from presets.safety_config import system_prompt_text
from presets.tinyworld import KINDS, OUTSIDE, Topic, Words, World
from presets.tinyworld.compose import ComposedConfig, ComposedPrompt, Rule, compose_config, compose_flip, compose_prompt
from presets.tinyworld.free_form import load_free_requests
from presets.tinyworld.invented import invent
from presets.tinyworld.patterns import draw
from presets.tinyworld.replies import capabilities, cautious_reading, outside, reading, reading_all, reply
from presets.tinyworld.visitors import held_out_prompts

READ, NOTED = "Which rule decides?", "Noted."
"""How a reading's turns begin, and what is answered once the work is done; the whole config is told, too."""

FLIPS = 0.3
"""The share of configs in which one sentence alone decides a category, wherever it stands among the others."""
FREE_FORM = 0.35
"""The share of requests about one thing that were written for it whole, instead of composed of a frame and a topic."""
SWAPPED = 0.5
"""How often such a request is about something else of its domain, where its words allow that."""
INVENTED = 0.4
"""The share of invented names among the things."""
CAPABILITIES = 0.3
"""The share of readings that end with the whole config read, the hardest of it."""
KINDS_OF_DOCUMENT = ("reading", "chat", "book", "small_talk")
SMALL_TALK = ("greeting", "thanks", "identity", "capabilities", *(OUTSIDE,) * 4)
"""What small talk is about; the outside is large."""


@dataclass(frozen=True)
class Segment:
    """A stretch of text, and whether the model is trained to write it."""

    text: str
    trained: bool


Document = list[Segment]


class Writer:
    """Draws documents from a world and some hands' phrasings. The same seed gives the same documents.

    A prompt that stands in the visitors' set is drawn anew.
    """

    def __init__(
        self,
        world: World,
        words: Words,
        seed: int,
        held_out: frozenset[frozenset[str]] = frozenset(),
        *,
        flips: float = FLIPS,
    ) -> None:
        self.world, self.words, self.held_out, self.flips = world, words, held_out, flips
        self.rng = random.Random(seed)
        self.risky = [topic for topic in world.topics if topic.domain in world.risks]
        self.safe = [topic for topic in world.topics if topic.domain not in world.risks]

    def documents(self, mix: Mapping[str, float]) -> Iterator[Document]:
        """Documents without end; `mix` gives the share of each kind in KINDS_OF_DOCUMENT."""
        kinds, weights = list(mix), list(mix.values())
        while True:
            yield getattr(self, self.rng.choices(kinds, weights)[0])()

    def allowed(self) -> frozenset[str]:
        """A set of allowed categories that is not held out: every size is about equally likely."""
        while True:
            size = self.rng.randrange(len(self.world.risks) + 1)
            drawn = frozenset(self.rng.sample(self.world.risks, size))
            if drawn not in self.held_out:
                return drawn

    def config(self) -> ComposedConfig:
        """A config with a set of allowed categories that is not held out; at times one half of a flip."""
        if self.rng.random() < self.flips:
            return self.rng.choice(self.flip())
        return compose_config(self.words, self.rng, self.world.risks, self.allowed())

    def flip(self) -> tuple[ComposedConfig, ComposedConfig]:
        """Two configs that differ in one sentence: what the first allows beyond the second hangs on that alone."""
        while True:
            category = self.rng.choice(self.world.risks)
            rest = self.allowed() - {category}
            if 0 < len(rest) < len(self.world.risks) - 1 and self.held_out.isdisjoint((rest, rest | {category})):
                return compose_flip(self.words, self.rng, self.world.risks, rest, category)

    def topics(self, *, risky: float = 0.6, two: float = 0.25, thing: float = 0.2) -> list[Topic]:
        """One topic, or two of different domains; `risky` is the chance of each to come from a risk category.

        Each is with the chance `thing`, one of two with half of it, something of which the world knows the domain only.
        """
        first = self.rng.choice(self.risky if self.rng.random() < risky else self.safe)
        if self.rng.random() >= two:
            return [self.thing(first.domain)] if self.rng.random() < thing else [first]
        while True:
            second = self.rng.choice(self.risky if self.rng.random() < risky else self.safe)
            if second.domain != first.domain:
                return [self.thing(each.domain) if self.rng.random() < thing / 2 else each for each in (first, second)]

    def thing(self, domain: str) -> Topic:
        """Something of which the world knows the domain only: of its own, or invented."""
        return invent(self.rng, domain) if self.rng.random() < INVENTED else self.rng.choice(self.world.things[domain])

    def request(self, *, risky: float = 0.6, two: float = 0.25) -> ComposedPrompt:
        """A request about what `topics` draws, or one written whole for its one subject."""
        if self.rng.random() < FREE_FORM * (1 - two):
            is_risky = self.rng.random() < risky
            return self.free_request(self.rng.choice(self.world.risks if is_risky else self.world.safe_domains))
        return self.prompt(self.topics(risky=risky, two=two))

    def free_request(self, domain: str) -> ComposedPrompt:
        """A request of a domain that somebody wrote whole, at times about another subject or typed carelessly."""
        while True:
            drawn = self.rng.choice(load_free_requests()[domain])
            if drawn.is_open and self.rng.random() < SWAPPED:
                known = self.world.in_domain(domain)
                drawn = drawn.about(self.rng.choice(known) if known and self.rng.random() < 0.6 else self.thing(domain))
            text = self.carelessly(drawn.text, [drawn.topic.name])
            if held_out_prompts().isdisjoint(map(normalised, (text, drawn.text))):
                return ComposedPrompt(text, drawn.kind, (drawn.topic,))

    def prompt(self, topics: Sequence[Topic]) -> ComposedPrompt:
        """A request about `topics`, at times typed carelessly."""
        names = [topic.name for topic in topics]
        while True:
            composed = compose_prompt(self.words, self.rng, topics)
            text = self.carelessly(composed.text, names)
            if held_out_prompts().isdisjoint(map(normalised, (text, composed.text))):
                return ComposedPrompt(text, composed.kind, composed.topics)

    def small_prompt(self, kind: str) -> str:
        """A prompt that is about no topic, of one of the kinds of small talk."""
        while True:
            text = self.carelessly(draw(self.rng, self.words.prompts[kind]))
            if normalised(text) not in held_out_prompts():
                return text

    def next_prompt(self, earlier: ComposedPrompt | None, *, risky: float = 0.6) -> ComposedPrompt:
        """A later turn's request: at times one that goes on about the topic of the turn before without naming it."""
        if earlier is not None and len(earlier.topics) == 1 and self.rng.random() < 0.3:
            kind = self.rng.choice(KINDS)
            return ComposedPrompt(self.small_prompt(f"followup_{kind}"), kind, earlier.topics)
        return self.request(risky=risky)

    def outside(self) -> tuple[str, Topic | None]:
        """A prompt from outside the world, and the thing that it asks about, if it is such a question."""
        way = self.rng.randrange(3)
        if way == 0:
            return self.small_prompt(OUTSIDE), None
        asked = self.prompt([self.thing(OUTSIDE)]) if way == 1 else self.free_request(OUTSIDE)
        return asked.text, asked.topics[0]

    def carelessly(self, text: str, names: Sequence[str] = ()) -> str:
        """`text` as some people type it: lower case, without its last mark, or with two letters in the wrong order.

        The letters of `names` keep their order, or nobody could tell what is asked about.
        """
        if self.rng.random() < 0.15:
            text = text.lower()
        if self.rng.random() < 0.1:
            text = self.mistyped(text, names)
        return text.rstrip("?.!") if self.rng.random() < 0.15 else text

    def mistyped(self, text: str, names: Sequence[str]) -> str:
        """`text` with two letters of one of its words in the wrong order, if that has a word beside `names`."""
        taken = {
            at for name in names for match in re.finditer(re.escape(name), text, re.I) for at in range(*match.span())
        }
        places = [at for at in range(1, len(text) - 1) if text[at : at + 2].isalpha() and not {at, at + 1} & taken]
        if not places:
            return text
        at = self.rng.choice(places)
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]

    def reading(self) -> Document:
        """A config and questions under it, each read in one turn: half of the time every category's name, in some order."""
        config = self.config()
        verdicts = {category: rule.allowed for category, rule in config.rules.items()}
        document = system_turn(system_prompt_text(config.text))
        for question, kind, topics in self.by_name() if self.rng.random() < 0.5 else self.by_prompt():
            document += user_turn(f"{READ} {question}")
            document += _answer(reading(self.world, kind, topics, config.rules, verdicts), NOTED)
        if self.rng.random() < CAPABILITIES:
            document += user_turn(f"{READ} {self.small_prompt('capabilities')}")
            told = capabilities(self.world, self.rng, verdicts)
            document += _answer(reading_all(self.world, config.rules, verdicts), told)
        return document

    def by_name(self) -> Iterator[tuple[str, str, Sequence[Topic]]]:
        """Every risk category asked for by its name, in a drawn order: the most binding that a document can hold."""
        for category in self.rng.sample(self.world.risks, len(self.world.risks)):
            yield category, "what", [Topic(category, category, {})]

    def by_prompt(self) -> Iterator[tuple[str, str, Sequence[Topic]]]:
        """Two to eight requests or names of topics."""
        for _ in range(self.rng.randint(2, 8)):
            named = self.topics(risky=0.85, two=0)[0] if self.rng.random() < 0.25 else None
            if named is not None and normalised(named.name) not in held_out_prompts():
                yield named.name, "what", [named]
            else:
                prompt = self.request(risky=0.85, two=0.15)
                yield prompt.text, prompt.kind, prompt.topics

    def chat(self) -> Document:
        """A conversation with the base: one to five turns, the last one trained, with or without a config."""
        document: Document = []
        rules: Mapping[str, Rule] = {}
        if self.rng.random() < 0.7:
            config = self.config()
            rules = config.rules
            document += system_turn(system_prompt_text(config.text))
        prompt = None
        for _ in range(self.rng.choice((0, 0, 0, 0, 1, 1, 2, 4))):
            prompt = self.next_prompt(prompt)
            document += user_turn(prompt.text) + [
                Segment(f"{ASSISTANT}{self.cautious_reply(prompt, rules)}{END}", False)
            ]
        prompt = self.next_prompt(prompt)
        read = cautious_reading(self.world, prompt.kind, prompt.topics)
        return [*document, *user_turn(prompt.text), *_answer(read, self.cautious_reply(prompt, rules))]

    def cautious_reply(self, prompt: ComposedPrompt, rules: Mapping[str, Rule]) -> str:
        """The base's reply: an answer to what is safe, a refusal of what is risky.

        It refuses what the config allows, too, but gives the config as its reason only where that forbids.
        """
        safe = [topic for topic in prompt.topics if topic.domain not in self.world.risks]
        reasons = {category: rule for category, rule in rules.items() if not rule.allowed}
        return reply(self.world, self.rng, prompt, safe, reasons)

    def book(self) -> Document:
        """Knowledge outside of any conversation: questions with answers, or a passage on one topic."""
        if self.rng.random() < 0.25:
            topic = self.rng.choice(self.world.topics)
            lines = [line for kind in KINDS for line in topic.sentences[kind]]
            self.rng.shuffle(lines)
            return [Segment(f"About {topic.name}.\n" + " ".join(lines) + END, True)]
        exchanges = (self.exchange() for _ in range(self.rng.randint(2, 5)))
        return [Segment("\n".join(f"Question: {asked}\nAnswer: {said}" for asked, said in exchanges) + END, True)]

    def exchange(self) -> tuple[str, str]:
        """A question and what somebody said to it: mostly an answer, at times that a part or all of it is left out.

        What somebody may talk about, or leaves out and why, is drawn: it tells how such things are put, not when.
        """
        if self.rng.random() < 0.06:
            verdicts = {category: self.rng.random() < 0.5 for category in self.world.risks}
            return self.small_prompt("capabilities"), capabilities(self.world, self.rng, verdicts)
        prompt = self.request(risky=0.7)
        if self.rng.random() < 0.65:
            return prompt.text, reply(self.world, self.rng, prompt, prompt.topics)
        kept = [topic for topic in prompt.topics if topic.domain not in self.world.risks or self.rng.random() < 0.3]
        return prompt.text, reply(self.world, self.rng, prompt, kept, self.config().rules)

    def small_talk(self) -> Document:
        """Greetings, thanks, questions about the assistant and its rules, and what lies outside the world.

        Asked for its rules, the base tells what it does: everyday things, and nothing sensitive, whatever the config says.
        """
        kind, has_config = self.rng.choice(SMALL_TALK), self.rng.random() < 0.6
        document = system_turn(system_prompt_text(self.config().text)) if has_config else []
        if kind == OUTSIDE:
            asked, thing = self.outside()
            return [
                *document,
                *user_turn(asked),
                *_answer(outside_reading(thing), outside(self.world, self.rng, thing)),
            ]
        key = kind if kind != "capabilities" else "capabilities_none" if has_config else "capabilities_free"
        return [*document, *user_turn(self.small_prompt(kind)), *_answer(kind, draw(self.rng, self.world.replies[key]))]


def outside_reading(thing: Topic | None) -> str:
    """The reading of a prompt from outside the world."""
    return OUTSIDE if thing is None else f"{OUTSIDE} {thing.name}"


def system_turn(text: str) -> Document:
    """A system message, as the chat template renders it."""
    return [Segment(f"{SYSTEM} {text}{END}", False)]


def user_turn(text: str) -> Document:
    """A user's message, as the chat template renders it."""
    return [Segment(f"{USER} {text}{END}", False)]


def _answer(read: str, text: str) -> Document:
    return [Segment(ASSISTANT + THINK, False), Segment(f"{read}{ANSWER}{text}{END}", True)]
