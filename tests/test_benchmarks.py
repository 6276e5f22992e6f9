"""The benchmarks' arithmetic, and a dry run of the page's over a scripted server. Nothing here looks at a clock."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from benchmarks import large_store, load, page, running, serving, store
from benchmarks.__main__ import main
from benchmarks.browser import Browser
from benchmarks.over_http import OverHttp, look, updated
from benchmarks.report import NOTHING, Report, cell, write_report
from benchmarks.spread import MeasurementError, Spread, differences, in_turn, ratios, spread
from benchmarks.ways import Stopwatch, Timing, merge
from evaluation.store import Store
from evaluation.store_check import check
from evaluation.store_scores import read_store_scores
from playground import wording
from presets.profile import PROFILES, Server, load_profile
from tests.test_store import ask, finish_all


def timing(first_s: float, complete_s: float, *, judged_s: float | None = None, tokens: int = 10) -> Timing:
    return Timing(first_s, first_s, complete_s, judged_s, tokens)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([3.0], Spread(3.0, 3.0, 3.0, 1), id="one"),
        pytest.param([4.0, 2.0], Spread(3.0, 2.5, 3.5, 2), id="two"),
        pytest.param([5.0, 1.0, 2.0, 4.0, 3.0], Spread(3.0, 2.0, 4.0, 5), id="in-any-order"),
        pytest.param([1.0, 1.0, 1.0, 1.0, 99.0], Spread(1.0, 1.0, 1.0, 5), id="an-outlier-moves-nothing"),
    ],
)
def test_a_spread_is_the_median_and_its_quartiles(values: list[float], expected: Spread) -> None:
    assert spread(values) == expected


def test_no_values_have_no_spread() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_ratios_and_differences_are_taken_within_each_repeat() -> None:
    slow_later = [1.0, 10.0]
    assert ratios([1.1, 11.0], slow_later) == pytest.approx([1.1, 1.1])
    assert differences([1.5, 10.5], slow_later) == pytest.approx([0.5, 0.5])


def test_repeats_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_way_has_the_same_mean_place_over_an_even_number_of_turns(count: int) -> None:
    ways = list(range(count))
    turns = [in_turn(ways, index) for index in range(4)]
    assert turns[0] == ways
    assert turns[1] == ways[::-1]
    assert len({sum(turn.index(way) for turn in turns) for way in ways}) == 1


def test_a_turn_begins_with_its_first_arm_and_ends_with_its_last() -> None:
    arms = [Timing(0.2, None, 1.0, 1.1, 5), Timing(0.1, 0.6, 2.0, 2.3, 7), Timing(0.3, 0.5, 1.5, 1.6, 9)]
    assert merge(arms) == Timing(0.1, 0.5, 2.0, 2.3, 21)


def test_the_page_costs_what_it_adds_to_the_direct_calls_of_the_same_repeat() -> None:
    samples = {
        "direct calls": [[timing(0.10, 1.0), timing(0.20, 2.0)], [timing(0.30, 4.0), timing(0.40, 5.0)]],
        "page": [
            [timing(0.15, 1.5, judged_s=2.0), timing(0.25, 2.1, judged_s=2.5)],
            [timing(0.35, 5.0, judged_s=5.5), timing(0.45, 5.8, judged_s=6.0)],
        ],
    }
    costs = page.costs(samples)
    assert costs["page"].added_ms.median == pytest.approx(50)
    assert costs["page"].ratio.median == pytest.approx(1.2)
    assert costs["page"].judged_s == Spread(8.0, 6.25, 9.75, 2)
    assert costs["direct calls"].ratio == Spread(1.0, 1.0, 1.0, 2)
    assert costs["direct calls"].judged_s is None


@pytest.mark.parametrize(("tokens", "is_said"), [(10, False), (11, True)])
def test_ways_that_did_not_do_the_same_work_are_called_out(tokens: int, is_said: bool) -> None:
    samples = {"direct calls": [[timing(0.1, 1.0)]], "page": [[timing(0.1, 1.0, tokens=tokens)]]}
    profile = load_profile("tinyworld")
    report = page.report(samples, profile, page.default_config(profile), [])
    assert any("not for the same work" in note for note in report.notes) == is_said


@pytest.mark.parametrize(
    ("first_s", "total_s", "verdict"),
    [
        pytest.param(
            0.25,
            1.1,
            "1.100 times the direct calls' total (at most 1.1: kept), first token +150 ms (at most +150: kept)",
            id="both-kept",
        ),
        pytest.param(
            0.25,
            1.2,
            "1.200 times the direct calls' total (at most 1.1: MISSED), first token +150 ms (at most +150: kept)",
            id="too-long",
        ),
        pytest.param(
            0.30,
            1.0,
            "1.000 times the direct calls' total (at most 1.1: kept), first token +200 ms (at most +150: MISSED)",
            id="too-late",
        ),
    ],
)
def test_the_verdict_says_of_each_limit_whether_it_is_kept(first_s: float, total_s: float, verdict: str) -> None:
    samples = {"direct calls": [[timing(0.1, 1.0)]], OverHttp.name: [[timing(first_s, total_s)]]}
    profile = load_profile("tinyworld")
    report = page.report(samples, profile, page.default_config(profile), [])
    assert f"What the app adds, {OverHttp.name}: {verdict}." in report.notes


def test_what_the_app_adds_is_judged_apart_from_what_a_browser_on_its_cores_shows() -> None:
    ways = {"direct calls": 1.0, "Python layer": 9.0, OverHttp.name: 1.05, Browser.name: 1.5}
    samples = {name: [[timing(0.1, complete_s)]] for name, complete_s in ways.items()}
    profile = load_profile("tinyworld")
    report = page.report(samples, profile, page.default_config(profile), [])
    assert [note.split(":")[0] for note in report.notes[1:]] == [
        "What the app adds, page over HTTP",
        "What a visitor sees whose browser shares these cores, page in a browser",
    ]
    assert report.data["kept"] == {
        OverHttp.name: {"ratio": True, "added_ms": True},
        Browser.name: {"ratio": False, "added_ms": True},
    }


def test_what_has_changed_in_an_events_outputs_is_put_in_its_place() -> None:
    outputs = updated([], ["<p>wait</p>", {"__type__": "update"}])
    assert updated(outputs, [[["append", [], "<p>One"]], []]) == ["<p>wait</p><p>One", {"__type__": "update"}]


def test_panes_are_timed_by_what_they_show() -> None:
    def seen(*panes: str) -> list[str]:
        watch = Stopwatch(0.0)
        look(watch, panes)
        return sorted(watch._marks)

    def pane(status: str, content: str) -> str:
        return f'<article class="exchange {status}">{content}</article>'

    said, verdict = '<div class="said">Yes</div>', '<details class="verdict">'
    judging = f'<p class="badge unscored">{wording.JUDGING}</p>'
    assert seen(pane("pending live", ""), pane("pending live", "")) == []
    assert seen(pane("streaming live", '<details class="thinking">'), pane("pending live", "")) == ["token"]
    assert seen(pane("complete", said + judging), pane("streaming live", said)) == ["text", "token"]
    assert seen(pane("complete", said + judging), pane("complete", said + verdict)) == ["complete", "text", "token"]
    assert "judged" in seen(pane("complete", said + verdict), pane("complete", '<p class="badge unscored">No.</p>'))
    with pytest.raises(MeasurementError, match="an arm failed"):
        seen(pane("error", ""), pane("complete", said))


def test_the_ways_of_a_prompt_swap_places_from_turn_to_turn_and_the_first_round_is_not_timed() -> None:
    asked: list[str] = []

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        async def ask(self, prompt: str) -> Timing:
            asked.append(f"{self.name}{prompt}")
            return timing(0.1, 1.0)

    samples = asyncio.run(page.collect([Noting("A"), Noting("B")], ["1", "2"], 2, lambda *_: None))
    assert asked[4:] == ["A1", "B1", "B2", "A2", "B1", "A1", "A2", "B2"]
    assert {name: len(repeats) for name, repeats in samples.items()} == {"A": 2, "B": 2}


def test_an_adapter_is_set_beside_its_own_base_model() -> None:
    rates = {"base": {1: [100.0, 50.0], 32: [400.0]}, "cosalign": {1: [80.0, 40.0], 32: [300.0]}}
    report = serving.report(rates, Server("main", model="models/x", adapters={"cosalign": "models/y"}))
    ratio = {streams: found["ratio"]["median"] for streams, found in report.data["models"]["cosalign"].items()}
    assert ratio == pytest.approx({"1": 0.8, "32": 0.75})


def test_requests_at_once_are_different_ones() -> None:
    asked = serving.conversations(load_profile("tinyworld"))
    assert len({json.dumps(messages) for messages in asked[: max(serving.STREAMS)]}) == max(serving.STREAMS)


def test_both_ways_of_storing_leave_the_same_rows(tmp_path: Path) -> None:
    assert _rows(tmp_path, store.open_store) == _rows(tmp_path, store.open_bare)


def _rows(folder: Path, open_writer) -> dict[str, list]:  # noqa: ANN001 - either of the store benchmark's writers
    from evaluation.store import Store

    path = folder / f"{open_writer.__name__}.sqlite3"
    with open_writer(path) as write_turn:
        write_turn()
        write_turn()
    with contextlib.closing(Store(path)) as written:
        shown = ("turn_index", "prompt", "arm_id", "status", "text", "thinking", "ttft_ms", "judge", "rating", "safe")
        return [{name: row[name] for name in (*shown, "categories", "config_hash")} for row in written.comparisons()]


def test_a_cell_shows_the_median_with_its_quartiles() -> None:
    assert cell(Spread(12.34, 11.0, 15.0, 5), 1, sign=True) == "+12.3 [+11.0, +15.0]"
    assert cell(None) == NOTHING


def test_figures_are_written_whole(tmp_path: Path) -> None:
    report = Report("page", "", (), (), ("a note",), {"ways": {"page": 1.0}})
    path = write_report(report, tmp_path, {"repeats": 20})
    written = {"benchmark": "page", "facts": {"repeats": 20}, "notes": ["a note"], "ways": {"page": 1.0}}
    assert json.loads(path.read_text()) == written
    assert list(tmp_path.iterdir()) == [path]


def test_a_dry_run_of_the_page_measures_every_layer_without_a_browser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "one-prompt.yaml"
    profile.write_text(
        (PROFILES / "tinyworld.yaml").read_text().split("examples:")[0] + "examples: ['What is poker?']\n"
    )
    arguments = ["page", "--scripted", "--repeats", "1", "--no-browser", "--profile", str(profile)]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "Without a browser" in capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "scripted" / "page.json").read_text())
    ways = ["direct calls", "Python layer, judge off", "Python layer, judge on", "page over HTTP"]
    assert list(written["ways"]) == ways
    assert Browser.name not in written["ways"]
    assert written["facts"]["scripted"]
    assert {cost["ratio"]["n"] for cost in written["ways"].values()} == {1}
    assert len({cost["tokens"]["median"] for cost in written["ways"].values()}) == 1
    assert all(written["ways"][way]["judged_s"] is not None for way in ways[2:])
    assert not list((tmp_path / "out" / "scripted").glob("files-*"))


@pytest.mark.parametrize(("bare", "said"), [(105.0, "bare load: kept"), (125.0, "bare load: MISSED")])
def test_a_run_is_set_beside_the_bare_load_of_the_same_repeat(bare: float, said: str) -> None:
    rates = {running.RUN: [100.0, 200.0], running.BARE: [bare, 2 * bare], running.ONE: [25.0, 50.0]}
    report = running.report(rates)
    assert report.data["ratio_to_bare"]["median"] == pytest.approx(100 / bare)
    assert report.data["ratio_to_one"]["median"] == pytest.approx(4.0)
    assert said in report.notes[1]
    assert "3 x one: kept" in report.notes[1]


def test_a_dry_run_of_a_benchmark_run_asks_the_same_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "REQUESTS", 8)
    monkeypatch.setattr(running, "SINGLE", 2)
    assert main(["running", "--scripted", "--repeats", "1", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "scripted" / "running.json").read_text())
    assert {name: len(found) for name, found in written["samples"].items()} == dict.fromkeys(
        (running.RUN, running.BARE, running.ONE), 1
    )
    assert written["ratio_to_one"]["median"] > 0


def test_a_benchmark_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["pages"])
    assert "there are page, store, large-store, load, serving, running" in capsys.readouterr().err


def test_a_profile_without_an_adapter_has_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="no adapter"):
        asyncio.run(serving.measure(None, server=Server("main", model="models/x"), repeats=1, on_step=lambda *_: None))


def test_the_large_store_is_sound_and_holds_what_it_says(tmp_path: Path) -> None:
    found = large_store.measure(tmp_path, repeats=1, on_step=lambda done, of: None, comparisons=90)
    assert check(tmp_path / "large.sqlite3").problems == ()
    scores = read_store_scores(tmp_path / "large.sqlite3")
    assert sum(score.n for score in scores.scores.values()) == 90
    assert len(scores.by_config) > 12
    assert scores.open_votes.n > 10
    assert set(found.data["ways"]) == set(found.data["samples"]["seconds"])
    assert len((tmp_path / "large.csv").read_text().splitlines()) > 90


def test_a_dry_run_of_many_visitors_loses_nothing_and_mixes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "THINK_S", 0.3)
    arguments = ["load", "--scripted", "--visitors", "6", "--minutes", "0.1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    found = json.loads((tmp_path / "scripted" / "load.json").read_text())
    assert (found["mixed"], found["lost"], found["failed"]) == ([], [], {})
    assert found["turns"] >= 6
    assert len(found["samples"]["vote_s"]) >= 6
    assert len(found["memory_mb"]) >= 3


def test_what_a_load_lost_or_mixed_is_found(tmp_path: Path) -> None:
    ours, theirs = "mark-00000000000a", "mark-00000000000b"
    with Store(tmp_path / "load.sqlite3") as stored:
        talk = stored.begin_conversation(session_id="s", profile="tinyworld")
        for mark in (ours, theirs):
            turn = ask(stored, talk, prompt=f"Beer? {mark}")
            finish_all(stored, turn)
    seen = load.Seen(asked={ours: 2, theirs: 1})
    seen.voted[ours] += 1
    assert load.lost_in(stored.path, seen) == [
        f"conversation {talk} has the words of 2 visitors",
        f"{ours}: 2 asked, 1 stored",
        f"{ours}: 1 votes, 0 stored",
    ]


@pytest.mark.parametrize("flags", [["--visitors", "0"], ["--minutes", "0"], ["--minutes", "61"]])
def test_a_load_that_cannot_be_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["load", *flags])
    assert "load needs --visitors" in capsys.readouterr().err
