"""Benchmark runs against a scripted server: figures, stopping and going on, and what a folder refuses."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from evaluation import benchmarks
from evaluation.benchmarks import BenchmarkError, Item, load_benchmark
from evaluation.cascade import FILTERED, REFUSAL
from evaluation.fingerprint import folder_hash
from evaluation.journal import Journal, JournalError
from evaluation.llm_judge import JUDGE_PROMPTS
from evaluation.report import build_report, print_report, scores, write_scores
from evaluation.run import MAX_REFUSED, RunError, narrow, plan, run_facts, run_jobs, unfinished
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.serving import Serving
from presets.arm import demos_hash
from presets.profile import load_profile
from presets.yaml_file import PresetError
from tests.three_items import CASINO, MODULE, asked, is_judging, judged, play, profile_at, three

ARMS = ("base", "ica", "cosalign")


def run(
    folder: Path,
    script,
    *,
    items: list[Item] | None = None,
    arms: tuple[str, ...] = ARMS,
    retry_delays_s: tuple[float, ...] = (),
    concurrency: int = 4,
) -> list[dict]:
    """Run the benchmark in `folder / "out"` and return the requests that the server saw, also when the run fails."""
    with ScriptedServer(script) as server:
        profile = narrow(profile_at(folder, server.base_url, cascades=True), arms)
        with Journal(folder / "out", run_facts(profile, "three")) as journal:
            todo = unfinished(plan(three() if items is None else items, profile.arms), journal)
            serving = Serving(profile, log_folder=folder / "logs")
            limits = {"retry_delays_s": retry_delays_s, "concurrency": concurrency}
            try:
                asyncio.run(run_jobs(profile, serving, journal, todo, **limits))
            except RunError as error:
                error.requests = server.requests
                raise
        return server.requests


def filtering(*, broken: str = ""):
    """A script that judges whenever a schema is asked for, whoever is asked; the model `broken` does so unreadably."""

    def script(body: dict) -> ScriptedReply:
        if "response_format" not in body:
            return play(body)
        return ScriptedReply("hm" if body["model"] == broken else judged(body))

    return script


def report_of(folder: Path, *, arms: tuple[str, ...] = ARMS):
    with Journal(folder / "out", {}) as journal:
        return build_report(three(), journal.records, arms)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "out" / "judgements.jsonl").read_text().splitlines()]


class Failing:
    """Plays its part for so many requests to the arms, then answers every one with this status."""

    def __init__(self, after: int, status: int) -> None:
        self.left, self.status = after, status

    def __call__(self, body: dict) -> ScriptedReply:
        if is_judging(body):
            return play(body)
        self.left -= 1
        return play(body) if self.left >= 0 else ScriptedReply("", status=self.status, error="no more")


def test_a_run_scores_arms_baselines_and_ceiling(tmp_path):
    run(tmp_path, play)
    found = scores(report_of(tmp_path), {"profile": "three"})
    seen = found["splits"]["seen"]
    assert {arm: part["cosa_score"] for arm, part in seen["arms"].items()} == pytest.approx(
        {"always-refuse": 0.0, "always-answer": 0.0, "base": 0.0, "ica": 0.0, "cosalign": 0.5}
    )
    assert seen["arms"]["ica"]["helpful_safe"] == seen["arms"]["ica"]["helpful_unsafe"] == 0.5
    assert seen["arms"]["cosalign"]["helpful_unsafe"] == 0.0
    assert (seen["ceiling"], found["splits"]["unseen"]["ceiling"]) == (0.5, 1.0)
    assert found["splits"]["unseen"]["arms"]["ica"]["cosa_score"] == pytest.approx(0.6)


def test_a_cascade_refuses_what_its_filter_finds_to_break_the_config(tmp_path):
    requests = run(tmp_path, filtering(), arms=("ica", "cascade", "cascade-oracle"))
    found = scores(report_of(tmp_path, arms=("ica", "cascade", "cascade-oracle")), {})["splits"]["seen"]["arms"]
    assert (found["ica"]["helpful_unsafe"], found["ica"]["helpful_safe"]) == (0.5, 0.5)
    for name in ("cascade", "cascade-oracle"):
        assert (found[name]["helpful_unsafe"], found[name]["helpful_safe"]) == (0.0, 0.5)
    assert [name for name, arm in found.items() if arm["bound"]] == ["cascade-oracle"]
    said = {(line["item"], line["arm"]): line["response"] for line in lines(tmp_path)}
    for name in ("cascade", "cascade-oracle"):
        assert (said["b", name]["text"], said["b", name]["finish_reason"]) == (REFUSAL, FILTERED)
        assert said["a", name]["text"] == said["a", "ica"]["text"]
    judging = [body["model"] for body in requests if "response_format" in body]
    assert set(judging) == {"base", "grader"}, "'self' asks the arm's own model"
    assert len(asked([body for body in requests if "response_format" not in body])) == 3, (
        "one answer for all three arms"
    )


def test_what_another_arm_has_on_record_is_not_asked_for_again(tmp_path):
    run(tmp_path, filtering(), arms=("ica",))
    requests = run(tmp_path, filtering(), arms=("ica", "cascade"))
    assert [body for body in requests if "response_format" not in body] == []
    said = {(line["item"], line["arm"]): line["response"]["text"] for line in lines(tmp_path)}
    assert [said[item, "cascade"] for item in "abc"] == ["HALF gambling", REFUSAL, "HALF gambling"]


def test_a_filter_that_does_not_answer_gives_no_refusal_but_a_missing_response(tmp_path):
    def script(body: dict) -> ScriptedReply:
        is_filter = "response_format" in body and body["model"] == "base"
        return ScriptedReply("", status=503, error="busy") if is_filter else filtering()(body)

    run(tmp_path, script, arms=("cascade",))
    missing = [line for line in lines(tmp_path) if line["arm"] == "cascade"]
    assert len(missing) == 3
    assert all("busy" in line["error"] and line["judgement"]["safe"] is None for line in missing)
    run(tmp_path, filtering(), arms=("cascade",))
    said = {(line["item"], line["arm"]): line["response"]["text"] for line in lines(tmp_path)}
    assert said["b", "cascade"] == REFUSAL
    assert said["a", "cascade"] == "HALF gambling"


@pytest.mark.parametrize(("passes", "text"), [(False, REFUSAL), (True, "HALF alcohol")])
def test_a_response_that_the_filter_cannot_read_passes_only_where_the_arm_says_so(tmp_path, passes, text):
    with ScriptedServer(filtering(broken="base")) as server:
        profile = narrow(profile_at(tmp_path, server.base_url, cascades=True), ["cascade"])
        arms = (replace(profile.arms[0], unreadable_passes=passes),)
        profile = replace(profile, arms=arms)
        with Journal(tmp_path / "out", run_facts(profile, "three")) as journal:
            serving = Serving(profile, log_folder=tmp_path / "logs")
            asyncio.run(run_jobs(profile, serving, journal, plan(three(), arms), retry_delays_s=()))
    said = {(line["item"], line["arm"]): line["response"]["text"] for line in lines(tmp_path)}
    assert said["b", "cascade"] == text


@pytest.mark.parametrize(
    ("drawn", "chosen"),
    [
        (("FULL alcohol", "HALF gambling", "FULL gambling", "REFUSE"), "FULL gambling"),
        (("HALF gambling", "HALF gambling again", "REFUSE", "FULL alcohol"), "HALF gambling"),
        (("FULL alcohol", "HALF alcohol", "FULL insults", "HALF privacy"), REFUSAL),
    ],
)
def test_best_of_n_takes_the_most_helpful_of_those_that_obey(tmp_path, drawn, chosen):
    def script(body: dict) -> ScriptedReply:
        return ScriptedReply(judged(body) if "response_format" in body else drawn[body["seed"]])

    with ScriptedServer(script) as server:
        profile = narrow(profile_at(tmp_path, server.base_url, cascades=True), ["cascade"])
        profile = replace(profile, arms=(replace(profile.arms[0], best_of=4),))
        with Journal(tmp_path / "out", run_facts(profile, "three")) as journal:
            serving = Serving(profile, log_folder=tmp_path / "logs")
            asyncio.run(run_jobs(profile, serving, journal, plan(three()[:1], profile.arms), retry_delays_s=()))
        asked = [(body["seed"], body["temperature"]) for body in server.requests if "response_format" not in body]
    assert asked == [(0, 0.0), (1, 1.0), (2, 1.0), (3, 1.0)], "the first is the arm's own answer"
    assert {line["arm"]: line["response"]["text"] for line in lines(tmp_path)}["cascade"] == chosen


def test_a_run_with_another_filter_is_another_run(tmp_path):
    profile = narrow(profile_at(tmp_path, "http://127.0.0.1:9/v1", cascades=True), ["cascade"])
    lenient = replace(profile, arms=(replace(profile.arms[0], unreadable_passes=True),))
    with Journal(tmp_path / "out", run_facts(profile, "three")):
        pass
    with pytest.raises(JournalError, match="arms"), Journal(tmp_path / "out", run_facts(lenient, "three")):
        pass


def test_the_table_marks_a_bound(tmp_path):
    run(tmp_path, filtering(), arms=("ica", "cascade-oracle"))
    console = Console(width=140, file=io.StringIO())
    print_report(report_of(tmp_path, arms=("ica", "cascade-oracle")), console)
    assert "cascade-oracle (bound)" in console.file.getvalue()


def test_cosalign_is_compared_with_every_other_row(tmp_path):
    run(tmp_path, play)
    unseen = scores(report_of(tmp_path), {})["splits"]["unseen"]["differences"]
    assert [(part["arm"], part["minus"]) for part in unseen] == [
        ("cosalign", "base"),
        ("cosalign", "ica"),
        ("cosalign", "always-refuse"),
        ("cosalign", "always-answer"),
    ]
    assert unseen[1]["mean"] == pytest.approx(0.4)
    assert all(part["p"] is None or part["p"] <= part["p_holm"] <= 1 for part in unseen)


def test_the_scores_file_has_the_promised_fields(tmp_path):
    run(tmp_path, play)
    path = tmp_path / "scores.json"
    write_scores(path, report_of(tmp_path), {"profile": "three"})
    found = json.loads(path.read_text())
    wanted = {"cosa_score", "ci_low", "ci_high", "helpful_safe", "helpful_unsafe", "n", "n_unscored"}
    for split in ("seen", "unseen"):
        assert "ceiling" in found["splits"][split]
        for arm in ARMS:
            assert wanted <= set(found["splits"][split]["arms"][arm])
    assert (found["splits"]["seen"]["arms"]["base"]["n"], found["run"]) == (2, {"profile": "three"})


def test_the_table_shows_what_the_file_says(tmp_path):
    run(tmp_path, play)
    console = Console(width=120, file=io.StringIO())
    print_report(report_of(tmp_path), console)
    text = console.file.getvalue()
    row = next(line for line in text.splitlines() if "unseen" in line and "cosalign" in line)
    assert "+1.000" in row
    assert "100.0" in row
    assert "unseen: cosalign minus ica: +0.400" in text
    for name in ("always-refuse", "always-answer", "n_unscored", "ceiling"):
        assert name in text


def test_every_row_is_written_with_its_response_and_judgement(tmp_path):
    run(tmp_path, play)
    rows = lines(tmp_path)
    assert len(rows) == 3 * (len(ARMS) + 3)
    row = next(row for row in rows if (row["item"], row["arm"]) == ("a", "cosalign"))
    assert row["response"]["text"] == "FULL gambling"
    assert row["judgement"]["categories"] == ["gambling"]
    assert row["config_hash"] == CASINO.content_hash


def test_a_finished_run_asks_nothing_again(tmp_path):
    run(tmp_path, play)
    assert run(tmp_path, play) == []


def test_a_stopped_run_goes_on_and_never_asks_twice(tmp_path):
    with pytest.raises(RunError, match="does not answer") as stopped:
        run(tmp_path, Failing(after=4, status=503), concurrency=1)
    before = asked(stopped.value.requests)[:4]
    after = asked(run(tmp_path, play))
    assert len(before + after) == len(set(before + after)) == 3 * len(ARMS)
    assert [part.arms["cosalign"].n for part in report_of(tmp_path)] == [2, 1]


def test_a_line_that_was_being_written_is_asked_again(tmp_path):
    run(tmp_path, play)
    path = tmp_path / "out" / "judgements.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:-1]) + whole[-1][:40])
    again = asked(run(tmp_path, play))
    assert len(again) <= 1
    assert len(lines(tmp_path)) == len(whole)


def test_a_damaged_line_is_named(tmp_path):
    run(tmp_path, play)
    path = tmp_path / "out" / "judgements.jsonl"
    path.write_text("not JSON\n" + path.read_text())
    with pytest.raises(JournalError, match="line 1 is damaged"):
        run(tmp_path, play)


def test_a_response_without_a_verdict_is_judged_again_but_not_asked_for(tmp_path):
    def mute_judge(body: dict) -> ScriptedReply:
        return ScriptedReply("I would rather not.") if is_judging(body) else play(body)

    run(tmp_path, mute_judge)
    assert [part.arms["ica"].n_unscored for part in report_of(tmp_path)] == [2, 1]
    requests = run(tmp_path, play)
    assert asked(requests) == []
    assert [part.arms["ica"].n_unscored for part in report_of(tmp_path)] == [0, 0]


def test_a_fault_that_passes_is_waited_for(tmp_path):
    faults = [503, 429]

    def script(body: dict) -> ScriptedReply:
        if not is_judging(body) and faults:
            return ScriptedReply("", status=faults.pop(), error="wait")
        return play(body)

    run(tmp_path, script, retry_delays_s=(0.01, 0.01))
    assert all(row["error"] == "" for row in lines(tmp_path))


def test_one_refused_request_is_unscored_and_asked_again_later(tmp_path):
    def script(body: dict) -> ScriptedReply:
        if body["model"] == "cosalign" and "Item a" in body["messages"][-1]["content"]:
            return ScriptedReply("", status=400, error="maximum context length is 4 tokens")
        return play(body)

    run(tmp_path, script)
    row = next(row for row in lines(tmp_path) if row["error"])
    assert (row["item"], row["arm"]) == ("a", "cosalign")
    assert report_of(tmp_path)[0].arms["cosalign"].n_unscored == 1
    assert [model for model, _, _ in asked(run(tmp_path, play))] == ["cosalign"]
    assert report_of(tmp_path)[0].arms["cosalign"].n_unscored == 0


def test_a_server_that_refuses_everything_ends_the_run(tmp_path):
    items = [replace(item, id=f"{item.id}{n}", prompt=f"{n}") for n in range(MAX_REFUSED) for item in three()]
    with pytest.raises(RunError, match=f"refused {MAX_REFUSED} times in a row"):
        run(tmp_path, Failing(after=0, status=404), items=items)


def test_arms_can_be_added_to_a_folder(tmp_path):
    run(tmp_path, play, arms=("base",))
    later = asked(run(tmp_path, play, arms=("base", "cosalign")))
    assert {model for model, _, _ in later} == {"cosalign"}


def test_a_folder_made_with_other_facts_is_refused(tmp_path):
    out = tmp_path / "out"
    facts = {"sampling": {"seed": 0}, "arms": {"cosalign": {"weights": "old"}}}
    with Journal(out, facts):
        pass
    with (
        pytest.raises(JournalError, match=r'arms.cosalign.weights "old", this run has "new"'),
        Journal(out, {**facts, "arms": {"cosalign": {"weights": "new"}}}),
    ):
        pass


def test_a_changed_item_is_refused(tmp_path):
    run(tmp_path, play)
    items = [replace(item, prompt=item.prompt + " Now.") for item in three()]
    with pytest.raises(JournalError, match="'a' has changed"):
        run(tmp_path, play, items=items)


def test_two_runs_cannot_share_a_folder(tmp_path):
    with (
        Journal(tmp_path, {}),
        pytest.raises(JournalError, match="another run is writing here"),
        Journal(tmp_path, {}),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="choose another --out"), Journal(tmp_path / "file" / "out", {}):
        pass


def test_an_unknown_arm_is_named_with_those_there_are(tmp_path):
    profile = profile_at(tmp_path, "http://127.0.0.1:9/v1")
    with pytest.raises(PresetError, match="no arm 'nope'; it has base, ica, cosalign"):
        narrow(profile, ["nope"])


def test_an_arm_with_a_baselines_name_is_refused(tmp_path):
    profile = profile_at(tmp_path, "http://127.0.0.1:9/v1")
    with pytest.raises(JournalError, match="'oracle' has the name of a baseline"):
        plan(three(), [replace(profile.arms[0], id="oracle")])


def test_a_folder_of_rows_remembers_the_prompts_of_its_judge(tmp_path, monkeypatch):
    prompts = tmp_path / "judge_prompts"
    shutil.copytree(JUDGE_PROMPTS, prompts)
    monkeypatch.setattr("evaluation.provenance.JUDGE_PROMPTS", prompts)
    profile = profile_at(tmp_path, "http://127.0.0.1:9/v1")
    with Journal(tmp_path / "out", run_facts(profile, "three")):
        pass
    (prompts / "helpfulness.txt").write_text("Be kind. {prompt} {response} {nonce}")
    with (
        pytest.raises(JournalError, match="judge.prompts"),
        Journal(tmp_path / "out", run_facts(profile, "three")),
    ):
        pass


def test_a_folder_of_rows_remembers_the_words_of_its_world(tmp_path, monkeypatch):
    words = tmp_path / "words"
    (words / "topics").mkdir(parents=True)
    (words / "topics" / "alcohol.yaml").write_text("topics: []")
    monkeypatch.setattr("evaluation.provenance.WORDS", words)
    before = run_facts(load_profile("tinyworld", {}), "tinyworld")["judge"]
    assert run_facts(load_profile("tinyworld", {}), "tinyworld")["judge"] == before
    (words / "topics" / "alcohol.yaml").write_text("topics: [cider]")
    assert run_facts(load_profile("tinyworld", {}), "tinyworld")["judge"]["words"] != before["words"]


def test_an_arms_facts_hold_the_hash_of_its_base_and_of_its_demos(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"weights")
    profile = load_profile("tinyworld", {})
    profile = replace(profile, servers=(replace(profile.servers[0], model=str(base), adapters={"cosalign": "a/b"}),))
    arms = run_facts(profile, "tinyworld")["arms"]
    assert arms["base"]["weights"] == {"model": folder_hash(base)}
    assert arms["cosalign"]["weights"] == {"model": folder_hash(base), "adapter": "a/b"}
    assert (arms["ica"]["demos"], arms["ica-demos"]["demos"]) == (None, demos_hash("tinyworld"))


@pytest.fixture
def benchmark_folder(tmp_path, monkeypatch):
    """A folder whose modules are benchmarks."""
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    return tmp_path


def write_benchmark(folder: Path, name: str, source: str) -> str:
    """Write a benchmark module with a name that no other test has imported."""
    module = f"{name}_{abs(hash(folder)) % 10**8}"
    (folder / f"{module}.py").write_text(source)
    return module.replace("_", "-")


def test_a_benchmark_is_loaded_by_name(benchmark_folder):
    name = write_benchmark(benchmark_folder, "three", MODULE)
    assert [item.id for item in load_benchmark(name)] == ["a", "b", "c"]


def test_a_limit_keeps_that_many_of_each_split_and_grows_steadily(benchmark_folder):
    source = MODULE.replace(
        "return three()",
        "return [type(i)(f'{i.id}{n}', i.split, i.config, i.prompt, i.situation, i.cluster) for n in range(9) for i in three()]",
    )
    name = write_benchmark(benchmark_folder, "many", source)
    small, large = ({item.id for item in load_benchmark(name, limit=limit)} for limit in (2, 5))
    assert [item.split for item in load_benchmark(name, limit=2)].count("unseen") == 2
    assert (len(small), len(large)) == (4, 10)
    assert small < large


BROKEN = [
    pytest.param("def items():\n    return []\n", None, "is empty", id="empty"),
    pytest.param(MODULE.replace("three()\n", "three() * 2\n"), None, "stands there twice", id="twice"),
    pytest.param(MODULE, 0, "at least 1", id="limit zero"),
]


@pytest.mark.parametrize(("source", "limit", "words"), BROKEN)
def test_a_benchmark_that_cannot_be_run_says_why(benchmark_folder, source, limit, words):
    name = write_benchmark(benchmark_folder, "broken", source)
    with pytest.raises(BenchmarkError, match=words):
        load_benchmark(name, limit=limit)


def test_an_unknown_benchmark_is_named_with_those_there_are():
    with pytest.raises(BenchmarkError, match="no benchmark 'nope'; there are: .*tinyworld"):
        load_benchmark("nope")
