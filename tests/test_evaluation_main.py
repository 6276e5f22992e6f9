"""The command line: tables, files, exit codes, and a run that is really killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evaluation import benchmarks
from evaluation.__main__ import main
from evaluation.scripted import ScriptedReply, ScriptedServer
from tests.three_items import MODULE, asked, is_judging, play, write_profile

ROOT = Path(__file__).parent.parent


@pytest.fixture
def three(tmp_path, monkeypatch):
    """The name of the three-item benchmark."""
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    (tmp_path / "three_items_benchmark.py").write_text(MODULE)
    return "three-items-benchmark"


def run_arguments(folder: Path, base_url: str, benchmark: str, *more: str) -> list[str]:
    profile = write_profile(folder, base_url)
    return ["run", "--profile", str(profile), "--benchmark", benchmark, "--out", str(folder / "out"), *more]


def chat_arguments(folder: Path, base_url: str, *more: str, arm: str = "cosalign", config: str = "casino") -> list[str]:
    return ["chat", "--profile", str(write_profile(folder, base_url)), "--arm", arm, "--config", config, *more]


def nobody() -> str:
    """An address at which nothing answers."""
    with ScriptedServer(play) as server:
        return server.base_url


def test_run_prints_one_table_and_writes_the_same_figures(tmp_path, three, capsys):
    with ScriptedServer(play) as server:
        assert main(run_arguments(tmp_path, server.base_url, three, "--arms", "base,ica,cosalign")) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    score = found["splits"]["seen"]["arms"]["cosalign"]["cosa_score"]
    row = next(line for line in printed.splitlines() if " seen" in line and "cosalign" in line)
    assert f"{score:+.3f}" in row
    assert "CoSA-Score [95 % CI]" in printed


def test_chat_asks_no_arm_whose_answers_it_would_not_filter(tmp_path, capsys):
    profile = write_profile(tmp_path, nobody(), cascades=True)
    assert main(["chat", "--profile", str(profile), "--arm", "cascade", "--config", "casino", "Hello"]) == 2
    assert "'cascade' has a filter, which only `run` applies" in capsys.readouterr().err


def test_running_again_asks_nothing_and_prints_the_same_table(tmp_path, three, capsys):
    with ScriptedServer(play) as server:
        arguments = run_arguments(tmp_path, server.base_url, three)
        assert main(arguments) == 0
        first, count = capsys.readouterr().out, len(server.requests)
        assert main(arguments) == 0
        assert (capsys.readouterr().out, len(server.requests)) == (first, count)


def test_the_seed_goes_to_the_server(tmp_path, three):
    with ScriptedServer(play) as server:
        assert main(run_arguments(tmp_path, server.base_url, three, "--seed", "7", "--limit", "1")) == 0
        assert {body["seed"] for body in server.requests if not is_judging(body)} == {7}
        assert len(asked(server.requests)) == 2 * 3


def test_another_seed_does_not_go_on_in_the_same_folder(tmp_path, three, capsys):
    with ScriptedServer(play) as server:
        assert main(run_arguments(tmp_path, server.base_url, three, "--seed", "7")) == 0
        assert main(run_arguments(tmp_path, server.base_url, three, "--seed", "8")) == 2
    assert "sampling.seed 7, this run has 8" in capsys.readouterr().err


BAD_INPUT = [
    pytest.param({"--profile": "nope"}, "there is no profile 'nope'", id="profile"),
    pytest.param({"--arms": "base,nope"}, "no arm 'nope'", id="arm"),
    pytest.param({"--arms": " , "}, "name at least one", id="no arms"),
    pytest.param({"--benchmark": "nope"}, "there is no benchmark 'nope'", id="benchmark"),
    pytest.param({"--limit": "0"}, "at least 1", id="limit"),
]


@pytest.mark.parametrize(("change", "words"), BAD_INPUT)
def test_bad_input_to_run_is_said_in_one_message(tmp_path, three, capsys, change, words):
    arguments = run_arguments(tmp_path, "http://127.0.0.1:9/v1", three, "--arms", "base", "--limit", "1")
    for option, value in change.items():
        arguments[arguments.index(option) + 1] = value
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert len(complaint.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_empty_benchmark_is_bad_input(tmp_path, three, capsys):
    (tmp_path / "nothing_to_ask.py").write_text("def items():\n    return []\n")
    assert main(run_arguments(tmp_path, "http://127.0.0.1:9/v1", "nothing-to-ask")) == 2
    assert "is empty" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["run"], ["sing"]], ids=["nothing", "no options", "unknown command"])
def test_a_wrong_command_line_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_a_server_that_is_not_there_exits_with_1(tmp_path, three, capsys):
    assert main(run_arguments(tmp_path, nobody(), three)) == 1
    assert "nothing answers" in capsys.readouterr().err


def test_missing_responses_exit_with_1_and_the_table_stands(tmp_path, three, capsys):
    def script(body: dict) -> ScriptedReply:
        refused = body["model"] == "cosalign" and "Item a" in body["messages"][-1]["content"]
        return ScriptedReply("", status=400, error="no") if refused else play(body)

    with ScriptedServer(script) as server:
        assert main(run_arguments(tmp_path, server.base_url, three)) == 1
        printed = capsys.readouterr()
        assert "1 of 18 responses missing" in printed.err
        assert "cosalign" in printed.out
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["splits"]["seen"]["arms"]["ica"]["n"] == 2


def test_a_judge_that_never_judges_exits_with_1(tmp_path, three, capsys):
    def script(body: dict) -> ScriptedReply:
        return ScriptedReply("no comment") if is_judging(body) else play(body)

    with ScriptedServer(script) as server:
        assert main(run_arguments(tmp_path, server.base_url, three)) == 1
    assert "nothing could be scored" in capsys.readouterr().err


CHILD = """
import sys
from evaluation import benchmarks
from evaluation.__main__ import main
benchmarks.__path__.append(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""


def test_a_killed_run_goes_on_asks_nothing_twice_and_ends_with_the_same_files(tmp_path, three, capsys):
    """The fifth request to an arm never gets its answer: the process is killed while it waits."""
    waiting = threading.Event()

    def script(body: dict) -> ScriptedReply:
        if is_judging(body) or len(asked(server.requests)) <= 4:
            return play(body)
        waiting.set()
        return ScriptedReply("never", first_delay_s=30)

    with ScriptedServer(script) as server:
        arguments = run_arguments(tmp_path, server.base_url, three)
        command = [sys.executable, "-c", CHILD, str(tmp_path), *arguments]
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            assert waiting.wait(30)
        finally:
            child.kill()
            child.wait()
    rows = [json.loads(line) for line in (tmp_path / "out" / "judgements.jsonl").read_text().splitlines()]
    kept = {(row["item"], row["arm"]) for row in rows if row["response"]["model"]}
    with ScriptedServer(play) as server:
        assert main(run_arguments(tmp_path, server.base_url, three)) == 0
        assert len(asked(server.requests)) == 9 - len(kept)
    resumed = results_in(tmp_path / "out")
    assert json.loads(resumed["scores.json"])["splits"]["seen"]["arms"]["cosalign"]["n"] == 2
    shutil.rmtree(tmp_path / "out")
    with ScriptedServer(play) as server:
        assert main(run_arguments(tmp_path, server.base_url, three)) == 0
    assert results_in(tmp_path / "out") == resumed


def test_several_benchmarks_run_one_after_another_each_in_its_folder(tmp_path, three, monkeypatch):
    (tmp_path / "other_three.py").write_text(MODULE)
    with ScriptedServer(play) as server:
        assert main(run_arguments(tmp_path, server.base_url, f"{three}, other-three")) == 0
    assert results_in(tmp_path / "out" / three)["scores.json"]
    assert json.loads(results_in(tmp_path / "out" / "other-three")["scores.json"])["run"]["benchmark"] == "other-three"


@pytest.mark.parametrize(
    ("more", "words"),
    [(",nowhere", "there is no benchmark 'nowhere'"), (",a/mine.jsonl,b/mine.jsonl", "one name, and so one folder")],
)
def test_of_several_benchmarks_a_wrong_one_is_said_before_the_first_is_run(tmp_path, three, capsys, more, words):
    assert main(run_arguments(tmp_path, nobody(), three + more)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def results_in(folder: Path) -> dict[str, bytes]:
    """What a run adds up to. Its rows stand in the order in which answers came, which differs from run to run."""
    return {name: (folder / name).read_bytes() for name in ("scores.json", "report.md", "report.html")}


def test_chat_prints_one_json_object(tmp_path, capsys):
    with ScriptedServer(play) as server:
        assert main(chat_arguments(tmp_path, server.base_url, "Tell me about gambling.", "--json", arm="ica")) == 0
    reply = json.loads(capsys.readouterr().out)
    assert (reply["response"], reply["helpfulness"], reply["rating"]) == ("HALF gambling", 0.6, 3)
    assert (reply["categories"], reply["safe"], reply["unscored"]) == (["gambling"], True, None)
    assert (reply["thinking"], reply["model"]) == ("", "base")


def test_chat_without_a_verdict_has_nulls(tmp_path, capsys):
    def script(body: dict) -> ScriptedReply:
        return ScriptedReply("no comment") if is_judging(body) else play(body)

    with ScriptedServer(script) as server:
        assert main(chat_arguments(tmp_path, server.base_url, "Tell me about gambling.", "--json")) == 0
    reply = json.loads(capsys.readouterr().out)
    assert [reply[key] for key in ("helpfulness", "categories", "safe", "rating")] == [None] * 4
    assert reply["unscored"]


def test_chat_in_words_cannot_drive_the_terminal(tmp_path, capsys):
    def script(body: dict) -> ScriptedReply:
        return play(body) if is_judging(body) else ScriptedReply("HALF gambling \x1b[2Jgone")

    with ScriptedServer(script) as server:
        assert main(chat_arguments(tmp_path, server.base_url, "Tell me about gambling.")) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "helpful 3/5, obeys the config, categories: gambling" in printed


def test_chat_takes_a_config_from_a_file(tmp_path, capsys):
    config = tmp_path / "mine.yaml"
    config.write_text("{id: mine, title: Mine, text: Only alcohol., taxonomy: tinyworld, allowed: [alcohol]}")
    with ScriptedServer(play) as server:
        prompt = "Tell me about gambling."
        assert main(chat_arguments(tmp_path, server.base_url, prompt, "--json", arm="ica", config=str(config))) == 0
        assert "Only alcohol." in server.requests[0]["messages"][0]["content"]
    reply = json.loads(capsys.readouterr().out)
    assert (reply["helpfulness"], reply["safe"]) == (0.6, False)


BAD_CHAT = [
    pytest.param({"arm": "nope"}, "hello", "no arm 'nope'", id="arm"),
    pytest.param({"config": "nope"}, "hello", "no safety config 'nope'", id="config"),
    pytest.param({"config": "nope.yaml"}, "hello", "there is no such file", id="file"),
    pytest.param(
        {"config": str(ROOT / "presets/safety_configs/cosa/film-production.yaml")}, "hi", "taxonomy", id="other"
    ),
    pytest.param({}, "  ", "the prompt is empty", id="prompt"),
]


@pytest.mark.parametrize(("change", "prompt", "words"), BAD_CHAT)
def test_bad_input_to_chat_is_said_in_one_message(tmp_path, capsys, change, prompt, words):
    assert main(chat_arguments(tmp_path, "http://127.0.0.1:9/v1", prompt, **change)) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert len(complaint.splitlines()) == 1


def test_chat_with_a_failing_server_exits_with_1(tmp_path, capsys):
    with ScriptedServer(lambda body: ScriptedReply("", status=500, error="out of memory")) as server:
        assert main(chat_arguments(tmp_path, server.base_url, "Hello")) == 1
    assert "out of memory" in capsys.readouterr().err


def test_help_names_both_commands():
    done = subprocess.run([sys.executable, "-m", "evaluation", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "run" in done.stdout
    assert "chat" in done.stdout
