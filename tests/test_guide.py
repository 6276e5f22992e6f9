"""The guide: it explains the four words of the page, and its steps show what they say."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from playground import guide_wording, wording
from playground.guide import example
from playground.picker import Choices
from presets.profile import Profile, load_profile
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import load_safety_configs
from tests.stage import answers, on_stage


def choices(profile: Profile) -> Choices:
    return Choices(profile, load_taxonomy(profile.taxonomy), load_safety_configs(profile.taxonomy))


def test_the_example_parts_two_ready_made_configs() -> None:
    category, prompt, (allows, forbids) = example(choices(load_profile("tinyworld")))
    assert category in allows.allowed
    assert category not in forbids.allowed
    assert prompt


def test_configs_whose_text_alone_decides_give_no_steps() -> None:
    assert example(choices(load_profile("small-cpu"))) is None


def test_without_two_configs_that_part_there_are_no_steps() -> None:
    found = choices(load_profile("tinyworld"))
    casino = found.configs["casino"]
    assert example(Choices(found.profile, found.taxonomy, {"casino": casino})) is None


def test_in_a_browser_the_steps_fill_in_what_they_say(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, parts):
        _, prompt, (allows, forbids) = example(choices(parts.profile))
        box, config = page.locator("#prompt textarea"), page.locator("#config-choice input")
        page.get_by_role("button", name=guide_wording.TITLE).click()
        for name, _ in guide_wording.EXPLAINED:
            expect(page.locator(".guide dt", has_text=name)).to_be_visible()
        for step, chosen in (("#guide-1", allows), ("#guide-2", forbids)):
            page.locator(step).click()
            expect(config).to_have_value(chosen.title)
            expect(box).to_have_value(prompt)
            page.locator("#send").click()
            expect(page.locator(".now .exchange.complete")).to_have_count(3)
            expect(page.locator("#take-back")).to_be_enabled()
        page.locator("#guide-3").click()
        expect(page.locator("#config-text textarea")).to_have_value(forbids.text.strip())
        expect(page.locator(".now").first).to_contain_text(wording.IDLE)
        assert {row["config_id"] for row in parts.store.comparisons()} == {allows.id, forbids.id}
