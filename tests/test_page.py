"""The page's handlers, called as gradio calls them, without a browser; and what a page gives away."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import gradio as gr
import pytest

from evaluation.judge import open_judge
from evaluation.scripted import ScriptedReply
from evaluation.store import Store
from playground import wording
from playground.compare import Compare, Pane
from playground.page import Page, build_page
from playground.picker import Choices
from presets.profile import JudgeChoice, load_profile
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import load_safety_configs
from tests.stage import ANSWER, Script, answers, stage

Data = dict
Scene = Callable[[Compare, Store], Awaitable[None]]


def play(script: Script, folder: Path, scene: Scene) -> None:
    """Run the scene in the page over a scripted server."""
    with stage(script, folder) as parts:
        judge = partial(open_judge, parts.profile, parts.serving)
        compare = build_page(parts.profile, parts.serving, judge, parts.store).compare

        async def run() -> None:
            try:
                await scene(compare, parts.store)
            finally:
                await compare.answering.close()

        asyncio.run(run())


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with stage(answers(), tmp_path) as parts:
        yield build_page(parts.profile, parts.serving, partial(open_judge, parts.profile, parts.serving), parts.store)


def inputs(compare: Compare, **values: object) -> Data:
    """What the components hold, as gradio hands it to a handler."""
    picker, ballot = compare.picker, compare.ballot
    data: Data = {compare.session: None, compare.prompt: "How do I play poker?", ballot.reason: ""}
    data |= {picker.choice: "casino", picker.title: "", picker.text: "", picker.allowed: [], picker.text_decides: False}
    named = {"session": compare.session, "prompt": compare.prompt, "reason": ballot.reason, "choice": picker.choice}
    named |= {"title": picker.title, "text": picker.text, "allowed": picker.allowed, "decides": picker.text_decides}
    return data | {named[name]: value for name, value in values.items()}


async def run_turn(compare: Compare, **values: object) -> str:
    """Send a prompt, let every pane finish, judge; returns the session's id."""
    session = (await compare.begin(inputs(compare, **values)))[compare.session]
    data = inputs(compare, session=session)

    async def watch(pane: Pane) -> None:
        async for _ in compare.stream(pane, data):
            pass
        await asyncio.gather(compare.settle(pane, data), compare.judge(pane, data))

    await asyncio.gather(*(watch(pane) for pane in compare.panes))
    return session


def value(update: object) -> object:
    """The value in a handler's update, which may be the value itself."""
    return update["value"] if isinstance(update, dict) else update


def test_a_prompt_clears_the_box_and_closes_what_must_wait(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        updates = await compare.begin(inputs(compare))
        assert updates[compare.prompt] == ""
        assert [updates[gate]["interactive"] for gate in (compare.send, compare.new)] == [False, False]
        assert not any(updates[button]["interactive"] for button in compare.ballot.buttons)
        assert all(wording.WAITING in updates[pane.now] for pane in compare.panes)

    play(answers(), tmp_path, scene)


def test_a_whole_turn_is_judged_voted_on_and_scored(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        data = inputs(compare, session=session, reason="it explains")
        shown = await compare.judge(compare.panes[2], data)
        assert "obeys the config" in shown[compare.panes[2].now]
        assert "Gambling" in shown[compare.panes[2].now]
        assert "CoSAlign" in shown[compare.scores]
        updates = await compare.vote("best", "cosalign", data)
        assert updates[compare.announcement] == "Saved: CoSAlign is best, with your reason. You can still change it."
        assert {row["best"] for row in store.comparisons()} == {"cosalign"}

    play(answers(), tmp_path, scene)


def test_the_last_pane_to_settle_opens_the_vote_and_the_next_prompt(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = (await compare.begin(inputs(compare)))[compare.session]
        data = inputs(compare, session=session)
        opened = []
        for pane in compare.panes:
            _ = [update async for update in compare.stream(pane, data)]
            updates = await compare.settle(pane, data)
            opened.append({gate for gate in (compare.send, *compare.ballot.buttons) if gate in updates})
            assert all(updates[gate]["interactive"] for gate in opened[-1])
        assert opened == [set(), set(), {compare.send, *compare.ballot.buttons}]

    play(answers(), tmp_path, scene)


def test_panes_are_updated_at_most_twenty_times_a_second_and_end_complete(tmp_path: Path) -> None:
    words = " ".join(["word"] * 120)

    async def scene(compare: Compare, store: Store) -> None:
        session = (await compare.begin(inputs(compare)))[compare.session]
        pane, data = compare.panes[0], inputs(compare, session=session)
        started = asyncio.get_running_loop().time()
        frames = [value(update[pane.now]) async for update in compare.stream(pane, data)]
        elapsed = asyncio.get_running_loop().time() - started
        assert len(frames) <= elapsed * 20 + 3
        assert words in frames[-1]

    play(answers(base=ScriptedReply(words, chunk_delay_s=0.005)), tmp_path, scene)


def test_stop_frees_a_page_whose_browser_lost_the_end_of_a_stream(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = (await compare.begin(inputs(compare)))[compare.session]
        data = inputs(compare, session=session)
        for pane in compare.panes:
            _ = [update async for update in compare.stream(pane, data)]
        assert (await compare.stop_all(data))[compare.send]["interactive"]
        assert {row["status"] for row in store.comparisons()} == {"complete"}
        assert (await compare.begin(data))[compare.prompt] == ""

    play(answers(), tmp_path, scene)


def test_a_refused_prompt_says_why_and_writes_nothing(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        with pytest.raises(gr.Error, match="Write a prompt first"):
            await compare.begin(inputs(compare, prompt="  "))
        assert list(store.comparisons()) == []

    play(answers(), tmp_path, scene)


def test_a_prompt_in_the_middle_of_a_turn_is_refused(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = (await compare.begin(inputs(compare)))[compare.session]
        with pytest.raises(gr.Error, match="still answering"):
            await compare.begin(inputs(compare, session=session))
        assert len(list(store.comparisons())) == len(compare.panes)

    play(answers(), tmp_path, scene)


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
            await compare.begin(data)
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
        assert all(wording.IDLE in updates[pane.now] for pane in compare.panes)

    play(answers(), tmp_path, scene)


def test_a_second_turn_moves_the_first_one_up(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        updates = await compare.begin(inputs(compare, session=session, prompt="And then?"))
        assert ANSWER in updates[compare.panes[0].past]
        assert "And then?" in updates[compare.panes[0].now]

    play(answers(), tmp_path, scene)


def test_a_failed_pane_offers_a_retry_and_the_vote_is_open(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        updates = await compare.settle(compare.panes[1], inputs(compare, session=session))
        assert [updates[pane.retry]["visible"] for pane in compare.panes] == [False, True, False]
        open_for = {best: updates[button]["interactive"] for button, (_, best) in compare.ballot.buttons.items()}
        assert open_for == {"base": True, "ica": False, "cosalign": True, None: True}
        updates = await compare.retry(compare.panes[1], inputs(compare, session=session))
        assert wording.WAITING in updates[compare.panes[1].now]
        assert not updates[compare.send]["interactive"]

    play(answers(ica=ScriptedReply("", status=500, error="no")), tmp_path, scene)


def test_a_reason_is_added_to_the_vote_that_stands(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        data = inputs(compare, session=session, reason="too long")
        with pytest.raises(gr.Error, match="Vote first"):
            await compare.add_reason(data)
        await compare.vote("all_bad", None, inputs(compare, session=session))
        await compare.add_reason(data)
        assert {(row["outcome"], row["vote_reason"]) for row in store.comparisons()} == {("all_bad", "too long")}

    play(answers(), tmp_path, scene)


def test_the_clock_stops_when_the_servers_are_ready_and_checked(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        data = inputs(compare)
        first = await compare.poll(data)
        await asyncio.sleep(0.2)
        second = await compare.poll(data)
        assert (first[compare.timer].active, second[compare.timer].active) == (True, False)
        assert "ready" in second[compare.servers]
        assert second[compare.send]["interactive"]

    play(answers(), tmp_path, scene)


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
            await compare.begin(inputs(compare, **own))
        assert wording.OWN_ID not in picker.edit_copy(inputs(compare)).values()
        assert not picker.show(inputs(compare, **own))[picker.editor]["visible"]

    with stage(answers(), tmp_path) as parts:
        judge = partial(open_judge, parts.profile, parts.serving)
        asyncio.run(refuse(build_page(parts.profile, parts.serving, judge, parts.store, may_edit=False).compare))
        assert list(parts.store.comparisons()) == []


def test_looking_at_the_page_opens_no_session(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        await compare.poll(inputs(compare))
        await compare.start_over(inputs(compare))
        assert compare.sessions._sessions == {}
        session = (await compare.begin(inputs(compare)))[compare.session]
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
    assert not [text for text in texts if "https://" in text.replace("https://www.w3.org", "")]
    assert options["theme"]._stylesheets == []


def test_every_config_category_and_arm_is_on_the_page(page: Page) -> None:
    config = json.dumps(page.blocks.config, default=str, ensure_ascii=False)
    for title in [*(arm.title for arm in page.compare.answering.arms.values()), "Casino", "Harbour bar"]:
        assert title in config
