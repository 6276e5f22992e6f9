"""The tab where arms are compared: config, prompt, one pane per arm, verdicts, vote, the session's scores.

Handlers take their inputs keyed by component and return the same. A turn is two events. The first takes the prompt and
shows all arms' answers as they grow. Beside states it may write the panes and nothing else: every component that an event
may write and a message does not, gradio builds anew for that message. The second event runs when the first has ended, well
or not, and opens what may be done next; a third brings the verdicts, a fourth the scores. What must be closed meanwhile is the same
in every turn, so a script in the browser closes it when a state says that the arms were asked.
Stopping sets a flag on the server; nothing is cancelled from the browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

import gradio as gr

from evaluation.store import StoreError
from evaluation.vote import Outcome
from playground import keeping_wording, markup, sampler_wording, scripts, wording
from playground.answering import Answering
from playground.ballot import Ballot
from playground.limits import visitor_of
from playground.panes import Pane, Panes
from playground.picker import Choices, Data, Picker, Updates
from playground.sampler import Sampler
from playground.session import NotNow, Session, Sessions, Standing, Turn, standings

FRAME_S = 0.1
"""Seconds between two updates of a pane: 10 a second read as fluent, and each takes a browser time to paint, which on the
demo's one machine is taken from the models."""

POLL_S = 1.0
"""Seconds between two looks at the servers, until they are ready."""

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}
"""With nothing to show progress on: else gradio updates all that an event may write at each of its messages."""

AT_ONCE: dict[str, Any] = {**PRIVATE, "queue": False}
UNLIMITED: dict[str, Any] = {**PRIVATE, "concurrency_limit": None, "trigger_mode": "multiple"}
"""An event lives as long as its verdicts take; the next prompt need not wait for those."""
STREAM: dict[str, Any] = {**UNLIMITED, "preprocess": False, "postprocess": False}
"""Texts, ids and flags go over as they are. Gradio's own steps change none of them, but each takes a thread, for which one
waits where models are answering. What may be sent is decided by `Session` and `SafetyConfig`."""


class Compare:
    """The tab. Made inside a `gr.Blocks`, it places and wires its components.

    With `always_blind` the names of the arms are hidden until the vote in every conversation; else the visitor chooses.
    """

    def __init__(self, answering: Answering, choices: Choices, *, always_blind: bool = False) -> None:
        self.answering, self.choices = answering, choices
        self.sessions = Sessions()
        self.session = gr.State(None, delete_callback=self.close_session)
        self.taken, self.asked = gr.State(), gr.State()
        self.timer = gr.Timer(POLL_S)
        self.servers = gr.HTML(markup.servers(answering.status(), []), elem_id="servers")
        with gr.Row(elem_id="workbench"):
            with gr.Column(scale=3, min_width=300, elem_id="config-panel"):
                self.picker = Picker(choices)
            with gr.Column(scale=8, min_width=320, elem_id="compare-panel"):
                self._build_prompt(always_blind)
                with gr.Row(elem_id="panes", equal_height=True):
                    self.panes = Panes(tuple(answering.arms.values()), choices, hides_names=always_blind)
                with gr.Column(elem_id="vote"):
                    self.ballot = Ballot(self.panes.names(Session(hides_names=always_blind)))
                with gr.Column(elem_id="scores"):
                    gr.HTML(markup.heading(wording.SCORES))
                    self.scores = gr.HTML(self._scores(standings((), tuple(answering.arms))))
        self.announcement = gr.HTML(elem_id="announcement", elem_classes="sr-only")
        self._wire_config()
        self._wire_turn()
        self._wire_vote()
        self.timer.tick(self.poll, **self.polling)

    def _build_prompt(self, always_blind: bool) -> None:
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
                self.back = gr.Button(
                    sampler_wording.TAKE_BACK, interactive=False, variant="secondary", elem_id="take-back", min_width=90
                )
                self.new = gr.Button(wording.NEW, variant="secondary", elem_id="new", min_width=90)
            self.hide_names = gr.Checkbox(
                always_blind,
                label=wording.HIDE_NAMES,
                visible=not always_blind,
                container=False,
                elem_id="hide-names",
            )
            self.unkept = gr.Checkbox(
                False, label=keeping_wording.UNKEPT, info=keeping_wording.KEPT, container=False, elem_id="unkept"
            )
            self.sampler = Sampler(self.answering.profile)
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

    def _wire_config(self) -> None:
        picker = self.picker
        data = {self.session, self.hide_names, *picker.inputs}
        picker.choice.input(self.choose, data, _unique([*picker.outputs, *self.turn_outputs]), **AT_ONCE)
        picker.edit.click(picker.edit_copy, picker.inputs, picker.outputs, **AT_ONCE)
        drafted = [field.change for field in (picker.title, picker.text, picker.allowed, picker.text_decides)]
        shown = [picker.error, picker.preview]
        draft = partial(picker.draft, complain=False)
        gr.on(drafted, draft, picker.inputs, shown, trigger_mode="always_last", **AT_ONCE)

    def _wire_turn(self) -> None:
        data = {self.session, self.prompt, self.hide_names, self.unkept, *self.sampler.inputs, *self.picker.inputs}
        shown = [self.session, self.taken, self.asked, *self.panes.outputs]
        sent = gr.on(
            [self.send.click, self.prompt.submit], self.converse, data, shown, js=scripts.LEAVE_PROMPT, **STREAM
        )
        shown = [self.picker.error, self.picker.preview, self.servers, self.timer]
        refused = sent.failure(self.refused, data, shown, js=scripts.RETURN_TO_PROMPT, **AT_ONCE)
        ends = [sent.then, refused.then]
        for pane in self.panes.all:
            shown = [self.asked, pane.now]
            retried = pane.retry.click(partial(self.retry, pane), {self.session}, shown, **STREAM)
            ends += [retried.then, retried.failure]
        shown = [*self.panes.outputs, *self._gates]
        self.judged = [self._judge_after(end(self.settle, {self.session}, shown, **UNLIMITED)) for end in ends]
        for state, updates in ((self.taken, self.cleared), (self.asked, self.closed)):
            state.change(None, None, list(updates), js=scripts.always(updates), **PRIVATE)
        self.stop.click(self.stop_all, {self.session}, self._gates, **AT_ONCE)
        gr.on(
            [self.new.click, self.hide_names.input, self.unkept.input],
            self.start_over,
            {self.session, self.hide_names},
            self.turn_outputs,
            **AT_ONCE,
        )
        self.back.click(self.take_back, {self.session}, [self.prompt, *self.turn_outputs], **AT_ONCE)
        for words, button in self.examples.items():
            button.click(None, None, self.prompt, js=scripts.filling(words), **PRIVATE)

    def _judge_after(self, event: Any) -> Any:
        """Bring the verdicts, and then the scores, when an event has gone well; returns the last event."""
        judged = event.success(self.verdicts, {self.session}, self.panes.outputs, **UNLIMITED)
        return judged.then(self.tally, {self.session}, [self.scores], **PRIVATE)

    def _wire_vote(self) -> None:
        data, shown = {self.session, self.ballot.reason}, [*self.ballot.outputs, self.announcement]
        for button, (outcome, place) in self.ballot.buttons.items():
            voted = button.click(partial(self.vote, outcome, place), data, shown, **PRIVATE)
            self._judge_after(voted)
        added = [self.ballot.reason.submit, self.ballot.details.save.click]
        gr.on(added, self.add_to_vote, {*data, *self.ballot.details.inputs}, shown, **PRIVATE)

    @property
    def polling(self) -> dict[str, Any]:
        """How an event that looks at the servers is wired, beside its handler, `arrive` or `poll`."""
        shown = [self.session, self.servers, self.timer, self.send]
        return {"inputs": {self.session}, "outputs": shown, **AT_ONCE}

    @property
    def _gates(self) -> list[Any]:
        """What depends on whether the arms are answering."""
        return [self.send, *self._between_turns, *self.ballot.outputs, self.announcement, self.servers, self.timer]

    @property
    def _between_turns(self) -> tuple[Any, ...]:
        """What may be used only while no arm is answering."""
        return (self.back, self.new, self.hide_names, self.unkept, self.picker.choice)

    @property
    def turn_outputs(self) -> list[Any]:
        """What an empty conversation changes."""
        return [self.session, *self.panes.outputs, *self._gates]

    @property
    def cleared(self) -> Updates:
        """What a prompt that was taken leaves empty."""
        return {self.prompt: "", self.ballot.reason: "", self.picker.error: "", **self.ballot.details.cleared}

    @property
    def closed(self) -> Updates:
        """What may not be used while arms are answering."""
        closed = {each: gr.update(interactive=False) for each in (self.send, *self._between_turns)}
        return {**closed, **self.ballot.closed(), self.announcement: ""}

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
            if not session.is_busy:
                await self.answering.leave(session)
            session.start_over(hide_names=bool(data[self.hide_names]))
        return self.turn_updates(session)

    async def take_back(self, data: Data) -> Updates:
        """The conversation as it stood before the last prompt, which goes back into its box."""
        session = self.sessions.open(data[self.session])
        with told():
            prompt = session.take_back()
        return {self.prompt: prompt, **self.turn_updates(session), self.announcement: sampler_wording.TAKEN_BACK}

    async def converse(self, data: Data, request: gr.Request | None = None) -> AsyncGenerator[Updates, None]:
        """A new turn, written down and asked, and the arms' answers as they grow; see `settle` for what follows."""
        session = self.sessions.open(data[self.session])
        for forgotten in self.sessions.keep(session):
            self.answering.abandon(forgotten)
        session.visitor = visitor_of(request)
        with told():
            config = self.picker.config(data, request)
            wishes = {"hide_names": bool(data[self.hide_names]), "keeps": not data[self.unkept]}
            wishes["sampling"] = self.sampler.sampling(data)
            turn = await self.answering.begin(session, data[self.prompt] or "", config, **wishes)
        self.answering.ask(session, turn)
        asked = {self.session: session.id, self.taken: turn.id, self.asked: turn.id}
        yield {**asked, **self.panes.updates(session)}
        async with aclosing(self._answers(turn, *turn.answers)) as frames:
            async for _ in frames:
                yield self.panes.updates(session)

    async def refused(self, data: Data) -> Updates:
        """What is wrong with the config, beside it; and the clock runs again when a server has gone away."""
        return {**self.picker.draft(data, complain=True), **self._server_updates()}

    async def retry(self, pane: Pane, data: Data) -> AsyncGenerator[Updates, None]:
        """A new attempt of one arm; see `converse`."""
        session = self.sessions.open(data[self.session])
        arm_id = self.panes.arm(session, pane).id
        with told():
            turn = await self.answering.retry(session, arm_id)
        self.answering.ask(session, turn, arm_id)
        yield {self.asked: turn.answers[arm_id].response_id, pane.now: self.panes.now(session, pane)}
        async with aclosing(self._answers(turn, arm_id)) as frames:
            async for _ in frames:
                yield {pane.now: self.panes.now(session, pane)}

    async def _answers(self, turn: Turn, *arm_ids: str) -> AsyncGenerator[None, None]:
        """A moment to show the turn, at most 10 times a second, until these arms' answers are over and delivered.

        They are so, too, when the stream breaks off; else nothing would open the vote on what they have said.
        """
        try:
            async with aclosing(self.answering.follow(turn, *arm_ids, every_s=FRAME_S)) as frames:
                async for _ in frames:
                    _deliver(turn, arm_ids)
                    yield
        finally:
            _deliver(turn, arm_ids)

    async def settle(self, data: Data) -> Updates:
        """What may be done now that a stream of answers has ended or was refused.

        While arms still answer nothing is opened: their stream will end, too.
        """
        session = self.sessions.open(data[self.session])
        if session.is_busy:
            return gr.skip()
        return {**self.panes.updates(session), **self._gate_updates(session)}

    async def verdicts(self, data: Data) -> AsyncGenerator[Updates, None]:
        """The panes as they stand, and again as each verdict that is still to come is there; without names there is none."""
        session = self.sessions.open(data[self.session])
        yield self.panes.updates(session)
        waiting = [] if session.hides_names else _awaiting_judgement(session)
        for verdict in asyncio.as_completed([self.answering.judge(*place) for place in waiting]):
            await verdict
            yield self.panes.updates(session)

    async def tally(self, data: Data) -> Updates:
        """The session's scores, unless they would tell which arm is which."""
        session = self.sessions.open(data[self.session])
        if session.hides_names:
            return gr.skip()
        with told():
            return {self.scores: self._scores(await self.answering.standings(session))}

    async def stop_all(self, data: Data) -> Updates:
        """Stop every arm, on the servers too; each pane's own stream then ends.

        With nothing left to stop it opens the gates, should the browser have lost the event that opens them.
        """
        session = self.sessions.open(data[self.session])
        turn = session.turn
        if turn is not None and not turn.is_final:
            self.answering.stop(turn)
            return {self.announcement: wording.STOPPING}
        if turn is not None:
            turn.delivered.update(turn.answers)
        return self._gate_updates(session)

    async def vote(self, outcome: Outcome, place: int | None, data: Data) -> Updates:
        """A vote, for the arm at a place among the panes if it is for one, and its confirmation once it is on disk."""
        session = self.sessions.open(data[self.session])
        best = None if place is None else self.panes.arm(session, self.panes.all[place]).id
        return await self._vote(session, outcome, best, data)

    async def _vote(self, session: Session, outcome: Outcome, best: str | None, data: Data, **said: Any) -> Updates:
        with told():
            vote = await self.answering.vote(session, outcome, best, data[self.ballot.reason] or "", **said)
        names = self.panes.names(session)
        return {**self.ballot.updates(session.turn, names), self.announcement: wording.vote_saved(vote, names)}

    async def add_to_vote(self, data: Data) -> Updates:
        """The session's vote on this turn once more, now with its reason and what was said beside."""
        session = self.sessions.open(data[self.session])
        with told():
            vote = session.cast()
            said = self.ballot.details.said(data, list(session.turn.answers))
        return await self._vote(session, vote.outcome, vote.best, data, **said)

    def turn_updates(self, session: Session) -> Updates:
        """The session as it stands, in all of `turn_outputs`."""
        return {self.session: session.id, **self.panes.updates(session), **self._gate_updates(session)}

    def _gate_updates(self, session: Session) -> Updates:
        return {**self._server_updates(), **self._gates_of(session)}

    def _gates_of(self, session: Session) -> Updates:
        free, turn = not session.is_busy, session.turn
        return {
            self.send: gr.update(interactive=free and self.answering.takes_prompts),
            **{gate: gr.update(interactive=free) for gate in self._between_turns},
            self.back: gr.update(interactive=free and turn is not None),
            **self.ballot.updates(turn, self.panes.names(session)),
            self.announcement: wording.turn_over(turn) if turn is not None and turn.is_over else "",
        }

    def _server_updates(self) -> Updates:
        warnings = self.answering.warnings()
        running = not self.answering.is_ready or warnings is None
        is_checking = self.answering.is_checking
        statuses = markup.servers(self.answering.status(), warnings or [], is_checking=is_checking)
        return {self.servers: statuses, self.timer: gr.update(active=running)}

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


def _deliver(turn: Turn, arm_ids: Sequence[str]) -> None:
    turn.delivered.update(arm_id for arm_id in arm_ids if turn.answers[arm_id].is_final)


def _awaiting_judgement(session: Session) -> list[tuple[Turn, str]]:
    """The conversation's turns and arms whose verdict is still to come."""
    return [(turn, arm) for turn in session.turns for arm, answer in turn.answers.items() if answer.awaits_judgement]


def _unique(components: list[Any]) -> list[Any]:
    return list(dict.fromkeys(components))
