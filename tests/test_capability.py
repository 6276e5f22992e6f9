"""The spot check of capability: the harness itself, on a task of three questions, against a scripted server."""

from __future__ import annotations

import json

import pytest

from evaluation import capability
from evaluation.capability import HarnessError, main, read_results
from evaluation.scripted import ScriptedReply, ScriptedServer
from tests.three_items import write_profile

TASK = """
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
SUMS = {"What is 1 + 1?": "2", "What is 2 + 2?": "4", "What is 3 + 3?": "6"}


@pytest.fixture
def tasks(tmp_path):
    """A folder with one task of the harness."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = (json.dumps({"question": question, "answer": answer}) for question, answer in SUMS.items())
    (folder / "sums.jsonl").write_text("\n".join(rows))
    (folder / "sums.yaml").write_text(TASK.format(questions=folder / "sums.jsonl"))
    return folder


def count(body: dict) -> ScriptedReply:
    """Base knows every sum; CoSAlign only the first."""
    question = body["messages"][-1]["content"].strip()
    return ScriptedReply(SUMS[question] if body["model"] == "base" or "1 + 1" in question else "?")


def asking(profile, tmp_path, tasks, *more: str) -> list[str]:
    places = ["--profile", str(profile), "--out", str(tmp_path / "out"), "--include-path", str(tasks)]
    return [*places, "--arms", "base,cosalign", "--tasks", "sums", *more]


def test_arms_are_checked_by_the_harness_and_what_is_known_is_not_asked_again(tmp_path, tasks, capsys):
    with ScriptedServer(count) as server:
        arguments = asking(write_profile(tmp_path, server.base_url), tmp_path, tasks, "--config", "casino")
        assert main(arguments) == 0, capsys.readouterr().err
        systems = {body["model"]: body["messages"][0] for body in server.requests}
        assert systems["base"]["role"] == "user"
        assert systems["cosalign"]["role"] == "system", "it shows a config, and one was named"
        first, asked = capsys.readouterr().out, len(server.requests)
        assert asked == 6
        assert main(arguments) == 0
        assert (capsys.readouterr().out, len(server.requests)) == (first, asked)
    assert "1.000" in first
    assert "0.333" in first
    found = json.loads((tmp_path / "out" / "cosalign" / "capability.json").read_text())["findings"]
    assert [(each["task"], each["metric"], each["n"]) for each in found] == [("sums", "exact_match", 3)]


def test_a_task_that_is_none_is_said_with_the_harness_own_words(tmp_path, tasks, capsys):
    with ScriptedServer(count) as server:
        arguments = asking(write_profile(tmp_path, server.base_url), tmp_path, tasks)
        assert main([*arguments, "--tasks", "no-such-task"]) == 1
    said = capsys.readouterr().err
    assert "harness.log" in said
    assert "no-such-task" in (tmp_path / "out" / "base" / "harness.log").read_text()


def test_without_the_harness_it_says_what_to_install(tmp_path, tasks, capsys, monkeypatch):
    monkeypatch.setattr(capability, "find_spec", lambda name: None)
    assert main(asking(write_profile(tmp_path, "http://127.0.0.1:9/v1"), tmp_path, tasks)) == 2
    assert "pip install 'lm-eval[api]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param(["--limit", "0"], "--limit is 0", id="limit"),
        pytest.param(["--tasks", " , "], "name at least one", id="no-task"),
        pytest.param(["--arms", "nobody"], "nobody", id="arm"),
        pytest.param(["--config", "no-such-config"], "no-such-config", id="config"),
        pytest.param(["--arms", "cascade"], "has a filter", id="filter"),
    ],
)
def test_a_wrong_command_is_named(tmp_path, tasks, capsys, more, words):
    profile = write_profile(tmp_path, "http://127.0.0.1:9/v1", cascades=True)
    assert main(asking(profile, tmp_path, tasks, *more)) == 2
    assert words in capsys.readouterr().err


def test_results_without_a_metric_are_no_findings(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": {"sums": {"alias": "sums", "sample_len": 3}}}))
    with pytest.raises(HarnessError, match="holds no metric"):
        read_results(path)
