"""What those who run the page see of it: health, readiness, numbers, the log for programs; and how it ends when told to."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.over_http import open_over_http
from benchmarks.spread import MeasurementError
from evaluation.response import Response
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.serving import ServerStatus
from evaluation.vllm_process import free_port
from playground.json_log import JsonLines
from playground.metrics import Metrics
from playground.session import NotNow, Session
from presets.profile import ROOT
from presets.safety_config import find_safety_config
from tests.stage import answers, launched, stage
from tests.test_answering import play
from tests.test_app import PROFILE

PATIENCE_S = 30.0
CASINO = find_safety_config("casino", "tinyworld")


def numbers(text: str) -> dict[tuple[str, ...], float]:
    """Value by the metric's name and the values of its labels."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_the_page_tells_whether_it_lives_is_ready_and_what_it_did_and_nothing_of_whom(tmp_path: Path) -> None:
    async def ask(address: str) -> None:
        async with open_over_http(address) as page:
            await page.ask("a prompt that nobody else may read")

    script = answers(base=ScriptedReply("", status=500, error="no"))
    with stage(script, tmp_path) as parts, launched(parts) as address, httpx.Client(base_url=address) as http:
        assert (http.get("/healthz").status_code, http.get("/healthz").text) == (200, "ok\n")
        assert http.get("/readyz").json() == {"ready": True, "servers": {"main": "ready"}}
        before = numbers(http.get("/metrics").text)
        assert before["cosa_turns_total",] == 0
        assert before["cosa_server_ready", "main"] == 1
        with pytest.raises(Exception, match="an arm failed"):
            asyncio.run(ask(address))
        deadline = time.monotonic() + PATIENCE_S
        while numbers(http.get("/metrics").text).get(("cosa_responses_total", "ica", "complete")) is None:
            assert time.monotonic() < deadline
        text = http.get("/metrics").text
        now = numbers(text)
    assert now["cosa_turns_total",] == 1
    assert now["cosa_responses_total", "base", "error"] == 1
    assert now["cosa_time_to_first_token_seconds_count", "ica"] == 1
    assert ("cosa_time_to_first_token_seconds_count", "base") not in now
    assert now["cosa_waiting",] == 0
    assert now["cosa_store_bytes",] > 50_000
    assert "nobody else" not in text


def test_a_page_whose_servers_are_not_there_lives_and_is_not_ready(tmp_path: Path) -> None:
    with stage(answers(), tmp_path) as parts:
        parts.serving.stop()
        with launched(parts) as address, httpx.Client(base_url=address) as http:
            assert http.get("/healthz").status_code == 200
            answer = http.get("/readyz")
            assert (answer.status_code, answer.json()["servers"]) == (503, {"main": "stopped"})
            assert numbers(http.get("/metrics").text)["cosa_server_ready", "main"] == 0


def test_each_number_counts_what_it_says() -> None:
    metrics, state = Metrics(), ["starting"]
    metrics.watch_servers(["main"], lambda: [ServerStatus("main", state[0], "", 0.0)])
    metrics.answered("base", "complete", Response(text="a", ttft_s=0.04))
    metrics.answered("base", "complete", Response(text="a", ttft_s=0.4))
    metrics.answered("base", "stopped", Response())
    metrics.voted("tie")
    state[0] = "ready"
    found = numbers(metrics.text().decode())
    assert found["cosa_responses_total", "base", "complete"] == 2
    assert found["cosa_responses_total", "base", "stopped"] == 1
    assert found["cosa_time_to_first_token_seconds_bucket", "base", "0.05"] == 1
    assert found["cosa_time_to_first_token_seconds_sum", "base"] == pytest.approx(0.44)
    assert found["cosa_votes_total", "tie"] == 1
    assert found["cosa_server_ready", "main"] == 1


def test_a_line_of_the_log_is_one_json_object_with_its_exception() -> None:
    try:
        raise ValueError("the moon\nis full")
    except ValueError:
        record = logging.LogRecord("playground", logging.ERROR, "file", 1, "it %s", ("broke",), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["level"], read["logger"], read["message"]) == ("ERROR", "playground", "it broke")
    assert read["exception"].endswith("is full")
    assert read["time"].endswith("+00:00")


def test_who_is_told_to_finish_takes_no_new_prompt(tmp_path: Path) -> None:
    async def scene(answering, session: Session, store) -> None:
        answering.finish(0)
        with pytest.raises(NotNow, match="about to restart"):
            await answering.begin(session, "How do I play poker?", CASINO)

    assert play(answers(), tmp_path, scene).model.requests == []


@contextmanager
def program(folder: Path, model: ScriptedServer, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`app.py` over the scripted model, ready for prompts, and its address."""
    (folder / "profile.yaml").write_text(PROFILE.format(address=model.base_url))
    port = free_port()
    command = [sys.executable, "app.py", "--profile", str(folder / "profile.yaml"), "--port", str(port), *flags]
    command += ["--db", str(folder / "p.sqlite3")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not is_ready(f"http://127.0.0.1:{port}"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_told_to_stop_it_lets_an_answer_end_and_logs_in_json(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(25))

    async def stop_in_mid_stream(process: subprocess.Popen[str], address: str) -> int:
        async with open_over_http(address) as page:
            visitor = await page.arrive()
            asking = asyncio.create_task(page._ask(visitor, "How do I play poker?"))
            while not model.requests or model.requests[-1]["messages"][-1]["content"] != "How do I play poker?":
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            readiness = httpx.get(f"{address}/readyz").status_code
            with suppress(httpx.HTTPError, MeasurementError):  # the page may be gone before it is asked for the verdict
                await asking
            return readiness

    with (
        ScriptedServer(lambda _: ScriptedReply(words, chunk_delay_s=0.1), models=("scripted",)) as model,
        program(tmp_path, model, "--log-format", "json") as (process, address),
    ):
        assert asyncio.run(stop_in_mid_stream(process, address)) == 503
        assert process.wait(PATIENCE_S) == 0
        log = [json.loads(line) for line in process.stderr]
    assert "server main ready" in " ".join(line["message"] for line in log)
    with sqlite3.connect(tmp_path / "p.sqlite3") as db:
        assert db.execute("SELECT status, text FROM responses").fetchall() == [("complete", words)]
