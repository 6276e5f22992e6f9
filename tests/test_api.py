"""The endpoints for programs, called as programs call them: by gradio's client, by plain HTTP, and from a shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from evaluation.__main__ import main as evaluation_main
from playground.__main__ import main
from playground.api import MAX_ROWS
from playground.limits import Allowance
from playground.roles import Roles
from tests.stage import ANSWER, Stage, answers, launched, stage
from tests.test_own_data import words

PROMPT = "How do I play poker?"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Stage]]:
    with stage(answers(), tmp_path_factory.mktemp("api")) as parts, launched(parts) as address:
        yield address, parts


@pytest.fixture(scope="module")
def client(page: tuple[str, Stage]) -> Client:
    return Client(page[0], verbose=False)


def test_programs_find_four_documented_endpoints_and_no_handler_of_the_page(client: Client) -> None:
    found = client.view_api(return_format="dict")["named_endpoints"]
    assert set(found) == {"/configs", "/ask", "/judge", "/score"}
    assert all(len(endpoint["description"]) > 50 for endpoint in found.values())
    assert "request" not in {parameter["parameter_name"] for parameter in found["/ask"]["parameters"]}


def test_configs_are_listed_with_what_they_allow(client: Client) -> None:
    casino = next(config for config in client.predict(api_name="/configs") if config["id"] == "casino")
    assert casino["allowed"] == ["alcohol", "gambling"]
    assert len(casino["hash"]) == 64


def test_a_conversation_is_asked_judged_and_stored_as_on_the_page(client: Client, page: tuple[str, Stage]) -> None:
    found = client.predict(
        [PROMPT, "And for whom?"], config="casino", sampling={"temperature": 0.5, "seed": 3}, api_name="/ask"
    )
    assert [turn["prompt"] for turn in found["turns"]] == [PROMPT, "And for whom?"]
    answer = found["turns"][0]["answers"][2]
    assert (answer["arm"], answer["text"], answer["status"]) == ("cosalign", ANSWER, "complete")
    assert answer["judgement"]["categories"] == ["gambling"]
    assert answer["judgement"]["safe"] is True
    rows = [row for row in page[1].store.comparisons() if row["conversation_id"] == found["conversation"]]
    assert len(rows) == 6
    assert {(row["temperature"], row["seed"], row["judge"] is not None) for row in rows} == {(0.5, 3, True)}


def test_what_is_not_to_be_kept_leaves_no_words(client: Client, page: tuple[str, Stage]) -> None:
    client.predict(["A secret prompt?"], config="casino", keep=False, api_name="/ask")
    client.predict(["A known prompt?"], config="casino", api_name="/ask")
    assert "A known prompt?" in words(page[1].store)
    assert "A secret prompt?" not in words(page[1].store)


def test_a_reply_is_judged_under_a_config_of_ones_own(client: Client) -> None:
    own = {"config_text": "Nothing about cards.", "allowed": []}
    verdict = client.predict(PROMPT, ANSWER, **own, api_name="/judge")
    assert (verdict["safe"], verdict["categories"]) == (False, ["gambling"])
    verdict = client.predict(PROMPT, ANSWER, **{**own, "allowed": ["gambling"]}, api_name="/judge")
    assert verdict["safe"] is True


ROWS = [
    {"config": "bar", "allowed": ["alcohol"], "categories": ["alcohol"], "rating": 5, "cluster": "a"},
    {"config": "bar", "allowed": ["alcohol"], "categories": ["gambling"], "rating": 4, "cluster": "b"},
]


def test_a_score_is_the_very_one_of_the_command(client: Client, tmp_path: Path, capsys) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    assert evaluation_main(["score", "--judgements", str(file), "--json"]) == 0
    assert client.predict(ROWS, api_name="/score") == json.loads(capsys.readouterr().out)


REFUSED = [
    ("/ask", {"prompts": [PROMPT], "config": "nowhere"}, "There is no config 'nowhere'. Give `config`, one of"),
    ("/ask", {"prompts": [PROMPT], "config": "casino", "config_text": "x"}, "not both"),
    ("/ask", {"prompts": [], "config": "casino"}, "1 to 20 texts"),
    ("/ask", {"prompts": ["x" * 5_000], "config": "casino"}, "at most 4,000 can be sent"),
    ("/ask", {"prompts": [7], "config": "casino"}, "Give texts"),
    ("/ask", {"prompts": "poker", "config": "casino"}, "Give texts"),
    ("/judge", {"prompt": PROMPT, "reply": None, "config": "casino"}, "Give texts"),
    ("/score", {"rows": 7}, "a list of objects"),
    ("/score", {"rows": [7]}, "row 1"),
    ("/ask", {"prompts": [PROMPT], "config_text": "Cards.", "allowed": ["chess"]}, "chess"),
    ("/ask", {"prompts": [PROMPT], "config_text": "Cards."}, "needs `allowed`"),
    ("/ask", {"prompts": [PROMPT], "config": "casino", "sampling": {"top_k": 1}}, "There is no 'top_k' to set"),
    ("/ask", {"prompts": [PROMPT], "config": "casino", "sampling": {"seed": -1}}, "Seed must be a number"),
    ("/judge", {"prompt": "x" * 20_001, "reply": "No.", "config": "casino"}, "at most 20,000 can be judged"),
    ("/score", {"rows": []}, "nothing to score"),
    ("/score", {"rows": [{"config": "bar"}]}, "row 1"),
    ("/score", {"rows": ROWS, "weights": "much"}, "three numbers are needed"),
    ("/score", {"rows": [{}] * (MAX_ROWS + 1)}, "at most 20,000 are scored in one call"),
]


@pytest.mark.parametrize(
    ("endpoint", "values", "said"), REFUSED, ids=lambda each: None if isinstance(each, dict) else str(each)
)
def test_what_cannot_be_is_refused_in_words(client: Client, endpoint: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(AppError) as refused:
        client.predict(**values, api_name=endpoint)
    assert said in str(refused.value)


def test_plain_http_does_too(page: tuple[str, Stage]) -> None:
    address = f"{page[0].rstrip('/')}/gradio_api/call/judge"
    event = httpx.post(address, json={"data": [PROMPT, ANSWER, "casino", "", None, None]}).json()["event_id"]
    lines = httpx.get(f"{address}/{event}", timeout=20).text.splitlines()
    assert lines[0] == "event: complete"
    assert json.loads(lines[1].removeprefix("data: "))[0]["rating"] == 3


def test_a_shell_asks_and_is_told_why_not(page: tuple[str, Stage], tmp_path: Path, capsys) -> None:
    url = ["--url", page[0]]
    assert main([*url, "configs"]) == 0
    assert "casino" in {config["id"] for config in json.loads(capsys.readouterr().out)}
    assert main([*url, "ask", "--config", "casino", PROMPT]) == 0
    assert len(json.loads(capsys.readouterr().out)["turns"][0]["answers"]) == 3
    assert main([*url, "judge", "--config-text", "No cards.", "--allowed", "alcohol,", PROMPT, ANSWER]) == 0
    assert json.loads(capsys.readouterr().out)["safe"] is False
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(ROWS[0]))
    assert main([*url, "score", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["macro"]["cosa_score"] == 1.0
    assert main([*url, "ask", PROMPT]) == 1
    assert "There is no config ''" in capsys.readouterr().err
    assert main([*url, "score", str(tmp_path / "none.jsonl")]) == 1
    assert main(["--url", "http://127.0.0.1:9", "configs"]) == 1
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "own_text", "said"),
    [
        ({"roles": Roles(frozenset({"call"}))}, True, "ready-made"),
        ({"allowance": Allowance(answers=3)}, False, "3 answers a minute"),
    ],
    ids=["configs", "limits"],
)
def test_a_program_may_no_more_than_a_visitor(tmp_path: Path, options: dict, own_text: bool, said: str) -> None:
    which = {"config_text": "Cards.", "allowed": ["gambling"]} if own_text else {"config": "casino"}
    with stage(answers(), tmp_path) as parts, launched(parts, **options) as address:
        client = Client(address, verbose=False)
        if not own_text:
            client.predict([PROMPT], **which, api_name="/ask")
        with pytest.raises(AppError, match=said):
            client.predict([PROMPT], **which, api_name="/ask")


def test_without_leave_there_is_no_endpoint(tmp_path: Path) -> None:
    with stage(answers(), tmp_path) as parts, launched(parts, roles=Roles(frozenset())) as address:
        assert Client(address, verbose=False).view_api(return_format="dict")["named_endpoints"] == {}


def examples(language: str) -> list[str]:
    """The examples of docs/api.md in a language."""
    text = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_python_of_the_documentation_runs(page: tuple[str, Stage], capsys) -> None:
    (example,) = examples("python")
    exec(example.replace("http://127.0.0.1:7860", page[0]), {})
    told = capsys.readouterr().out
    assert "cosalign 3 True" in told
    assert told.splitlines()[-1].startswith("False")


def test_the_shell_of_the_documentation_runs(page: tuple[str, Stage], tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("judgements.jsonl").write_text(json.dumps(ROWS[0]))
    commands = [shlex.split(line) for line in examples("sh")[0].splitlines()]
    assert [command[:3] for command in commands] == [["python", "-m", "playground"]] * 4
    for command in commands:
        assert main(["--url", page[0], *command[3:]]) == 0, command
