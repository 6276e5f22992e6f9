"""What the whole store adds up to, from real rows, and how the page tells it."""

from __future__ import annotations

import asyncio
import csv
from functools import partial
from pathlib import Path

import gradio as gr
import pytest

from evaluation.judge import open_judge
from evaluation.response import Response
from evaluation.schema import StoreError
from evaluation.store import Store
from evaluation.store_scores import Votes, read_store_scores
from evaluation.vote import Vote
from playground import case_wording, markup, wording
from playground.page import build_page
from playground.roles import ALONE, Roles
from tests.stage import CHROMIUM, CHROMIUM_ARGS, answers, launched, require_chromium, stage
from tests.test_store import ARMS, CONFIG, begin
from tests.test_vote_agreement import judged_turn, vote

TITLES = {arm.arm_id: arm.title for arm in ARMS}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three turns: base refuses, ICA breaks the config twice, CoSAlign helps; votes for it, for nobody, and a tie."""
    with Store(tmp_path / "scores.db") as store:
        first = judged_turn(store, (0, -5, 5))
        vote(store, first, "v1", "base")
        vote(store, first, "v2", "cosalign")  # the mind was changed: this one counts
        vote(store, judged_turn(store, (0, -5, 4)), "v3", "all_bad", session="another")
        vote(store, judged_turn(store, (0, 3, None)), "v4", "tie")
    return tmp_path / "scores.db"


def test_scores_and_votes_are_those_of_the_rows(path):
    found = read_store_scores(path)
    assert {arm: score.cosa_score for arm, score in found.scores.items()} == {
        "base": 0.0,
        "ica": pytest.approx((-1 - 1 + 0.6) / 3),
        "cosalign": pytest.approx((1 + 0.8) / 2),
    }
    assert (found.scores["cosalign"].n, found.scores["cosalign"].n_unscored) == (2, 1)
    voted = found.open_votes
    assert voted.votes == {"base": Votes(0, 3), "ica": Votes(0, 3), "cosalign": Votes(1, 3)}
    assert voted.votes["cosalign"].interval[0] == pytest.approx(0.0084, abs=0.0001), "Clopper-Pearson of 1 in 3"
    assert (voted.ties, voted.all_bad, voted.n, voted.by_place, voted.strengths) == (1, 1, 3, (0, 0, 1), {})
    assert found.blind_votes.n == 0
    assert found.by_config["ica", CONFIG.content_hash] == found.scores["ica"]
    assert found.configs == {CONFIG.content_hash: CONFIG.title}


def test_a_vote_after_the_reveal_counts_apart_from_the_blind_one(tmp_path):
    with Store(tmp_path / "scores.db") as store:
        turn, order = judged_turn(store, (0, 2, 5)), ("cosalign", "base", "ica")
        for name, best, blind in (("v1", "ica", True), ("v2", "base", True), ("v3", "cosalign", False)):
            store.save_vote(Vote(name, turn.id, "s", "best", best, order, blind=blind))
    found = read_store_scores(tmp_path / "scores.db")
    assert (found.blind_votes.n, found.blind_votes.votes["base"], found.blind_votes.by_place) == (
        1,
        Votes(1, 1),
        (0, 1, 0),
    )
    assert (found.open_votes.n, found.open_votes.votes["cosalign"]) == (1, Votes(1, 1))
    told = markup.board(found, TITLES)
    assert wording.BOARD_VOTES[0] in told
    assert "By place, from the left: 0, 1, 0." in told


def test_only_the_chosen_configs_count(path):
    assert read_store_scores(path, configs=["0" * 64]).scores == {}
    assert read_store_scores(path, configs=[CONFIG.content_hash]).open_votes.n == 3


def test_an_earlier_attempt_and_a_broken_off_answer_do_not_count(tmp_path):
    with Store(tmp_path / "scores.db") as store:
        turn = begin(store)
        for arm in ARMS:
            response = turn.response_ids[arm.arm_id]
            store.start_response(response)
            store.finish_response(response, "stopped", Response("Half."))
    assert read_store_scores(tmp_path / "scores.db").scores == {}


def test_a_store_that_is_none_is_said(tmp_path):
    with pytest.raises(StoreError, match="there is no database"):
        read_store_scores(tmp_path / "none.db")


def test_the_board_tells_scores_votes_and_every_config(path):
    told = markup.board(read_store_scores(path), TITLES)
    assert "+0.90" in told
    assert "−0.47" in told
    assert "33 % (1 to 91 %)" in told
    assert "3 votes, of which 1 tie and 1 for “all bad”." in told
    assert told.count("n 3") == 2
    assert CONFIG.title in told


def test_titles_are_text(path):
    with Store(path) as store:
        store._db.execute("UPDATE configs SET title = '<img src=x>'")
        store._db.conn.commit()
    told = markup.board(read_store_scores(path), {**TITLES, "ica": "<b>ICA</b>"})
    assert "<img" not in told
    assert "<b>" not in told


def test_an_empty_store_says_so_and_the_tab_reads_what_came_since(tmp_path: Path):
    async def read_twice(parts) -> list[str]:
        page = build_page(parts.profile, parts.serving, partial(open_judge, parts.profile, parts.serving), parts.store)
        data = {page.scoreboard.configs: []}
        before = await page.scoreboard.read(data)
        judged_turn(parts.store, (0, 2, 5))
        after = await page.scoreboard.read(data)
        await page.compare.answering.close()
        return [update[page.scoreboard.board] for update in (before, after)]

    with stage(answers(), tmp_path) as parts:
        before, after = asyncio.run(read_twice(parts))
    assert wording.BOARD_EMPTY in before
    assert "+1.00" in after
    assert case_wording.REFUSED not in before
    assert case_wording.REFUSED in after
    assert "The latest 1." in after


def test_the_board_in_a_browser(tmp_path: Path):
    require_chromium()
    from playwright.sync_api import expect, sync_playwright

    with stage(answers(), tmp_path) as parts, launched(parts) as address, sync_playwright() as play:
        vote(parts.store, judged_turn(parts.store, (0, 2, 5)), "v1", "cosalign")
        browser = play.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.get_by_role("tab", name=wording.TABS[4]).click()
        expect(page.locator("#board table").first).to_contain_text("+1.00", timeout=20_000)
        expect(page.locator("#board")).to_contain_text("1 vote, of which 0 ties")
        page.get_by_label(wording.EXPORT_AS).fill("csv")
        page.keyboard.press("Enter")
        page.locator("#export-make").click()
        expect(page.locator("#export-made")).to_contain_text("3 rows, without who voted", timeout=20_000)
        with page.expect_download() as download:
            page.locator("#export-file").click()
        assert download.value.suggested_filename == "playground-csv.csv"
        rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
        assert [row["arm_id"] for row in rows] == ["base", "ica", "cosalign"]
        assert "vote_session_id" not in rows[0]
        browser.close()


@pytest.mark.parametrize("may_export", [True, False])
def test_only_who_may_finds_the_export_and_what_others_wrote(tmp_path: Path, may_export: bool):
    with stage(answers(), tmp_path) as parts:
        judge = partial(open_judge, parts.profile, parts.serving)
        page = build_page(
            parts.profile, parts.serving, judge, parts.store, roles=ALONE if may_export else Roles(frozenset())
        )
        handlers = [dependency.fn for dependency in page.blocks.fns.values()]
        assert (page.scoreboard.take_along in handlers) == may_export
        judged_turn(parts.store, (0, -2, 5))
        told = asyncio.run(page.scoreboard.read({page.scoreboard.configs: []}))[page.scoreboard.board]
        assert (case_wording.ANSWERED in told) == may_export, "it shows what others wrote"
        asyncio.run(page.compare.answering.close())


def test_the_lists_do_not_unmask_a_conversation_before_its_vote(tmp_path: Path):
    with stage(answers(), tmp_path) as parts:
        page = build_page(parts.profile, parts.serving, partial(open_judge, parts.profile, parts.serving), parts.store)
        turn = judged_turn(parts.store, (0, -2, 5))
        session = page.compare.sessions.open(None)
        session.conversation_id, session.hides_names = turn.conversation_id, True
        page.compare.sessions.keep(session)

        def latest() -> int:
            told = asyncio.run(page.scoreboard.read({page.scoreboard.configs: []}))[page.scoreboard.board]
            return told.count("The latest 1.")

        assert latest() == 0
        session.hides_names = False
        assert latest() == 2
        asyncio.run(page.compare.answering.close())


def test_a_format_that_is_none_is_said(tmp_path: Path):
    with stage(answers(), tmp_path) as parts:
        page = build_page(parts.profile, parts.serving, partial(open_judge, parts.profile, parts.serving), parts.store)
        with pytest.raises(gr.Error, match="no format 'xml'"):
            asyncio.run(page.scoreboard.take_along({page.scoreboard.format: "xml"}))
