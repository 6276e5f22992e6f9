"""What a voter says beside the vote: on two axes and of single answers; stored, shown, exported, compared with the judge."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect

from evaluation.export import export
from evaluation.flag_agreement import flag_agreement
from evaluation.store import Store
from evaluation.store_import import import_export
from evaluation.vote import Choice, Vote
from evaluation.vote_agreement import main as agreement
from playground import details_wording, history_wording
from playground.compare import Compare
from tests.stage import answers, on_stage
from tests.test_page import inputs, play, run_turn
from tests.test_store import ARMS
from tests.test_vote_agreement import judged_turn

ORDER = tuple(arm.arm_id for arm in ARMS)
SAID = {
    "axes": {"helpful": Choice("best", "ica"), "keeps": Choice("tie")},
    "flags": {"ica": frozenset({"up"}), "base": frozenset({"down", "breaks"})},
}


def fields(compare: Compare, **values: object) -> dict:
    """What a voter put into the fields: `helpful`, `keeps`, and `flags_0` for the first answer."""
    details = compare.ballot.details
    named = {**details.axes, **{f"flags_{place}": group for place, group in enumerate(details.flags)}}
    return {named[name]: value for name, value in values.items()}


def test_what_is_said_beside_is_a_further_vote_on_the_same_answers(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        data = inputs(compare, session=session)
        said = fields(compare, helpful="1", keeps="tie", flags_0=["down", "breaks"], flags_1=["up"])
        with pytest.raises(gr.Error, match="Vote first"):
            await compare.add_to_vote(data | said)
        await compare.vote("best", 1, data)
        shown = await compare.add_to_vote(data | said)
        assert "with what you said of each" in shown[compare.ballot.state]
        (vote,) = store.turns(compare.sessions.open(session).conversation_id)[0].votes
        assert (vote.outcome, vote.best, vote.axes, vote.flags) == ("best", "ica", SAID["axes"], SAID["flags"])
        await compare.vote("best", 2, data)
        (vote,) = store.turns(compare.sessions.open(session).conversation_id)[0].votes
        assert (vote.best, vote.axes) == ("cosalign", SAID["axes"]), "another best arm, and the rest as it was said"
        revisions = {row["vote_revision"] for row in store.comparisons()}
        assert revisions == {3}

    play(answers(), tmp_path, scene)


def test_places_mean_the_answers_as_they_stand_when_names_are_hidden(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare, blind=True)
        data = inputs(compare, session=session, blind=True)
        await compare.vote("best", 0, data)
        await compare.add_to_vote(data | fields(compare, keeps="2", flags_0=["refused"]))
        turn = compare.sessions.open(session).turn
        first, _, third = turn.answers
        assert turn.vote.axes == {"keeps": Choice("best", third)}
        assert turn.vote.flags == {first: {"refused"}}

    play(answers(), tmp_path, scene)


def test_good_and_bad_at_once_is_refused_and_the_next_prompt_empties_the_fields(tmp_path: Path) -> None:
    async def scene(compare: Compare, store: Store) -> None:
        session = await run_turn(compare)
        data = inputs(compare, session=session)
        await compare.vote("tie", None, data)
        with pytest.raises(gr.Error, match="good or bad"):
            await compare.add_to_vote(data | fields(compare, flags_0=["up", "down"]))
        assert {compare.ballot.details.axes["keeps"], compare.ballot.details.flags[0]} <= set(compare.cleared)

    play(answers(), tmp_path, scene)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"axes": {"helpful": Choice("best", "nobody")}}, "'nobody' was not among"),
        ({"flags": {"nobody": frozenset({"up"})}}, "'nobody' was not among"),
        ({"axes": {"funny": Choice("tie")}}, "funny"),
        ({"flags": {"ica": frozenset({"funny"})}}, "funny"),
        ({"flags": {"ica": frozenset({"up", "down"})}}, "both up and down"),
    ],
)
def test_what_cannot_be_said_is_no_vote(said: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Vote("v", "t", "s", "tie", None, ORDER, **said)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Store(tmp_path / "votes.db") as store:
        turn = judged_turn(store, (-4, 3, 0))  # base breaks the config, cosalign refuses
        store.save_vote(Vote("v1", turn.id, "ann", "best", "ica", ORDER, **SAID))
        turn = judged_turn(store, (2, 3, 0))
        flags = {"base": frozenset({"breaks"}), "cosalign": frozenset({"refused"})}
        store.save_vote(Vote("v2", turn.id, "ann", "best", "ica", ORDER, flags=flags))
        store.save_vote(Vote("v3", judged_turn(store, (-4, -3, -2)).id, "ann", "all_bad", None, ORDER))
    return tmp_path / "votes.db"


def test_flags_are_held_against_the_judge_where_something_was_said(path: Path, capsys) -> None:
    found = flag_agreement(path)
    assert dict(found["breaks"].counts) == {(True, True): 1, (False, False): 4, (False, True): 1}
    assert dict(found["refused"].counts) == {(False, False): 4, (True, False): 1, (True, True): 1}
    assert found["breaks"].same == pytest.approx(5 / 6)
    assert agreement(["--db", str(path)]) == 0
    assert "Judge and people on 'breaks': the same on 83.3 % of 6 answers" in " ".join(capsys.readouterr().out.split())
    assert agreement(["--db", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flags"]["refused"]["n"] == 6


@pytest.mark.parametrize("format_name", ["csv", "trl-kto", "lmarena"])
def test_it_goes_out_and_comes_back(path: Path, tmp_path: Path, format_name: str) -> None:
    export(path, format_name, tmp_path / "out")
    import_export(tmp_path / "second.db", format_name, tmp_path / "out")
    with Store(tmp_path / "second.db") as store:
        rows = {row["vote_id"]: row for row in store.comparisons()}
    assert rows["v1"]["vote_axes"] == {
        "helpful": {"best": "ica", "outcome": "best"},
        "keeps": {"best": None, "outcome": "tie"},
    }
    assert rows["v1"]["vote_flags"] == {"base": ["breaks", "down"], "ica": ["up"]}


def test_history_tells_it() -> None:
    class Said:
        def __init__(self, arm):
            self.arm = arm

    vote = Vote("v", "t", "s", "best", "ica", ORDER, **SAID)
    told = history_wording.past_vote(vote, [Said(arm) for arm in ARMS])
    assert (
        told == "Voted best: ICA. Helps more: ICA. Keeps to the config: a tie. ICA: good. Base: breaks the config, bad."
    )


def test_in_a_browser_more_is_said_and_the_next_prompt_begins_empty(browser: Browser, tmp_path: Path) -> None:
    with on_stage(browser, answers(), tmp_path) as (page, parts):
        page.locator("#prompt textarea").fill("How do I play poker?")
        page.keyboard.press("Enter")
        expect(page.locator(".now .verdict")).to_have_count(3)
        page.locator("#vote-2").click()
        expect(page.locator("#voted")).to_contain_text("Saved")
        page.get_by_role("button", name=details_wording.TITLE).click()
        page.locator("#axis-keeps").get_by_label("3", exact=True).check()
        page.locator("#flags-1").get_by_label("refused without need").check()
        page.locator("#details-save").click()
        expect(page.locator("#voted")).to_contain_text("with what you said of each")
        row = next(iter(parts.store.comparisons()))
        assert row["vote_axes"] == {"keeps": {"best": "cosalign", "outcome": "best"}}
        assert row["vote_flags"] == {"base": ["refused"]}
        page.locator("#prompt textarea").fill("And then?")
        page.keyboard.press("Enter")
        expect(page.locator("#flags-1").get_by_label("refused without need")).not_to_be_checked()
        expect(page.locator("#axis-keeps").get_by_label("3", exact=True)).not_to_be_checked()
