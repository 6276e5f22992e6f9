"""The way through the page: a real browser that notes, by its own clock, what a visitor sees after a click on Send."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.spread import MeasurementError
from benchmarks.ways import Timing
from playground import wording

CHROMIUM = "chromium"
DRIVER = "playwright"
"""Comes with the requirements of the tests, so it may be missing here."""

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
VIEWPORT = {"width": 1400, "height": 900}
PATIENCE_MS = 120_000

WATCH = """
([judging, patience]) => {
  const panes = [...document.querySelectorAll("#panes .pane")];
  const filled = (selector) => panes.some((pane) =>
    [...pane.querySelectorAll(selector)].some((element) => element.textContent.trim()));
  const every = (selector, test = () => true) => panes.every((pane) => [...pane.querySelectorAll(selector)].some(test));
  const marks = {};
  const mark = (name, happened) => { if (happened && !(name in marks)) marks[name] = performance.now(); };
  window.turn = new Promise((resolve, reject) => {
    const look = () => {
      if (!("sent" in marks)) return;
      mark("text", filled(".now .said"));
      mark("token", "text" in marks || filled(".now .thinking pre"));
      mark("complete", every(".now .exchange.complete"));
      mark("judged", "complete" in marks &&
        every(".now .verdict, .now .badge.unscored", (element) => element.textContent !== judging));
      const failed = document.querySelector(".now .exchange:is(.error, .stopped, .abandoned)");
      if (failed) reject(new Error(failed.textContent));
      if (failed || "judged" in marks) { observer.disconnect(); resolve(marks); }
    };
    const observer = new MutationObserver(look);
    observer.observe(document.getElementById("panes"), { subtree: true, childList: true, characterData: true });
    const send = document.getElementById("send");
    send.addEventListener("click", () => mark("sent", true), { capture: true, once: true });
    setTimeout(() => reject(new Error(`not over after ${patience} ms`)), patience);
  });
  window.turn.catch(() => {});
}
"""
"""Sets `window.turn`: a promise of the turn's marks, in milliseconds of the page's clock. Nothing is polled."""

TOKENS = """
() => [...document.querySelectorAll("#panes .now .measures")]
  .reduce((sum, element) => sum + Number(/(\\d+) tokens?/.exec(element.textContent)?.[1] ?? 0), 0)
"""


def missing() -> str:
    """What this way lacks here, in plain words; empty when it can be gone."""
    if importlib.util.find_spec(DRIVER) is None:
        return f"{DRIVER} is not installed (sh setup_env.sh --test)"
    return "" if shutil.which(CHROMIUM) else f"{CHROMIUM} is missing (apt-get install chromium)"


class Browser:
    """The page in an open browser, at the profile's default config."""

    name = "page in a browser"

    def __init__(self, page: Any, errors: type[Exception]) -> None:
        self._page, self._errors = page, errors

    async def ask(self, prompt: str) -> Timing:
        """See `Way.ask`. Counts from the click on Send, as the page sees it, to what stands in its panes."""
        try:
            return await self._ask(prompt)
        except self._errors as error:
            raise MeasurementError(f"the page in the browser did not finish a turn: {error}") from error

    async def _ask(self, prompt: str) -> Timing:
        page = self._page
        await page.fill("#prompt textarea", prompt)
        await page.evaluate(WATCH, [wording.JUDGING, PATIENCE_MS])
        await page.click("#send:enabled")
        marks = await page.evaluate("() => window.turn")
        tokens = await page.evaluate(TOKENS)
        # Only a page that is at rest again may be asked anew, in a new conversation: history would lengthen the prompt.
        await page.wait_for_selector("#vote-tie:enabled")
        await page.click("#new:enabled")
        await page.wait_for_function("() => document.querySelectorAll('#panes .now .exchange').length === 0")
        since = {name: (at - marks["sent"]) / 1000 for name, at in marks.items()}
        return Timing(since["token"], since.get("text"), since["complete"], since["judged"], tokens)


@asynccontextmanager
async def open_browser(address: str) -> AsyncIterator[Browser]:
    """The page at this address in a browser, at rest and ready for a prompt; it must not be `missing`."""
    driver = importlib.import_module(f"{DRIVER}.async_api")
    async with driver.async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=shutil.which(CHROMIUM), args=list(ARGUMENTS))
        page = await chromium.new_page(viewport=VIEWPORT)
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(address)
        await page.wait_for_selector("#send:enabled")
        yield Browser(page, driver.Error)
        await chromium.close()
