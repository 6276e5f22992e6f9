"""The page's handlers, called as gradio calls them, without a browser; and what a page gives away."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import gradio as gr
import pytest

from evaluation.judge import open_judge
from evaluation.judgement import Judgement
from evaluation.response import Response
from evaluation.scripted import ScriptedReply
from evaluation.store import Store
from playground import wording
from playground.compare import Compare
from playground.connections import JudgeFactory
from playground.page import Page, build_page
from playground.panes import Pane
from playground.picker import Choices
from playground.roles import Roles
from presets.profile import JudgeChoice, load_profile
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import SafetyConfig, load_safety_configs
from tests.stage import ANSWER, Script, answers, asked_by, stage

Data = dict
Updates = dict
Scene = Callable[[Compare, Store], Awaitable[None]]

FAILS = ScriptedReply("", status=500, error="no")


def play(
    script: Script, folder: Path, scene: Scene, *, judge: JudgeFactory | None = None, is_checked: bool = True
) -> None:
    """Run the scene in the page over a scripted server, once its arms were checked unless `is_checked` is False."""
    with stage(script, folder) as parts:
        judge = judge or partial(open_judge, parts.profile, parts.serving)
        compare = build_page(parts.profile, parts.serving, judge, parts.store).compare

        async def run() -> None:
            try:
                if is_checked:
                    await checked(compare)
                await scene(compare, parts.store)
            finally:
                await compare.answering.close()

        asyncio.run(run())


async def checked(compare: Compare) -> None:
    """Return once the arms were checked; no prompt is taken before."""
    while compare.answering.warnings() is None:
        await asyncio.sleep(0.01)


class PatientJudge:
    """A judge that waits until `may_judge` is set, and then finds everything good."""

    name = "patient"

    def __init__(self) -> None:
        self.may_judge = asyncio.Event()

    async def judge(self, *, config: SafetyConfig, prompt: str, response: Response, earlier=()) -> Judgement:
        await self.may_judge.wait()
        return Judgement("patient", rating=3, categories=frozenset(), safe=True)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with stage(answers(), tmp_path) as parts:
        judge, roles = partial(open_judge, parts.profile, parts.serving), Roles(frozenset({"edit", "export"}))
        yield build_page(parts.profile, parts.serving, judge, parts.store, roles=roles)


def inputs(compare: Compare, **values: object) -> Data:
    """What the components hold, as gradio hands it to a handler."""
    picker, ballot = compare.picker, compare.ballot
    data: Data = {
        compare.session: None,
        compare.prompt: "How do I play poker?",
        ballot.reason: "",
        compare.hide_names: False,
        compare.unkept: False,
        **{field: field.value for field in compare.sampler.inputs},
        **ballot.details.cleared,
    }
    data |= {
        picker.choice: "casino",
        picker.origin: "",
        picker.title: "",
        picker.text: "",
        picker.allowed: [],
        picker.text_decides: False,
    }
    named = {"session": compare.session, "prompt": compare.prompt, "reason": ballot.reason, "choice": picker.choice}
    named |= {"blind": compare.hide_names, "unkept": compare.unkept}
    named |= {"title": picker.title, "text": picker.text, "allowed": picker.allowed, "decides": picker.text_decides}
    return data | {named[name]: value for name, value in values.items()}


async def send(compare: Compare, data: Data) -> AsyncGenerator[Updates, None]:
    """What the page shows of a click on Send, with all that the browser brings about on the way."""
    async for updates in turn(compare, data, compare.converse(data)):
        yield updates


async def retry(compare: Compare, pane: Pane, data: Data) -> AsyncGenerator[Updates, None]:
    """What the page shows of a click on a pane's Retry; see `send`."""
    async for updates in turn(compare, data, compare.retry(pane, data)):
        yield updates


async def turn(compare: Compare, data: Data, stream: AsyncGenerator[Updates, None]) -> AsyncGenerator[Updates, None]:
    """A stream of answers, what scripts close and clear at its states' changes, and the event that follows it."""
    session = data[compare.session]
    async for updates in stream:
        session = updates.get(compare.session, session)
        scripted = [(compare.taken, compare.cleared), (compare.asked, compare.closed)]
        yield updates | {part: new for state, news in scripted if state in updates for part, new in news.items()}
    async for updates in after(compare, data | {compare.session: session}):
        yield updates


async def after(compare: Compare, data: Data) -> AsyncGenerator[Updates, None]:
    """What follows a stream of answers: what may be done next, the verdicts, and the scores."""
    yield await compare.settle(data)
    async for updates in judged(compare, data):
        yield updates


async def judged(compare: Compare, data: Data) -> AsyncGenerator[Updates, None]:
    """What follows a vote: the verdicts that were not told, and the scores."""
    async for updates in compare.verdicts(data):
        yield updates
    scores = await compare.tally(data)
    if scores != gr.skip():
        yield scores


async def rest(events: AsyncGenerator[Updates, None]) -> Updates:
    """What the page shows of an event once it is over."""
    shown: Updates = {}
    async for updates in events:
        shown |= updates
    return shown


async def run_turn(compare: Compare, **values: object) -> str:
    """Send a prompt, and wait for every answer and verdict; returns the session's id."""
    return (await rest(send(compare, inputs(compare, **values))))[compare.session]


def opens(compare: Compare, updates: Updates) -> bool:
    """True when these updates let the next prompt be sent; then they must open the vote, too."""
    gates = (compare.back, compare.send, compare.new, compare.picker.choice, compare.ballot.outputs[-1])
    opened = {gate in updates and updates[gate]["interactive"] for gate in gates}
    assert len(opened) == 1
    return opened == {True}


def may_retry(shown: str) -> bool:
    """True when the style shows a Retry under what a pane shows."""
    return "may-retry" in shown


def value(update: object) -> object:
    """The value in a handler's update, which may be the value itself."""
    return update["value"] if isinstance(update, dict) else update


def test_a_prompt_clears_the_box_and_closes_what_must_wait(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        assert not any(button.interactive for button in compare.ballot.buttons), "before the first turn"
        session = await run_turn(compare)
        updates = await anext(send(compare, inputs(compare, session=session)))
        assert updates[compare.prompt] == ""
        assert [updates[gate]["interactive"] for gate in (compare.send, compare.new)] == [False, False]
        assert not any(updates[button]["interactive"] for button in compare.ballot.buttons)
        assert all(wording.WAITING in updates[pane.now] for pane in compare.panes.all)

    play(answers(), tmp_path, scene)


def test_while_arms_answer_only_the_panes_are_written_and_all_that_may_be_done_next_comes_after(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        panes = {part for pane in compare.panes.all for part in pane.parts}
        states = {compare.session, compare.taken, compare.asked}
        stream = [updates async for updates in compare.converse(inputs(compare))]
        assert set(stream[0]) == states | panes, "the states' changes clear the prompt and close the gates"
        assert all(set(updates) == panes for updates in stream[1:])
        assert all("complete" in stream[-1][pane.now] for pane in compare.panes.all)
        data = inputs(compare, session=stream[0][compare.session])
        assert opens(compare, await compare.settle(data))

    play(answers(), tmp_path, scene)


TELLTALES = ("CoSAlign", "ICA", "Base", "helpful", "the config", "tokens", "first token", "poker: explain it")
"""What would tell which arm is which: names, verdicts, what an arm sees, speed, and how it read the config."""


def test_hidden_names_are_told_by_nothing_before_the_vote_and_shown_by_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("random.sample", lambda arms, count: list(reversed(arms)))

    async def scene(compare: Compare, store: Store) -> None:
        shown = await rest(send(compare, inputs(compare, blind=True)))
        seen = "".join(str(shown[part]) for part in (*compare.panes.outputs, *compare.ballot.buttons))
        assert [word for word in TELLTALES if word in seen] == []
        assert compare.scores not in shown
        assert "Answer 3" in shown[compare.panes.all[2].head]
        data = inputs(compare, session=shown[compare.session], blind=True)
        voted = await compare.vote("best", 0, data)
        assert "CoSAlign is best" in voted[compare.announcement]
        assert "1 · CoSAlign" in str([voted[button] for button in compare.ballot.buttons])
        revealed = await rest(judged(compare, data))
        assert "CoSAlign" in revealed[compare.panes.all[0].head]
        assert "obeys the config" in revealed[compare.panes.all[0].now]
        assert "+" in revealed[compare.scores]
        await compare.vote("tie", None, data)
        with closing(sqlite3.connect(store.path)) as db:
            votes = db.execute("SELECT best, blind, presented FROM votes ORDER BY revision").fetchall()
        order = '["cosalign", "ica", "base"]'
        assert votes == [("cosalign", 1, order), (None, 0, order)]
        again = await compare.start_over(data)
        assert "Answer 1" in again[compare.panes.all[0].head]

    play(answers(cosalign=ScriptedReply(ANSWER, thinking="poker: explain it")), tmp_path, scene)


def test_a_fault_does_not_tell_whose_it_is_while_names_are_hidden(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        shown = await rest(send(compare, inputs(compare, blind=True)))
        seen = [shown[pane.now] for pane in compare.panes.all]
        assert sorted(wording.HIDDEN_FAULT in each for each in seen) == [False, False, True]
        assert not any("cosalign" in each for each in seen)

    play(answers(cosalign=ScriptedReply("", status=404, error="no model cosalign")), tmp_path, scene)


def test_what_a_script_closes_and_clears_is_what_the_page_writes_itself(page: Page) -> None:
    compare, events = page.compare, page.blocks.config["dependencies"]
    for state, updates in ((compare.taken, compare.cleared), (compare.asked, compare.closed)):
        (event,) = [each for each in events if (state._id, "change") in each["targets"]]
        assert not event["backend_fn"]
        assert event["outputs"] == [part._id for part in updates]
        assert json.loads(event["js"].removeprefix("() => ")) == list(updates.values())


def test_a_prompt_refused_in_mid_stream_opens_nothing(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        events = send(compare, inputs(compare))
        data = inputs(compare, session=(await anext(events))[compare.session])
        assert await compare.settle(data) == gr.skip()
        assert opens(compare, await rest(events))
        assert opens(compare, await compare.settle(data)), "a refusal afterwards leaves open what is open"

    play(answers(), tmp_path, scene)


def test_a_whole_turn_is_judged_voted_on_and_scored(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        shown = await rest(send(compare, inputs(compare)))
        data = inputs(compare, session=shown[compare.session], reason="it explains")
        assert "obeys the config" in shown[compare.panes.all[2].now]
        assert "Gambling" in shown[compare.panes.all[2].now]
        assert "CoSAlign" in shown[compare.scores]
        assert "+" in shown[compare.scores]
        updates = await compare.vote("best", 2, data)
        assert updates[compare.announcement] == "Saved: CoSAlign is best, with your reason. You can still change it."
        assert {row["best"] for row in store.comparisons()} == {"cosalign"}

    play(answers(), tmp_path, scene)


def test_the_last_answer_opens_the_vote_and_the_next_prompt(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        shown: Updates = {}
        opened = []
        async for updates in send(compare, inputs(compare)):
            shown |= updates
            if opens(compare, updates):
                opened.append([ANSWER in shown[pane.now] for pane in compare.panes.all])
                assert all(updates[button]["interactive"] for button in compare.ballot.buttons)
        assert opened == [[True, True, True]]

    play(answers(ica=ScriptedReply(ANSWER, chunk_delay_s=0.02)), tmp_path, scene)


def test_the_next_prompt_need_not_wait_for_the_verdicts(tmp_path: Path) -> None:
    judge = PatientJudge()

    async def scene(compare: Compare, store: Store) -> None:
        session, _ = await turn_to_judge(compare, inputs(compare))
        updates = await anext(send(compare, inputs(compare, session=session, prompt="And then?")))
        assert wording.JUDGING in updates[compare.panes.all[0].past]
        assert updates[compare.prompt] == ""

    play(answers(), tmp_path, scene, judge=lambda: nullcontext(judge))


def test_a_verdict_that_comes_after_the_next_prompt_is_shown_under_its_own_answer(tmp_path: Path) -> None:
    judge = PatientJudge()

    async def scene(compare: Compare, store: Store) -> None:
        session, events = await turn_to_judge(compare, inputs(compare))
        await anext(send(compare, inputs(compare, session=session, prompt="And then?")))
        judge.may_judge.set()
        verdicts = await rest(events)
        for pane in compare.panes.all:
            assert ANSWER in verdicts[pane.past]
            assert "obeys the config" in verdicts[pane.past]
            assert "And then?" not in verdicts[pane.past]
            assert "And then?" in verdicts[pane.now], "the panes show the next turn now"
        assert compare.send not in verdicts, "the gates are the next turn's now"
        assert "100 %" in verdicts[compare.scores]

    play(answers(), tmp_path, scene, judge=lambda: nullcontext(judge))


async def turn_to_judge(compare: Compare, data: Data) -> tuple[str, AsyncGenerator[Updates, None]]:
    """Send a prompt, and wait for every answer; returns the session's id, and the event, which brings the verdicts."""
    events = send(compare, data)
    session = (await anext(events))[compare.session]
    while not opens(compare, await anext(events)):
        pass
    return session, events


def test_panes_are_updated_at_most_ten_times_a_second_and_end_complete(tmp_path: Path) -> None:
    words = " ".join(["word"] * 120)

    async def scene(compare: Compare, store: Store) -> None:
        started = asyncio.get_running_loop().time()
        frames = []
        async for updates in send(compare, inputs(compare)):
            if opens(compare, updates):
                break
            frames += [updates[pane.now] for pane in compare.panes.all[:1] if pane.now in updates]
        elapsed = asyncio.get_running_loop().time() - started
        at_the_start_and_each_end = 1 + len(compare.panes.all)
        assert len(frames) <= elapsed * 10 + at_the_start_and_each_end
        assert words in frames[-1]

    play(answers(base=ScriptedReply(words, chunk_delay_s=0.005)), tmp_path, scene)


def test_an_answer_that_has_come_to_its_end_changes_no_more_and_is_rendered_once(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        frames = [updates async for updates in send(compare, inputs(compare))]
        panes = zip(compare.panes.arms, compare.panes.all, strict=True)
        shown = {arm: {frame[pane.now] for frame in frames if pane.now in frame} for arm, pane in panes}
        assert len(shown["base"]) > 8
        assert max(len(shown["ica"]), len(shown["cosalign"])) < len(shown["base"]) - 3
        rendered = compare.panes._exchange.cache_info().misses
        await anext(compare.converse(inputs(compare, session=frames[0][compare.session], prompt="And then?")))
        assert compare.panes._exchange.cache_info().misses == rendered + len(compare.panes.all), (
            "what is past stood there"
        )

    play(answers(base=ScriptedReply(" ".join(["word"] * 100), chunk_delay_s=0.01)), tmp_path, scene)


def test_stop_frees_a_page_whose_browser_lost_the_end_of_a_turn(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        events = send(compare, inputs(compare))
        data = inputs(compare, session=(await anext(events))[compare.session])
        while not compare.sessions.open(data[compare.session]).turn.is_final:
            await asyncio.sleep(0.01)
        await events.aclose()
        assert (await compare.stop_all(data))[compare.send]["interactive"]
        assert {row["status"] for row in store.comparisons()} == {"complete"}
        assert (await anext(send(compare, data)))[compare.prompt] == ""

    play(answers(), tmp_path, scene)


def test_a_stream_that_breaks_off_leaves_what_was_said_to_a_vote(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        events = compare.converse(inputs(compare))
        data = inputs(compare, session=(await anext(events))[compare.session])
        while "three" not in (await anext(events))[compare.panes.all[0].now]:
            pass
        await events.aclose()
        shown = await compare.settle(data)
        assert opens(compare, shown)
        assert "three" in shown[compare.panes.all[0].now]

    play(answers(base=ScriptedReply("one two three " + 99 * "more ", chunk_delay_s=0.1)), tmp_path, scene)


def test_stop_ends_a_turn_with_what_was_said_and_opens_the_gates(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        events = send(compare, inputs(compare))
        data = inputs(compare, session=(await anext(events))[compare.session])
        while "three" not in (await anext(events)).get(compare.panes.all[0].now, ""):
            pass
        assert await compare.stop_all(data) == {compare.announcement: wording.STOPPING}
        shown = await asyncio.wait_for(rest(events), 5)
        assert "three" in shown[compare.panes.all[0].now]
        assert shown[compare.send]["interactive"]
        assert [may_retry(shown[pane.now]) for pane in compare.panes.all] == [True, False, False]

    play(answers(base=ScriptedReply("one two three " + 99 * "more ", chunk_delay_s=0.1)), tmp_path, scene)


def test_no_update_is_empty_which_gradio_refuses(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        assert await compare.stop_all(inputs(compare)), "with nothing asked yet"
        events = send(compare, inputs(compare))
        data = inputs(compare, session=(await anext(events))[compare.session])
        assert all([updates async for updates in events])
        assert await compare.stop_all(data), "with nothing left to stop"
        assert all([updates async for updates in retry(compare, compare.panes.all[1], data)])

    play(answers(base=ScriptedReply(ANSWER, chunk_delay_s=0.02), ica=FAILS), tmp_path, scene)


def test_a_refused_prompt_says_why_and_writes_nothing(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        with pytest.raises(gr.Error, match="Write a prompt first"):
            await anext(send(compare, inputs(compare, prompt="  ")))
        assert list(store.comparisons()) == []

    play(answers(), tmp_path, scene)


def test_a_prompt_in_the_middle_of_a_turn_is_refused_and_the_turn_goes_on(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        events = send(compare, inputs(compare))
        session = (await anext(events))[compare.session]
        with pytest.raises(gr.Error, match="still answering"):
            await anext(send(compare, inputs(compare, session=session)))
        assert len(list(store.comparisons())) == len(compare.panes.all)
        shown = await rest(events)
        assert all(ANSWER in shown[pane.now] for pane in compare.panes.all)
        assert shown[compare.send]["interactive"]

    play(answers(), tmp_path, scene)


def test_of_two_prompts_at_once_the_first_goes_on_and_the_second_gets_the_notice(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        prompts = [inputs(compare, session=session, prompt=prompt) for prompt in ("One?", "Two?")]
        one, two = await asyncio.gather(*(rest(send(compare, data)) for data in prompts), return_exceptions=True)
        assert isinstance(two, gr.Error)
        assert (two.title, "still answering" in two.message) == (wording.NOT_NOW, True)
        assert all("One?" in one[pane.now] and ANSWER in one[pane.now] for pane in compare.panes.all)
        assert {row["prompt"] for row in store.comparisons()} == {"How do I play poker?", "One?"}

    play(answers(), tmp_path, scene)


def test_no_prompt_is_taken_while_the_arms_are_checked_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        may_end = asyncio.Event()

        async def attest_servers(*_: object) -> list[str]:
            await may_end.wait()
            return []

        monkeypatch.setattr("playground.answering.attest_servers", attest_servers)
        assert not compare.send.interactive, "nobody has looked at the servers yet"
        updates = await compare.poll(inputs(compare))
        assert wording.CHECKING in updates[compare.servers]
        assert (updates[compare.send]["interactive"], updates[compare.timer]["active"]) == (False, True)
        with pytest.raises(gr.Error) as refusal:
            await anext(send(compare, inputs(compare)))
        assert refusal.value.title == wording.NOT_NOW
        updates = await compare.refused(inputs(compare))
        assert updates[compare.timer]["active"], "or nothing would ever open the button"
        assert list(store.comparisons()) == []
        may_end.set()
        await checked(compare)
        updates = await compare.poll(inputs(compare))
        assert wording.CHECKING not in updates[compare.servers]
        assert (updates[compare.send]["interactive"], updates[compare.timer]["active"]) == (True, False)

    play(answers(), tmp_path, scene, is_checked=False)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"title": "", "text": "Be kind."}, "Title", id="no-title"),
        pytest.param({"title": "Mine", "text": " "}, "The text", id="no-text"),
        pytest.param({"title": "Mine", "text": "Be kind.", "allowed": ["murder"]}, "'murder'", id="unknown-category"),
    ],
)
def test_a_config_that_cannot_be_used_is_explained_beside_it(tmp_path: Path, fields: dict, words: str) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        data = inputs(compare, choice=wording.OWN_ID, **fields)
        with pytest.raises(gr.Error, match=words):
            await anext(send(compare, data))
        assert words.replace("'", "&#x27;") in (await compare.refused(data))[compare.picker.error]

    play(answers(), tmp_path, scene)


def test_a_visitors_own_config_is_what_the_arms_get(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        own = {
            "choice": wording.OWN_ID,
            "title": "Mine",
            "text": "{text} <b>Only</b> gardens.",
            "allowed": ["gambling"],
        }
        await run_turn(compare, **own)
        rows = {row["arm_id"]: row for row in store.comparisons()}
        assert rows["ica"]["system_prompt"].endswith("{text} <b>Only</b> gardens.")
        assert (rows["ica"]["allowed"], rows["ica"]["config_source"]) == (["gambling"], "visitor")

    play(answers(), tmp_path, scene)


def test_choosing_another_config_shows_it_and_empties_the_panes(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        updates = await compare.choose(inputs(compare, session=session, choice="newspaper"))
        assert "newspaper" in value(updates[compare.picker.preview])
        assert all(wording.IDLE in updates[pane.now] for pane in compare.panes.all)

    play(answers(), tmp_path, scene)


def test_a_second_turn_moves_the_first_one_up(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        updates = await anext(send(compare, inputs(compare, session=session, prompt="And then?")))
        assert ANSWER in updates[compare.panes.all[0].past]
        assert "And then?" in updates[compare.panes.all[0].now]

    play(answers(), tmp_path, scene)


def test_a_failed_pane_offers_a_retry_and_the_vote_is_open(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        shown = await rest(send(compare, inputs(compare)))
        assert [may_retry(shown[pane.now]) for pane in compare.panes.all] == [False, True, False]
        open_for = {place: shown[button]["interactive"] for button, (_, place) in compare.ballot.buttons.items()}
        assert open_for == {0: True, 1: False, 2: True, None: True}
        again = retry(compare, compare.panes.all[1], inputs(compare, session=shown[compare.session]))
        updates = await anext(again)
        assert wording.WAITING in updates[compare.panes.all[1].now]
        assert not updates[compare.send]["interactive"]
        shown = await rest(again)
        assert may_retry(shown[compare.panes.all[1].now]), "it has failed again"
        assert shown[compare.send]["interactive"]

    play(answers(ica=FAILS), tmp_path, scene)


@pytest.mark.parametrize("delay_s", [pytest.param(0.0, id="ends-first"), pytest.param(0.12, id="ends-last")])
def test_an_arm_that_failed_early_is_asked_again_while_the_others_answer_and_the_last_opens_the_gates(
    tmp_path: Path, delay_s: float
) -> None:
    fails = [FAILS]
    shown: Updates = {}
    opened: list[list[bool]] = []

    async def watch(compare: Compare, events: AsyncGenerator[Updates, None]) -> None:
        async for updates in events:
            shown.update(updates)
            if opens(compare, updates):
                opened.append([ANSWER in shown[pane.now] for pane in compare.panes.all])

    async def scene(compare: Compare, store: Store) -> None:
        events, pane = send(compare, inputs(compare)), compare.panes.all[1]
        while not may_retry(shown.get(pane.now, "")):
            shown.update(await anext(events))
        assert not opens(compare, shown)
        again = retry(compare, pane, inputs(compare, session=shown[compare.session]))
        await asyncio.gather(watch(compare, events), watch(compare, again))
        assert opened
        assert all(answered == [True, True, True] for answered in opened)
        assert all("obeys the config" in shown[pane.now] for pane in compare.panes.all)
        assert (may_retry(shown[pane.now]), opens(compare, shown)) == (False, True)
        attempts = sorted(row["status"] for row in store.comparisons() if row["arm_id"] == "ica")
        assert attempts == ["complete", "error"]

    slow = ScriptedReply(ANSWER, chunk_delay_s=0.05)

    def script(body: dict) -> ScriptedReply:
        if asked_by(body) != "ica":
            return slow
        return fails.pop() if fails else ScriptedReply(ANSWER, chunk_delay_s=delay_s)

    play(script, tmp_path, scene)


def test_a_reason_is_added_to_the_vote_that_stands(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        data = inputs(compare, session=session, reason="too long")
        with pytest.raises(gr.Error, match="Vote first"):
            await compare.add_to_vote(data)
        await compare.vote("all_bad", None, inputs(compare, session=session))
        await compare.add_to_vote(data)
        assert {(row["outcome"], row["vote_reason"]) for row in store.comparisons()} == {("all_bad", "too long")}

    play(answers(), tmp_path, scene)


def test_the_clock_stops_when_the_servers_are_ready_and_checked(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        data = inputs(compare)
        before = await compare.poll(data)
        await checked(compare)
        after = await compare.poll(data)
        assert (before[compare.timer]["active"], after[compare.timer]["active"]) == (True, False)
        assert "ready" in after[compare.servers]
        assert after[compare.send]["interactive"]

    play(answers(), tmp_path, scene, is_checked=False)


def test_edit_a_copy_fills_the_editor_with_the_chosen_config(page: Page) -> None:
    picker = page.compare.picker
    updates = picker.edit_copy(inputs(page.compare))
    assert updates[picker.choice] == wording.OWN_ID
    assert updates[picker.title] == "Casino (edited)"
    assert updates[picker.allowed] == ["alcohol", "gambling"]
    assert updates[picker.editor]["visible"]
    assert updates[picker.error] == ""


def test_where_configs_are_not_written_nothing_offers_it_and_the_server_refuses(tmp_path: Path) -> None:
    async def refuse(compare: Compare) -> None:
        picker, own = compare.picker, {"choice": wording.OWN_ID, "title": "Mine", "text": "Be kind."}
        assert wording.OWN_ID not in [value for _, value in picker.choice.choices]
        assert not picker.edit.visible
        with pytest.raises(gr.Error, match="ready-made"):
            await anext(send(compare, inputs(compare, **own)))
        assert wording.OWN_ID not in picker.edit_copy(inputs(compare)).values()
        assert not picker.show(inputs(compare, **own))[picker.editor]["visible"]

    with stage(answers(), tmp_path) as parts:
        judge = partial(open_judge, parts.profile, parts.serving)
        asyncio.run(
            refuse(build_page(parts.profile, parts.serving, judge, parts.store, roles=Roles(frozenset())).compare)
        )
        assert list(parts.store.comparisons()) == []


def test_looking_at_the_page_opens_no_session(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        await compare.poll(inputs(compare))
        await compare.start_over(inputs(compare))
        assert compare.sessions._sessions == {}
        session = (await anext(send(compare, inputs(compare))))[compare.session]
        assert list(compare.sessions._sessions) == [session]

    play(answers(), tmp_path, scene)


def test_only_a_judge_that_reads_may_be_left_to_decide() -> None:
    profile, taxonomy, configs = load_profile("tinyworld"), load_taxonomy("tinyworld"), load_safety_configs("tinyworld")
    assert Choices(profile, taxonomy, configs).own("Mine", "Be kind.", [], True).allowed == frozenset()
    reading = dataclasses.replace(profile, judge=JudgeChoice("llm", server="main", model="base"))
    assert Choices(reading, taxonomy, configs).own("Mine", "Be kind.", [], True).allowed is None
    assert Choices(reading, taxonomy, configs).own("Mine", "Be kind.", ["romance"], False).allowed == {"romance"}


def test_no_handler_is_offered_as_an_api(page: Page) -> None:
    visible = {dependency["api_visibility"] for dependency in page.blocks.config["dependencies"]}
    assert visible == {"private"}
    assert page.blocks.get_api_info()["named_endpoints"] == {}


def test_the_page_asks_for_nothing_from_elsewhere_and_records_nothing(page: Page) -> None:
    options = page.launch_options
    assert (options["run_history"], options["ssr_mode"], page.blocks.analytics_enabled) == (False, False, False)
    texts = [json.dumps(page.blocks.config, default=str), options["js"], options["css_paths"][0].read_text("utf-8")]
    # Named, not asked for: SVG's namespace, and an example in gradio's description of a file.
    named = re.compile("https://(www.w3.org|github.com/gradio-app/gradio/raw/main/test/test_files)/")
    assert not [text for text in texts if "https://" in named.sub("", text)]
    assert options["theme"]._stylesheets == []


def test_every_config_category_and_arm_is_on_the_page(page: Page) -> None:
    config = json.dumps(page.blocks.config, default=str, ensure_ascii=False)
    for title in [*(arm.title for arm in page.compare.answering.arms.values()), "Casino", "Harbour bar"]:
        assert title in config
