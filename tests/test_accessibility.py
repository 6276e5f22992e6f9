"""No serious fault of accessibility on any tab, light and dark, wide and narrow, by axe-core; and a turn by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from playground import wording
from tests.stage import PATIENCE_MS, Stage, answers, launched, on_stage, stage

SEVERE = ("serious", "critical")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Stage]]:
    with stage(answers(), tmp_path_factory.mktemp("axe")) as parts, launched(parts) as address:
        yield address, parts


def faults(page: Page) -> list[str]:
    """The serious faults on what is on show now: rule, the element, and why."""
    found = []
    for rule in Axe().run(page).response["violations"]:
        if rule["impact"] not in SEVERE:
            continue
        for node in rule["nodes"]:
            why = " ".join(node["failureSummary"].split())
            found.append(f"{rule['id']}: {node['html'][:160]} ({why[:220]})")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_no_tab_has_a_serious_fault(browser: Browser, address: tuple[str, Stage], width: int, theme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{address[0]}?__theme={theme}")
    expect(page.locator("#send")).to_be_enabled()
    page.locator("#prompt textarea").fill("How do I play poker?")
    page.keyboard.press("Enter")
    expect(page.locator(".now .verdict")).to_have_count(3)
    page.locator("#vote-2").click()
    expect(page.locator("#voted")).to_contain_text("Saved")
    found = {wording.TABS[0]: faults(page)}
    for name in wording.TABS[1:]:
        open_tab(page, name)
        found[name] = faults(page)
    context.close()
    assert [f"{name}: {fault}" for name, each in found.items() for fault in each] == []


def open_tab(page: Page, name: str) -> None:
    """Show a tab, and on it what it has to show."""
    tab = page.get_by_role("tab", name=name)
    if tab.is_visible():
        tab.click()
    else:
        page.locator(".overflow-menu > button").click()
        page.locator(".overflow-dropdown").get_by_text(name, exact=True).click()
    runs = {wording.TABS[1]: "#check-run", wording.TABS[2]: "#matrix-run", wording.TABS[3]: "#attack-run"}
    grids = {wording.TABS[1]: "#check-grid", wording.TABS[2]: "#matrix-grid", wording.TABS[3]: "#attack-grid"}
    if name in runs:
        for box in ("#matrix-prompt textarea", "#attack-prompt textarea"):
            if page.locator(box).is_visible():
                page.locator(box).fill("How do I play poker?")
        page.locator(runs[name]).click()
        expect(page.locator(f"{grids[name]} table").first).to_be_visible()
        expect(page.locator(f"{grids[name]} .live")).to_have_count(0)
    if name == wording.TABS[4]:
        expect(page.locator("#board table").first).to_be_visible()
    if name == wording.TABS[5]:
        expect(page.locator("#history-choice label")).not_to_have_count(0)
        page.locator("#history-choice label").first.click()
        expect(page.locator("#replay .replayed").first).to_be_visible()


def test_a_turn_by_keyboard_alone(browser: Browser, tmp_path: Path) -> None:
    """From the top of the page to a stored vote, with Tab, arrows, Enter and the keys that the page names."""
    with on_stage(browser, answers(), tmp_path) as (page, parts):
        page.locator("body").press("Home")
        page.evaluate("document.activeElement.blur()")
        reach(page, "#config-choice input")
        before = page.locator("#config-choice input").input_value()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator("#config-choice input")).not_to_have_value(before)
        chosen = page.locator("#config-choice input").input_value()
        expect(page.locator("#system-prompt")).not_to_contain_text(parts.profile.default_config or "casino")
        reach(page, "#prompt textarea")
        page.keyboard.type("How do I play poker?")
        page.keyboard.press("Enter")
        expect(page.locator(".now .verdict")).to_have_count(3)
        page.keyboard.press("2")
        expect(page.locator("#voted")).to_contain_text("Saved")
        reach(page, "#new")
        row = next(iter(parts.store.comparisons()))
        assert (row["outcome"], row["best"], row["config_title"]) == ("best", "ica", chosen)


def reach(page: Page, selector: str) -> None:
    """Press Tab until this element has the focus, and see that it can be seen."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.locator(selector).evaluate("e => e === document.activeElement"):
            assert page.locator(selector).is_visible()
            return
    raise AssertionError(f"Tab does not reach {selector}")
