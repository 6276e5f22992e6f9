"""What a visitor may do, and when: sessions, turns, answers, votes. Knows neither gradio nor the store.

One `Session` is one open page. It lives on the server, in `Sessions`; the browser holds nothing but its id.
Everything is keyed by the arm's id, never by the served model's name, which two arms may share.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from evaluation import cosa_score
from evaluation.judgement import Judgement
from evaluation.response import FINAL, Response, Status
from evaluation.vote import Axis, Choice, Flag, Outcome, Vote
from presets.arm import Message
from presets.profile import Sampling
from presets.safety_config import SafetyConfig

MAX_PROMPT = 4_000
"""Characters in a prompt. More would crowd the answer out of a small model's context."""

MOST_PAGES = 1_000
"""Pages whose conversation is held. Gradio keeps a third of a megabyte for each, open or closed, until others take its place;
a page that lost its place begins a new conversation with the next prompt."""


class NotNow(Exception):
    """Something that may not be done at this moment; the message tells the visitor why, and what to do."""


@dataclass(frozen=True)
class Answer:
    """One arm's answer to one prompt, as far as it has come. `error` says in plain words why it failed.

    `is_drawn` is True when another attempt would be another answer: at a temperature above 0. `is_retryable` is False when the same request would fail again: a wrong key, an unknown model.
    """

    arm_id: str
    response_id: str
    status: Status = "pending"
    response: Response = Response()
    error: str = ""
    is_retryable: bool = True
    judgement: Judgement | None = None
    attempt: int = 1
    is_drawn: bool = False

    @property
    def is_final(self) -> bool:
        """True when nothing more will be added to the text."""
        return self.status in FINAL

    @property
    def awaits_judgement(self) -> bool:
        """True for a complete answer without a verdict; broken-off answers are never judged."""
        return self.status == "complete" and self.judgement is None

    @property
    def may_retry(self) -> bool:
        """True when the arm can be asked again: it failed in a way that may pass, was stopped or cut off, or drew its answer."""
        return self.is_final and (self.is_drawn if self.status == "complete" else self.is_retryable)


@dataclass
class Turn:
    """One prompt under one config, and every arm's answer to it, in the order in which the arms are shown.

    `delivered` holds the arms whose stream to the browser has ended. An answer can be final a moment before that, and
    a prompt sent in this moment would find its pane still busy; so the next prompt waits for both.
    `sampling` is how its answers are drawn, each further attempt with the next seed. `spoken` is set from the first word (of text or thinking) on that any arm says. `earlier` are the conversation's
    prompts before this one.
    """

    id: str
    prompt: str
    config: SafetyConfig
    answers: dict[str, Answer]
    earlier: tuple[str, ...] = ()
    stops: dict[str, asyncio.Event] = field(default_factory=dict)
    delivered: set[str] = field(default_factory=set)
    spoken: asyncio.Event = field(default_factory=asyncio.Event)
    vote: Vote | None = None
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        self.stops = {arm_id: asyncio.Event() for arm_id in self.answers}

    @property
    def is_final(self) -> bool:
        """True when every arm's answer is final."""
        return all(answer.is_final for answer in self.answers.values())

    @property
    def is_over(self) -> bool:
        """True when every answer is final and has reached the browser."""
        return self.is_final and self.delivered >= set(self.answers)

    def at_one_pace(self) -> dict[str, Answer]:
        """The answers for eyes that must not tell the arms apart by speed: none is longer than the shortest that still
        grows, and none is over before all are.
        """
        if self.is_final:
            return dict(self.answers)
        shown = min(len(answer.response.text) for answer in self.answers.values() if not answer.is_final)
        return {
            arm_id: Answer(arm_id, answer.response_id, "streaming", Response(answer.response.text[:shown]))
            for arm_id, answer in self.answers.items()
        }

    def update(self, answer: Answer) -> Answer:
        """The answer that now stands for its arm: `answer`, unless it is one of an earlier attempt, or a late snapshot."""
        current = self.answers[answer.arm_id]
        if current.response_id == answer.response_id and (answer.is_final or not current.is_final):
            self.answers[answer.arm_id] = answer
            if answer.response.text or answer.response.thinking:
                self.spoken.set()
        return self.answers[answer.arm_id]

    def restart(self, arm_id: str, response_id: str) -> Answer:
        """A new pending answer of this arm in the place of its last one; the next vote compares others, so it is new."""
        last = self.answers[arm_id]
        self.answers[arm_id] = Answer(arm_id, response_id, attempt=last.attempt + 1, is_drawn=last.is_drawn)
        self.stops[arm_id] = asyncio.Event()
        self.delivered.discard(arm_id)
        self.vote = None
        return self.answers[arm_id]


@dataclass
class Session:
    """One open page: its conversation, the turns on show, and their config.

    The conversation is None until the first prompt, and after a prompt was taken back until the next one: then the turns on
    show are `former` conversations'.

    `hides_names` is True while the visitor must not know which arm is which: from the first turn of a conversation, in
    which the arms stand in a drawn order, to the first vote in it. `keeps` is False while the conversation's words are to be
    erased when it ends; with `key` they can be at any time. `visitor` says whose limits count.
    """

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    conversation_id: str | None = None
    config: SafetyConfig | None = None
    turns: list[Turn] = field(default_factory=list)
    hides_names: bool = False
    keeps: bool = True
    visitor: str = ""
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    former: list[str] = field(default_factory=list)
    is_opening: bool = False

    @property
    def turn(self) -> Turn | None:
        """The turn on show, the last one."""
        return self.turns[-1] if self.turns else None

    @property
    def on_show(self) -> set[str]:
        """The conversations whose turns are on show: its own, and those that it goes on from."""
        return {*self.former, *filter(None, [self.conversation_id])}

    @property
    def is_busy(self) -> bool:
        """True while a turn or an attempt is being written down, or an arm is answering."""
        return self.is_opening or (self.turn is not None and not self.turn.is_over)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Busy for as long as a turn, or another attempt of an arm, is being written down."""
        self.is_opening = True
        try:
            yield
        finally:
            self.is_opening = False

    def check_prompt(self, prompt: str) -> str:
        """The prompt without the white space around it. Raises `NotNow` when it cannot be sent now."""
        if self.is_busy:
            raise NotNow("The arms are still answering. Wait for them, or press Stop.")
        if not prompt.strip():
            raise NotNow("Write a prompt first, or take one of the examples.")
        if len(prompt) > MAX_PROMPT:
            raise NotNow(f"This prompt has {len(prompt):,} characters; at most {MAX_PROMPT:,} can be sent. Shorten it.")
        return prompt.strip()

    def continues_under(self, config: SafetyConfig) -> bool:
        """True when a prompt under `config` continues what is on show; another config starts a new conversation."""
        return bool(self.turns) and self.config is not None and self.config.content_hash == config.content_hash

    def take_back(self) -> str:
        """Take the last turn back, and return its prompt; what is left goes on in a conversation of its own.

        In the store the turn stays where it was asked. Raises `NotNow` while arms are answering, and without a turn.
        """
        if self.is_busy:
            raise NotNow("The arms are still answering. Press Stop first, then take the prompt back.")
        if not self.turns:
            raise NotNow("There is no prompt to take back.")
        if self.conversation_id is not None:
            self.former.append(self.conversation_id)
        self.conversation_id = None
        return self.turns.pop().prompt

    def start_over(self, *, hide_names: bool = False) -> None:
        """Forget the conversation; the next prompt starts a new one. Raises `NotNow` while arms are answering."""
        if self.is_busy:
            raise NotNow("The arms are still answering. Press Stop first, then start a new conversation.")
        self.conversation_id, self.config = None, None
        self.turns, self.former, self.hides_names = [], [], hide_names

    def go_on(self, conversation_id: str, turns: list[Turn], config: SafetyConfig) -> None:
        """Show these turns of another conversation; the next prompt goes on from them, in a conversation of its own.

        Raises `NotNow` while arms are answering.
        """
        self.start_over()
        self.turns, self.config, self.former = turns, config, [conversation_id]

    def history(self, arm_id: str) -> list[Message]:
        """What this arm said before the turn on show: prompts and answer texts, oldest first.

        A turn in which the arm said nothing is left out, so that user and assistant keep taking turns.
        """
        messages: list[Message] = []
        for turn in self.turns[:-1]:
            if text := turn.answers[arm_id].response.text:
                messages.append({"role": "user", "content": turn.prompt})
                messages.append({"role": "assistant", "content": text})
        return messages

    def check_retry(self, arm_id: str) -> Turn:
        """The turn on show. Raises `NotNow` unless this arm can be asked again."""
        if self.is_opening:
            raise NotNow("The arms are being asked. Wait a moment, then try again.")
        if self.turn is None or arm_id not in self.turn.answers:
            raise NotNow("There is nothing to try again. Send a prompt first.")
        if not self.turn.answers[arm_id].may_retry or arm_id not in self.turn.delivered:
            raise NotNow(
                "This arm has answered, or is answering. Asked again it would say the same, unless the temperature is above 0."
            )
        return self.turn

    def cast(self) -> Vote:
        """The vote on the turn on show. Raises `NotNow` before there is one."""
        if self.turn is None or self.turn.vote is None:
            raise NotNow("Vote first, with a button or a key; then add what you like.")
        return self.turn.vote

    def make_vote(
        self,
        outcome: Outcome,
        best: str | None,
        reason: str,
        *,
        axes: Mapping[Axis, Choice] | None = None,
        flags: Mapping[str, frozenset[Flag]] | None = None,
    ) -> Vote:
        """The vote on the turn on show. The same vote again is the same object, with the same id.

        Without `axes` and `flags` those of the last vote on these answers stand.

        Raises `NotNow` until every arm's answer is final, and for a best arm that did not answer.
        """
        turn = self.turn
        if turn is None:
            raise NotNow("There is nothing to vote on. Send a prompt first.")
        if not turn.is_final:
            raise NotNow("A vote compares all answers. Wait until every arm is done, or press Stop.")
        choice, last, reason = Choice(outcome, best), turn.vote, reason.strip()
        said = {"axes": last.axes, "flags": last.flags} if last is not None else {"axes": {}, "flags": {}}
        said |= {name: value for name, value in (("axes", axes), ("flags", flags)) if value is not None}
        for arm_id in (each.best for each in (choice, *said["axes"].values()) if each.best is not None):
            if not turn.answers[arm_id].response.text:
                raise NotNow(
                    "This arm has not answered, so it cannot be the best. Try it again, or vote for another one."
                )
        if last is not None and (last.choice, last.reason, last.axes, last.flags) == (choice, reason, *said.values()):
            return last
        presented, blind = tuple(turn.answers), self.hides_names
        return Vote(str(uuid.uuid4()), turn.id, self.id, outcome, best, presented, reason, blind=blind, **said)


class Sessions:
    """The sessions of the last pages on which a prompt was sent, by id, the one that was longest not used first."""

    def __init__(self, most: int = MOST_PAGES) -> None:
        self._sessions: dict[str, Session] = {}
        self._most = most

    def open(self, session_id: str | None) -> Session:
        """The session with this id, or a new one when none is held (a first prompt, or a page from before a restart).

        A new one is not held here until it is kept: many pages are only looked at.
        """
        return self._sessions.get(session_id or "") or Session(**({"id": session_id} if session_id else {}))

    def keep(self, session: Session) -> list[Session]:
        """Hold a session, so that `open` finds it again; returns those that had to make room for it, never a busy one."""
        self._sessions.pop(session.id, None)
        self._sessions[session.id] = session
        idle = [each for each in self._sessions.values() if not each.is_busy and each is not session]
        gone = idle[: max(0, len(self._sessions) - self._most)]
        for each in gone:
            del self._sessions[each.id]
        return gone

    def blind_conversations(self) -> set[str]:
        """The conversations in which a visitor must not yet know which arm is which."""
        hiding = (session for session in self._sessions.values() if session.hides_names)
        return {conversation for session in hiding for conversation in session.on_show}

    def forget(self, conversation_ids: Collection[str]) -> None:
        """End these conversations wherever they are on show. Raises `NotNow` while arms are answering in one."""
        showing = [session for session in self._sessions.values() if session.on_show & set(conversation_ids)]
        if any(session.is_busy for session in showing):
            raise NotNow("The arms are still answering in one of these conversations. Press Stop first.")
        for session in showing:
            session.start_over()

    def close(self, session_id: str | None) -> Session | None:
        """The session whose page was closed long ago, which is forgotten here; None when it was not held."""
        return self._sessions.pop(session_id or "", None)


@dataclass(frozen=True)
class Standing:
    """How one arm has done in this session so far."""

    arm_id: str
    score: cosa_score.Score


def standings(judged: Iterable[tuple[str, Judgement]], arm_ids: Sequence[str]) -> list[Standing]:
    """Each arm's running CoSA-Score over (arm id, judgement) pairs, in the order of `arm_ids`."""
    rows: dict[str, list[cosa_score.Row]] = {arm_id: [] for arm_id in arm_ids}
    for index, (arm_id, judgement) in enumerate(judged):
        if arm_id in rows:
            rows[arm_id].append(_row(judgement, cluster=str(index)))
    return [Standing(arm_id, cosa_score.score(arm_rows)) for arm_id, arm_rows in rows.items()]


def _row(judgement: Judgement, *, cluster: str) -> cosa_score.Row:
    return cosa_score.Row(
        config="session",
        allowed=None,
        categories=judgement.categories,
        rating=judgement.rating,
        complies=judgement.safe,
        cluster=cluster,
    )
