"""A run as Inspect's logs, written and read by Inspect itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from inspect_ai.log import read_eval_log

from evaluation import benchmarks, inspect_log
from evaluation.__main__ import main
from evaluation.benchmarks import Item
from evaluation.inspect_log import NoInspectError, write_inspect_logs
from evaluation.inspect_log import main as write
from evaluation.journal import Record
from evaluation.judgement import Judgement
from evaluation.response import Response
from evaluation.scripted import ScriptedServer
from tests.three_items import MODULE, play, three, write_profile

FACTS = {
    "profile": "three",
    "benchmark": "three",
    "sampling": {"temperature": 0.0, "seed": 7, "max_tokens": 9},
    "arms": {"base": {"model": "small", "shows_config": False}, "cosalign": {"model": "small", "shows_config": True}},
}
MADE = datetime(2026, 11, 27, tzinfo=UTC)


def record(item: Item, arm: str, judgement: Judgement, response: Response, error: str = "") -> Record:
    config = item.config
    return Record(
        item.id, arm, item.split, config.id, config.content_hash, item.prompt, response, judgement, error=error
    )


@pytest.fixture
def records():
    first, second, third = three()
    helpful = Judgement("exact", rating=5, categories=frozenset({"gambling"}), safe=True, reason="It answers.")
    broken = Judgement("exact", rating=4, categories=frozenset({"alcohol"}), safe=False, rule="No alcohol.")
    found = [
        record(first, "cosalign", helpful, Response("Full.", thinking="read", prompt_tokens=3, completion_tokens=2)),
        record(second, "cosalign", broken, Response("Ale.")),
        record(third, "cosalign", Judgement("", unscored="no response"), Response(), error="the server is gone"),
        record(first, "base", helpful, Response("Full.")),
        record(first, "oracle", helpful, Response("Full.")),
    ]
    return {each.key: each for each in found}


def test_inspect_reads_what_was_asked_said_and_found(records, tmp_path):
    written = write_inspect_logs(tmp_path, three(), records, FACTS, MADE)
    assert [path.name for path in written] == ["cosalign.json", "base.json"]
    log = read_eval_log(str(written[0]))
    assert (log.status, log.eval.task, log.eval.model) == ("error", "three", "three/small")
    assert log.eval.model_generate_config.seed == 7
    metrics = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    assert metrics["cosa_score"] == pytest.approx((1 - 0.8) / 2)
    assert (metrics["n"], metrics["n_unscored"]) == (2, 1)
    first, second, third = log.samples
    assert [message.role for message in first.input] == ["system", "user"]
    assert three()[0].config.text in first.input[0].content
    assert (first.output.completion, first.output.usage.total_tokens) == ("Full.", 5)
    assert (first.scores["cosa"].value, second.scores["cosa"].value) == (1.0, -0.8)
    assert second.scores["cosa"].metadata["rule"] == "No alcohol."
    assert (third.scores, third.metadata["error"]) == ({}, "the server is gone")


def test_an_arm_without_a_config_is_shown_none(records, tmp_path):
    log = read_eval_log(str(write_inspect_logs(tmp_path, three(), records, FACTS, MADE)[1]))
    assert log.status == "success"
    assert [message.role for message in log.samples[0].input] == ["user"]


def test_the_same_run_gives_the_same_bytes(records, tmp_path):
    (one, _), (other, _) = (write_inspect_logs(tmp_path / name, three(), records, FACTS, MADE) for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_the_command_writes_a_log_per_arm_of_a_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "three.py").write_text(MODULE)
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    with ScriptedServer(play) as server:
        profile = str(write_profile(tmp_path, server.base_url))
        assert main(["run", "--profile", profile, "--benchmark", "three", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert write(["--run", str(tmp_path / "run"), "--out", str(tmp_path / "logs")]) == 0
    written = capsys.readouterr().out.split()
    # In the order in which the run's first rows came, which is the servers' affair.
    assert sorted(read_eval_log(path).eval.metadata["arm"] for path in written) == ["base", "cosalign", "ica"]


def test_without_a_run_or_without_inspect_it_says_what_to_do(records, tmp_path, monkeypatch, capsys):
    assert write(["--run", str(tmp_path / "none"), "--out", str(tmp_path / "logs")]) == 2
    assert "holds no run" in capsys.readouterr().err
    monkeypatch.setattr(inspect_log, "log", None)
    with pytest.raises(NoInspectError, match="pip install inspect-ai"):
        write_inspect_logs(tmp_path, three(), records, FACTS, MADE)
