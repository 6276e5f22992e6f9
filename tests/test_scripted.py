"""The scripted endpoint, as a client sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from evaluation.scripted import ScriptedReply, ScriptedServer, echo

ROOT = Path(__file__).parent.parent
HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello there"}]}


def ask(server: ScriptedServer, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.base_url}/chat/completions", json={**HELLO, **fields}, trust_env=False)


def chunks(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_whole_answer_carries_text_thinking_model_and_usage():
    with ScriptedServer([ScriptedReply("Good day to you", thinking="be kind")]) as server:
        body = ask(server).json()
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Good day to you", "reasoning": "be kind"}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["model"] == "m"
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8}


def test_a_stream_gives_one_word_a_chunk_and_then_how_it_ended():
    with ScriptedServer([ScriptedReply("Good  day\nto you", thinking="be kind")]) as server:
        rows = chunks(ask(server, stream=True))
    deltas = [row["choices"][0]["delta"] for row in rows]
    assert deltas[:2] == [{"reasoning": "be "}, {"reasoning": "kind"}]
    assert "".join(delta.get("content", "") for delta in deltas) == "Good  day\nto you"
    assert [row["choices"][0]["finish_reason"] for row in rows] == [None] * 6 + ["stop"]


def test_usage_is_streamed_only_when_asked_for():
    with ScriptedServer(lambda _: ScriptedReply("one two")) as server:
        without = chunks(ask(server, stream=True))
        with_usage = chunks(ask(server, stream=True, stream_options={"include_usage": True}))
    assert all("usage" not in row for row in without)
    assert with_usage[-1]["choices"] == []
    assert with_usage[-1]["usage"]["completion_tokens"] == 2


def test_an_answer_stops_at_max_tokens():
    with ScriptedServer([ScriptedReply("one two three")]) as server:
        choice = ask(server, max_tokens=2).json()["choices"][0]
    assert choice["message"]["content"] == "one two "
    assert choice["finish_reason"] == "length"


def test_requests_are_kept_in_order_and_a_function_may_answer_them():
    with ScriptedServer(lambda body: ScriptedReply(body["model"].upper())) as server:
        answers = [ask(server, model=name).json()["choices"][0]["message"]["content"] for name in "ab"]
        assert answers == ["A", "B"]
        assert [body["model"] for body in server.requests] == ["a", "b"]


def test_a_script_that_runs_out_complains():
    with ScriptedServer([ScriptedReply("only one")]) as server:
        assert ask(server).status_code == 200
        answer = ask(server)
    assert answer.status_code == 500
    assert "holds 1 replies and this is request 2" in answer.json()["error"]["message"]


def test_a_script_that_raises_says_so():
    def broken(_: dict[str, Any]) -> ScriptedReply:
        raise KeyError("no such prompt")

    with ScriptedServer(broken) as server:
        answer = ask(server)
    assert answer.status_code == 500
    assert "no such prompt" in answer.json()["error"]["message"]


def test_a_status_comes_with_its_error():
    with ScriptedServer([ScriptedReply("", status=429, error="slow down")]) as server:
        answer = ask(server)
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "slow down"


def test_delays_are_kept():
    with ScriptedServer([ScriptedReply("one two", first_delay_s=0.1, chunk_delay_s=0.1)]) as server:
        started = time.monotonic()
        chunks(ask(server, stream=True))
    assert time.monotonic() - started >= 0.3


def test_a_dropped_stream_ends_without_an_end():
    with (
        ScriptedServer([ScriptedReply("one two three four", drop_after=2)]) as server,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        ask(server, stream=True)


def test_a_reader_that_leaves_is_counted():
    reply = ScriptedReply("one two three four", chunk_delay_s=30)
    with ScriptedServer([reply]) as server:
        with httpx.stream(
            "POST", f"{server.base_url}/chat/completions", json={**HELLO, "stream": True}, trust_env=False
        ) as answer:
            lines = answer.iter_lines()  # kept: an iterator that is thrown away closes the connection
            next(lines)
            assert server.disconnects == 0
        deadline = time.monotonic() + 5
        while not server.disconnects and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.disconnects == 1


def test_a_reader_that_stays_is_not_counted():
    with ScriptedServer([ScriptedReply("one two", chunk_delay_s=0.01)]) as server:
        chunks(ask(server, stream=True))
        assert server.disconnects == 0


def test_models_and_health_are_served():
    with ScriptedServer([], models=("base", "cosalign")) as server:
        rows = httpx.get(f"{server.base_url}/models", trust_env=False).json()["data"]
        health = httpx.get(server.base_url.removesuffix("/v1") + "/health", trust_env=False)
    assert [row["id"] for row in rows] == ["base", "cosalign"]
    assert health.status_code == 200


def test_leaving_ends_a_server_whose_readers_still_wait():
    with ScriptedServer([ScriptedReply("never", first_delay_s=60)]) as server:
        client = httpx.Client(trust_env=False, timeout=0.2)
        with pytest.raises(httpx.ReadTimeout):
            client.post(f"{server.base_url}/chat/completions", json=HELLO)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.base_url}/models", trust_env=False)


def test_a_taken_port_is_named():
    with ScriptedServer([]) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 cannot be used"):
            ScriptedServer([], port=port)


def test_the_echo_repeats_the_last_message():
    assert echo(HELLO).text == "You said: Hello there"


def test_by_hand_it_serves_until_it_is_interrupted():
    command = [sys.executable, "-m", "evaluation.scripted", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address = next(word for word in process.stdout.readline().split() if word.startswith("http")).rstrip(";")
        answer = httpx.post(f"{address}/chat/completions", json=HELLO, trust_env=False)
        assert answer.json()["choices"][0]["message"]["content"] == "You said: Hello there"
    finally:
        process.send_signal(2)
        assert process.wait(10) == 0
