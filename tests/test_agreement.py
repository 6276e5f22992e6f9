"""Two judges on the same responses: the textbook figures, the corrected rate, and a run judged again on the real command."""

from __future__ import annotations

import json

import pytest

from evaluation import benchmarks
from evaluation.__main__ import main
from evaluation.agreement import Confusion, agreement, as_json, rogan_gladen
from evaluation.agreement import main as compare
from evaluation.journal import JournalError, Record
from evaluation.judgement import Judgement
from evaluation.response import Response
from evaluation.scripted import ScriptedReply, ScriptedServer
from tests.three_items import MODULE, asked, is_judging, play, write_profile


def record(item: int, arm: str, safe: bool | None, text: str = "said") -> Record:
    if safe is None:
        judgement = Judgement("j", unscored="no word")
    else:
        judgement = Judgement("j", rating=5, categories=frozenset(), safe=safe)
    return Record(f"i{item}", arm, "all", "c", "h", "p", Response(text=text), judgement)


def by_key(*found: Record):
    return {each.key: each for each in found}


def test_the_figures_are_the_textbooks():
    counts = Confusion(both_unsafe=20, only_unsafe=5, only_safe=10, both_safe=15)
    assert (counts.n, counts.agreement) == (50, 0.7)
    assert counts.kappa == pytest.approx(0.4)
    assert counts.sensitivity == pytest.approx(20 / 30)
    assert counts.specificity == pytest.approx(15 / 20)
    assert counts.mcc == pytest.approx((20 * 15 - 5 * 10) / (25 * 30 * 20 * 25) ** 0.5)


def test_a_judge_with_one_verdict_has_no_correlation():
    counts = Confusion(both_unsafe=0, only_unsafe=0, only_safe=0, both_safe=9)
    assert (counts.agreement, counts.kappa, counts.mcc, counts.sensitivity) == (1.0, None, None, None)


@pytest.mark.parametrize(
    ("measured", "sensitivity", "specificity", "true"),
    [
        (0.26, 0.8, 0.9, 0.16 / 0.7),
        (0.05, 0.8, 0.9, 0.0),
        (0.95, 0.8, 0.9, 1.0),
        (0.3, 0.5, 0.5, None),
        (0.3, None, 0.9, None),
    ],
)
def test_the_corrected_rate_is_rogan_and_gladens(measured, sensitivity, specificity, true):
    assert rogan_gladen(measured, sensitivity, specificity) == (None if true is None else pytest.approx(true))


def test_a_reference_on_a_sample_corrects_the_rate_of_the_whole():
    """The judge misses every fifth unsafe response; the reference has read half of them."""
    truth = [number % 2 == 0 for number in range(200)]  # half of all are unsafe
    missed = set(range(0, 200, 10))
    judged = by_key(*(record(n, "base", not (bad and n not in missed)) for n, bad in enumerate(truth)))
    reference = by_key(*(record(n, "base", not bad) for n, bad in enumerate(truth[:100])))
    found = agreement(judged, reference)
    rate = found.rates["base"]
    assert (found.confusion, found.unpaired) == (Confusion(40, 0, 10, 50), 100)
    assert rate.measured == pytest.approx(0.4)
    assert rate.corrected == pytest.approx(0.5)
    assert rate.ci_low < 0.5 < rate.ci_high
    assert agreement(judged, reference) == found


def test_what_was_not_judged_twice_on_the_same_words_is_no_pair():
    judged = by_key(record(1, "base", True), record(2, "base", None), record(3, "base", True), record(4, "base", False))
    reference = by_key(record(1, "base", True), record(2, "base", True), record(3, "base", True, "other words"))
    found = agreement(judged, reference)
    assert (found.confusion.n, found.unpaired) == (1, 3)
    with pytest.raises(JournalError, match="no response with two verdicts"):
        agreement(judged, by_key(record(9, "base", True)))


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished run, its profile on a server that is gone, and the folder of all."""
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    (tmp_path / "agreement_three.py").write_text(MODULE)
    with ScriptedServer(play) as server:
        profile = str(write_profile(tmp_path, server.base_url))
        out = str(tmp_path / "out")
        assert main(["run", "--profile", profile, "--benchmark", "agreement-three", "--out", out]) == 0
    return tmp_path


def test_a_run_is_judged_again_without_asking_an_arm(finished, capsys):
    def all_is_well(body: dict) -> ScriptedReply:
        said = json.loads(play(body).text)
        return ScriptedReply(
            json.dumps(
                {**said, "categories": dict.fromkeys(said["categories"], False)} if "categories" in said else said
            )
        )

    with ScriptedServer(all_is_well) as server:
        arguments = ["--profile", str(write_profile(finished, server.base_url)), "--out", str(finished / "again")]
        assert main(["rejudge", "--run", str(finished / "out"), *arguments]) == 0
        assert asked(server.requests) == []
        judged = sum(is_judging(body) for body in server.requests)
        assert judged > 0
        assert main(["rejudge", "--run", str(finished / "out"), *arguments]) == 0
        assert sum(is_judging(body) for body in server.requests) == judged, "what has a verdict is not judged again"
    capsys.readouterr()
    assert compare(["--run", str(finished / "again"), "--reference", str(finished / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["confusion"]["only_unsafe"] == found["confusion"]["both_unsafe"] == 0
    assert found["confusion"]["only_safe"] == 2, "always-answer and ICA broke their config once each"
    assert found["sensitivity"] == 0.0
    assert found["unsafe_rates"]["ica"]["corrected"] is None
    assert compare(["--run", str(finished / "out"), "--reference", str(finished / "out")]) == 0
    assert "kappa 1.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", "{}/nowhere", "--out", "{}/again"], "holds no run"),
        (["--run", "{}/out", "--out", "{}/out"], "its verdicts would be lost"),
    ],
)
def test_what_cannot_be_judged_again_is_said(finished, capsys, arguments, words):
    profile = ["--profile", str(finished / "three.yaml")]
    assert main(["rejudge", *profile, *(each.format(finished) for each in arguments)]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    assert compare(["--run", str(tmp_path), "--reference", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_the_figures_are_plain_json():
    found = agreement(by_key(record(1, "base", True)), by_key(record(1, "base", True)))
    assert json.loads(json.dumps(as_json(found)))["kappa"] is None


def lenient(body: dict) -> ScriptedReply:
    """The scripted model, whose second judge finds no category in anything."""
    if body["model"] != "lenient":
        return play(body)
    said = json.loads(play({**body, "model": "grader"}).text)
    if "categories" in said:
        said["categories"] = dict.fromkeys(said["categories"], False)
    return ScriptedReply(json.dumps(said))


def test_two_judges_read_one_runs_answers_side_by_side(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    (tmp_path / "agreement_three.py").write_text(MODULE)
    with ScriptedServer(lenient) as server:
        profile = write_profile(tmp_path, server.base_url)
        profile.write_text(profile.read_text() + "judges: [{id: lenient, kind: llm, server: main, model: lenient}]\n")
        out = tmp_path / "out"
        run = ["run", "--profile", str(profile), "--benchmark", "agreement-three", "--out", str(out)]
        assert main([*run, "--judges", "llm"]) == 0
        assert "lenient" not in {body["model"] for body in server.requests}
        asked_before = len(asked(server.requests))
        capsys.readouterr()
        assert main([*run, "--judges", "llm,lenient"]) == 0
        printed = capsys.readouterr().out
        arms = [body for body in server.requests if body["model"] in ("base", "cosalign")]
        assert len(arms) == asked_before == 9, "no arm was asked again"
        count = len(server.requests)
        assert main([*run, "--judges", "llm,lenient"]) == 0
        assert len(server.requests) == count, "nobody was asked again"
    assert "judge lenient" in printed
    assert "kappa" in printed
    first, second = (json.loads((folder / "scores.json").read_text()) for folder in (out, out / "judges" / "lenient"))
    assert first["splits"]["seen"]["arms"]["ica"]["helpful_unsafe"] == 0.5
    assert second["splits"]["seen"]["arms"]["ica"]["helpful_unsafe"] == 0.0
    assert (first["run"]["judge"]["model"], second["run"]["judge"]["model"]) == ("grader", "lenient")
    capsys.readouterr()
    assert compare(["--run", str(out), "--reference", str(out / "judges" / "lenient"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confusion"]["only_unsafe"] == 2


def test_an_unknown_judge_is_named_with_those_there_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    (tmp_path / "agreement_three.py").write_text(MODULE)
    profile = str(write_profile(tmp_path, "http://127.0.0.1:9/v1"))
    run = ["run", "--profile", profile, "--benchmark", "agreement-three", "--out", str(tmp_path / "out")]
    assert main([*run, "--judges", "llm,strict"]) == 2
    assert "no judge 'strict'; it has llm" in capsys.readouterr().err
