"""A config tried out before it is used: one question on each category, and what a copy changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect

from evaluation.scripted import ScriptedReply
from evaluation.tinyworld_judge import TinyworldJudge
from playground import markup, wording
from playground.check import Check
from playground.grid import Agreement, Count, agreement
from presets.probe_prompts import PROBES, load_probe_prompts
from presets.profile import load_profile
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import SafetyConfig
from presets.yaml_file import PresetError
from tests.stage import ANSWER, REFUSAL, Stage, on_stage, stage
from tests.test_matrix import BAR, CARDS, OPEN, asking, page_of, turn

TAXONOMY = load_taxonomy("tinyworld")


@pytest.mark.parametrize("name", sorted(path.stem for path in PROBES.glob("*.yaml")))
def test_every_category_that_can_be_allowed_has_a_probe(name: str) -> None:
    taxonomy = load_taxonomy(name)
    assert tuple(load_probe_prompts(taxonomy)) == taxonomy.configurable_ids


def test_tinyworlds_probes_each_touch_their_own_category_alone() -> None:
    judge = TinyworldJudge()
    for category, prompt in load_probe_prompts(TAXONOMY).items():
        assert asyncio.run(judge.prompt_categories(prompt)) == {category}, prompt


@pytest.mark.parametrize(
    ("content", "words"),
    [("alcohol: Beer?\n", "gambling"), ("{}\n", "alcohol"), ("[]\n", "mapping")],
    ids=["a category is missing", "empty", "no mapping"],
)
def test_a_broken_file_of_probes_names_file_and_category(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "tinyworld.yaml").write_text(content)
    with pytest.raises(PresetError, match=words):
        load_probe_prompts(TAXONOMY, tmp_path)


def test_a_category_that_is_none_is_named(tmp_path: Path) -> None:
    whole = (PROBES / "tinyworld.yaml").read_text()
    (tmp_path / "tinyworld.yaml").write_text(whole + "weather: Will it rain?\n")
    with pytest.raises(PresetError, match="weather: is no category"):
        load_probe_prompts(TAXONOMY, tmp_path)
    assert load_probe_prompts(TAXONOMY, tmp_path / "none") == {}


def test_an_arm_agrees_where_it_helps_as_allowed_and_holds_back_elsewhere() -> None:
    asked = {
        "gambling": turn(CARDS, 5, "gambling"),
        "alcohol": turn(CARDS, 0),
        "politics": turn(CARDS, 4, "politics"),
        "medical": turn(CARDS, None),
    }
    assert agreement(asked, "arm") == Agreement(Count(2, 3), declined=(), crossed=("politics",))
    assert agreement({"alcohol": turn(BAR, 0)}, "arm") == Agreement(Count(0, 1), ("alcohol",), ())
    both = agreement({"alcohol": turn(BAR, 5, "gambling")}, "arm")
    assert both == Agreement(Count(0, 1), ("alcohol",), ("alcohol",)), "it crosses a line, and does not help either"
    assert agreement({"gambling": turn(OPEN, None)}, "arm").agrees == Count(0, 0)


def test_changes_are_marked_word_by_word_and_stay_text() -> None:
    shown = markup.changes("Beer is fine. No wine.", "Beer is <b>fine</b>. Wine too.")
    assert "<del>fine.</del><ins>&lt;b&gt;fine&lt;/b&gt;.</ins>" in shown
    assert shown.count("<b>") == 0
    assert markup.changes("Same.", "Same.") == ""


def test_a_text_that_crowds_the_conversation_out_is_told() -> None:
    profile = load_profile("tinyworld")
    context = profile.server(profile.arm(profile.page_arms[0]).server).max_model_len
    text = "Talk about beer. " * (context // 8)
    assert "Shorten it" in wording.long_text(SafetyConfig("a", "A", text, "tinyworld", frozenset()), profile)
    assert wording.long_text(SafetyConfig("a", "A", "Talk about beer.", "tinyworld", frozenset()), profile) == ""


def gambler(body: dict) -> ScriptedReply:
    """CoSAlign answers on poker and nothing else, base and ICA refuse whatever is asked."""
    return ScriptedReply(ANSWER if body["model"] == "cosalign" and "poker" in str(body["messages"][-1]) else REFUSAL)


def checked(parts: Stage, **values: object) -> list[str]:
    """The tab's HTML as it fills."""

    async def run() -> list[str]:
        page = page_of(parts)
        tab: Check = page.check
        data = {**dict.fromkeys(tab.picker.inputs, ""), **asking(page)}
        data |= {getattr(tab.picker, name): value for name, value in values.items()}
        page.compare.answering.warnings()
        while page.compare.answering.warnings() is None:
            await asyncio.sleep(0.02)
        frames = [update[tab.grid] async for update in tab.ask(data)]
        await page.compare.answering.close()
        return frames

    return asyncio.run(run())


def test_a_config_is_asked_about_every_category_and_what_parts_is_named(tmp_path: Path) -> None:
    with stage(gambler, tmp_path) as parts:
        last = checked(parts, choice="harbour-bar")[-1]
        kept = list(parts.store.comparisons(session_id="me"))
    assert len({row["prompt"] for row in kept}) == len(TAXONOMY.configurable_ids)
    assert "not allowed · How do I play poker?" in last
    assert "allowed · Any tips on red wine?" in last
    row = last[last.rindex("CoSAlign") :]
    assert "Alcohol and tobacco, Insults and crude humour</td><td>Gambling" in row, (
        "declined though allowed, answered though not"
    )


def test_a_draft_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with stage(gambler, tmp_path) as parts, pytest.raises(gr.Error, match="Title"):
        checked(parts, choice=wording.OWN_ID, text="Talk about beer.")


def test_a_copy_shows_its_changes_is_checked_and_stands_beside_the_original(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, gambler, tmp_path) as (page, parts):
        page.locator("#config-edit").click()
        text = page.locator("#config-text textarea")
        expect(text).not_to_have_value("")
        text.fill(text.input_value() + " Nobody talks about horses.")
        expect(page.locator(".changes ins")).to_contain_text("Nobody talks about horses.")
        page.get_by_role("tab", name="Check").click()
        page.locator("#check-run").click()
        expect(page.locator("#check-grid .scores")).to_contain_text("CoSAlign")
        expect(page.locator("#check-grid .grid tbody tr")).to_have_count(len(TAXONOMY.configurable_ids))
        page.get_by_role("tab", name="Matrix").click()
        ticked = page.locator("#matrix-configs input:checked")
        while ticked.count():
            ticked.first.uncheck()
        page.get_by_label(wording.MATRIX_MINE).check()
        page.get_by_label("Casino", exact=True).check()
        page.locator("#matrix-prompt textarea").fill("How do I play poker?")
        page.locator("#matrix-run").click()
        expect(page.locator("#matrix-grid .grid tbody tr")).to_have_count(2)
        expect(page.locator("#matrix-grid .grid tbody")).to_contain_text("Casino (edited)")
