"""Arms asked over a real HTTP server that follows a script, their answers in a real store; no gradio."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from functools import partial
from pathlib import Path

import pytest

from evaluation.endpoint import EndpointError
from evaluation.judge import open_judge
from evaluation.judgement import Judgement
from evaluation.provenance import Provenance, judge_facts
from evaluation.response import Response
from evaluation.scripted import ScriptedReply
from evaluation.serving import ServerStatus, Serving
from evaluation.store import Store, StoreError
from evaluation.tinyworld_judge import TinyworldJudge
from playground.answering import Answering
from playground.connections import JudgeFactory
from playground.session import Answer, NotNow, Session, Turn
from playground.tasks import until
from presets.profile import JudgeChoice, Profile
from presets.safety_config import SafetyConfig, find_safety_config
from tests.stage import ANSWER, REFUSAL, Script, Stage, answers, asked_by, stage

CASINO = find_safety_config("casino", "tinyworld")
SLOW = ScriptedReply("one two three four five six seven eight", chunk_delay_s=0.1)

Scene = Callable[[Answering, Session, Store], Awaitable[None]]


def play(script: Script, folder: Path, scene: Scene, *, judge: JudgeFactory | None = None) -> Stage:
    """Run the scene over a page's parts; returns the parts, of which the store is closed."""
    with stage(script, folder) as parts:

        async def run() -> None:
            factory = judge or partial(open_judge, parts.profile, parts.serving)
            provenance = Provenance(parts.profile)
            answering = Answering(parts.profile, parts.serving, factory, parts.store, provenance=provenance)
            try:
                await scene(answering, Session(), parts.store)
            finally:
                await answering.close()

        asyncio.run(run())
        return parts


async def collect(answering: Answering, session: Session, turn: Turn, arm_id: str) -> list[Answer]:
    snapshots = [answer async for answer in answering.answer(session, turn, arm_id)]
    turn.delivered.add(arm_id)
    return snapshots


async def ask(
    answering: Answering, session: Session, prompt: str = "How do I play poker?", config: SafetyConfig = CASINO
) -> Turn:
    turn = await answering.begin(session, prompt, config)
    await asyncio.gather(*(collect(answering, session, turn, arm_id) for arm_id in turn.answers))
    return turn


def slowed(store: Store, method: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Make a method of the store take a fifth of a second; returns the list of its calls' arguments, which grows."""
    calls: list[tuple] = []
    original = getattr(store, method)

    def slow(*arguments: object) -> object:
        calls.append(arguments)
        time.sleep(0.2)
        return original(*arguments)

    monkeypatch.setattr(store, method, slow)
    return calls


def rows(store: Store) -> dict[str, dict]:
    return {row["arm_id"]: row for row in store.comparisons() if row["is_current"]}


def test_a_turn_is_in_the_store_before_anything_is_asked(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        await answering.begin(session, "How do I play poker?", CASINO)
        assert {arm: row["status"] for arm, row in rows(store).items()} == dict.fromkeys(answering.arms, "pending")

    assert play(answers(), tmp_path, scene).model.requests == []


def test_each_arm_is_asked_in_its_own_way_and_its_answer_stored(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        assert [answer.status for answer in turn.answers.values()] == ["complete"] * 3
        stored = rows(store)
        assert {row["text"] for row in stored.values()} == {ANSWER}
        assert stored["cosalign"]["thinking"] == "gambling: yes"
        assert (stored["base"]["system_prompt"], "casino" in stored["ica"]["system_prompt"]) == (None, True)

    script = answers(cosalign=ScriptedReply(ANSWER, thinking="gambling: yes"))
    requests = play(script, tmp_path, scene).model.requests
    assert sorted(asked_by(body) for body in requests) == ["base", "cosalign", "ica"]


def test_each_verdict_is_stored_with_what_judged(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        await asyncio.gather(*(answering.judge(turn, arm_id) for arm_id in turn.answers))
        stored = rows(store).values()
        assert [row["judge_facts"] for row in stored] == [judge_facts(answering.profile)] * 3

    play(answers(), tmp_path, scene)


def test_a_later_turn_knows_what_was_asked_before_it(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        first = await ask(answering, session)
        second = await answering.begin(session, "and how is it played?", first.config)
        assert (first.earlier, second.earlier) == ((), (first.prompt,))

    play(answers(), tmp_path, scene)


def test_the_answer_grows_and_its_last_snapshot_is_final(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "Count.", CASINO)
        snapshots = await collect(answering, session, turn, "base")
        texts = [answer.response.text for answer in snapshots]
        assert texts == sorted(texts, key=len)
        assert [answer.is_final for answer in snapshots] == [False] * (len(snapshots) - 1) + [True]
        assert len(snapshots) > 4

    play(answers(base=SLOW), tmp_path, scene)


def test_a_failed_arm_leaves_the_others_alone_and_can_be_asked_again(tmp_path: Path) -> None:
    fails = [ScriptedReply("", status=500, error="the engine fell over")]
    healthy = answers()

    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        assert {arm: answer.status for arm, answer in turn.answers.items()} == {
            "base": "complete",
            "ica": "error",
            "cosalign": "complete",
        }
        assert turn.answers["ica"].error
        await answering.retry(session, "ica")
        await collect(answering, session, turn, "ica")
        assert turn.answers["ica"].response.text == ANSWER
        attempts = [row["status"] for row in store.comparisons() if row["arm_id"] == "ica"]
        assert sorted(attempts) == ["complete", "error"]

    def script(body: dict) -> ScriptedReply:
        return fails.pop() if asked_by(body) == "ica" and fails else healthy(body)

    play(script, tmp_path, scene)


def test_an_answer_that_breaks_off_keeps_its_text_and_is_an_error(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        assert turn.answers["base"].status == "error"
        assert rows(store)["base"]["text"].startswith("one two")

    play(answers(base=dataclasses.replace(SLOW, drop_after=3)), tmp_path, scene)


def test_stopping_ends_every_arm_here_and_on_the_server(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "Count.", CASINO)
        streams = [asyncio.create_task(collect(answering, session, turn, arm)) for arm in ("base", "ica")]
        await asyncio.sleep(0.35)
        answering.stop(turn)
        await asyncio.wait_for(asyncio.gather(*streams), 1)
        assert await collect(answering, session, turn, "cosalign") == []
        assert {arm: row["status"] for arm, row in rows(store).items()} == dict.fromkeys(answering.arms, "stopped")
        assert turn.answers["base"].response.text.startswith("one")
        await asyncio.sleep(0.3)

    parts = play(answers(base=SLOW, ica=SLOW, cosalign=SLOW), tmp_path, scene)
    assert (parts.model.disconnects, len(parts.model.requests)) == (2, 2)


def test_stopping_again_while_the_first_stop_is_being_stored_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        faults: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        writes = slowed(store, "finish_response", monkeypatch)
        turn = await answering.begin(session, "Count.", CASINO)
        answering.stop(turn)
        await asyncio.sleep(0.05)
        answering.stop(turn)
        await asyncio.gather(*(collect(answering, session, turn, arm_id) for arm_id in turn.answers))
        assert (len(writes), faults) == (3, [])
        assert {row["status"] for row in rows(store).values()} == {"stopped"}

    play(answers(), tmp_path, scene)


def test_a_session_closed_before_its_streams_began_leaves_abandoned_answers(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "How do I play poker?", CASINO)
        answering.abandon(session)
        answering.abandon(session)
        for arm_id in turn.answers:
            assert await collect(answering, session, turn, arm_id) == []
        assert {arm: row["status"] for arm, row in rows(store).items()} == dict.fromkeys(answering.arms, "abandoned")

    assert play(answers(), tmp_path, scene).model.requests == []


def test_a_session_closed_in_mid_stream_ends_the_stream_and_keeps_what_was_final(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "Count.", CASINO)
        await collect(answering, session, turn, "ica")
        reader = asyncio.create_task(collect(answering, session, turn, "base"))
        await asyncio.sleep(0.35)
        answering.abandon(session)
        last = (await asyncio.wait_for(reader, 1))[-1]
        stored = {arm: row["status"] for arm, row in rows(store).items()}
        assert (last.status, stored["base"], stored["ica"]) == ("abandoned", "abandoned", "complete")
        await asyncio.sleep(0.3)

    assert play(answers(base=SLOW), tmp_path, scene).model.disconnects == 1


def test_a_reader_who_goes_away_leaves_an_abandoned_answer_and_a_closed_stream(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "Count.", CASINO)
        async with aclosing(answering.answer(session, turn, "base")) as snapshots:
            async for answer in snapshots:
                if "two" in answer.response.text:
                    break
        assert rows(store)["base"]["status"] == "abandoned"
        assert "two" in rows(store)["base"]["text"]
        await asyncio.sleep(0.3)

    assert play(answers(base=SLOW), tmp_path, scene).model.disconnects == 1


def test_an_arm_that_was_asked_answers_before_anybody_follows(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "How do I play poker?", CASINO)
        answering.ask(session, turn)
        deadline = time.monotonic() + 10
        while not turn.is_final and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert {row["status"] for row in rows(store).values()} == {"complete"}
        followed = [each.answers["ica"].status async for each in answering.follow(turn, "ica", every_s=0.01)]
        assert followed == ["complete"]

    assert len(play(answers(), tmp_path, scene).model.requests) == 3


def test_who_follows_sees_the_answer_grow_at_the_pace_asked_for(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "Count.", CASINO)
        answering.ask(session, turn, "base")
        seen = [each.answers["base"] async for each in answering.follow(turn, "base", every_s=0.2)]
        assert seen[-1].status == "complete"
        assert seen[-1].response.text == SLOW.text
        lengths = [len(answer.response.text) for answer in seen]
        assert lengths == sorted(lengths)
        assert 3 <= len(seen) <= 8, "0.8 s of answer in steps of 0.2 s"
        assert rows(store)["ica"]["status"] == "pending", "only the arms that are named are asked"

    play(answers(base=SLOW), tmp_path, scene)


def test_who_follows_several_arms_sees_each_end_at_once(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "Count.", CASINO)
        answering.ask(session, turn)
        follower = answering.follow(turn, *turn.answers, every_s=60)
        final = [{arm for arm, answer in each.answers.items() if answer.is_final} async for each in follower]
        assert "base" not in final[0]
        assert final[-1] == set(turn.answers)

    play(answers(base=SLOW), tmp_path, scene)


def test_a_follower_who_goes_away_leaves_abandoned_what_is_not_final_and_its_stream_closed(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "Count.", CASINO)
        answering.ask(session, turn, "base", "ica")
        async with aclosing(answering.follow(turn, "base", "ica", every_s=0.05)) as turns:
            async for each in turns:
                if "three" in each.answers["base"].response.text and each.answers["ica"].is_final:
                    break
        assert {arm: rows(store)[arm]["status"] for arm in ("base", "ica")} == {"base": "abandoned", "ica": "complete"}
        assert "three" in rows(store)["base"]["text"]
        await asyncio.sleep(0.3)

    assert play(answers(base=SLOW), tmp_path, scene).model.disconnects == 1


def test_a_cancelled_reader_leaves_an_abandoned_answer(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await answering.begin(session, "Count.", CASINO)
        reader = asyncio.create_task(collect(answering, session, turn, "base"))
        await asyncio.sleep(0.3)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert rows(store)["base"]["status"] == "abandoned"

    play(answers(base=SLOW), tmp_path, scene)


def test_a_second_prompt_carries_the_arms_own_words(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        await ask(answering, session)
        await ask(answering, session, "And then?")
        assert len({row["conversation_id"] for row in store.comparisons()}) == 1

    script = answers(base=ScriptedReply(REFUSAL, thinking="never sent again"))
    requests = play(script, tmp_path, scene).model.requests
    second = {asked_by(body): body["messages"] for body in requests if body["messages"][-1]["content"] == "And then?"}
    assert [message["content"] for message in second["base"]] == ["How do I play poker?", REFUSAL, "And then?"]
    assert second["cosalign"][2] == {"role": "assistant", "content": ANSWER}


def test_another_config_starts_a_new_conversation(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        await ask(answering, session)
        await ask(answering, session, "And then?", find_safety_config("newspaper", "tinyworld"))
        assert len(session.turns) == 1
        assert len({row["conversation_id"] for row in store.comparisons()}) == 2

    last = play(answers(), tmp_path, scene).model.requests[-1]
    assert ANSWER not in str(last["messages"])


def test_complete_answers_are_judged_once_and_others_never(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        await asyncio.gather(*(answering.judge(turn, arm) for arm in [*turn.answers, *turn.answers]))
        stored = rows(store)
        assert {arm: row["judge"] for arm, row in stored.items()} == {
            "base": "tinyworld",
            "ica": None,
            "cosalign": "tinyworld",
        }
        assert stored["cosalign"]["categories"] == ["gambling"]
        assert (await answering.standings(session))[2].score.n == 1
        assert len(list(store.comparisons())) == 3

    play(answers(ica=ScriptedReply("", status=500, error="no")), tmp_path, scene)


def test_an_empty_answer_is_for_the_judge_to_rate(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        answer = await answering.judge(turn, "base")
        assert answer.judgement is not None
        assert (answer.judgement.rating, answer.judgement.unscored) == (0, None)

    play(answers(base=ScriptedReply("")), tmp_path, scene)


def test_an_answer_is_judged_though_nobody_waits_for_the_verdict(tmp_path: Path) -> None:
    judging = asyncio.Event()

    class Slow:
        name = "slow"

        async def judge(self, *, config: SafetyConfig, prompt: str, response: Response, earlier=()) -> Judgement:
            await judging.wait()
            return Judgement("slow", rating=3, categories=frozenset(), safe=True)

    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        waiting = asyncio.create_task(answering.judge(turn, "base"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        judging.set()
        assert (await answering.judge(turn, "base")).judgement == Judgement(
            "slow", rating=3, categories=frozenset(), safe=True
        )
        await answering.judge(turn, "ica")
        assert rows(store)["ica"]["rating"] == 3

    play(answers(), tmp_path, scene, judge=lambda: nullcontext(Slow()))


def test_the_failure_of_a_judge_is_unscored(tmp_path: Path) -> None:
    class Broken:
        name = "broken"

        async def judge(self, *, config: SafetyConfig, prompt: str, response: Response, earlier=()) -> Judgement:
            raise EndpointError("the judge's server does not answer", retryable=True)

    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        answer = await answering.judge(turn, "cosalign")
        assert answer.judgement is not None
        assert answer.judgement.unscored == "the judge's server does not answer"
        assert rows(store)["cosalign"]["unscored"] == "the judge's server does not answer"

    play(answers(), tmp_path, scene, judge=lambda: nullcontext(Broken()))


def test_votes_are_stored_once_and_a_change_of_mind_is_kept(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        await ask(answering, session)
        first = await answering.vote(session, "best", "ica", "")
        assert await answering.vote(session, "best", "ica", "") == first
        await answering.vote(session, "tie", None, "both fine")
        stored = rows(store)["ica"]
        assert (stored["outcome"], stored["vote_reason"], stored["presented"]) == (
            "tie",
            "both fine",
            list(answering.profile.page_arms),
        )

    play(answers(), tmp_path, scene)


def test_no_prompt_is_taken_while_a_retry_is_being_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        slowed(store, "retry", monkeypatch)
        retry = asyncio.create_task(answering.retry(session, "ica"))
        await asyncio.sleep(0.05)
        with pytest.raises(NotNow, match="still answering"):
            await answering.begin(session, "And then?", CASINO)
        assert await retry is session.turn is turn
        assert turn.answers["ica"].status == "pending"

    play(answers(ica=ScriptedReply("", status=500, error="no")), tmp_path, scene)


@pytest.mark.parametrize(("status", "may_retry"), [(401, False), (404, False), (429, True), (500, True)])
def test_only_a_failure_that_may_pass_can_be_tried_again(tmp_path: Path, status: int, may_retry: bool) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        turn = await ask(answering, session)
        assert (turn.answers["ica"].status, turn.answers["ica"].may_retry) == ("error", may_retry)

    play(answers(ica=ScriptedReply("", status=status, error="no")), tmp_path, scene)


def test_the_judge_is_opened_once_off_the_loop_when_the_servers_are_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_in: list[threading.Thread] = []

    class Watched(TinyworldJudge):
        def __init__(self) -> None:
            opened_in.append(threading.current_thread())
            super().__init__()

    async def scene(answering: Answering, session: Session, store: Store) -> None:
        while answering.warnings() is None or not opened_in:
            await asyncio.sleep(0.01)
        turn = await ask(answering, session)
        assert (await answering.judge(turn, "cosalign")).judgement is not None
        assert len(opened_in) == 1
        assert opened_in[0] is not threading.current_thread()

    monkeypatch.setattr("evaluation.judge.TinyworldJudge", Watched)
    play(answers(), tmp_path, scene)


def test_a_judge_that_cannot_be_opened_leaves_the_page_alone(tmp_path: Path) -> None:
    attempts: list[None] = []

    def broken() -> AbstractAsyncContextManager:
        attempts.append(None)
        raise RuntimeError("no judge")

    async def scene(answering: Answering, session: Session, store: Store) -> None:
        while answering.warnings() is None or not attempts:
            await asyncio.sleep(0.01)
        turn = await ask(answering, session)
        for arm_id in turn.answers:
            answer = await answering.judge(turn, arm_id)
            assert answer.status == "complete"
            assert answer.judgement is not None
            assert "RuntimeError" in (answer.judgement.unscored or "")
        assert len(attempts) == 4

    play(answers(), tmp_path, scene, judge=broken)


def test_two_prompts_at_once_are_one_turn(tmp_path: Path) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        prompts = [answering.begin(session, "How do I play poker?", CASINO) for _ in range(2)]
        results = await asyncio.gather(*prompts, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["NotNow", "Turn"]

    play(answers(), tmp_path, scene)


def test_no_prompt_is_taken_while_the_arms_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        checked = asyncio.Event()

        async def attest_servers(serving: Serving, server_ids: Iterable[str]) -> list[str]:
            await checked.wait()
            return [f"{server_id} is odd" for server_id in server_ids]

        monkeypatch.setattr("playground.answering.attest_servers", attest_servers)
        assert (answering.takes_prompts, answering.is_checking) == (True, False), "nobody has asked for the check yet"
        assert answering.warnings() is None
        assert (answering.takes_prompts, answering.is_checking) == (False, True)
        with pytest.raises(NotNow):
            await answering.begin(session, "How do I play poker?", CASINO)
        checked.set()
        while answering.warnings() is None:
            await asyncio.sleep(0.01)
        assert answering.warnings() == ["main is odd"]
        await answering.begin(session, "How do I play poker?", CASINO)

    play(answers(), tmp_path, scene)


def test_a_check_that_breaks_down_is_a_warning_and_prompts_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def attest_servers(serving: Serving, server_ids: Iterable[str]) -> list[str]:
        raise RuntimeError("no luck")

    async def scene(answering: Answering, session: Session, store: Store) -> None:
        while (warnings := answering.warnings()) is None:
            await asyncio.sleep(0.01)
        assert ["RuntimeError" in warning for warning in warnings] == [True]
        await answering.begin(session, "How do I play poker?", CASINO)

    monkeypatch.setattr("playground.answering.attest_servers", attest_servers)
    play(answers(), tmp_path, scene)


class TwoServers:
    """A stub of `Serving`: the arms' server of a stage, and a second one for CoSAlign that is in a state of our choice."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.profile = with_second_server(serving.profile)
        self.second = ServerStatus("second", "starting", "loading weights", 1.0)

    def status(self) -> tuple[ServerStatus, ...]:
        return (*self._serving.status(), self.second)

    def base_url(self, _: str) -> str:
        return self._serving.base_url("main")


def with_second_server(profile: Profile) -> Profile:
    """The profile with CoSAlign on a second server at the same address."""
    servers = (*profile.servers, dataclasses.replace(profile.servers[0], id="second"))
    arms = tuple(dataclasses.replace(arm, server="second") if arm.id == "cosalign" else arm for arm in profile.arms)
    return dataclasses.replace(profile, servers=servers, arms=arms)


def play_with_two_servers(
    folder: Path, scene: Callable[[Answering, TwoServers], Awaitable[None]], *, judge: JudgeChoice | None = None
) -> None:
    """Run the scene with a second server, which is starting: CoSAlign's, or with `judge` the judge's alone."""

    async def run(parts: Stage) -> None:
        serving = TwoServers(parts.serving)
        profile = serving.profile
        if judge is not None:
            profile = dataclasses.replace(profile, arms=parts.profile.arms, judge=judge)
        factory = partial(open_judge, profile, serving)
        answering = Answering(profile, serving, factory, parts.store, provenance=Provenance(profile))
        try:
            await scene(answering, serving)
        finally:
            await answering.close()

    with stage(answers(), folder) as parts:
        asyncio.run(run(parts))


@pytest.mark.parametrize("state", ["starting", "restarting"])
def test_no_prompt_is_taken_while_a_server_that_an_arm_needs_starts(tmp_path: Path, state: str) -> None:
    async def scene(answering: Answering, serving: TwoServers) -> None:
        serving.second = ServerStatus("second", state, "loading weights", 1.0)
        with pytest.raises(NotNow, match="still starting"):
            await answering.begin(Session(), "How do I play poker?", CASINO)

    play_with_two_servers(tmp_path, scene)


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_server_that_is_away_fails_its_own_arm_only_until_it_is_back(tmp_path: Path, state: str) -> None:
    async def scene(answering: Answering, serving: TwoServers) -> None:
        serving.second = ServerStatus("second", state, "out of memory; make room", 1.0)
        session = Session()
        turn = await ask(answering, session)
        assert [answer.status for answer in turn.answers.values()] == ["complete", "complete", "error"]
        assert "'second' has" in turn.answers["cosalign"].error
        assert "out of memory; make room" in turn.answers["cosalign"].error
        serving.second = ServerStatus("second", "ready", "ready", 1.0)
        await answering.retry(session, "cosalign")
        await collect(answering, session, turn, "cosalign")
        assert turn.answers["cosalign"].response.text == ANSWER

    play_with_two_servers(tmp_path, scene)


def test_a_judge_whose_server_is_away_leaves_the_answer_unscored_in_the_servers_words(tmp_path: Path) -> None:
    async def scene(answering: Answering, serving: TwoServers) -> None:
        turn = await ask(answering, Session())
        serving.second = ServerStatus("second", "failed", "out of memory; make room", 1.0)
        answer = await answering.judge(turn, "base")
        assert answer.judgement is not None
        assert "out of memory; make room" in (answer.judgement.unscored or "")

    play_with_two_servers(tmp_path, scene, judge=JudgeChoice("llm", server="second", model="base"))


def test_an_answer_that_cannot_be_stored_is_not_shown_as_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(answering: Answering, session: Session, store: Store) -> None:
        def full(*_: object) -> bool:
            raise StoreError("the disk is full; make room")

        turn = await answering.begin(session, "How do I play poker?", CASINO)
        monkeypatch.setattr(store, "finish_response", full)
        await collect(answering, session, turn, "base")
        assert (turn.answers["base"].status, turn.answers["base"].error) == ("error", "the disk is full; make room")
        monkeypatch.undo()

    play(answers(), tmp_path, scene)


def test_a_stream_is_stopped_even_while_it_is_silent() -> None:
    closed = asyncio.Event()

    async def silent():
        try:
            await asyncio.sleep(60)
            yield Response()
        finally:
            closed.set()

    async def run() -> list[Response]:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, stop.set)
        return [response async for response in until(stop, silent())]

    assert asyncio.run(asyncio.wait_for(run(), 2)) == []
    assert closed.is_set()
