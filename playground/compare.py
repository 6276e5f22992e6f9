"""The tab where arms are compared: config, prompt, one pane per arm, verdicts, vote, the session's scores.

Handlers take their inputs keyed by component and return the same. One event carries a whole turn: it takes the prompt,
shows all arms' answers as they grow, opens what may be done next, and brings the verdicts. Every further event would
cost a way to the server and back, and listeners on one button would run one after the other in the browser.
Stopping sets a flag on the server; nothing is cancelled from the browser.

The browser pays milliseconds for every component that an update names without a value, so updates name what changes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from evaluation.store import StoreError
from evaluation.vote import Outcome
from playground import markup, wording
from playground.answering import Answering
from playground.ballot import Ballot
from playground.picker import Choices, Data, Picker, Updates
from playground.session import NotNow, Session, Sessions, Standing, Turn, standings
from presets.arm import Arm

FRAME_S = 0.05
"""Seconds between two updates of a pane: 20 a second read as fluent, more only cost the browser."""

POLL_S = 1.0
"""Seconds between two looks at the servers, until they are ready."""

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}
"""With nothing to show progress on: else gradio updates all that an event may write at each of its messages."""

AT_ONCE: dict[str, Any] = {**PRIVATE, "queue": False}
UNLIMITED: dict[str, Any] = {**PRIVATE, "concurrency_limit": None, "trigger_mode": "multiple"}
"""An event lives as long as its verdicts take; the next prompt need not wait for those."""


LEAVE_PROMPT = "(...values) => { document.querySelector('#prompt textarea')?.blur(); return values; }"
RETURN_TO_PROMPT = """(...values) => {
  const box = document.querySelector('#prompt textarea');
  if (box?.value) box.focus();
  return values;
}"""
"""Scripts that hand an event's inputs on. A prompt box with the focus would swallow the keys of the vote, so only one whose
prompt was not taken gets it back."""


@dataclass(frozen=True)
class Pane:
    """One arm's column: earlier turns, the turn on show, and the button that asks again."""

    arm: Arm
    past: gr.HTML
    now: gr.HTML
    retry: gr.Button


class Compare:
    """The tab. Made inside a `gr.Blocks`, it places and wires its components."""

    def __init__(self, answering: Answering, choices: Choices) -> None:
        self.answering, self.choices = answering, choices
        self.sessions = Sessions()
        self.session = gr.State(None, delete_callback=self.close_session)
        self.timer = gr.Timer(POLL_S)
        self.servers = gr.HTML(markup.servers(answering.status(), []), elem_id="servers")
        with gr.Row(elem_id="workbench"):
            with gr.Column(scale=3, min_width=300, elem_id="config-panel"):
                self.picker = Picker(choices)
            with gr.Column(scale=8, min_width=320, elem_id="compare-panel"):
                self._build_prompt()
                with gr.Row(elem_id="panes", equal_height=True):
                    self.panes = [self._build_pane(*place) for place in enumerate(answering.arms.values(), start=1)]
                with gr.Column(elem_id="vote"):
                    self.ballot = Ballot(tuple(answering.arms.values()))
                with gr.Column(elem_id="scores"):
                    gr.HTML(markup.heading(wording.SCORES))
                    self.scores = gr.HTML(self._scores(standings((), tuple(answering.arms))))
        self.announcement = gr.HTML(elem_id="announcement", elem_classes="sr-only")
        self._wire_config()
        self._wire_turn()
        self._wire_vote()
        self.timer.tick(self.poll, **self.polling)

    def _build_prompt(self) -> None:
        with gr.Column(elem_id="ask"):
            self.prompt = gr.Textbox(
                label=wording.PROMPT,
                placeholder=wording.PROMPT_HINT,
                lines=1,
                max_lines=6,
                autofocus=True,
                elem_id="prompt",
            )
            with gr.Row(elem_id="ask-buttons"):
                # The first look at the servers opens it: only then is it known whether the arms are being checked.
                self.send = gr.Button(wording.SEND, variant="primary", interactive=False, elem_id="send", min_width=90)
                self.stop = gr.Button(wording.STOP, variant="stop", elem_id="stop", min_width=90)
                self.new = gr.Button(wording.NEW, variant="secondary", elem_id="new", min_width=90)
            self.examples = self._build_examples()

    def _build_examples(self) -> dict[str, gr.Button]:
        examples = self.answering.profile.examples
        if not examples:
            return {}
        with gr.Row(elem_id="examples"):
            gr.HTML(markup.caption(wording.EXAMPLES), elem_id="examples-label")
            return {
                words: gr.Button(words, size="sm", variant="secondary", elem_classes="example", min_width=0)
                for words in examples
            }

    def _build_pane(self, index: int, arm: Arm) -> Pane:
        with gr.Column(elem_id=f"pane-{index}", elem_classes=["pane", f"hue-{index % 4}"], min_width=250):
            gr.HTML(markup.arm_head(arm))
            with gr.Column(elem_classes="talk"), gr.Column():
                past = gr.HTML(elem_classes="past")
                now = gr.HTML(self._exchange(None, arm), elem_classes="now")
            retry = gr.Button(wording.RETRY, size="sm", variant="secondary", visible=False, elem_id=f"retry-{index}")
        return Pane(arm, past, now, retry)

    def _wire_config(self) -> None:
        picker = self.picker
        data, shown = {self.session, *picker.inputs}, [*picker.outputs, *self._turn_outputs]
        picker.choice.input(self.choose, data, _unique(shown), **AT_ONCE)
        picker.edit.click(picker.edit_copy, picker.inputs, picker.outputs, **AT_ONCE)
        drafted = [field.change for field in (picker.title, picker.text, picker.allowed, picker.text_decides)]
        shown = [picker.error, picker.preview]
        draft = partial(picker.draft, complain=False)
        gr.on(drafted, draft, picker.inputs, shown, trigger_mode="always_last", **AT_ONCE)

    def _wire_turn(self) -> None:
        data, shown = {self.session, self.prompt, *self.picker.inputs}, self._turn_outputs
        asked = gr.on([self.send.click, self.prompt.submit], self.converse, data, shown, js=LEAVE_PROMPT, **UNLIMITED)
        shown = [self.picker.error, self.picker.preview, self.servers, self.timer]
        asked.failure(self.refused, data, shown, js=RETURN_TO_PROMPT, **AT_ONCE)
        for pane in self.panes:
            pane.retry.click(partial(self.retry, pane), {self.session}, self._turn_outputs, **UNLIMITED)
        self.stop.click(self.stop_all, {self.session}, self._gates, **AT_ONCE)
        self.new.click(self.start_over, {self.session}, self._turn_outputs, **AT_ONCE)
        for words, button in self.examples.items():
            button.click(None, None, self.prompt, js=_filling(words), **PRIVATE)

    def _wire_vote(self) -> None:
        data, shown = {self.session, self.ballot.reason}, [*self.ballot.outputs, self.announcement]
        for button, (outcome, best) in self.ballot.buttons.items():
            button.click(partial(self.vote, outcome, best), data, shown, **PRIVATE)
        self.ballot.reason.submit(self.add_reason, data, shown, **PRIVATE)

    @property
    def polling(self) -> dict[str, Any]:
        """How an event that looks at the servers is wired, beside its handler, `arrive` or `poll`."""
        shown = [self.session, self.servers, self.timer, self.send]
        return {"inputs": {self.session}, "outputs": shown, **AT_ONCE}

    @property
    def _gates(self) -> list[Any]:
        """What depends on whether the arms are answering."""
        buttons = [self.send, self.new, self.picker.choice]
        retries = [pane.retry for pane in self.panes]
        return [*buttons, *retries, *self.ballot.outputs, self.announcement, self.servers, self.timer]

    @property
    def _turn_outputs(self) -> list[Any]:
        """What another turn changes."""
        shown = [component for pane in self.panes for component in (pane.past, pane.now)]
        return [self.session, self.prompt, self.ballot.reason, *shown, self.picker.error, *self._gates, self.scores]

    def close_session(self, session_id: str | None) -> None:
        """Forget a session whose page was closed; what it left unfinished becomes abandoned."""
        if (session := self.sessions.close(session_id)) is not None:
            self.answering.abandon(session)

    async def arrive(self, data: Data) -> Updates:
        """A page was opened: its session gets its id, before a double click could begin two of them; and see `poll`."""
        return {self.session: data[self.session] or Session().id, **await self.poll(data)}

    async def poll(self, data: Data) -> Updates:
        """How the servers are doing; the clock stops when they are ready and the arms were checked."""
        busy = self.sessions.open(data[self.session]).is_busy
        updates = self._server_updates()
        return updates if busy else {**updates, self.send: gr.update(interactive=self.answering.takes_prompts)}

    async def choose(self, data: Data) -> Updates:
        """Another config: it is shown, and the conversation starts over."""
        return {**self.picker.show(data), **await self.start_over(data)}

    async def start_over(self, data: Data) -> Updates:
        """An empty conversation; the session's scores stay."""
        session = self.sessions.open(data[self.session])
        with told():
            session.start_over()
        return self._turn_updates(session)

    async def converse(self, data: Data) -> AsyncGenerator[Updates, None]:
        """A new turn, written down and asked; the arms' answers, what may be done next, and the verdicts follow."""
        session = self.sessions.open(data[self.session])
        self.sessions.keep(session)
        before, had_turns = self._gates_of(session), bool(session.turns)
        with told():
            config = self.picker.config(data)
            turn = await self.answering.begin(session, data[self.prompt] or "", config)
        self.answering.ask(session, turn)
        first: Updates = {self.session: session.id, self.prompt: ""}
        for pane in self.panes:
            first |= self._pane_updates(pane, session, past=had_turns)
        yield first
        changed = {gate: update for gate, update in self._gates_of(session).items() if update != before[gate]}
        yield {**changed, self.ballot.reason: "", self.picker.error: ""}
        async with aclosing(self._answers(session, turn, self.panes)) as answers:
            async for updates in answers:
                yield updates

    async def refused(self, data: Data) -> Updates:
        """What is wrong with the config, beside it; and the clock runs again when a server has gone away."""
        return {**self.picker.draft(data, complain=True), **self._server_updates()}

    async def retry(self, pane: Pane, data: Data) -> AsyncGenerator[Updates, None]:
        """A new attempt of one arm; see `converse`."""
        session = self.sessions.open(data[self.session])
        with told():
            turn = await self.answering.retry(session, pane.arm.id)
        self.answering.ask(session, turn, pane.arm.id)
        yield {pane.now: self._exchange(turn, pane.arm), **self._gate_updates(session)}
        async with aclosing(self._answers(session, turn, [pane])) as answers:
            async for updates in answers:
                yield updates

    async def _answers(self, session: Session, turn: Turn, panes: Sequence[Pane]) -> AsyncGenerator[Updates, None]:
        """These panes' answers as they grow, at most 20 times a second; the gates once all are over; the verdicts."""
        by_arm = {pane.arm.id: pane for pane in panes}
        async with aclosing(self.answering.follow(turn, *by_arm, every_s=FRAME_S)) as frames:
            async for _ in frames:
                if frame := self._frame(turn, panes):
                    yield frame
        if turn.is_over:
            yield self._gate_updates(session)
        for verdict in asyncio.as_completed([self.answering.judge(turn, arm_id) for arm_id in by_arm]):
            pane = by_arm[(await verdict).arm_id]
            yield self._pane_updates(pane, session, past=turn is not session.turn)
        with told():
            yield {self.scores: self._scores(await self.answering.standings(session))}

    def _frame(self, turn: Turn, panes: Sequence[Pane]) -> Updates:
        """The panes that are not delivered yet; one whose answer is final is so now, and may be asked again."""
        updates: Updates = {}
        for pane in panes:
            if pane.arm.id not in turn.delivered:
                updates[pane.now] = self._exchange(turn, pane.arm)
                if turn.answers[pane.arm.id].is_final:
                    turn.delivered.add(pane.arm.id)
                    updates |= {pane.retry: gr.update(visible=True)} if _may_retry(turn, pane.arm.id) else {}
        return updates

    async def stop_all(self, data: Data) -> Updates:
        """Stop every arm, on the servers too; each pane's own stream then ends.

        With nothing left to stop it opens the gates, should the browser have lost the event that opens them.
        """
        session = self.sessions.open(data[self.session])
        turn = session.turn
        if turn is None or turn.is_over:
            return gr.skip()
        if turn.is_final:
            turn.delivered.update(turn.answers)
            return self._gate_updates(session)
        self.answering.stop(turn)
        return {self.announcement: wording.STOPPING}

    async def vote(self, outcome: Outcome, best: str | None, data: Data) -> Updates:
        """A vote, and its confirmation once it is on disk."""
        session = self.sessions.open(data[self.session])
        with told():
            vote = await self.answering.vote(session, outcome, best, data[self.ballot.reason] or "")
        return {**self.ballot.updates(session.turn), self.announcement: wording.vote_saved(vote, self.ballot.arms)}

    async def add_reason(self, data: Data) -> Updates:
        """The session's vote on this turn once more, now with its reason."""
        turn = self.sessions.open(data[self.session]).turn
        with told():
            if turn is None or turn.vote is None:
                raise NotNow(wording.VOTE_FIRST)
            return await self.vote(turn.vote.outcome, turn.vote.best, data)

    def _turn_updates(self, session: Session) -> Updates:
        updates: Updates = {self.session: session.id}
        for pane in self.panes:
            updates |= self._pane_updates(pane, session, past=True)
        return {**updates, **self._gate_updates(session)}

    def _pane_updates(self, pane: Pane, session: Session, *, past: bool) -> Updates:
        """The pane's turn on show, and with `past` the turns before it."""
        updates: Updates = {pane.now: self._exchange(session.turn, pane.arm)}
        if past:
            updates[pane.past] = "".join(self._exchange(turn, pane.arm) for turn in session.turns[:-1])
        return updates

    def _gate_updates(self, session: Session) -> Updates:
        return {**self._server_updates(), **self._gates_of(session)}

    def _gates_of(self, session: Session) -> Updates:
        free, turn = not session.is_busy, session.turn
        gates = (self.new, self.picker.choice)
        return {
            self.send: gr.update(interactive=free and self.answering.takes_prompts),
            **{gate: gr.update(interactive=free) for gate in gates},
            **{pane.retry: gr.update(visible=_may_retry(turn, pane.arm.id)) for pane in self.panes},
            **self.ballot.updates(turn),
            self.announcement: wording.turn_over(turn) if turn is not None and turn.is_over else "",
        }

    def _server_updates(self) -> Updates:
        warnings = self.answering.warnings()
        running = not self.answering.is_ready or warnings is None
        is_checking = self.answering.is_checking
        statuses = markup.servers(self.answering.status(), warnings or [], is_checking=is_checking)
        return {self.servers: statuses, self.timer: gr.update(active=running)}

    def _exchange(self, turn: Turn | None, arm: Arm) -> str:
        return markup.exchange(turn, arm, self.choices.taxonomy, self.answering.profile)

    def _scores(self, rows: Sequence[Standing]) -> str:
        titles = {arm_id: arm.title for arm_id, arm in self.answering.arms.items()}
        return markup.scores(rows, titles)


@contextmanager
def told() -> Iterator[None]:
    """Tell the visitor, in a message on the page, why something may not or cannot be done."""
    try:
        yield
    except NotNow as error:
        raise gr.Error(str(error), title=wording.NOT_NOW, print_exception=False) from error
    except StoreError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _may_retry(turn: Turn | None, arm_id: str) -> bool:
    return turn is not None and arm_id in turn.delivered and turn.answers[arm_id].may_retry


def _unique(components: list[Any]) -> list[Any]:
    return list(dict.fromkeys(components))


def _filling(words: str) -> str:
    """The script that puts an example into the prompt box, where the visitor can still change it."""
    return f"() => {{ document.querySelector('#prompt textarea')?.focus(); return {json.dumps(words)}; }}"
