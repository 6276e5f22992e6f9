"""Ask the arms, write down what they say, and have it judged. Knows no gradio; used from one event loop.

An answer's row exists, pending, before its first token is asked for; it is stored as final before the page says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from evaluation.endpoint import EndpointError
from evaluation.judgement import Judgement
from evaluation.provenance import Provenance
from evaluation.response import Response, Status
from evaluation.serving import ServerStatus, Serving, attest_servers
from evaluation.store import Store, StoreError
from evaluation.vote import Outcome, Vote
from playground import operating_wording, wording
from playground.connections import Connections, JudgeFactory
from playground.limits import NO_LIMITS, Allowance, Limits
from playground.metrics import Metrics
from playground.session import Answer, NotNow, Session, Standing, Turn, standings
from playground.tasks import cancelled, keep, settled, until
from presets.profile import Profile, Sampling
from presets.safety_config import SafetyConfig, render_system_prompt

PARTIAL_S = 0.5
"""Seconds between two writes of a text that still grows: what a killed process may lose."""

CLOSING_LOOK_S = 0.1
"""Seconds between two looks whether the last answer has come."""

log = logging.getLogger(__name__)


class Answering:
    """The profile's page arms at work: their servers, their judge, and the store that keeps what they say.

    `provenance` says what each arm and the judge are; it is stored with every answer and every judgement. `allowance` is what
    one visitor may ask for. `metrics` counts.
    """

    def __init__(
        self,
        profile: Profile,
        serving: Serving,
        open_judge: JudgeFactory,
        store: Store,
        *,
        provenance: Provenance,
        allowance: Allowance = NO_LIMITS,
        metrics: Metrics | None = None,
    ) -> None:
        self.profile = profile
        self.arms = {arm_id: profile.arm(arm_id) for arm_id in profile.page_arms}
        self.connections, self.limits = Connections(profile, serving, open_judge), Limits(allowance)
        self._serving, self._store, self._provenance = serving, store, provenance
        self._metrics = metrics or Metrics()
        self._attestation: asyncio.Task[list[str]] | None = None
        self._warming: asyncio.Task[None] | None = None
        # By the response's id. These outlive the visitors' events that wait for them, and asyncio keeps no task alive.
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._finishing: dict[str, asyncio.Task[None]] = {}
        self._judging: dict[str, asyncio.Task[None]] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self.is_closing = False

    async def close(self) -> None:
        """Ask and judge no more, write down what there is, and close the connections to the servers."""
        await cancelled(*self._asking.values())
        await asyncio.gather(*self._finishing.values(), *self._leaving.values(), return_exceptions=True)
        await cancelled(*self._judging.values(), *filter(None, (self._attestation, self._warming)))
        await self.connections.close()

    def finish(self, timeout_s: float) -> None:
        """Take no new prompts, and return when every answer has come and is judged, or the time is over. From any thread."""
        self.is_closing = True
        deadline = time.monotonic() + timeout_s
        while (self._asking or self._finishing or self._judging) and time.monotonic() < deadline:
            time.sleep(CLOSING_LOOK_S)

    def status(self) -> tuple[ServerStatus, ...]:
        """How each of the profile's servers is doing."""
        return self._serving.status()

    @property
    def is_ready(self) -> bool:
        """True when every server is ready."""
        return all(status.state == "ready" for status in self.status())

    @property
    def takes_prompts(self) -> bool:
        """True unless a server that an arm needs is starting, or being checked. One that is away matters to its own arms."""
        return not self.is_checking and not any(self.connections.is_starting(arm) for arm in self.arms.values())

    @property
    def is_checking(self) -> bool:
        """True while the arms are checked; the first requests to a server are its slowest, so prompts would wait."""
        return self._attestation is not None and not self._attestation.done()

    def warnings(self) -> list[str] | None:
        """What is wrong with the arms' servers, in plain words; None while that is being found out.

        The first call with every server ready starts the check, which runs once, and opens the judge, for which the
        first verdict then need not wait. Needs a running event loop.
        """
        if self._attestation is None and self.is_ready:
            servers = sorted({arm.server for arm in self.arms.values()})
            self._attestation = asyncio.create_task(attest_servers(self._serving, servers))
            self._warming = asyncio.create_task(self.connections.warm_judge())
        if self._attestation is None or self.is_checking:
            return None
        if failure := self._attestation.exception():
            return [wording.unattested(failure)]
        return self._attestation.result()

    async def begin(
        self,
        session: Session,
        prompt: str,
        config: SafetyConfig,
        *,
        hide_names: bool = False,
        keeps: bool = True,
        sampling: Sampling | None = None,
    ) -> Turn:
        """A new turn of the session, written down with a pending answer of every arm; nothing is asked yet.

        Another config than the last turn's starts a new conversation; there the arms stand in a drawn order if names are
        to be hidden, and its words are erased when it ends unless they are to be kept. `sampling` is the profile's unless given.
        Raises `NotNow` and `StoreError`.
        """
        if self.is_closing:
            raise NotNow(operating_wording.STOPPING)
        prompt = session.check_prompt(prompt)
        if not self.takes_prompts:
            raise NotNow(wording.STILL_CHECKING if self.is_checking else wording.STILL_STARTING)
        with session.opening():
            if not session.continues_under(config):
                await self.leave(session)
                session.keeps = keeps
            self.limits.admit(session.visitor, len(self.arms))
            turn = await asyncio.to_thread(self._write_turn, session, prompt, config, hide_names, sampling)
        self.limits.begun(session.visitor, (answer.response_id for answer in turn.answers.values()))
        return turn

    async def leave(self, session: Session) -> None:
        """End the session's conversation in the store: one that was not to be kept loses its words. Raises `StoreError`."""
        if session.on_show and not session.keeps:
            await asyncio.to_thread(self._store.erase, dict.fromkeys(session.on_show, session.key))

    async def answer(self, session: Session, turn: Turn, arm_id: str) -> AsyncGenerator[Answer, None]:
        """Snapshots of the arm's growing answer; the last one is final, and is stored as such.

        A complete answer then goes to the judge, whether or not somebody still waits for the verdict.
        Closing the generator closes the stream to the server and leaves the answer abandoned.
        """
        await settled(self._finishing, turn.answers[arm_id].response_id)
        answer, stop = turn.answers[arm_id], turn.stops[arm_id]
        if answer.status != "pending":
            return
        turn.update(replace(answer, status="streaming"))
        status: Status = "abandoned"
        error = ""
        try:
            await asyncio.to_thread(self._store.start_response, answer.response_id)
            async with aclosing(self._snapshots(session, turn, arm_id)) as snapshots:
                async for answer in snapshots:
                    yield answer
            status, error = _ending(answer.response, stopped=stop.is_set())
        except EndpointError as failure:
            status, error = "error", str(failure)
            turn.update(replace(turn.answers[arm_id], is_retryable=failure.retryable))
        except StoreError as failure:
            status, error = "error", str(failure)
        except Exception as failure:
            log.exception("arm %s failed on turn %s", arm_id, turn.id)
            status, error = "error", wording.unexpected(failure)
        finally:
            await asyncio.shield(self._finish(turn, turn.answers[arm_id], status, error))
        yield turn.answers[arm_id]

    def ask(self, session: Session, turn: Turn, *arm_ids: str) -> None:
        """Have these arms (all, unless some are named) answer from now on, whoever follows. Needs a running loop.

        Between a click and the first look at an answer lies a way through the browser; no arm need wait for it.
        """
        for arm_id in arm_ids or turn.answers:
            keep(self._asking, turn.answers[arm_id].response_id, self._exhaust(session, turn, arm_id))

    async def follow(self, turn: Turn, *arm_ids: str, every_s: float) -> AsyncGenerator[Turn, None]:
        """The turn at its first word, each `every_s` seconds from then on, and at each arm's end, until all have ended.

        Closing the generator before that ends these arms' answers that are not final, as abandoned. An answer is final
        a moment before its task is done, so the tasks alone do not tell.
        """
        answers = [turn.answers[arm_id] for arm_id in arm_ids if not turn.answers[arm_id].is_final]
        tasks = waiting = {task for answer in answers if (task := self._asking.get(answer.response_id))}
        spoken = asyncio.create_task(turn.spoken.wait())
        try:
            while waiting:
                await asyncio.wait({*waiting, spoken}, return_when=asyncio.FIRST_COMPLETED)
                yield turn
                _, waiting = await asyncio.wait(waiting, timeout=every_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancelled(spoken, *tasks)
        yield turn

    async def _exhaust(self, session: Session, turn: Turn, arm_id: str) -> None:
        async with aclosing(self.answer(session, turn, arm_id)) as answers:
            async for _ in answers:
                pass

    async def judge(self, turn: Turn, arm_id: str) -> Answer:
        """The arm's answer once its judgement is stored; as it is when there is nothing (more) to judge."""
        await settled(self._judging, turn.answers[arm_id].response_id)
        return turn.answers[arm_id]

    async def retry(self, session: Session, arm_id: str) -> Turn:
        """The turn on show, with a new pending answer of this arm; the failed one stays in the store.

        Raises `NotNow` and `StoreError`.
        """
        turn = session.check_retry(arm_id)
        if self.connections.is_starting(self.arms[arm_id]):
            raise NotNow(wording.STILL_STARTING)
        with session.opening():
            self.limits.admit(session.visitor, 1)
            turn.restart(arm_id, await asyncio.to_thread(self._store.retry, turn.id, arm_id))
        self.limits.begun(session.visitor, [turn.answers[arm_id].response_id])
        return turn

    def stop(self, turn: Turn) -> None:
        """Stop every arm that still answers; those that have not begun are finished at once. Needs a running loop."""
        for arm_id, answer in turn.answers.items():
            turn.stops[arm_id].set()
            if answer.status == "pending":
                self._finish(turn, answer, "stopped", "")

    def abandon(self, session: Session) -> None:
        """Finish as abandoned what a session that was closed left unfinished, then `leave` it. Needs a running loop."""
        for turn in session.turns:
            for arm_id, answer in turn.answers.items():
                if not answer.is_final:
                    turn.stops[arm_id].set()
                    self._finish(turn, answer, "abandoned", "")
        if session.turn is not None and not session.keeps:
            keep(self._leaving, session.turn.id, self._leave_when_over(session))

    async def _leave_when_over(self, session: Session) -> None:
        for turn in session.turns:
            for answer in turn.answers.values():
                await settled(self._finishing, answer.response_id)
        try:
            await self.leave(session)
        except StoreError:
            log.exception("a conversation that was not to be kept is not erased yet; it will be when the page stops")

    async def vote(self, session: Session, outcome: Outcome, best: str | None, reason: str, **said: Any) -> Vote:
        """The vote on the turn on show, once it is on disk; names are hidden no more. See `Session.make_vote`.

        Raises `NotNow` and `StoreError`.
        """
        vote = session.make_vote(outcome, best, reason, **said)
        if await asyncio.to_thread(self._store.save_vote, vote):
            self._metrics.voted(vote.outcome)
        if session.turn is not None and session.turn.id == vote.turn_id:
            session.turn.vote = vote
            session.hides_names = False
        return vote

    async def standings(self, session: Session) -> list[Standing]:
        """Each page arm's running CoSA-Score in this session. Raises `StoreError`."""
        return await asyncio.to_thread(lambda: standings(self._store.session_judgements(session.id), tuple(self.arms)))

    def _write_turn(
        self, session: Session, prompt: str, config: SafetyConfig, hide_names: bool, sampling: Sampling | None
    ) -> Turn:
        continues = session.continues_under(config)
        if continues:
            order, hide_names = list(session.turns[-1].answers), session.hides_names
        else:
            order = random.sample(list(self.arms), len(self.arms)) if hide_names else list(self.arms)
        before, sampling = session.turns if continues else [], sampling or self.profile.sampling
        conversation_id = session.conversation_id if continues else None
        if conversation_id is None:
            whose = {"session_id": session.id, "profile": self.profile.id, "key": session.key, "kept": session.keeps}
            conversation_id = self._store.begin_conversation(**whose, after=[turn.id for turn in before])
        stored = self._store.begin_turn(
            conversation_id,
            prompt=prompt,
            config=config,
            system_prompt=render_system_prompt(config),
            sampling=sampling,
            arms=[self._provenance.arms[arm_id] for arm_id in order],
        )
        self._metrics.asked()
        is_drawn = sampling.temperature > 0
        answers = {arm_id: Answer(arm_id, stored.response_ids[arm_id], is_drawn=is_drawn) for arm_id in order}
        earlier = tuple(each.prompt for each in before)
        turn = Turn(stored.id, prompt, config, answers, earlier=earlier, sampling=sampling)
        session.turns, session.hides_names = [*before, turn], hide_names
        session.former = session.former if continues else []
        session.conversation_id, session.config = conversation_id, config
        return turn

    async def _snapshots(self, session: Session, turn: Turn, arm_id: str) -> AsyncGenerator[Answer, None]:
        arm, answer = self.arms[arm_id], turn.answers[arm_id]
        endpoint = await self.connections.endpoint(arm)
        messages = arm.messages(turn.config, session.history(arm_id), turn.prompt)
        sampling = replace(turn.sampling, seed=turn.sampling.seed + answer.attempt - 1)
        stream = endpoint.stream(arm.model, messages, sampling)
        saved = time.monotonic()
        async with aclosing(until(turn.stops[arm_id], stream)) as responses:
            async for response in responses:
                answer = turn.update(replace(answer, response=response))
                if time.monotonic() - saved > PARTIAL_S:
                    await asyncio.to_thread(self._store.save_partial, answer.response_id, response)
                    saved = time.monotonic()
                yield answer

    def _finish(self, turn: Turn, answer: Answer, status: Status, error: str) -> asyncio.Task[None]:
        """The task that stores the final answer, shows it as final, and has it judged; there is one per answer."""
        if (task := self._finishing.get(answer.response_id)) is not None:
            return task
        return keep(self._finishing, answer.response_id, self._write_final(turn, answer, status, error))

    async def _write_final(self, turn: Turn, answer: Answer, status: Status, error: str) -> None:
        """What cannot be stored is not shown as complete. The first final state wins, here as in the store."""
        self.limits.ended(answer.response_id, answer.response.completion_tokens)
        if answer.is_final:
            return
        try:
            await asyncio.to_thread(self._store.finish_response, answer.response_id, status, answer.response, error)
        except StoreError as failure:
            status, error = "error", str(failure)
        answer = turn.update(replace(answer, status=status, error=error))
        self._metrics.answered(answer.arm_id, status, answer.response)
        if answer.awaits_judgement:
            keep(self._judging, answer.response_id, self._write_judgement(turn, answer))

    async def _write_judgement(self, turn: Turn, answer: Answer) -> None:
        judgement = await self._judgement(turn, answer)
        try:
            await asyncio.to_thread(self._save_judgement, answer.response_id, judgement)
        except StoreError as failure:
            judgement = Judgement(judgement.judge, unscored=str(failure))
        turn.update(replace(answer, judgement=judgement))

    def _save_judgement(self, response_id: str, judgement: Judgement) -> None:
        self._store.save_judgement(response_id, judgement, judged_by=self._provenance.judge)

    async def _judgement(self, turn: Turn, answer: Answer) -> Judgement:
        try:
            judge = await self.connections.judge()
            return await judge.judge(
                config=turn.config, prompt=turn.prompt, response=answer.response, earlier=turn.earlier
            )
        except EndpointError as failure:
            return Judgement(self.profile.judge.kind, unscored=str(failure))
        except Exception as failure:
            log.exception("the judge failed on response %s", answer.response_id)
            return Judgement(self.profile.judge.kind, unscored=wording.unexpected(failure))


def _ending(response: Response, *, stopped: bool) -> tuple[Status, str]:
    """The final status of an answer whose stream has ended, and what is wrong with it."""
    if response.finish_reason is not None:
        return "complete", ""
    return ("stopped", "") if stopped else ("error", wording.BROKEN_OFF)
