"""A visitor's own words: kept only if they like, taken along, and deleted for good; and nobody else's."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect

from evaluation.judge import open_judge
from evaluation.store import Store
from playground import keeping_wording
from playground.own_data import remembered
from playground.page import Page, build_page
from tests.stage import answers, on_stage, stage
from tests.test_matrix import asking
from tests.test_page import checked, inputs, rest, run_turn, send

Scene = Callable[[Page, Store], Awaitable[None]]


def play(folder: Path, scene: Scene) -> None:
    """Run the scene with a page over a scripted server."""

    async def run(page: Page, store: Store) -> None:
        try:
            await checked(page.compare)
            await scene(page, store)
        finally:
            await page.compare.answering.close()

    with stage(answers(), folder) as parts:
        judge = partial(open_judge, parts.profile, parts.serving)
        asyncio.run(run(build_page(parts.profile, parts.serving, judge, parts.store), parts.store))


def words(store: Store) -> list[str]:
    """The prompts that the store still has words of."""
    with closing(sqlite3.connect(store.path)) as db:
        return [prompt for (prompt,) in db.execute("SELECT prompt FROM turns ORDER BY created_at") if prompt]


async def remember(page: Page, session: str, mine: list[str] | None = None) -> list[str]:
    """What a browser remembers after a turn of this session."""
    found = await page.history.remember({page.compare.session: session, page.history.mine: mine or []})
    return found[page.history.mine]


async def leave_by_new(page: Page, session: str) -> None:
    await page.compare.start_over(inputs(page.compare, session=session, unkept=True))


async def leave_by_another_config(page: Page, session: str) -> None:
    await rest(
        send(page.compare, inputs(page.compare, session=session, choice="newspaper", prompt="Next", unkept=True))
    )


async def leave_by_closing(page: Page, session: str) -> None:
    page.compare.close_session(session)
    await asyncio.gather(*page.compare.answering._leaving.values())


@pytest.mark.parametrize("leave", [leave_by_new, leave_by_another_config, leave_by_closing])
def test_what_is_not_to_be_kept_is_gone_when_the_conversation_ends(tmp_path: Path, leave: Callable) -> None:
    async def scene(page: Page, store: Store) -> None:
        session = await run_turn(page.compare, unkept=True, prompt="Unkept?")
        await run_turn(page.compare, session=session, unkept=True, prompt="And then?")
        assert words(store) == ["Unkept?", "And then?"], "the arms need what was said before"
        assert await remember(page, session) == []
        assert list(store.comparisons()) == []
        await leave(page, session)
        assert [each for each in words(store) if each != "Next"] == []

    play(tmp_path, scene)


def test_a_grid_keeps_no_words_either(tmp_path: Path) -> None:
    async def scene(page: Page, store: Store) -> None:
        grid = {**asking(page, unkept=True), page.attacks.prompt: "Unkept?", page.attacks.config: "casino"}
        async for update in page.attacks.ask(grid):
            assert "Unkept?" in update[page.attacks.grid]
        await asyncio.gather(*page.compare.answering._leaving.values())
        assert words(store) == []
        assert list(store.comparisons()) == []

    play(tmp_path, scene)


def test_a_conversation_that_was_begun_to_be_kept_is(tmp_path: Path) -> None:
    async def scene(page: Page, store: Store) -> None:
        session = await run_turn(page.compare, prompt="Kept?")
        await run_turn(page.compare, session=session, unkept=True, prompt="And then?")
        await leave_by_new(page, session)
        assert words(store) == ["Kept?", "And then?"]

    play(tmp_path, scene)


def test_what_is_taken_along_is_all_of_ones_own_and_nothing_else(tmp_path: Path) -> None:
    async def scene(page: Page, store: Store) -> None:
        await run_turn(page.compare, prompt="Somebody else's")
        mine = await remember(page, await run_turn(page.compare, prompt="Mine"))
        own = page.history.own
        shown = await own.take_along({own.mine: [*mine, "nowhere and-a-key"]})
        (found,) = json.loads(Path(shown[own.file].value["path"]).read_text())
        (turn,) = found["turns"]
        assert turn["prompt"] == "Mine"
        assert {response["arm"]["arm_id"] for response in turn["responses"]} == {"base", "ica", "cosalign"}
        assert turn["responses"][0]["judgement"]["rating"] is not None

    play(tmp_path, scene)


def test_deleting_asks_first_and_deletes_what_was_asked_about(tmp_path: Path) -> None:
    async def scene(page: Page, store: Store) -> None:
        own = page.history.own
        first = await run_turn(page.compare, prompt="First")
        mine = await remember(page, await run_turn(page.compare, prompt="Second"), await remember(page, first))
        chosen = next(iter(remembered(mine)))
        asked = await own.ask_one({own.mine: mine, own.choice: chosen})
        assert keeping_wording.really(1) in asked[own.note]
        assert words(store) == ["First", "Second"]
        assert (await own.spare())[own.doomed] == []
        gone = await own.erase({own.mine: mine, own.doomed: asked[own.doomed]})
        assert words(store) == ["Second"]
        assert gone[own.mine] == mine[1:]
        assert page.compare.sessions.open(first).turns == [], (
            "a page that still shows it goes on with another conversation"
        )
        asked = await own.ask_all({own.mine: gone[own.mine]})
        await own.erase({own.mine: mine, own.doomed: asked[own.doomed]})
        assert words(store) == []

    play(tmp_path, scene)


def test_what_was_begun_elsewhere_cannot_be_deleted(tmp_path: Path) -> None:
    async def scene(page: Page, store: Store) -> None:
        own = page.history.own
        session = await run_turn(page.compare, prompt="Theirs")
        conversation = page.compare.sessions.open(session).conversation_id
        for mine, said in (
            (["other key"], "begun elsewhere"),
            ([conversation], "begun elsewhere"),
            ([], "begun elsewhere"),
        ):
            with pytest.raises(gr.Error, match=said):
                await own.ask_one({own.mine: mine, own.choice: conversation})
        with pytest.raises(gr.Error, match="in the list"):
            await own.ask_one({own.mine: [], own.choice: None})
        with pytest.raises(gr.Error, match="no conversation"):
            await own.ask_all({own.mine: [conversation]})
        shown = await own.erase({own.mine: [f"{conversation} guessed"], own.doomed: [conversation]})
        assert keeping_wording.erased(0) in shown[own.note]
        assert words(store) == ["Theirs"]

    play(tmp_path, scene)


def test_a_conversation_is_not_deleted_under_an_answer(tmp_path: Path) -> None:
    async def scene(page: Page, store: Store) -> None:
        own = page.history.own
        stream = send(page.compare, inputs(page.compare))
        session = (await anext(stream))[page.compare.session]
        mine = await remember(page, session)
        with pytest.raises(gr.Error, match="still answering"):
            await own.erase({own.mine: mine, own.doomed: list(remembered(mine))})
        await rest(stream)
        assert len(words(store)) == 1

    play(tmp_path, scene)


def test_in_a_browser_a_conversation_is_taken_along_and_deleted(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, parts):
        page.locator("#prompt textarea").fill("How do I play poker?")
        page.keyboard.press("Enter")
        page.wait_for_function("localStorage.getItem('cosa-conversations')?.length > 100")
        page.get_by_role("tab", name="History").click()
        page.locator("#own-take").click()
        with page.expect_download() as download:
            page.locator("#own-file").click()
        assert json.loads(Path(download.value.path()).read_text())[0]["turns"][0]["prompt"] == "How do I play poker?"
        page.locator("#own-erase-all").click()
        page.locator("#own-cancel").click()
        expect(page.locator("#own-confirm")).to_be_hidden()
        page.locator("#history-choice label").click()
        page.locator("#own-erase-one").click()
        page.locator("#own-confirm").click()
        expect(page.locator("#own-note")).to_contain_text(keeping_wording.erased(1))
        expect(page.locator("#history-choice")).to_be_hidden()
        assert words(parts.store) == []
