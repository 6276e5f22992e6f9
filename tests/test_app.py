"""The program itself: its flags, and what it says when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import app
from evaluation.scripted import ScriptedReply, ScriptedServer

ROOT = Path(__file__).parent.parent

PROFILE = """
id: scripted
title: A scripted model
description: for tests
taxonomy: tinyworld
servers: [{{id: main, base_url: "{address}"}}]
arms: [{{id: base, title: Base, server: main, model: scripted}}]
judge: {{kind: tinyworld}}
"""


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_defaults_are_local_and_private(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COSA_DB", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    options = app.parse([])
    assert (options.profile, options.host, options.port, options.share) == ("tinyworld", "127.0.0.1", 7860, False)
    assert options.db == Path("data/playground.sqlite3")


def test_the_environment_names_the_database_and_a_flag_overrules_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSA_DB", "/somewhere/else.sqlite3")
    assert app.parse([]).db == Path("/somewhere/else.sqlite3")
    assert app.parse(["--db", "here.sqlite3"]).db == Path("here.sqlite3")


def test_the_environment_names_the_address_and_a_flag_overrules_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7999")
    options = app.parse([])
    assert (options.host, options.port) == ("0.0.0.0", 7999)
    options = app.parse(["--host", "localhost", "--port", "7861"])
    assert (options.host, options.port) == ("localhost", 7861)


def test_in_a_space_the_page_is_open_to_others_and_so_allows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    monkeypatch.setenv("SPACE_ID", "somebody/playground")
    options = app.parse([])
    assert options.host == "0.0.0.0"
    assert not app.granted(options)


def test_flags_from_the_environment_are_read_first(
    monkeypatch: pytest.MonkeyPatch, taken_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COSA_ARGS", f"--port {taken_port}")
    assert app.main([]) == app.CANNOT_START
    assert f"127.0.0.1:{taken_port}" in capsys.readouterr().err
    assert app.main(["--port", "70000"]) == app.CANNOT_START
    assert "70000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ("--host 127.0.0.1", {"edit", "export", "call"}),
        ("--host localhost", {"edit", "export", "call"}),
        ("--host 0.0.0.0", set()),
        ("--accounts", set()),
        ("--accounts --allow-exports", {"export"}),
        ("--host 127.0.0.1 --share", set()),
        ("--host 0.0.0.0 --share --allow-config-edits", {"edit"}),
        ("--host 0.0.0.0 --allow-exports", {"export"}),
        ("--share --allow-api", {"call"}),
    ],
)
def test_on_a_page_that_others_reach_only_what_a_flag_allows_is_allowed(flags: str, allowed: set[str]) -> None:
    assert app.granted(app.parse(flags.split())) == allowed


def test_help_says_what_the_flags_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app.parse(["--help"])
    assert ended.value.code == 0
    assert "COSA_DB" in capsys.readouterr().out


def test_a_taken_port_is_explained(taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--port", str(taken_port)]) == app.CANNOT_START
    words = capsys.readouterr().err
    assert f"127.0.0.1:{taken_port}" in words
    assert "--port" in words


@pytest.mark.parametrize("port", [0, 70_000, -1])
def test_a_number_that_is_no_port_is_explained(port: int) -> None:
    with pytest.raises(app.CannotStart, match="between 1 and 65535"):
        app.check_port("127.0.0.1", port)


def test_a_profile_that_is_not_there_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--profile", "nonesuch", "--db", str(tmp_path / "p.sqlite3"), "--port", str(free_port())]
    assert app.main(arguments) == app.CANNOT_START
    assert "tinyworld" in capsys.readouterr().err


def test_a_file_that_is_no_database_is_explained_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear diary, this is not a database." * 20)
    assert app.main(["--db", str(file), "--port", str(free_port())]) == app.CANNOT_START
    assert str(file) in capsys.readouterr().err
    assert file.read_text().startswith("Dear diary")


def test_a_server_that_is_away_is_told_on_the_terminal_without_the_key(tmp_path: Path) -> None:
    profile, terminal = tmp_path / "away.yaml", tmp_path / "terminal.txt"
    address = f"http://127.0.0.1:{free_port()}/v1"
    profile.write_text(PROFILE.format(address=address).replace("}]\narms", ", api_key: sk-secret}]\narms"))
    assert "sk-secret" in profile.read_text()
    command = [sys.executable, "app.py", "--profile", str(profile), "--port", str(free_port())]
    command += ["--db", str(tmp_path / "p.sqlite3")]
    with terminal.open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        deadline = time.monotonic() + 60
        while "failed" not in terminal.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    words = terminal.read_text()
    assert "WARNING server main failed: nothing answers at 127.0.0.1:" in words
    assert "INFO server main starting" in words
    assert "sk-secret" not in words


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_its_page_and_ends_on_a_signal(tmp_path: Path, signal_number: int) -> None:
    port = free_port()
    with ScriptedServer([ScriptedReply("unused")]) as model:
        profile = tmp_path / "scripted.yaml"
        profile.write_text(PROFILE.format(address=model.base_url))
        command = [sys.executable, "app.py", "--profile", str(profile), "--port", str(port)]
        environment = {**os.environ, "COSA_DB": str(tmp_path / "new" / "p.sqlite3")}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert f"http://127.0.0.1:{port}" in process.stdout.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
                assert "Controllable Safety Playground" in page.read().decode()
            time.sleep(0.2)
            process.send_signal(signal_number)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    assert (tmp_path / "new" / "p.sqlite3").exists()


@pytest.mark.parametrize(("space", "trusted"), [("me/playground", "*"), (None, None)])
def test_only_on_a_space_is_the_proxy_believed_about_who_asks(
    monkeypatch, space: str | None, trusted: str | None
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    monkeypatch.setenv("SPACE_ID", space) if space else monkeypatch.delenv("SPACE_ID", raising=False)
    app.trust_proxy_of_space()
    assert os.environ.get("FORWARDED_ALLOW_IPS") == trusted
