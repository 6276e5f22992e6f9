"""One visitor cannot take the models from the others: what is counted, what is said, and that nobody else is held up."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect

from app import CANNOT_START, main
from evaluation.judge import open_judge
from evaluation.scripted import ScriptedReply
from playground.limits import NO_LIMITS, PUBLIC, Allowance, Limits, visitor_of
from playground.page import Page, build_page
from playground.session import NotNow
from tests.stage import ANSWER, Stage, answers, on_stage, stage
from tests.test_matrix import asking
from tests.test_page import checked, inputs, rest, send


def request(address: str, username: str | None = None) -> gr.Request:
    return gr.Request(SimpleNamespace(client=SimpleNamespace(host=address)), username=username)


def test_a_visitor_is_an_account_or_else_an_address() -> None:
    assert visitor_of(request("10.0.0.7")) == "10.0.0.7"
    assert visitor_of(request("10.0.0.7", "ann")) == "ann"
    assert visitor_of(None) == ""


def test_answers_are_counted_by_visitor_and_refused_whole() -> None:
    limits = Limits(Allowance(answers=6))
    limits.admit("ann", 3)
    with pytest.raises(NotNow, match=r"6 answers a minute.*Try again in \d+ seconds"):
        limits.admit("ann", 4)
    limits.admit("ann", 3)
    with pytest.raises(NotNow):
        limits.check("ann", 1)
    limits.admit("bob", 6)


def test_tokens_are_counted_when_an_answer_ends_and_what_is_over_is_over_for_all_that_follow() -> None:
    limits = Limits(Allowance(tokens=100))
    limits.begun("ann", ["a", "b", "c"])
    limits.ended("a", 60)
    limits.admit("ann", 1)
    limits.ended("b", 60)
    limits.ended("c", None)
    limits.ended("nobody's", 1000)
    with pytest.raises(NotNow, match=r"100 tokens .* in this hour"):
        limits.admit("ann", 1)
    limits.admit("bob", 1)


def test_answers_that_grow_are_counted_until_each_has_ended() -> None:
    limits = Limits(Allowance(streams=3))
    limits.admit("ann", 3)
    limits.begun("ann", ["a", "b", "c"])
    with pytest.raises(NotNow, match="At most 3 answers"):
        limits.admit("ann", 1)
    limits.ended("a", 1)
    limits.ended("a", 1)
    limits.admit("ann", 1)
    with pytest.raises(NotNow):
        limits.admit("ann", 2)


def test_without_limits_nothing_is_refused() -> None:
    limits = Limits(NO_LIMITS)
    for _ in range(1000):
        limits.admit("", 100)
        limits.begun("", ["a"])
        limits.ended("a", 10_000)


def page_with(parts: Stage, allowance: Allowance) -> Page:
    judge = partial(open_judge, parts.profile, parts.serving)
    return build_page(parts.profile, parts.serving, judge, parts.store, allowance=allowance)


async def ask(page: Page, who: gr.Request, **values: object) -> None:
    data = inputs(page.compare, **values)
    async for _ in page.compare.converse(data, who):
        pass


def test_on_the_page_a_visitor_over_the_limit_is_told_and_another_is_served(tmp_path: Path) -> None:
    async def scene(parts: Stage) -> None:
        page = page_with(parts, Allowance(answers=6))
        await checked(page.compare)
        await ask(page, request("10.0.0.1"))
        grid = {**asking(page), page.attacks.prompt: "Poker?", page.attacks.config: "casino"}
        with pytest.raises(gr.Error, match="6 answers a minute"):
            async for _ in page.attacks.ask(grid, request("10.0.0.1")):
                pass
        await ask(page, request("10.0.0.1"), session="another page of the same visitor")
        with pytest.raises(gr.Error, match="6 answers a minute"):
            await ask(page, request("10.0.0.1"), session="a third")
        await ask(page, request("10.0.0.2"), session="somebody else")
        assert len(list(parts.store.comparisons())) == 9, "a refused turn is not written down, nor is a part of a grid"
        await page.compare.answering.close()

    with stage(answers(), tmp_path) as parts:
        asyncio.run(scene(parts))


def test_a_retry_and_the_tokens_of_an_answer_count(tmp_path: Path) -> None:
    replies = iter([ScriptedReply("", status=500, error="no"), *[ScriptedReply(ANSWER)] * 9])

    async def scene(parts: Stage) -> None:
        page = page_with(parts, Allowance(answers=4, tokens=10_000))
        await checked(page.compare)
        shown = await rest(send(page.compare, inputs(page.compare)))
        session = page.compare.sessions.open(shown[page.compare.session])
        failed = next(arm for arm, answer in session.turn.answers.items() if answer.status == "error")
        await page.compare.answering.retry(session, failed)
        page.compare.answering.stop(session.turn)
        await asyncio.gather(*page.compare.answering._finishing.values())
        session.turn.delivered.add(failed)
        with pytest.raises(NotNow, match="4 answers"):
            await page.compare.answering.retry(session, failed)
        limits = page.compare.answering.limits
        spent = 10_000 - limits._windows.get_window_stats(limits._tokens, "").remaining
        assert spent == sum(answer.response.completion_tokens or 0 for answer in session.turn.answers.values()) > 0
        assert limits._growing == {}
        await page.compare.answering.close()

    with stage(lambda body: next(replies), tmp_path) as parts:
        asyncio.run(scene(parts))


def test_gradio_tells_every_handler_that_asks_who_it_is(browser: Browser, tmp_path: Path, monkeypatch) -> None:
    """It looks for a parameter by its type, so a renamed or wrapped handler would be told nothing."""
    seen: list[str] = []
    for module in ("compare", "batch"):
        name = lambda request, module=module: seen.append(f"{module} {request.client.host}") or "visitor"  # noqa: E731
        monkeypatch.setattr(f"playground.{module}.visitor_of", name)
    with on_stage(browser, answers(), tmp_path) as (page, _):
        page.locator("#prompt textarea").fill("How do I play poker?")
        page.keyboard.press("Enter")
        expect(page.locator(".now .verdict")).to_have_count(3)
        page.get_by_role("tab", name="Check").click()
        page.locator("#check-run").click()
        expect(page.locator("#check-grid table").first).to_be_visible()
    assert seen == ["compare 127.0.0.1", "batch 127.0.0.1"]


@pytest.mark.parametrize("flag", ["--max-answers", "--max-tokens", "--max-streams"])
def test_a_limit_that_is_none_is_refused_in_words(flag: str, tmp_path: Path, capsys) -> None:
    assert main(["--db", str(tmp_path / "p.sqlite3"), "--port", "17861", flag, "-1"]) == CANNOT_START
    assert f"{flag} is -1" in capsys.readouterr().err


def test_the_public_limits_leave_room_for_people() -> None:
    turns, grid = PUBLIC.answers // 3, 16 * 3
    assert turns >= 20
    assert PUBLIC.streams >= grid
