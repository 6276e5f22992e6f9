"""The container files, as far as they can be checked without a container engine; the proxy's file is run by the real proxy."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

import app
from benchmarks.over_http import OverHttp
from evaluation import serve
from evaluation.vllm_process import free_port, vllm_command
from presets.profile import ROOT, Profile, load_profile
from tests.stage import answers, launched, stage

DEPLOY = ROOT / "deploy"
TOOLS = Path(sys.executable).parent
PATIENCE_S = 30.0
USER, PASSWORD = "anna", "a long password"


def services(*names: str) -> dict[str, dict]:
    """The services of these compose files, the later ones' entries over the earlier ones'."""
    merged: dict[str, dict] = {}
    for name in names:
        for service, entries in yaml.safe_load((DEPLOY / name).read_text())["services"].items():
            merged[service] = {**merged.get(service, {}), **entries}
    return merged


KINDS = [pytest.param(("compose.yaml",), id="cpu"), pytest.param(("compose.yaml", "compose.gpu.yaml"), id="gpu")]


def profile_of(command: list[str], environment: dict[str, str]) -> Profile:
    return load_profile(command[command.index("--profile") + 1], environment)


@pytest.mark.parametrize("files", KINDS)
def test_only_the_proxy_is_reached_from_outside(files: tuple[str, ...]) -> None:
    assert [name for name, service in services(*files).items() if "ports" in service] == ["proxy"]
    front = {name for name, service in services(*files).items() if "front" in service["networks"]}
    assert front == {"proxy", "app"}


@pytest.mark.parametrize("files", KINDS)
def test_the_page_starts_no_model_and_finds_each_at_a_service_that_serves_it(files: tuple[str, ...]) -> None:
    found = services(*files)
    page = found["app"]
    options = app.parse(page["command"][1:])
    assert (options.allow_config_edits, options.allow_exports, options.share) == (False, False, False)
    profile = profile_of(page["command"], page["environment"])
    assert not [server.id for server in profile.servers if server.is_local]
    for server in profile.servers:
        service = re.fullmatch(r"http://(\w+):8000/v1", server.base_url or "")[1]
        command = found[service]["command"]
        assert command[:2] == ["-m", "evaluation.serve"]
        alone = serve.find(profile_of(command, {}), command[command.index("--server") + 1])
        assert (alone.id, alone.model) == (server.id, server.model)
        assert command[command.index("--port") + 1] == "8000"


def test_a_server_alone_is_what_the_page_would_start_but_for_its_address() -> None:
    server = load_profile("tinyworld", {}).server("main")
    alone = vllm_command(server, 8000, host="0.0.0.0")
    ours = vllm_command(server, 8000)
    assert [word for word in alone if word != "0.0.0.0"] == [word for word in ours if word != "127.0.0.1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--server nonesuch", "no server 'nonesuch' to start here; it has main"),
        ("--profile nonesuch", "there is no profile 'nonesuch'"),
    ],
)
def test_a_server_that_is_not_there_is_explained(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COSA_VLLM_URL", raising=False)
    assert serve.main(arguments.split()) == serve.CANNOT_SERVE
    assert words in capsys.readouterr().err


def test_a_server_of_somebody_else_is_not_started(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSA_VLLM_URL", "http://127.0.0.1:9/v1")
    assert serve.main([]) == serve.CANNOT_SERVE
    assert "none: each has a base_url" in capsys.readouterr().err


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.M) for word in line.split()}
    kept = set(re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.M))
    assert copied == kept
    assert not [name for name in copied if not (ROOT / name).exists()]
    assert "USER 1000" in dockerfile


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    said = subprocess.run([TOOLS / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")


def test_the_proxys_file_is_formatted_and_asks_for_what_compose_gives() -> None:
    text = (DEPLOY / "Caddyfile").read_text()
    said = subprocess.run([TOOLS / "caddy", "fmt", "-"], input=text, capture_output=True, text=True)
    assert said.stdout == text
    without_default = set(re.findall(r"\{\$(\w+)\}", text))
    assert without_default <= set(services("compose.yaml")["proxy"]["environment"])


@contextmanager
def proxy(folder: Path, upstream: str) -> Iterator[str]:
    """The address of the real proxy with our file, on free ports, before the page at this address."""
    port = free_port()
    hashing = [TOOLS / "caddy", "hash-password", "--algorithm", "bcrypt", "--plaintext", PASSWORD]
    hashed = subprocess.run(hashing, capture_output=True, text=True, check=True).stdout.strip()
    config = folder / "Caddyfile"
    places = f"http_port {free_port()}\nhttps_port {port}\nstorage file_system {folder / 'certificates'}"
    config.write_text(f"{{\nadmin off\nskip_install_trust\n{places}\n}}\nimport {DEPLOY / 'Caddyfile'}\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "COSA_USER": USER, "COSA_PASSWORD_HASH": hashed}
    command = [TOOLS / "caddy", "run", "--config", config, "--adapter", "caddyfile"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env={**environment, "COSA_APP": upstream}, stderr=log)
    try:
        yield f"https://localhost:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def trusted(folder: Path) -> ssl.SSLContext:
    """What a browser needs that trusts the proxy's own authority, once that has made its certificate."""
    root = folder / "certificates" / "pki" / "authorities" / "local" / "root.crt"
    deadline = time.monotonic() + PATIENCE_S
    while not root.exists() or not list(folder.glob("certificates/certificates/local/*/*.crt")):
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
    return ssl.create_default_context(cafile=str(root))


def test_the_proxy_speaks_tls_asks_for_a_password_and_passes_a_turn_through(tmp_path: Path) -> None:
    async def ask(address: str, context: ssl.SSLContext) -> int:
        login = httpx.BasicAuth(USER, PASSWORD)
        async with httpx.AsyncClient(base_url=address, auth=login, verify=context, trust_env=False, timeout=60) as http:
            for path in ("/metrics", "/healthz", "/readyz"):
                assert (await http.get(path)).status_code == 404
            page = OverHttp(http, (await http.get("config")).raise_for_status().json())
            return (await page.ask("How do I play poker?")).tokens

    with (
        stage(answers(), tmp_path) as parts,
        launched(parts) as page,
        proxy(tmp_path, page.removeprefix("http://").rstrip("/")) as address,
    ):
        context = trusted(tmp_path)
        for path in ("/", "/config", "/metrics", "/gradio_api/queue/data"):
            stranger = httpx.get(address + path, verify=context, trust_env=False)
            assert stranger.status_code == 401
            assert "Playground" not in stranger.text
        home = httpx.get(address, auth=(USER, PASSWORD), verify=context, trust_env=False)
        assert home.status_code == 200
        assert home.headers["X-Frame-Options"] == "DENY"
        assert "http://127.0.0.1" not in home.text  # else a browser would ask past the proxy
        assert asyncio.run(ask(address, context)) > 0
