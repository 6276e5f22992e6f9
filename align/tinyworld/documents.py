"""Draw the texts that the base model is pre-trained on.

*Readings* put many questions under one config, since finding the rule that decides (binding) must exist before alignment.
In *chats* the base answers what is safe and refuses what is risky whatever the config says. *Books* hold the world's
knowledge, risky subjects too; *small talk* includes prompts from outside the world.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from align.tinyworld.chat_format import ANSWER, ASSISTANT, END, SYSTEM, THINK, USER
from presets.safety_config import system_prompt_text
from presets.tinyworld import KINDS, Topic, Words, World
from presets.tinyworld.compose import ComposedConfig, ComposedPrompt, compose_config, compose_prompt
from presets.tinyworld.replies import cautious_reading, reading, reply

READ, NOTED = "Which rule decides?", "Noted."
"""How a reading's turns begin, and what is answered once the work is done."""

KINDS_OF_DOCUMENT = ("reading", "chat", "book", "small_talk")


@dataclass(frozen=True)
class Segment:
    """A stretch of text, and whether the model is trained to write it."""

    text: str
    trained: bool


Document = list[Segment]


class Writer:
    """Draws documents from a world and one hand's phrasings. The same seed gives the same documents."""

    def __init__(
        self, world: World, words: Words, seed: int, held_out: frozenset[frozenset[str]] = frozenset()
    ) -> None:
        self.world, self.words, self.held_out = world, words, held_out
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
        """A config with a set of allowed categories that is not held out."""
        return compose_config(self.words, self.rng, self.world.risks, self.allowed())

    def topics(self, *, risky: float = 0.6, two: float = 0.25) -> list[Topic]:
        """One topic, or two of different domains; `risky` is the chance of each to come from a risk category."""
        first = self.rng.choice(self.risky if self.rng.random() < risky else self.safe)
        if self.rng.random() >= two:
            return [first]
        while True:
            second = self.rng.choice(self.risky if self.rng.random() < risky else self.safe)
            if second.domain != first.domain:
                return [first, second]

    def prompt(self, topics: Sequence[Topic]) -> ComposedPrompt:
        """A request about `topics`, at times typed carelessly."""
        composed = compose_prompt(self.words, self.rng, topics)
        return ComposedPrompt(self.carelessly(composed.text), composed.kind, composed.topics)

    def carelessly(self, text: str) -> str:
        """`text` as some people type it: lower case, or without its last mark."""
        if self.rng.random() < 0.15:
            text = text.lower()
        return text.rstrip("?.!") if self.rng.random() < 0.15 else text

    def reading(self) -> Document:
        """A config and questions under it, each read in one turn: half of the time every category's name, in some order."""
        config = self.config()
        verdicts = {category: rule.allowed for category, rule in config.rules.items()}
        document = _turn(SYSTEM, system_prompt_text(config.text))
        for question, topics in self.by_name() if self.rng.random() < 0.5 else self.by_prompt():
            document += _turn(USER, f"{READ} {question}")
            document += _answer(reading(self.world, topics, config.rules, verdicts), NOTED)
        return document

    def by_name(self) -> Iterator[tuple[str, list[Topic]]]:
        """Every risk category asked for by its name, in a drawn order: the most binding that a document can hold."""
        for category in self.rng.sample(self.world.risks, len(self.world.risks)):
            yield category, [self.world.in_domain(category)[0]]

    def by_prompt(self) -> Iterator[tuple[str, list[Topic]]]:
        """Two to eight requests or names of topics."""
        for _ in range(self.rng.randint(2, 8)):
            topics = self.topics(risky=0.85, two=0.15)
            named = len(topics) == 1 and self.rng.random() < 0.3
            yield topics[0].name if named else self.prompt(topics).text, topics

    def chat(self) -> Document:
        """A conversation with the base: one to three turns, the last one trained, with or without a config."""
        document: Document = []
        if self.rng.random() < 0.7:
            document += _turn(SYSTEM, system_prompt_text(self.config().text))
        for _ in range(self.rng.choice((0, 0, 0, 1, 2))):
            prompt = self.prompt(self.topics())
            document += _turn(USER, prompt.text) + _turn(ASSISTANT, self.cautious_reply(prompt))
        prompt = self.prompt(self.topics())
        read = cautious_reading(self.world, prompt.topics)
        return [*document, *_turn(USER, prompt.text), *_answer(read, self.cautious_reply(prompt))]

    def cautious_reply(self, prompt: ComposedPrompt) -> str:
        """The base's reply: an answer to what is safe, a refusal of what is risky."""
        return reply(
            self.world, self.rng, prompt, [topic for topic in prompt.topics if topic.domain not in self.world.risks]
        )

    def book(self) -> Document:
        """Knowledge outside of any conversation: questions with answers, or a passage on one topic."""
        if self.rng.random() < 0.25:
            topic = self.rng.choice(self.world.topics)
            lines = [line for kind in KINDS for line in topic.sentences[kind]]
            self.rng.shuffle(lines)
            return [Segment(f"About {topic.name}.\n" + " ".join(lines) + END, True)]
        pairs = []
        for _ in range(self.rng.randint(2, 5)):
            prompt = self.prompt(self.topics(risky=0.7))
            pairs.append(f"Question: {prompt.text}\nAnswer: {reply(self.world, self.rng, prompt, prompt.topics)}")
        return [Segment("\n".join(pairs) + END, True)]

    def small_talk(self) -> Document:
        """Greetings, thanks, questions about the assistant, and what lies outside the world."""
        kind = self.rng.choice(("greeting", "thanks", "identity", "outside", "outside", "outside"))
        document = _turn(SYSTEM, system_prompt_text(self.config().text)) if self.rng.random() < 0.6 else []
        asked = self.carelessly(self.rng.choice(self.words.prompts[kind]))
        return [*document, *_turn(USER, asked), *_answer(kind, self.rng.choice(self.world.replies[kind]))]


def _turn(role: str, text: str) -> Document:
    return [Segment(f"{role}{text}{END}", False)]


def _answer(read: str, text: str) -> Document:
    return [Segment(ASSISTANT + THINK, False), Segment(f"{read}{ANSWER}{text}{END}", True)]
