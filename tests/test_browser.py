"""The page in a real browser: first over a scripted server that misbehaves on request, then over real vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from evaluation.scripted import ScriptedReply
from playground import wording
from tests.stage import (
    ANSWER,
    REFUSAL,
    Stage,
    answers,
    asked_by,
    launched,
    on_stage,
    require_chromium,
    stage,
    visit,
)

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent
LONG = ScriptedReply(" ".join(f"word{number}" for number in range(150)), chunk_delay_s=0.15)
ALL_SLOW = answers(base=LONG, ica=LONG, cosalign=LONG)


def ask(page: Page, prompt: str) -> None:
    page.fill("#prompt textarea", prompt)
    page.locator("#prompt textarea").press("Enter")


def wait_until_over(page: Page) -> None:
    expect(page.locator("#vote-tie")).to_be_enabled()


def eventually(check: Callable[[], bool], page: Page, *, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not check():
        if time.monotonic() > deadline:
            return False
        page.wait_for_timeout(50)
    return True


def query(parts: Stage, sql: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(f"file:{parts.store.path}?mode=ro", uri=True)) as database:
        return database.execute(sql).fetchall()


def test_the_arms_start_together_and_stream_at_once(browser: Browser, tmp_path: Path) -> None:
    arrived: dict[str, float] = {}

    def script(body: dict) -> ScriptedReply:
        arrived[asked_by(body)] = time.monotonic()
        return ScriptedReply(" ".join(["word"] * 20), chunk_delay_s=0.1)

    with on_stage(browser, script, tmp_path) as (page, _):
        ask(page, "Count.")
        for number in (1, 2, 3):
            expect(page.locator(f"#pane-{number} .streaming .said")).to_be_visible()
        wait_until_over(page)
    assert set(arrived) == {"base", "ica", "cosalign"}
    assert max(arrived.values()) - min(arrived.values()) < 0.3


def test_a_turn_from_prompt_to_vote(browser: Browser, tmp_path: Path) -> None:
    script = answers(cosalign=ScriptedReply(ANSWER, thinking='gambling: "may be explained" yes'))
    with on_stage(browser, script, tmp_path) as (page, parts):
        page.get_by_role("button", name="How do I play poker?").click()
        expect(page.locator("#prompt textarea")).to_have_value("How do I play poker?")
        page.locator("#prompt textarea").press("Enter")
        wait_until_over(page)
        pane = page.locator("#pane-3")
        expect(pane.locator(".verdict")).to_contain_text("obeys the config")
        expect(pane.locator(".why")).to_be_hidden()
        pane.locator(".verdict summary").click()
        expect(pane.locator(".why")).to_contain_text("poker")
        expect(pane.locator(".thinking pre")).to_be_hidden()
        pane.locator(".thinking summary").click()
        expect(pane.locator(".thinking pre")).to_contain_text("may be explained")
        expect(pane.locator(".measures")).to_contain_text("first token")
        expect(page.locator("#scores tbody tr")).to_have_count(3)
        page.fill("#vote-reason input, #vote-reason textarea", "it explains")
        page.locator("#vote-3").click()
        expect(page.locator("#voted")).to_contain_text("Saved: CoSAlign is best, with your reason")
        assert query(parts, "SELECT outcome, best, reason FROM votes") == [("best", "cosalign", "it explains")]


def test_one_arm_fails_the_others_finish_and_a_retry_works(browser: Browser, tmp_path: Path) -> None:
    fails = [ScriptedReply("", status=500, error="the engine fell over")]

    def script(body: dict) -> ScriptedReply:
        return fails.pop() if asked_by(body) == "ica" and fails else ScriptedReply(ANSWER)

    with on_stage(browser, script, tmp_path) as (page, parts):
        ask(page, "How do I play poker?")
        wait_until_over(page)
        expect(page.locator("#pane-2 .notice.bad")).to_be_visible()
        expect(page.locator("#pane-1 .verdict")).to_be_visible()
        expect(page.locator("#vote-2")).to_be_disabled()
        expect(page.locator("#retry-1")).to_be_hidden()
        page.locator("#retry-2").click()
        expect(page.locator("#pane-2 .verdict")).to_be_visible()
        expect(page.locator("#vote-2")).to_be_enabled()
        expect(page.locator("#retry-2")).to_be_hidden()
        sql = "SELECT attempt, status FROM responses WHERE arm_id = 'ica' ORDER BY attempt"
        assert query(parts, sql) == [(1, "error"), (2, "complete")]


def test_stop_ends_all_three_on_the_server_too_and_the_next_turn_works(browser: Browser, tmp_path: Path) -> None:
    def script(body: dict) -> ScriptedReply:
        return LONG if body["messages"][-1]["content"] == "Count." else ScriptedReply(ANSWER)

    with on_stage(browser, script, tmp_path) as (page, parts):
        for round_number in range(1, 4):
            ask(page, "Count.")
            for number in (1, 2, 3):
                expect(page.locator(f"#pane-{number} .streaming .said")).to_be_visible()
            page.locator("#stop").click()
            wait_until_over(page)
            stops = 3 * round_number
            assert eventually(lambda stops=stops: parts.model.disconnects == stops, page), (
                round_number,
                parts.model.disconnects,
                query(parts, "SELECT arm_id,status,text FROM responses"),
            )
            ask(page, "How do I play poker?")
            expect(page.locator(".now .exchange.complete .verdict")).to_have_count(3)
            wait_until_over(page)
        statuses = query(parts, "SELECT status, count(*) FROM responses GROUP BY status ORDER BY status")
        assert statuses == [("complete", 9), ("stopped", 9)]


def test_a_prompt_sent_in_mid_stream_is_refused_and_stays_in_the_box(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, ALL_SLOW, tmp_path) as (page, parts):
        ask(page, "Count.")
        expect(page.locator("#pane-1 .streaming .said")).to_be_visible()
        closed = ("#send", "#new", "#vote-1", "#vote-tie", "#config-choice input")
        for selector in closed:
            expect(page.locator(selector)).to_be_disabled()
        page.fill("#vote-reason textarea", "it counts")
        ask(page, "And now something else.")
        expect(page.get_by_text("The arms are still answering").first).to_be_visible()
        expect(page.locator("#prompt textarea")).to_have_value("And now something else.")
        expect(page.locator("#prompt textarea")).to_be_focused()
        page.wait_for_timeout(500)
        for selector in closed:
            expect(page.locator(selector)).to_be_disabled()
        expect(page.locator("#vote-reason textarea")).to_have_value("it counts")
        assert len(parts.model.requests) == 3
        page.locator("#stop").click()
        wait_until_over(page)
        assert query(parts, "SELECT count(*) FROM turns") == [(1,)]


def test_what_is_unfolded_or_written_while_other_arms_answer_stays(browser: Browser, tmp_path: Path) -> None:
    slow = ScriptedReply(" ".join(["word"] * 40), chunk_delay_s=0.1)
    script = answers(base=slow, cosalign=ScriptedReply(ANSWER, thinking="poker: explain it"))
    with on_stage(browser, script, tmp_path) as (page, _):
        prompt, reason = page.locator("#prompt textarea"), page.locator("#vote-reason textarea")
        ask(page, "How do I play poker?")
        wait_until_over(page)
        reason.fill("it explains")
        ask(page, "And then?")
        expect(reason).to_have_value("")
        expect(prompt).to_have_value("")
        expect(page.locator("#pane-3 .now .verdict")).to_be_visible()
        folded = [page.locator(f"#pane-3 .{place} .thinking") for place in ("past", "now")]
        for thinking in folded:
            thinking.locator("summary").click()
        prompt.fill("And what else?")
        reason.fill("it is short")
        page.wait_for_timeout(500)
        expect(page.locator("#pane-1 .now .live")).to_be_visible()
        for thinking in folded:
            expect(thinking.locator("pre")).to_be_visible()
        expect(prompt).to_have_value("And what else?")
        expect(reason).to_have_value("it is short")


def test_names_are_hidden_until_the_vote_and_the_store_knows_that_they_were(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, answers(base=ScriptedReply(REFUSAL)), tmp_path) as (page, parts):
        page.locator("#hide-names input").check()
        heads = page.locator(".arm-head h3")
        expect(heads).to_have_text(["Answer 1", "Answer 2", "Answer 3"])
        ask(page, "How do I play poker?")
        wait_until_over(page)
        page.wait_for_timeout(500)
        expect(page.locator(".verdict, .measures, .thinking")).to_have_count(0)
        expect(page.locator("#vote-1")).to_contain_text("Answer 1")
        page.keyboard.press("1")
        expect(page.locator(".now .verdict")).to_have_count(3)
        ((best, blind, presented),) = query(parts, "SELECT best, blind, presented FROM votes")
        titles = [parts.profile.arm(arm).title for arm in json.loads(presented)]
        expect(heads).to_have_text(titles)
        expect(page.locator("#voted")).to_contain_text(f"{parts.profile.arm(best).title} is best")
        assert (blind, best) == (1, json.loads(presented)[0])
        page.locator("#new").click()
        expect(heads).to_have_text(["Answer 1", "Answer 2", "Answer 3"])


def test_keys_vote_right_after_enter_but_never_in_text_fields_and_votes_are_kept(
    browser: Browser, tmp_path: Path
) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, parts):
        ask(page, "How do I play poker?")
        wait_until_over(page)
        expect(page.locator("#vote-3")).to_be_enabled()
        page.keyboard.press("3")
        expect(page.locator("#voted")).to_contain_text("CoSAlign is best")
        expect(page.locator("#prompt textarea")).to_have_value("")
        page.keyboard.press("3")
        page.locator("#prompt textarea").click()
        page.keyboard.press("1")
        page.keyboard.press("Shift+Enter")
        expect(page.locator("#prompt textarea")).to_have_value("1\n")
        page.locator(".masthead h1").click()
        page.keyboard.press("=")
        expect(page.locator("#voted")).to_contain_text("a tie")
        page.locator("#vote-0").dblclick()
        expect(page.locator("#voted")).to_contain_text("all bad")
        page.wait_for_timeout(300)
        votes = query(parts, "SELECT outcome, best FROM votes ORDER BY revision")
        assert votes == [("best", "cosalign"), ("tie", None), ("all_bad", None)]


def test_after_enter_the_focus_has_left_the_prompt_and_a_refusal_brings_it_back(
    browser: Browser, tmp_path: Path
) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, parts):
        prompt = page.locator("#prompt textarea")
        page.locator("#config-choice input").click()
        page.get_by_role("option", name=wording.OWN).click()
        ask(page, "How do I play poker?")
        expect(page.locator("#config-error")).to_contain_text("Title")
        expect(prompt).to_be_focused()
        expect(prompt).to_have_value("How do I play poker?")
        assert parts.model.requests == []
        page.locator("#config-choice input").click()
        page.get_by_role("option", name="Casino").click()
        expect(page.locator("#config-error")).to_have_text("")
        ask(page, "How do I play poker?")
        expect(prompt).not_to_be_focused()
        wait_until_over(page)
        expect(page.locator(".now .verdict")).to_have_count(3)
        expect(prompt).not_to_be_focused()


def test_two_clicks_at_once_on_a_fresh_page_are_one_turn(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, parts):
        begin_turn = parts.store.begin_turn

        def slowly(*arguments: object, **options: object) -> object:
            time.sleep(0.5)
            return begin_turn(*arguments, **options)

        monkeypatch.setattr(parts.store, "begin_turn", slowly)
        page.fill("#prompt textarea", "How do I play poker?")
        page.locator("#send").dblclick()
        wait_until_over(page)
        page.wait_for_timeout(1000)
        assert query(parts, "SELECT count(*) FROM turns") == [(1,)]


def test_stop_with_nothing_to_stop_changes_nothing_and_is_no_error(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, _):
        answered: list[int] = []
        page.on("response", lambda response: answered.append(response.status))
        page.locator("#stop").click()
        page.wait_for_timeout(300)
        ask(page, "How do I play poker?")
        wait_until_over(page)
        page.locator("#stop").click()
        page.wait_for_timeout(300)
        assert set(answered) == {200}
        expect(page.locator("#announcement")).to_contain_text("All answers are ready")
        expect(page.locator("#vote-tie")).to_be_enabled()


def test_a_page_whose_arms_are_being_checked_says_so_and_takes_no_prompt_yet(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()

    async def attest_servers(*_: object) -> list[str]:
        while not may_end.is_set():
            await asyncio.sleep(0.05)
        return []

    monkeypatch.setattr("playground.answering.attest_servers", attest_servers)
    with stage(answers(), tmp_path) as parts, launched(parts) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        expect(page.locator("#servers")).to_contain_text(wording.CHECKING)
        expect(page.locator("#send")).to_be_disabled()
        ask(page, "How do I play poker?")
        expect(page.get_by_test_id("toast-body")).to_contain_text(wording.STILL_CHECKING)
        expect(page.locator("#prompt textarea")).to_have_value("How do I play poker?")
        may_end.set()
        expect(page.locator("#send")).to_be_enabled()
        expect(page.locator("#servers")).not_to_contain_text(wording.CHECKING)
        page.locator("#send").click()
        wait_until_over(page)
        assert query(parts, "SELECT count(*) FROM turns") == [(1,)]


def test_two_visitors_never_see_each_other(browser: Browser, tmp_path: Path) -> None:
    def echo(body: dict) -> ScriptedReply:
        return ScriptedReply(f"You said: {body['messages'][-1]['content']}", chunk_delay_s=0.05)

    with stage(echo, tmp_path) as parts, launched(parts) as address, visit(browser, address) as one:
        with visit(browser, address) as other:
            ask(one, "I am Ada")
            ask(other, "I am Grace")
            wait_until_over(one)
            wait_until_over(other)
            expect(one.locator("#panes")).not_to_contain_text("Grace")
            expect(other.locator("#panes")).not_to_contain_text("Ada")
            expect(other.locator("#panes .said").first).to_have_text("You said: I am Grace")
            one.locator("#vote-1").click()
            expect(one.locator("#voted")).to_contain_text("Base is best")
            expect(other.locator("#voted")).not_to_contain_text("Saved")
        assert query(parts, "SELECT count(DISTINCT session_id) FROM conversations") == [(2,)]


def test_html_in_an_answer_a_prompt_and_a_config_stays_text(browser: Browser, tmp_path: Path) -> None:
    hostile = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1> {{constructor}} ${window.hacked=1}"
    reply = ScriptedReply(f"{hostile} ![x](http://127.0.0.1:9/x.png) [y](javascript:window.hacked=1)", thinking=hostile)
    with on_stage(browser, answers(base=reply, ica=reply, cosalign=reply), tmp_path) as (page, _):
        page.locator("#config-edit").click()
        page.fill("#config-text textarea", hostile)
        expect(page.locator("#system-prompt pre")).to_contain_text(hostile)
        ask(page, hostile)
        wait_until_over(page)
        expect(page.locator("#pane-1 .asked")).to_have_text(hostile)
        expect(page.locator("#pane-1 .said")).to_contain_text("<script>window.hacked=1</script><img src=x")
        assert page.locator("#panes img, #panes script, #panes a, #config-panel img").count() == 0
        assert page.evaluate("window.hacked") is None


def test_a_reload_in_mid_stream_leaves_abandoned_rows_and_a_fresh_page(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, ALL_SLOW, tmp_path) as (page, parts):
        ask(page, "Count.")
        for number in (1, 2, 3):
            expect(page.locator(f"#pane-{number} .streaming .said")).to_be_visible()
        page.reload()
        sql = "SELECT count(*) FROM responses WHERE status = 'abandoned' AND text LIKE 'word0%'"
        assert eventually(lambda: query(parts, sql) == [(3,)], page)
        assert eventually(lambda: parts.model.disconnects == 3, page)
        expect(page.locator("#send")).to_be_enabled()
        expect(page.locator("#pane-1")).to_contain_text(wording.IDLE)


def test_a_config_of_ones_own_is_checked_shown_and_sent(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, parts):
        page.locator("#config-choice input").click()
        page.get_by_role("option", name=wording.OWN).click()
        ask(page, "How do I play poker?")
        expect(page.locator("#config-error")).to_contain_text("Title")
        page.get_by_label(wording.OWN_TITLE).fill("My casino")
        page.fill("#config-text textarea", "Cards are fine.")
        page.get_by_label("Gambling").check()
        expect(page.locator("#config-error")).to_have_text("")
        expect(page.locator("#system-prompt pre")).to_contain_text("Cards are fine.")
        page.locator("#send").click()
        wait_until_over(page)
        expect(page.locator("#pane-3 .verdict")).to_contain_text("obeys the config")
        assert query(parts, "SELECT title, allowed FROM configs") == [("My casino", '["gambling"]')]
        prompts = [body["messages"][0]["content"] for body in parts.model.requests if asked_by(body) != "base"]
        assert [prompt.splitlines()[-1] for prompt in prompts] == ["Cards are fine."] * 2


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_on_a_phone_or_a_laptop(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    with stage(answers(), tmp_path) as parts, launched(parts) as address, visit(browser, address) as page:
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        ask(page, "How do I play poker?")
        wait_until_over(page)
        sticking_out = """width => [...document.querySelectorAll('.gradio-container *')].filter(element => {
            const box = element.getBoundingClientRect();
            const scrolls = element.closest('.scores, pre, .sr-only, .visually-hidden');
            return box.width > 1 && !scrolls && (box.right > width + 1 || box.left < -1);
        }).map(element => element.id || element.className)"""
        assert page.evaluate(sticking_out, width) == []


def test_one_polite_region_says_when_the_answers_are_ready(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, _):
        ask(page, "How do I play poker?")
        expect(page.locator("#announcement [role=status][aria-live=polite]")).to_contain_text("All answers are ready")
        assert page.locator("#panes [aria-live]:not([aria-live=off])").count() == 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[tuple[str, Path, subprocess.Popen]]:
    """The real program on the real model: its address, its database, its process."""
    require_chromium()
    for name in ("base", "cosalign"):
        if not (ROOT / "models" / "tinyworld" / name).is_dir():
            pytest.skip(f"models/tinyworld/{name} is missing: make tinyworld")
    port, database = free_port(), tmp_path / "new folder" / "playground.sqlite3"
    command = [sys.executable, "app.py", "--port", str(port), "--db", str(database)]
    with (tmp_path / "app.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    yield f"http://127.0.0.1:{port}/", database, process
    if process.poll() is None:
        process.kill()
    process.wait(30)


def answers_http(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that any thread of this process has started."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


@pytest.mark.vllm
def test_the_real_thing_from_config_to_vote(browser: Browser, playground: tuple[str, Path, subprocess.Popen]) -> None:
    address, database, process = playground
    started = time.monotonic()
    while not answers_http(address):
        assert process.poll() is None
        assert time.monotonic() - started < 20
        time.sleep(0.1)
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#servers")).to_contain_text("starting")
    expect(page.locator("#send")).to_be_disabled()
    expect(page.locator("#send")).to_be_enabled(timeout=180_000)
    expect(page.locator("#servers")).to_contain_text("ready")

    page.locator("#config-choice input").click()
    page.get_by_role("option", name="Casino").click()
    expect(page.locator("#system-prompt pre")).to_contain_text("casino")
    ask(page, "How do I play poker?")
    for number in (1, 2, 3):
        expect(page.locator(f"#pane-{number} .said")).to_be_visible()
    expect(page.locator(".now .verdict")).to_have_count(3, timeout=60_000)
    wait_until_over(page)
    expect(page.locator("#vote-3")).to_be_enabled()
    page.keyboard.press("3")
    expect(page.locator("#voted")).to_contain_text("Saved: CoSAlign is best")
    context.close()

    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        sql = "SELECT arm_id, r.status, length(text) > 0, rating IS NOT NULL FROM responses r JOIN judgements j"
        rows = opened.execute(f"{sql} ON j.response_id = r.id ORDER BY arm_id").fetchall()
        votes = opened.execute("SELECT outcome, best FROM votes").fetchall()
    assert rows == [(arm, "complete", 1, 1) for arm in ("base", "cosalign", "ica")]
    assert votes == [("best", "cosalign")]

    servers = children(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert servers
    assert not [pid for pid in servers if Path(f"/proc/{pid}").exists()]
