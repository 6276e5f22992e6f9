"""Who may do what, asked of every handler as every role, over a real login; nothing that a page shows or hides decides it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser, expect

import app
from evaluation.accounts import add, change, role_of
from playground import case_wording, wording
from playground.login import TRIES, Login
from playground.page import Page, build_page
from playground.roles import ACTIONS, ALONE, Roles
from tests.stage import Stage, answers, launched, stage
from tests.test_matrix import asking
from tests.test_page import checked, inputs
from tests.test_vote_agreement import judged_turn

SECRET = "a long enough secret"
ROLES = ("visitor", "author", "reviewer", "admin")
OWN = {"choice": wording.OWN_ID, "title": "Mine", "text": "Only cards.", "allowed": ["gambling"]}
PROMPT = "How do I play poker?"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(answers(), tmp_path_factory.mktemp("roles")) as parts:
        for role in ROLES:
            add(parts.store.path, role, role, SECRET)
        judged_turn(parts.store, (0, -2, 5))
        yield parts


def roles_of(parts: Stage) -> Roles:
    return Roles(frozenset(), partial(role_of, parts.store.path))


@pytest.fixture(scope="module")
def address(parts: Stage) -> Iterator[str]:
    options = {"roles": roles_of(parts), "launch": {"auth": Login(parts.store.path).check}}
    with launched(parts, **options) as address:
        yield address


def request(name: str | None) -> gr.Request:
    return gr.Request(SimpleNamespace(client=SimpleNamespace(host="10.0.0.1")), username=name)


async def drain(stream) -> None:
    async for _ in stream:
        pass


async def deeds(page: Page, who: gr.Request) -> dict[str, bool]:
    """Which of the deeds that a role decides this visitor may do, each tried at the handler itself."""
    compare, own = page.compare, inputs(page.compare, **OWN)
    matrix = {page.matrix.prompt: PROMPT, page.matrix.configs: [wording.OWN_ID, "casino"]}
    tried = {
        "edit: ask": lambda: drain(compare.converse(own, who)),
        "edit: check": lambda: drain(page.check.ask({**own, **asking(page)}, who)),
        "edit: matrix": lambda: drain(page.matrix.ask({**own, **asking(page), **matrix}, who)),
        "export": lambda: page.scoreboard.take_along({page.scoreboard.format: "csv"}, who),
    }
    done = {}
    for name, deed in tried.items():
        try:
            await deed()
            done[name] = True
        except gr.Error as error:
            if "your account" not in str(error):
                raise
            done[name] = False
    board = (await page.scoreboard.read({page.scoreboard.configs: []}, who))[page.scoreboard.board]
    done["export: lists"] = case_wording.ANSWERED in board
    return done


@pytest.mark.parametrize("name", [*ROLES, "nobody", None])
def test_every_handler_decides_by_the_role_of_who_asks(parts: Stage, name: str | None) -> None:
    async def scene() -> dict[str, bool]:
        page = build_page(parts.profile, parts.serving, page_judge(parts), parts.store, roles=roles_of(parts))
        await checked(page.compare)
        try:
            return await deeds(page, request(name))
        finally:
            await page.compare.answering.close()

    found = asyncio.run(scene())
    may = ACTIONS.get(name, frozenset())
    assert found == {deed: deed.split(":")[0] in may for deed in found}
    assert len(found) == 5


def page_judge(parts: Stage):
    from evaluation.judge import open_judge

    return partial(open_judge, parts.profile, parts.serving)


def test_a_role_that_was_taken_away_ends_at_once(parts: Stage) -> None:
    roles = roles_of(parts)
    add(parts.store.path, "gone", "admin", SECRET)
    assert roles.may(request("gone"), "export")
    change(parts.store.path, "gone", role="visitor")
    assert not roles.may(request("gone"), "export")
    change(parts.store.path, "gone", role="admin", disabled=True)
    assert not roles.may(request("gone"), "export")


def test_alone_one_person_may_do_everything_and_a_flag_grants_to_all() -> None:
    assert all(ALONE.may(None, action) for action in ("edit", "export", "call"))
    granted = Roles(frozenset({"export"}))
    assert granted.may(request(None), "export")
    assert not granted.may(request("anna"), "edit")
    assert not granted.might("edit")


@pytest.mark.parametrize("role", ROLES)
def test_programs_log_in_too_and_may_what_their_role_may(address: str, role: str) -> None:
    client = Client(address, auth=(role, SECRET), verbose=False)
    own = {"config_text": "Only cards.", "allowed": ["gambling"]}
    if role == "visitor":
        for call in (
            lambda: client.predict(api_name="/configs"),
            lambda: client.predict([PROMPT], **own, api_name="/ask"),
        ):
            with pytest.raises(AppError, match="Programs may not ask here with this account"):
                call()
    else:
        assert client.predict([PROMPT], **own, api_name="/ask")["turns"][0]["answers"][0]["status"] == "complete"


def test_without_a_login_nothing_answers(address: str) -> None:
    with pytest.raises(ValueError, match="Could not login"):
        Client(address, auth=("visitor", "wrong password"), verbose=False)
    for path in ("config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"):
        assert httpx.get(f"{address}{path}").status_code == 401, path
    body = {"data": [], "fn_index": 0, "session_hash": "x"}
    for path in ("gradio_api/run/predict", "gradio_api/queue/join", "gradio_api/call/configs"):
        assert httpx.post(f"{address}{path}", json=body).status_code == 401, path


def test_nobody_may_guess_for_long(parts: Stage) -> None:
    async def guess() -> list[bool]:
        login = Login(parts.store.path)
        wrong = [await login.check("author", f"guess number {number}") for number in range(TRIES.amount)]
        return [*wrong, await login.check("author", SECRET), await login.check("reviewer", SECRET)]

    assert asyncio.run(guess()) == [*[False] * TRIES.amount, False, True]


def test_a_login_without_accounts_is_refused_in_words(tmp_path: Path, capsys) -> None:
    assert app.main(["--accounts", "--db", str(tmp_path / "p.sqlite3"), "--port", "17862"]) == app.CANNOT_START
    assert "has no accounts" in capsys.readouterr().err


def test_a_person_logs_in_and_a_visitors_own_config_is_refused_with_words(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    for password in ("wrong password", SECRET):
        page.get_by_label("username").fill("visitor")
        page.get_by_label("password").fill(password)
        page.get_by_role("button", name="Login").click()
        if password != SECRET:
            expect(page.get_by_text("Incorrect")).to_be_visible()
    expect(page.locator("#send")).to_be_enabled(timeout=20_000)
    page.locator("#config-edit").click()
    page.locator("#prompt textarea").fill(PROMPT)
    page.locator("#send").click()
    expect(page.get_by_text("not by your account").first).to_be_visible(timeout=20_000)
    tokens = [each for each in context.cookies() if each["name"].startswith("access-token")]
    assert tokens
    assert all(each["httpOnly"] for each in tokens)
    context.close()
