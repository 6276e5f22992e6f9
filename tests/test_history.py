"""Earlier conversations: found by their words, read again by a link, and nothing told that is still hidden."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect

from evaluation.judge import open_judge
from evaluation.judgement import Judgement
from evaluation.response import Response
from evaluation.store import Store
from evaluation.store_history import find_conversations
from evaluation.vote import Vote
from playground import history_wording
from playground.history import History
from playground.page import build_page
from playground.session import Session
from presets.safety_config import find_safety_config
from tests.stage import answers, on_stage, stage
from tests.test_store import ARMS, ask

GOOD = Judgement("judge", rating=4, categories=frozenset({"alcohol"}), safe=True, reason="it explains <b>beer</b>")


def talk(store: Store, *prompts: str, says: str = "Beer is a drink.") -> str:
    """A conversation with these prompts, answered, judged, and voted on with hidden names; returns its id."""
    conversation = store.begin_conversation(session_id="s", profile="tinyworld")
    for prompt in prompts:
        turn = ask(store, conversation, prompt=prompt)
        for arm in ARMS:
            response = turn.response_ids[arm.arm_id]
            store.start_response(response)
            store.finish_response(response, "complete", Response(f"{says} ({arm.arm_id})"))
            store.save_judgement(response, GOOD, judged_by={"kind": "judge"})
        store.save_vote(
            Vote(f"vote on {turn.id}", turn.id, "s", "best", "ica", ("ica", "base", "cosalign"), blind=True)
        )
    return conversation


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", ["wine", "stout"]),
        ("STOUT", ["stout"]),
        ("served cellar", ["wine"]),
        ("served glasses", []),
        ("100%_", []),
        ("bar", ["wine", "stout"]),
    ],
    ids=["all", "a prompt", "prompts and answers", "not all words", "no pattern", "the config"],
)
def test_a_conversation_is_found_when_it_has_all_the_words(tmp_path: Path, words: str, found: list[str]) -> None:
    with Store(tmp_path / "store.db") as store:
        made = {"stout": talk(store, "What is stout?", says="In glasses.")}
        made["wine"] = talk(store, "What is wine?", "And how is it served?", says="From the cellar.")
        talk(store, "Somebody else's stout, served from the cellar in glasses")
        listed = find_conversations(store.path, list(made.values()), words=words)
    assert [each.id for each in listed] == [made[name] for name in found]
    if words == "":
        assert [(each.prompt, each.turns) for each in listed] == [("What is wine?", 2), ("What is stout?", 1)]


def play(folder: Path, scene) -> None:
    """Run the scene with the tab of a page over a scripted server."""
    with stage(answers(), folder) as parts:
        judge = partial(open_judge, parts.profile, parts.serving)
        history = build_page(parts.profile, parts.serving, judge, parts.store).history
        asyncio.run(scene(history, parts.store))


def request(conversation_id: str) -> gr.Request:
    return gr.Request(query_params={"conversation": conversation_id})


def test_a_link_shows_the_whole_conversation_with_what_each_arm_was(tmp_path: Path) -> None:
    async def scene(history: History, store: Store) -> None:
        tabs, _, _, shown = await history.open_link(request(talk(store, "What is <i>beer</i>?", "And <b>ale</b>?")))
        assert tabs.selected == "history"
        assert "What is &lt;i&gt;beer" in shown
        assert "And &lt;b&gt;ale" in shown
        assert shown.count("Beer is a drink. (cosalign)") == 2
        assert "helpful 4/5" in shown
        assert "<b>beer" not in shown
        assert "Voted best: ICA, names hidden." in shown
        assert ARMS[2].adapter_hash[: history_wording.HASH_SHOWN] in shown

    play(tmp_path, scene)


def test_a_link_to_nothing_says_so_and_a_page_without_a_link_stays_as_it_is(tmp_path: Path) -> None:
    async def scene(history: History, store: Store) -> None:
        *_, shown = await history.open_link(request("nowhere"))
        assert escape(history_wording.UNKNOWN) in shown
        assert await history.open_link(request("")) == (gr.skip(),) * 4

    play(tmp_path, scene)


def test_what_a_visitor_must_not_know_yet_is_not_read_here(tmp_path: Path) -> None:
    async def scene(history: History, store: Store) -> None:
        answering, session = history.compare.answering, Session()
        config = find_safety_config("casino", "tinyworld")
        await answering.begin(session, "How do I play poker?", config, hide_names=True)
        history.compare.sessions.keep(session)
        assert history_wording.HIDDEN in (await history.open_link(request(session.conversation_id)))[3]
        session.hides_names = False
        assert "poker" in (await history.open_link(request(session.conversation_id)))[3]
        await answering.close()

    play(tmp_path, scene)


def test_provenance_names_only_what_is_known() -> None:
    from presets.profile import Sampling

    bare = replace(ARMS[0], model_path=None, model_hash=None, engine=None, engine_version=None)
    assert dict(history_wording.provenance(bare, Sampling())).keys() == {"model", "config", "sampling"}


def test_a_browser_finds_its_own_conversations_again_and_a_link_opens_for_another(
    browser: Browser, tmp_path: Path
) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, _):
        page.locator("#prompt textarea").fill("How do I play poker?")
        page.keyboard.press("Enter")
        expect(page.locator(".now .verdict")).to_have_count(3)
        page.wait_for_function("localStorage.getItem('cosa-conversations')?.length > 100")  # one id, not an empty list
        address = page.url
        page.goto(address)
        page.get_by_role("tab", name="History").click()
        found = page.locator("#history-choice label")
        expect(found).to_have_count(1)
        page.locator("#history-words textarea").fill("poker nowhere")
        expect(page.locator("#history-note")).to_contain_text(history_wording.NOTHING)
        page.locator("#history-words textarea").fill("poker")
        found.click()
        expect(page.locator("#replay .replayed .exchange")).to_have_count(3)
        link = page.locator("#replay a").first.get_attribute("href")
        other = browser.new_context()
        stranger = other.new_page()
        stranger.goto(address.rstrip("/") + "/" + link)
        expect(stranger.locator("#replay .replayed .exchange")).to_have_count(3)
        stranger.locator("#replay .provenance summary").first.click()
        expect(stranger.locator("#replay .provenance dl").first).to_contain_text("temperature")
        other.close()
