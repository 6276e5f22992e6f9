"""Prompts taken back, conversations that go on from others, answers drawn anew: what the arms are told, and what is stored."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect

from evaluation.export import export
from evaluation.judge import open_judge
from evaluation.scripted import ScriptedReply
from evaluation.store import Store
from evaluation.store_check import check
from evaluation.store_scores import read_store_scores
from playground import sampler_wording, wording
from playground.page import Page, build_page
from playground.roles import Roles
from tests.stage import Stage, asked_by, on_stage, stage
from tests.test_page import checked, inputs, rest, retry, run_turn, send
from tests.test_store import ARMS, ask

Scene = Callable[[Page, Stage], Awaitable[None]]


def numbered(body: dict) -> ScriptedReply:
    """Says which prompts the arm was told, and with which seed."""
    told = [message["content"] for message in body["messages"] if message["role"] == "user"]
    return ScriptedReply(f"Told {', '.join(told)}; {asked_by(body)} plays poker, seed {body['seed']}.")


def play(folder: Path, scene: Scene) -> None:
    """Run the scene with a page over a scripted server."""

    async def run(parts: Stage) -> None:
        page = build_page(parts.profile, parts.serving, partial(open_judge, parts.profile, parts.serving), parts.store)
        try:
            await checked(page.compare)
            await scene(page, parts)
        finally:
            await page.compare.answering.close()

    with stage(numbered, folder) as parts:
        asyncio.run(run(parts))


def stored(store: Store) -> list[tuple[str, int, str, bool]]:
    """Each turn of the store: its conversation (numbered), index, prompt, and whether it is a copy."""
    with closing(sqlite3.connect(store.path)) as db:
        rows = db.execute(
            "SELECT conversation_id, turn_index, prompt, copied_from IS NOT NULL FROM turns ORDER BY rowid"
        ).fetchall()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(row[0] for row in rows))}
    return [(str(numbers[row[0]]), row[1], row[2], bool(row[3])) for row in rows]


def said(page: Page, session: str) -> str:
    return page.compare.sessions.open(session).turn.answers["cosalign"].response.text


def test_a_prompt_that_was_taken_back_is_told_to_no_arm_and_the_rest_goes_on_in_a_conversation_of_its_own(
    tmp_path: Path,
) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        session = await run_turn(compare, prompt="One")
        await run_turn(compare, session=session, prompt="Two")
        shown = await compare.take_back(inputs(compare, session=session))
        assert shown[compare.prompt] == "Two"
        assert "Two" not in shown[compare.panes.all[0].now]
        assert shown[compare.back]["interactive"]
        await run_turn(compare, session=session, prompt="Three")
        assert said(page, session).startswith("Told One, Three;")
        assert stored(parts.store) == [
            ("0", 0, "One", False),
            ("0", 1, "Two", False),
            ("1", 0, "One", True),
            ("1", 1, "Three", False),
        ]
        await run_turn(compare, session=session, prompt="Four")
        assert said(page, session).startswith("Told One, Three, Four;")
        assert stored(parts.store)[-1] == ("1", 2, "Four", False)
        conversation = compare.sessions.open(session).conversation_id
        assert [turn.prompt for turn in parts.store.turns(conversation)] == ["One", "Three", "Four"]
        assert parts.store.turns(conversation)[0].responses[0].response.text.startswith("Told One;")
        assert check(parts.store.path).problems == ()

    play(tmp_path, scene)


def test_copies_are_not_counted_and_a_vote_after_them_goes_out_with_what_was_said_before(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        session = await run_turn(compare, prompt="One")
        await run_turn(compare, session=session, prompt="Two")
        before = read_store_scores(parts.store.path).scores["base"].n
        await compare.take_back(inputs(compare, session=session))
        await run_turn(compare, session=session, prompt="Three")
        assert read_store_scores(parts.store.path).scores["base"].n == before + 1
        await compare.vote("best", 0, inputs(compare, session=session))
        export(parts.store.path, "trl-kto", tmp_path / "pairs.jsonl")
        prompt = (tmp_path / "pairs.jsonl").read_text().splitlines()[0]
        assert '"One"' in prompt
        assert '"Three"' in prompt
        assert '"Two"' not in prompt

    play(tmp_path, scene)


def test_the_turn_that_is_on_show_again_can_be_voted_on(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        session = await run_turn(compare, prompt="One")
        await run_turn(compare, session=session, prompt="Two")
        await compare.take_back(inputs(compare, session=session))
        await compare.vote("tie", None, inputs(compare, session=session))
        rows = {(row["prompt"], row["outcome"]) for row in parts.store.comparisons()}
        assert rows == {("One", "tie"), ("Two", None)}

    play(tmp_path, scene)


def test_the_first_prompt_can_be_taken_back_too_and_nothing_before_it(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        session = await run_turn(compare, prompt="One")
        shown = await compare.take_back(inputs(compare, session=session))
        assert wording.IDLE in shown[compare.panes.all[0].now]
        assert not shown[compare.back]["interactive"]
        with pytest.raises(gr.Error, match="no prompt"):
            await compare.take_back(inputs(compare, session=session))
        await run_turn(compare, session=session, prompt="Two")
        assert stored(parts.store) == [("0", 0, "One", False), ("1", 0, "Two", False)]

    play(tmp_path, scene)


def test_nothing_is_taken_back_while_arms_answer(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        stream = send(page.compare, inputs(page.compare))
        session = (await anext(stream))[page.compare.session]
        with pytest.raises(gr.Error, match="still answering"):
            await page.compare.take_back(inputs(page.compare, session=session))
        await rest(stream)

    play(tmp_path, scene)


def test_names_that_are_hidden_stay_hidden_where_a_prompt_was_taken_back(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        session = await run_turn(compare, prompt="One", blind=True)
        order = list(compare.sessions.open(session).turn.answers)
        first = compare.sessions.open(session).conversation_id
        await run_turn(compare, session=session, prompt="Two", blind=True)
        await compare.take_back(inputs(compare, session=session, blind=True))
        assert compare.sessions.blind_conversations() == {first}
        await run_turn(compare, session=session, prompt="Three", blind=True)
        assert list(compare.sessions.open(session).turn.answers) == order
        assert compare.sessions.open(session).hides_names

    play(tmp_path, scene)


def test_what_is_not_to_be_kept_is_gone_with_all_that_it_went_on_from(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        session = await run_turn(compare, prompt="One", unkept=True)
        await run_turn(compare, session=session, prompt="Two", unkept=True)
        await compare.take_back(inputs(compare, session=session))
        await run_turn(compare, session=session, prompt="Three", unkept=True)
        await compare.start_over(inputs(compare, session=session))
        assert {prompt for _, _, prompt, _ in stored(parts.store)} == {""}

    play(tmp_path, scene)


def drawn(compare, **values: float) -> dict:
    return {compare.sampler.fields[name]: value for name, value in values.items()}


def test_answers_are_drawn_as_the_visitor_says_and_stored_so(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        data = inputs(compare) | drawn(compare, temperature=0.7, top_p=0.9, max_tokens=40, seed=11)
        await rest(send(compare, data))
        asked = parts.model.requests[-1]
        assert (asked["temperature"], asked["top_p"], asked["max_tokens"], asked["seed"]) == (0.7, 0.9, 40, 11)
        row = next(parts.store.comparisons())
        assert (row["temperature"], row["top_p"], row["max_tokens"], row["seed"]) == (0.7, 0.9, 40, 11)

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1),
        ("temperature", None),
        ("top_p", 0),
        ("max_tokens", 100_000),
        ("seed", -1),
        ("seed", float("nan")),
    ],
)
def test_what_cannot_be_drawn_with_is_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        data = inputs(page.compare) | drawn(page.compare, **{name: value})
        with pytest.raises(gr.Error, match=f"{sampler_wording.LABELS[name]} must be a number"):
            await rest(send(page.compare, data))
        assert list(parts.store.comparisons()) == []

    play(tmp_path, scene)


def test_an_arm_that_draws_can_be_asked_again_with_the_next_seed_and_a_greedy_one_not(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        pane = compare.panes.all[2]
        shown = await rest(send(compare, inputs(compare) | drawn(compare, temperature=1.0, seed=5)))
        session = shown[compare.session]
        assert "may-retry" in shown[pane.now]
        await compare.vote("best", 2, inputs(compare, session=session))
        await rest(retry(compare, pane, inputs(compare, session=session)))
        assert said(page, session).endswith("seed 6.")
        turn = compare.sessions.open(session).turn
        assert turn.vote is None, "the next vote compares another answer"
        rows = [
            (row["attempt"], row["is_current"], row["text"][-7:])
            for row in parts.store.comparisons()
            if row["arm_id"] == "cosalign"
        ]
        assert rows == [(1, False, "seed 5."), (2, True, "seed 6.")]
        greedy = await rest(send(compare, inputs(compare)))
        assert "may-retry" not in greedy[pane.now]
        with pytest.raises(gr.Error, match="temperature"):
            await rest(retry(compare, pane, inputs(compare, session=greedy[compare.session])))

    play(tmp_path, scene)


async def shown_in_history(page: Page, conversation: str) -> dict:
    """What the History tab holds when this conversation was chosen there."""
    shown = await page.history.choose({page.history.choice: conversation})
    assert shown[page.history.further]["visible"]
    return {page.history.shown: shown[page.history.shown]}


def test_a_conversation_goes_on_from_history_in_another_page_and_one_of_its_own(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        first = await run_turn(compare, prompt="One", choice="newspaper")
        conversation = compare.sessions.open(first).conversation_id
        data = await shown_in_history(page, conversation) | {compare.session: "another page"}
        assert (await page.history.leave(data))[page.history.tabs].selected == "compare"
        shown = await page.history.go_on(data)
        assert shown[compare.picker.choice] == "newspaper"
        assert "Told One;" in shown[compare.panes.all[0].now]
        await run_turn(compare, session="another page", prompt="Two", choice="newspaper")
        assert said(page, "another page").startswith("Told One, Two;")
        assert stored(parts.store) == [("0", 0, "One", False), ("1", 0, "One", True), ("1", 1, "Two", False)]
        mine = (await page.history.remember({compare.session: "another page", page.history.mine: []}))[
            page.history.mine
        ]
        assert parts.store.erase(dict(entry.split() for entry in mine)) == 1
        assert len(parts.store.turns(conversation)) == 1, "whoever goes on may erase the copy, not the original"

    play(tmp_path, scene)


def test_a_conversation_under_ones_own_config_brings_it_into_the_editor_for_who_may_use_it(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare, own = (
            page.compare,
            {"choice": wording.OWN_ID, "title": "Mine", "text": "Only cards.", "allowed": ["gambling"]},
        )
        session = await run_turn(compare, prompt="One", **own)
        data = await shown_in_history(page, compare.sessions.open(session).conversation_id) | {compare.session: "other"}
        shown = await page.history.go_on(data)
        picker = compare.picker
        assert [shown[field] for field in (picker.choice, picker.title, picker.text)] == [
            wording.OWN_ID,
            "Mine",
            "Only cards.",
        ]
        await run_turn(compare, session="other", prompt="Two", **own)
        assert said(page, "other").startswith("Told One, Two;")
        page.compare.choices = replace(page.compare.choices, roles=Roles(frozenset()))
        with pytest.raises(gr.Error, match="not by your account"):
            await page.history.go_on(data)

    play(tmp_path, scene)


def test_what_cannot_go_on_here_says_why(tmp_path: Path) -> None:
    async def scene(page: Page, parts: Stage) -> None:
        compare = page.compare
        two = parts.store.begin_conversation(session_id="s", profile="tinyworld")
        ask(parts.store, two, arms=ARMS[:2])
        with pytest.raises(gr.Error, match="other arms"):
            await page.history.leave({page.history.shown: two, compare.session: None})
        with pytest.raises(gr.Error, match="no conversation"):
            await page.history.leave({page.history.shown: "", compare.session: None})
        hidden = compare.sessions.open(await run_turn(compare, prompt="One", blind=True)).conversation_id
        with pytest.raises(gr.Error, match="hidden until the vote"):
            await page.history.leave({page.history.shown: hidden, compare.session: None})
        assert not (await page.history.choose({page.history.choice: hidden}))[page.history.further]["visible"]

    play(tmp_path, scene)


def test_in_a_browser_a_linked_conversation_goes_on(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, numbered, tmp_path) as (page, parts):
        page.locator("#prompt textarea").fill("One")
        page.keyboard.press("Enter")
        expect(page.locator(".now")).to_contain_text(["One;"] * 3)
        expect(page.locator("#take-back")).to_be_enabled()
        with closing(sqlite3.connect(parts.store.path)) as db:
            (conversation,) = db.execute("SELECT id FROM conversations").fetchone()
        page.goto(f"{page.url}?conversation={conversation}")
        page.locator("#history-go-on").click()
        expect(page.locator(".now").first).to_contain_text("Told One;")
        page.locator("#prompt textarea").fill("Two")
        page.locator("#send").click()
        expect(page.locator(".now").first).to_contain_text("Told One, Two;")
        assert [prompt for _, _, prompt, _ in stored(parts.store)] == ["One", "One", "Two"]


def test_in_a_browser_a_prompt_is_taken_back_changed_and_sent_again(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, numbered, tmp_path) as (page, parts):
        for prompt in ("One", "Two"):
            page.locator("#prompt textarea").fill(prompt)
            page.keyboard.press("Enter")
            expect(page.locator(".now")).to_contain_text([f"{prompt};"] * 3)
            expect(page.locator("#take-back")).to_be_enabled()
        page.locator("#take-back").click()
        expect(page.locator("#prompt textarea")).to_have_value("Two")
        expect(page.locator(".now").first).not_to_contain_text("Two")
        page.locator("#prompt textarea").fill("Two again")
        page.locator("#send").click()
        expect(page.locator(".now").first).to_contain_text("Told One, Two again;")
        page.locator("#sampling button").first.click()
        page.locator("#seed input").fill("77")
        page.locator("#prompt textarea").fill("Three")
        page.locator("#send").click()
        expect(page.locator(".now").first).to_contain_text("seed 77")
        assert [prompt for _, _, prompt, _ in stored(parts.store)] == ["One", "Two", "One", "Two again", "Three"]
