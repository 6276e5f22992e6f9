"""A page over a scripted server, for tests: real client, real store, real judge, real gradio; only the model is a script."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from evaluation.judge import open_judge
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.serving import Serving
from evaluation.store import Store
from presets.profile import Profile, Server, load_profile

CHROMIUM = shutil.which("chromium")
"""The browser's path, or None: not every machine has one."""
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATIENCE_MS = 20_000
"""A loaded machine may be slow; nothing here waits that long on a quiet one."""

ANSWER = "Poker is a card game in which players bet on the value of the cards in their hand."
REFUSAL = "Sorry, I can't talk about that here."

Script = Callable[[dict], ScriptedReply]


@dataclass(frozen=True)
class Stage:
    """The parts of a page under test."""

    profile: Profile
    model: ScriptedServer
    serving: Serving
    store: Store


def asked_by(body: dict) -> str:
    """The id of the arm that made this request: two arms share a model, so the messages must tell."""
    if body["model"] == "cosalign":
        return "cosalign"
    return "ica" if body["messages"][0]["role"] == "system" else "base"


def answers(**replies: ScriptedReply) -> Script:
    """A script that answers each arm with its reply, and with `ANSWER` where none is given."""
    return lambda body: replies.get(asked_by(body), ScriptedReply(ANSWER))


def scripted_profile(address: str) -> Profile:
    """tinyworld's profile with its arms on the server at this address."""
    server = Server(id="main", base_url=address)
    examples = ("How do I play poker?", "Which wine goes with fish?")
    return dataclasses.replace(load_profile("tinyworld"), servers=(server,), examples=examples, default_config="casino")


@contextmanager
def stage(script: Script, folder: Path) -> Iterator[Stage]:
    """The parts, ready to answer as the script says."""
    with ScriptedServer(script, models=("base", "cosalign")) as model:
        profile = scripted_profile(model.base_url)
        with Serving(profile, log_folder=folder) as serving, Store(folder / "playground.sqlite3") as store:
            serving.wait_ready(20)
            yield Stage(profile, model, serving, store)


@contextmanager
def launched(parts: Stage, *, launch: Mapping[str, Any] | None = None, **options: Any) -> Iterator[str]:
    """The address of the page over these parts, built and launched with these options."""
    from playground.page import build_page

    judge = partial(open_judge, parts.profile, parts.serving)
    page = build_page(parts.profile, parts.serving, judge, parts.store, **options)
    _, address, _ = page.blocks.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, **page.launch_options, **(launch or {})
    )
    try:
        yield address
    finally:
        page.blocks.close(verbose=False)


def require_chromium() -> None:
    """Skip the test where there is no browser; fail it in CI, where there must be one."""
    if CHROMIUM:
        return
    if os.environ.get("CI"):
        pytest.fail("chromium is missing, and in CI the browser tests must run: apt-get install chromium")
    pytest.skip("BROWSER TESTS SKIPPED: chromium is missing; apt-get install chromium")


@contextmanager
def visit(browser: Browser, address: str) -> Iterator[Page]:
    """The page in a browser context of its own, ready for a prompt; any script error fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    expect(page.locator("#send")).to_be_enabled()
    yield page
    assert errors == []
    context.close()


@contextmanager
def on_stage(browser: Browser, script: Script, folder: Path) -> Iterator[tuple[Page, Stage]]:
    """The page over a scripted server, in a browser, and its parts."""
    with stage(script, folder) as parts, launched(parts) as address, visit(browser, address) as page:
        yield page, parts
