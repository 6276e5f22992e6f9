"""Starting, watching, restarting and stopping servers: most with a stand-in process, some with a real vLLM."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from evaluation import serving as serving_module
from evaluation import vllm_process
from evaluation.endpoint import Endpoint, EndpointError
from evaluation.response import Response
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.serving import ServerStatus, Serving, ServingError, attest, attest_servers, open_endpoint
from evaluation.vllm_process import check_memory, cores, has_gpu, last_error, progress, vllm_command, vllm_environment
from presets.arm import Arm
from presets.profile import JudgeChoice, Profile, Sampling, Server
from tests.conftest import Miniature
from tests.miniature import RAMBLE, TEXT, THINKING

ROOT = Path(__file__).parent.parent
ProfileOf = Callable[..., Profile]

STAND_IN = """
import http.server, signal, subprocess, sys, time
port, behaviour = int(sys.argv[1]), sys.argv[2]
if behaviour == "dies":
    sys.exit("(APIServer pid=7) ValueError: the moon is full")
if behaviour == "loads":
    print("Starting to load model tiny...", flush=True)
    time.sleep(60)
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"])
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""
"""A server that is healthy, dies, loads for ever, or will not be stopped; it has a child that does not mind TERM."""


def stand_in(behaviour: str) -> vllm_process.Command:
    return lambda server, port: [sys.executable, "-I", "-c", STAND_IN, str(port), behaviour]


def local(**fields: Any) -> Server:
    return Server(id="main", **{"model": "somebody/some-model", **fields})


def wait_for(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """What `condition` returns as soon as it is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def guards(owner: int) -> list[psutil.Process]:
    """The guards that `owner` started; the id of each is that of the process group it leads."""
    found = []
    for child in psutil.Process(owner).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(part.endswith("guard.py") for part in child.cmdline()):
                found.append(child)
    return found


def alive(group: int) -> list[psutil.Process]:
    """The processes of a group that still run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def workers(group: int) -> list[psutil.Process]:
    """Those of them that are vLLM's workers."""
    found = []
    for process in alive(group):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have gone since
            if "Worker" in process.name():
                found.append(process)
    return found


def healthy(serving: Serving) -> bool:
    address = serving.base_url("main").removesuffix("/v1") + "/health"
    with urllib.request.urlopen(address, timeout=5) as answer:
        return answer.status == 200


@pytest.fixture
def serve(tmp_path: Path, profile_of: ProfileOf) -> Iterator[Callable[..., Serving]]:
    """A function that makes a Serving of one stand-in server; all are stopped in the end."""
    made: list[Serving] = []

    def make(behaviour: str, **options: Any) -> Serving:
        options = {"log_folder": tmp_path / "logs", "back_off_s": 0.05, **options}
        made.append(Serving(profile_of(local()), command=stand_in(behaviour), **options))
        return made[-1]

    yield make
    for serving in made:
        serving.stop()


# The command and its environment.


def adapter_folder(folder: Path, rank: int = 8, **config: Any) -> str:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, **config}))
    return str(folder)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_process, "has_gpu", lambda: False)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_command_serves_base_and_adapters_from_one_process(tmp_path: Path, no_gpu: None):
    adapters = {name: adapter_folder(tmp_path / name) for name in ("cosalign", "older")}
    server = local(adapters=adapters, revision="abc", max_model_len=1024, dtype="float32", args=("--seed", 1))
    command = vllm_command(server, 8123)
    assert option(command, "--model") == "somebody/some-model"
    assert option(command, "--served-model-name") == "base"
    assert option(command, "--revision") == "abc"
    assert option(command, "--max-model-len") == "1024"
    assert (option(command, "--host"), option(command, "--port")) == ("127.0.0.1", "8123")
    assert option(command, "--lora-modules") == f"cosalign={adapters['cosalign']}"
    assert f"older={adapters['older']}" in command
    assert (option(command, "--max-loras"), option(command, "--max-lora-rank")) == ("3", "8")
    assert "--enforce-eager" in command
    assert command[-2:] == ["--seed", "1"]


def test_without_adapters_lora_is_off(no_gpu: None):
    assert not [part for part in vllm_command(local(), 8123) if "lora" in part]


def test_a_gpu_gets_no_flags_that_are_meant_for_cpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vllm_process, "has_gpu", lambda: True)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    assert "--enforce-eager" not in vllm_command(local(), 8123)
    assert "VLLM_CPU_KVCACHE_SPACE" not in vllm_environment(local(), None)


@pytest.mark.parametrize(
    ("program", "found"),
    [("echo GPU 0", True), ("echo no devices were found; exit 6", False), ("kill -9 $$", False), (None, False)],
    ids=["gpu", "driver-only", "killed", "no-driver"],
)
def test_a_gpu_is_one_that_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, found: bool
):
    if program is not None:
        (tmp_path / "nvidia-smi").write_text(f'#!/bin/sh\ntest "$*" = -L || exit 1\n{program}\n')
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    has_gpu.cache_clear()
    try:
        assert has_gpu() is found
    finally:
        has_gpu.cache_clear()


@pytest.mark.parametrize(("rank", "allowed"), [(4, "8"), (9, "16"), (16, "16"), (17, "32"), (100, "128"), (300, "320")])
def test_the_largest_rank_is_rounded_up_to_one_that_vllm_allows(tmp_path: Path, rank: int, allowed: str):
    server = local(adapters={"a": adapter_folder(tmp_path / "a", 2), "b": adapter_folder(tmp_path / "b", rank)})
    assert option(vllm_command(server, 1), "--max-lora-rank") == allowed


def test_ranks_of_single_layers_count(tmp_path: Path):
    server = local(adapters={"a": adapter_folder(tmp_path / "a", 8, rank_pattern={"q_proj": 64})})
    assert option(vllm_command(server, 1), "--max-lora-rank") == "64"


def test_modules_that_no_adapter_changes_are_served_as_they_are(tmp_path: Path):
    folders = {
        "a": adapter_folder(tmp_path / "a", target_modules=["o_proj"]),
        "b": adapter_folder(tmp_path / "b", target_modules=["down_proj", "o_proj"]),
    }
    command = vllm_command(local(adapters=folders), 1)
    at = command.index("--lora-target-modules")
    assert command[at + 1 : at + 3] == ["down_proj", "o_proj"]


@pytest.mark.parametrize("targets", [".*proj", ["layers.0.o_proj"], None], ids=["pattern", "one-layer", "unsaid"])
def test_modules_that_are_not_plain_names_leave_all_open(tmp_path: Path, targets: object):
    folders = {"a": adapter_folder(tmp_path / "a", target_modules=targets)}
    assert "--lora-target-modules" not in vllm_command(local(adapters=folders), 1)


def test_an_adapter_from_the_hub_gets_a_usual_rank():
    assert option(vllm_command(local(adapters={"a": "somebody/an-adapter"}), 1), "--max-lora-rank") == "64"


def test_a_rank_that_is_too_large_is_refused(tmp_path: Path):
    server = local(adapters={"a": adapter_folder(tmp_path / "a", 1024)})
    with pytest.raises(ServingError, match="rank 1024 and vLLM serves at most 512"):
        vllm_command(server, 1)


@pytest.mark.parametrize("text", ["{", "[]", '{"r": null}', "{}"])
def test_a_broken_adapter_config_is_named(tmp_path: Path, text: str):
    adapter = adapter_folder(tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text(text)
    with pytest.raises(ServingError, match=r"adapter_config.json is not a LoRA adapter's config"):
        vllm_command(local(adapters={"a": adapter}), 1)


def test_the_environment_fills_in_what_is_not_set(monkeypatch: pytest.MonkeyPatch, no_gpu: None):
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_KVCACHE_SPACE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    environment = vllm_environment(local(), None)
    assert environment["OMP_NUM_THREADS"] == str(cores())
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment
    assert vllm_environment(local(), 3)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    assert vllm_environment(local(), None)["VLLM_CPU_KVCACHE_SPACE"] == "4"


@pytest.mark.parametrize(("compiler", "disabled"), [("/usr/bin/g++", None), (None, "1")])
def test_without_a_compiler_pytorch_compiles_nothing(
    monkeypatch: pytest.MonkeyPatch, no_gpu: None, compiler: str | None, disabled: str | None
):
    monkeypatch.delenv("TORCH_COMPILE_DISABLE", raising=False)
    monkeypatch.setattr(vllm_process.shutil, "which", lambda _: compiler)
    assert vllm_environment(local(), None).get("TORCH_COMPILE_DISABLE") == disabled


LIMITS = [
    pytest.param({"cpu.max": "200000 100000"}, 2, id="v2"),
    pytest.param({"cpu.max": "max 100000"}, 8, id="v2-without-a-limit"),
    pytest.param({"cpu.max": "50000 100000"}, 1, id="v2-half-a-core"),
    pytest.param({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3, id="v1"),
    pytest.param({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8, id="v1-without-a-limit"),
    pytest.param({}, 8, id="no-container"),
]


@pytest.mark.parametrize(("files", "expected"), LIMITS)
def test_a_containers_limit_decides_how_many_cores_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == expected


@pytest.mark.parametrize(("limit", "is_bound"), [(8, True), (2, False)])
def test_in_a_container_with_a_limit_threads_are_not_bound_to_cores(
    monkeypatch: pytest.MonkeyPatch, no_gpu: None, limit: int, is_bound: bool
):
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(vllm_process, "cores", lambda: limit)
    environment = vllm_environment(local(), None)
    assert environment["OMP_NUM_THREADS"] == str(limit)
    assert environment.get("VLLM_CPU_OMP_THREADS_BIND") == (None if is_bound else "nobind")


def test_a_model_on_disk_is_served_without_asking_the_hub(tmp_path: Path):
    assert vllm_environment(local(model=str(tmp_path)), None)["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(("kilobytes", "enough"), [(3_900_000, False), (4_100_000, True)])
def test_too_little_memory_is_said_before_the_start(tmp_path: Path, kilobytes: int, enough: bool):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:  16000000 kB\nMemAvailable:   {kilobytes} kB\n")
    expectation = contextlib.nullcontext() if enough else pytest.raises(ServingError, match="only 3.9 GB of memory")
    with expectation:
        check_memory(meminfo)


def test_a_system_that_does_not_tell_its_memory_is_trusted(tmp_path: Path):
    check_memory(tmp_path / "missing")


# What the log means. The lines are vLLM 0.32's own.


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "loading vLLM's libraries"),
        ("Triton is installed, but doesn't include CPU backend. Disabling Triton.", "loading vLLM's libraries"),
        ("(APIServer pid=1) INFO [api_utils.py:286] non-default args: {'lora'", "reading the model's configuration"),
        ("(Worker pid=1) INFO [cpu_model_runner.py:68] Starting to load model /m...", "loading weights"),
        ("Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:00<?, ?it/s]", "loading weights (25 %)"),
        ("model-00001-of-2.safetensors:  12%|#2   | 1.2G/9.9G", "downloading the model (12 %)"),
        ("Starting to load model /m...\nLoading weights took 0.01 seconds", "reserving memory"),
        ("CPU KV cache size: 524,288 tokens", "warming up"),
        ("Loaded new LoRA adapter: name 'cosalign', path '/a'", "loading adapter cosalign"),
    ],
)
def test_progress_is_read_from_the_log(lines: str, words: str):
    assert progress(lines) == words


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("all is well\n", None),
        ("usage: api_server.py\napi_server.py: error: unrecognized arguments: --x\n", "unrecognized arguments: --x"),
        (
            "(Worker pid=1) ERROR 11-23 18:54:48 [multiproc_executor.py:953] safetensors_rust.SafetensorError: "
            "Error while deserializing header\n"
            "(APIServer pid=2) RuntimeError: Engine core initialization failed. See root cause above.\n",
            "SafetensorError: Error while deserializing header",
        ),
        (
            "RuntimeError: Engine core initialization failed. See root cause above.\n",
            "Engine core initialization failed",
        ),
    ],
    ids=["none", "bad-argument", "root-cause", "aftermath-only"],
)
def test_the_error_that_tells_why_is_found(log: str, error: str | None):
    found = last_error(log)
    assert found == error if error is None else error in found


# Watching, with a stand-in for vLLM.


def test_a_server_starts_in_the_background_and_becomes_ready(serve: Callable[..., Serving]):
    serving = serve("healthy")
    serving.start()
    assert serving.status()[0].state == "starting"
    serving.wait_ready(30)
    (status,) = serving.status()
    assert (status.id, status.state) == ("main", "ready")
    assert re.fullmatch(r"http://127.0.0.1:\d+/v1", serving.base_url("main"))
    assert healthy(serving)


def test_progress_is_shown_while_it_loads(serve: Callable[..., Serving]):
    serving = serve("loads")
    serving.start()
    status = wait_for(lambda: [status for status in serving.status() if status.detail == "loading weights"])[0]
    assert status.state == "starting"
    assert status.elapsed_s > 0
    with pytest.raises(ServingError, match="not ready after 0.1 s; server 'main' is still starting: loading weights"):
        serving.wait_ready(0.1)


def test_a_server_that_dies_is_started_again_at_the_same_address(serve: Callable[..., Serving]):
    serving = serve("healthy")
    serving.start()
    serving.wait_ready(30)
    address = serving.base_url("main")
    (first,) = guards(os.getpid())
    server = first.children()[0]
    server.kill()
    status = wait_for(lambda: [status for status in serving.status() if status.state == "restarting"])[0]
    assert "it was killed, as the system does when memory runs out" in status.detail
    serving.wait_ready(30)
    assert healthy(serving)
    assert serving.base_url("main") == address
    assert alive(first.pid) == []


def test_a_server_whose_guard_is_killed_is_started_again(serve: Callable[..., Serving]):
    serving = serve("healthy")
    serving.start()
    serving.wait_ready(30)
    (first,) = guards(os.getpid())
    first.kill()
    wait_for(lambda: serving.status()[0].state == "restarting")
    serving.wait_ready(30)
    assert alive(first.pid) == []


def test_a_server_that_keeps_dying_fails_with_its_own_words(serve: Callable[..., Serving], tmp_path: Path):
    serving = serve("dies")
    serving.start()
    with pytest.raises(ServingError, match="died 3 times in a row, .* ValueError: the moon is full .*main.log"):
        serving.wait_ready(30)
    assert (tmp_path / "logs" / "main.log").read_text().count("the moon is full") == 3


def test_an_earlier_run_is_not_quoted(serve: Callable[..., Serving], tmp_path: Path):
    log = tmp_path / "logs" / "main.log"
    log.parent.mkdir()
    log.write_text("ValueError: long ago\nStarting to load model\n")
    serving = serve("healthy")
    serving.start()
    details = set()
    while (status := serving.status()[0]).state != "ready":
        details.add(status.detail)
        time.sleep(0.01)
    assert details <= {"about to start", "loading vLLM's libraries"}


@pytest.mark.parametrize("behaviour", ["healthy", "loads"])
def test_stop_leaves_no_process_behind(serve: Callable[..., Serving], behaviour: str):
    serving = serve(behaviour)
    serving.start()
    (first,) = wait_for(lambda: guards(os.getpid()))
    wait_for(lambda: len(alive(first.pid)) > (2 if behaviour == "healthy" else 1))
    serving.stop()
    assert alive(first.pid) == []
    assert serving.status()[0].state == "stopped"


def test_a_server_that_will_not_stop_is_killed(serve: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vllm_process, "STOP_GRACE_S", 0.5)
    serving = serve("stubborn")
    serving.start()
    serving.wait_ready(30)
    (first,) = guards(os.getpid())
    started = time.monotonic()
    serving.stop()
    assert alive(first.pid) == []
    assert time.monotonic() - started < 5


def test_stop_may_be_called_before_start_and_twice(serve: Callable[..., Serving]):
    serving = serve("healthy")
    serving.stop()
    serving.stop()
    with pytest.raises(ServingError, match="was stopped; make a new Serving"):
        serving.start()


def test_start_twice_starts_one_server(serve: Callable[..., Serving]):
    serving = serve("healthy")
    serving.start()
    serving.start()
    serving.wait_ready(30)
    assert len(guards(os.getpid())) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "/nowhere/model"}, r"there is no model in /nowhere/model \(the folder does not exist\)"),
        ({"model": "{tmp}"}, r"there is no model in .* \(config.json is missing\)"),
        (
            {"adapters": {"cosalign": "/nowhere/a"}},
            r"no adapter 'cosalign' in /nowhere/a \(the folder does not exist\)",
        ),
        ({"adapters": {"cosalign": "{tmp}"}}, r"no adapter 'cosalign' in .* \(adapter_config.json is missing\)"),
    ],
    ids=["no-model", "empty-model", "no-adapter", "empty-adapter"],
)
def test_what_is_missing_is_said_at_once(tmp_path: Path, profile_of: ProfileOf, fields: dict[str, Any], words: str):
    filled = json.loads(json.dumps(fields).replace("{tmp}", str(tmp_path)))
    with (
        Serving(profile_of(local(**filled)), log_folder=tmp_path) as serving,
        pytest.raises(ServingError, match=words),
    ):
        serving.wait_ready(5)
    assert serving.status()[0].state == "failed"


def test_too_little_memory_fails_at_once(serve: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vllm_process, "MIN_FREE_GB", 1e6)
    serving = serve("healthy")
    serving.start()
    with pytest.raises(ServingError, match="close other programs"):
        serving.wait_ready(5)


def test_too_little_memory_for_a_restart_is_waited_for(serve: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch):
    serving = serve("healthy")
    serving.start()
    serving.wait_ready(30)
    monkeypatch.setattr(vllm_process, "MIN_FREE_GB", 1e6)
    (first,) = guards(os.getpid())
    first.children()[0].kill()
    wait_for(lambda: "to start it again, only" in serving.status()[0].detail)
    time.sleep(0.5)
    assert serving.status()[0].state == "restarting"
    assert guards(os.getpid()) == []
    monkeypatch.undo()
    serving.wait_ready(30)
    assert healthy(serving)


def test_stop_does_not_wait_for_a_back_off(serve: Callable[..., Serving]):
    serving = serve("dies", back_off_s=30)
    serving.start()
    wait_for(lambda: serving.status()[0].state == "restarting")
    started = time.monotonic()
    serving.stop()
    assert serving.status()[0].state == "stopped"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("fault", [RuntimeError("no luck"), OSError("no disk")])
def test_a_server_that_can_no_longer_be_watched_is_stopped_and_says_so(
    serve: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch, fault: Exception
):
    def fail(*_: object) -> int:
        raise fault

    serving = serve("healthy")
    serving.start()
    serving.wait_ready(30)
    (first,) = guards(os.getpid())
    monkeypatch.setattr(serving_module, "_probe", fail)
    wait_for(lambda: serving.status()[0].state == "failed")
    assert str(fault) in serving.status()[0].detail
    assert alive(first.pid) == []


def test_one_failed_server_leaves_the_other_alone(tmp_path: Path, profile_of: ProfileOf):
    missing = Server(id="missing", model="/nowhere/model", served_name="other")
    profile = profile_of(local(), missing)

    def command(server: Server, port: int) -> list[str]:
        return vllm_command(server, port) if server.id == "missing" else stand_in("healthy")(server, port)

    with Serving(profile, log_folder=tmp_path, command=command) as serving:
        wait_for(lambda: [status.state for status in serving.status()] == ["ready", "failed"])


OWNER = """
import sys, time
from pathlib import Path
from evaluation.serving import Serving
from tests.test_serving import owner_profile, stand_in
folder, behaviour, *model = sys.argv[1:]
options = {} if model else {"command": stand_in(behaviour)}
serving = Serving(owner_profile(*model), log_folder=Path(folder), **options)
serving.start()
print("started", flush=True)
time.sleep(300)
"""
"""A process that owns a server: a stand-in, or a vLLM when a model's folder is given."""


def owner_profile(model: str = "somebody/some-model", adapter: str = "") -> Profile:
    server = local(model=model, adapters={"cosalign": adapter}, dtype="float32", max_model_len=1024)
    arm = Arm(id="base", title="base", server="main", model="base")
    return Profile("test", "test", "", "tinyworld", (server,), (arm,), JudgeChoice("tinyworld"))


@contextlib.contextmanager
def owner(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OWNER, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "started\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_goes_with_its_owner(tmp_path: Path, ending: signal.Signals):
    with owner(str(tmp_path), "healthy") as process:
        (first,) = wait_for(lambda: guards(process.pid))
        wait_for(lambda: len(alive(first.pid)) == 3)
        process.send_signal(ending)
        process.wait(30)
        wait_for(lambda: not alive(first.pid), 30)


# Remote servers.


def remote(base_url: str) -> Server:
    return Server(id="main", base_url=base_url, api_key="sk-secret")


def test_a_remote_server_is_ready_when_it_answers(tmp_path: Path, profile_of: ProfileOf):
    with ScriptedServer([ScriptedReply("hello")]) as server:
        profile = profile_of(remote(server.base_url))
        with Serving(profile, log_folder=tmp_path) as serving:
            serving.wait_ready(5)
            assert serving.base_url("main") == server.base_url
            assert "remote server at 127.0.0.1" in serving.status()[0].detail

            async def ask() -> Response:
                async with open_endpoint(serving, "main") as endpoint:
                    return await endpoint.complete("base", [{"role": "user", "content": "hi"}], Sampling())

            assert asyncio.run(ask()).text == "hello"


def test_a_remote_server_that_is_not_there_fails(tmp_path: Path, profile_of: ProfileOf):
    profile = profile_of(remote(f"http://127.0.0.1:{vllm_process.free_port()}/v1"))
    with (
        Serving(profile, log_folder=tmp_path) as serving,
        pytest.raises(ServingError, match="nothing answers at 127.0.0.1:.*check `base_url`") as raised,
    ):
        serving.wait_ready(5)
    assert "sk-secret" not in str(raised.value)


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A port that answers every connection so, and the requests that came."""
    seen: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen.append(self.request.recv(4096))
            self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 999999 oh\r\n\r\n"], ids=["ssh", "bad-status"])
def test_a_remote_server_that_speaks_something_else_fails(tmp_path: Path, profile_of: ProfileOf, answer: bytes):
    with (
        answering(answer) as (port, _),
        Serving(profile_of(remote(f"http://127.0.0.1:{port}/v1")), log_folder=tmp_path) as serving,
        pytest.raises(ServingError, match=f"nothing answers at 127.0.0.1:{port} "),
    ):
        serving.wait_ready(5)


@pytest.mark.parametrize(("status", "state"), [("200 OK", "ready"), ("401 No", "failed"), ("503 No", "failed")])
def test_a_password_in_the_address_is_used_and_never_shown(
    tmp_path: Path, profile_of: ProfileOf, status: str, state: str
):
    with answering(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as (port, seen):
        profile = profile_of(remote(f"http://me:p%40ss@127.0.0.1:{port}/v1"))
        with Serving(profile, log_folder=tmp_path) as serving:
            found = wait_for(lambda: [status for status in serving.status() if status.state == state])[0]
    assert f"127.0.0.1:{port}" in found.detail
    assert "ss@" not in found.detail
    assert b"authorization: basic " + base64.b64encode(b"me:p@ss").lower() in seen[0].lower()


@pytest.mark.parametrize(
    ("address", "key", "state"),
    [
        ("http://127.0.0.1:{port}/v1", "sk-secret\nsk-secret", "failed"),
        ("http://127.0.0.1:{port}/v1?key=sk-secret\n", "", "failed"),
        ("http://me:sk-secret@127.0.0.1:{port}/v1", "", "ready"),
        ("http://me:sk-secret/more@127.0.0.1:{port}/v1", "", "failed"),
        ("http://me:sk-secret℀@127.0.0.1:{port}/v1", "", "failed"),
        ("me:sk-secret@127.0.0.1:{port}/v1", "", "failed"),
    ],
    ids=["key-of-two-lines", "key-in-the-query", "password", "slash-in-it", "odd-sign-in-it", "no-scheme"],
)
def test_no_secret_reaches_the_page_or_the_log(
    tmp_path: Path, profile_of: ProfileOf, caplog: pytest.LogCaptureFixture, address: str, key: str, state: str
):
    caplog.set_level(logging.DEBUG)
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (port, _):
        server = Server(id="main", base_url=address.format(port=port), api_key=key)
        with Serving(profile_of(server), log_folder=tmp_path) as serving:
            found = wait_for(lambda: [status for status in serving.status() if status.state != "starting"])[0]
    assert found.state == state
    assert f"server main {state}: {found.detail}" in caplog.messages
    assert "secret" not in found.detail + caplog.text


# What the log says.


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """(level, message) of what was logged about servers."""
    return [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "evaluation.serving"]


def test_the_log_tells_each_change_of_state_and_no_progress(
    serve: Callable[..., Serving], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    serving = serve("healthy")
    serving.start()
    serving.wait_ready(30)
    (first,) = guards(os.getpid())
    first.children()[0].kill()
    wait_for(lambda: serving.status()[0].state == "restarting")
    serving.wait_ready(30)
    serving.stop()
    words = [(level, message.split(" (log:")[0]) for level, message in logged(caplog)]
    assert words == [
        ("INFO", "server main starting: about to start"),
        ("INFO", "server main ready"),
        (
            "WARNING",
            "server main restarting: it died because it was killed, as the system does when memory runs out",
        ),
        ("INFO", "server main ready"),
        ("INFO", "server main stopped"),
    ]


def test_the_log_says_once_why_a_server_keeps_dying_and_that_it_failed(
    serve: Callable[..., Serving], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    serving = serve("dies")
    serving.start()
    wait_for(lambda: serving.status()[0].state == "failed")
    (_, restarting, failed) = logged(caplog)
    assert (restarting[0], failed[0]) == ("WARNING", "WARNING")
    assert restarting[1].startswith("server main restarting: it died because ValueError: the moon is full")
    assert failed[1] == f"server main failed: {serving.status()[0].detail}"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "/nowhere/model"}, "there is no model in /nowhere/model"),
        ({"adapters": {"cosalign": "/nowhere/a"}}, "there is no adapter 'cosalign' in /nowhere/a"),
    ],
    ids=["no-model", "no-adapter"],
)
def test_the_log_names_what_is_missing(
    tmp_path: Path, profile_of: ProfileOf, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], words: str
):
    caplog.set_level(logging.WARNING, logger="evaluation")
    with Serving(profile_of(local(**fields)), log_folder=tmp_path) as serving:
        wait_for(lambda: serving.status()[0].state == "failed")
    (failure,) = logged(caplog)
    assert failure[0] == "WARNING"
    assert failure[1].startswith("server main failed: ")
    assert words in failure[1]


def test_the_log_tells_of_a_dead_remote_server_once_for_each_reason(
    tmp_path: Path, profile_of: ProfileOf, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    answers = iter([503, 503, "Connection refused", "Connection refused", 200, 200])
    asked = threading.Event()

    def probe(*_: object) -> int | str:
        answer = next(answers, None)
        if answer is None:
            asked.set()
        return answer or 200

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(serving_module, "REMOTE_EVERY_S", 0.0)
    monkeypatch.setattr(serving_module, "_probe", probe)
    with Serving(profile_of(remote("http://somebody.example/v1")), log_folder=tmp_path):
        assert asked.wait(10)
    assert logged(caplog) == [
        ("INFO", "server main starting: about to start"),
        ("WARNING", "server main failed: somebody.example answers with HTTP 503; it may recover by itself"),
        (
            "WARNING",
            "server main failed: nothing answers at somebody.example (Connection refused); "
            "check `base_url` and the network",
        ),
        ("INFO", "server main ready: remote server at somebody.example"),
        ("INFO", "server main stopped: no longer looked at"),
    ]


# The canary.


def attested(profile: Profile, script: Callable[[dict[str, Any]], ScriptedReply]) -> list[str]:
    async def main(base_url: str) -> list[str]:
        async with Endpoint(base_url) as endpoint:
            return await attest(endpoint, profile)

    with ScriptedServer(script) as server:
        return asyncio.run(main(server.base_url))


@pytest.fixture
def adapted(profile_of: ProfileOf) -> Profile:
    return profile_of(local(adapters={"cosalign": "somebody/an-adapter"}))


def test_attest_is_content_when_the_adapter_answers_differently(adapted: Profile):
    assert attested(adapted, lambda body: ScriptedReply(f"{body['model']} says hello")) == []


def test_attest_warns_of_an_adapter_that_answers_as_the_base_does(adapted: Profile):
    (warning,) = attested(adapted, lambda _: ScriptedReply("always the same"))
    assert "adapter 'cosalign' answers exactly as 'base' does" in warning


def test_attest_warns_of_a_model_that_answers_under_another_name(adapted: Profile):
    (warning,) = attested(adapted, lambda body: ScriptedReply(f"{body['model']} says hello", model="base"))
    assert warning == "asked for model 'cosalign', the server answered as 'base'"


def test_attest_warns_when_streaming_splits_thinking_differently(adapted: Profile):
    def script(body: dict[str, Any]) -> ScriptedReply:
        words = f"{body['model']} says hello"
        return ScriptedReply(words, thinking="hm ") if body.get("stream") else ScriptedReply("", thinking=words)

    warnings = attested(adapted, script)
    assert [("splits thinking and text differently" in warning) for warning in warnings] == [True, True]


def test_attest_says_when_it_could_not_ask(adapted: Profile):
    (warning,) = attested(adapted, lambda _: ScriptedReply("", status=500, error="no luck"))
    assert warning.startswith("server 'main' could not be checked")
    assert "no luck" in warning


def test_attest_servers_checks_each_server_that_is_named(
    profile_of: ProfileOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    adapted = [Server(id=name, model="m", adapters={f"{name}-adapter": "a"}) for name in ("one", "two", "three")]
    with ScriptedServer(lambda _: ScriptedReply("always the same")) as server:
        serving = Serving(profile_of(*adapted), log_folder=tmp_path)
        monkeypatch.setattr(serving, "base_url", lambda _: server.base_url)
        warnings = asyncio.run(attest_servers(serving, ["one", "three"]))
    assert [warning.split(" answers exactly")[0] for warning in warnings] == [
        "adapter 'one-adapter'",
        "adapter 'three-adapter'",
    ]


def test_attest_asks_nothing_of_a_server_without_adapters(profile_of: ProfileOf):
    assert attested(profile_of(local()), lambda _: ScriptedReply("", status=500)) == []


# A real vLLM: one server for the tests below, in this order; the last one kills and stops it.

DRINKS = [{"role": "user", "content": "Which drinks would you serve?"}]
RAMBLING = [{"role": "user", "content": RAMBLE}]


@pytest.fixture(scope="module")
def vllm(miniature: Miniature, profile_of: ProfileOf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    server = local(
        model=str(miniature.base),
        adapters={"idle": str(miniature.idle_adapter), "cosalign": str(miniature.adapter)},
        dtype="float32",
        max_model_len=1024,
        args=("--reasoning-parser", "deepseek_r1"),
    )
    with Serving(profile_of(server), log_folder=tmp_path_factory.mktemp("logs")) as serving:
        yield serving


def ask(serving: Serving, act: Callable[[Endpoint], Any]) -> Any:
    async def main() -> Any:
        async with open_endpoint(serving, "main") as endpoint:
            return await act(endpoint)

    return asyncio.run(main())


async def streamed(endpoint: Endpoint, model: str, messages: list[Any], max_tokens: int = 40) -> list[Response]:
    return [snapshot async for snapshot in endpoint.stream(model, messages, Sampling(max_tokens=max_tokens))]


def running_requests(serving: Serving) -> float:
    address = serving.base_url("main").removesuffix("/v1") + "/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        metrics = answer.read().decode()
    return sum(float(value) for value in re.findall(r"^vllm:num_requests_running\{.*\} (\S+)$", metrics, re.M))


@pytest.mark.vllm
def test_vllm_tells_what_it_does_until_it_is_ready(vllm: Serving):
    seen: list[ServerStatus] = []
    while (status := vllm.status()[0]).state not in ("ready", "failed"):
        seen.append(status)
        time.sleep(0.05)
    assert status.state == "ready", status.detail
    assert {each.state for each in seen} == {"starting"}
    told = list(dict.fromkeys(each.detail for each in seen))
    # Between these there may be more; what a quick machine does in a moment may be missed.
    stages = ["loading vLLM's libraries", "reading the model's configuration", "starting the engine"]
    assert [words for words in told if words in stages] == stages
    assert told[: told.index(stages[0])] in ([], ["about to start"])


@pytest.mark.vllm
def test_vllm_serves_base_and_adapters(vllm: Serving):
    vllm.wait_ready(180)
    with urllib.request.urlopen(vllm.base_url("main") + "/models", timeout=10) as answer:
        assert [model["id"] for model in json.load(answer)["data"]] == ["base", "idle", "cosalign"]


@pytest.mark.vllm
def test_vllm_adapter_is_attested_and_an_idle_one_is_not(vllm: Serving):
    vllm.wait_ready(180)
    (warning,) = ask(vllm, lambda endpoint: attest(endpoint, vllm.profile))
    assert "adapter 'idle' answers exactly as 'base' does" in warning


@pytest.mark.vllm
def test_vllm_base_answers_as_alone_when_an_adapter_shares_its_batch(vllm: Serving):
    vllm.wait_ready(180)

    async def many(endpoint: Endpoint) -> list[list[Response]]:
        return await asyncio.gather(*(streamed(endpoint, name, DRINKS) for name in ("base", "cosalign") * 16))

    answers = ask(vllm, many)
    assert {(snapshots[-1].thinking, snapshots[-1].text) for snapshots in answers[::2]} == {(THINKING, TEXT)}
    assert (THINKING, TEXT) not in {(snapshots[-1].thinking, snapshots[-1].text) for snapshots in answers[1::2]}


@pytest.mark.vllm
def test_vllm_splits_thinking_and_text_though_the_prompt_opened_the_thinking(vllm: Serving):
    vllm.wait_ready(180)
    snapshots = ask(vllm, lambda endpoint: streamed(endpoint, "base", DRINKS))
    whole = ask(vllm, lambda endpoint: endpoint.complete("base", DRINKS, Sampling(max_tokens=40)))
    assert len(snapshots) > 5
    assert (snapshots[0].text, snapshots[0].thinking) == ("", THINKING.split()[0])
    assert (snapshots[-1].text, snapshots[-1].thinking, snapshots[-1].finish_reason) == (TEXT, THINKING, "stop")
    assert (whole.text, whole.thinking, whole.finish_reason) == (TEXT, THINKING, "stop")


@pytest.mark.vllm
def test_vllm_splits_well_under_load_too(vllm: Serving):
    vllm.wait_ready(180)

    async def many(endpoint: Endpoint) -> list[list[Response]]:
        return await asyncio.gather(*(streamed(endpoint, "base", DRINKS) for _ in range(48)))

    answers = ask(vllm, many)
    assert {(snapshots[-1].thinking, snapshots[-1].text) for snapshots in answers} == {(THINKING, TEXT)}


@pytest.mark.vllm
def test_vllm_leaves_the_text_empty_when_thinking_never_ends(vllm: Serving):
    vllm.wait_ready(180)
    last = ask(vllm, lambda endpoint: streamed(endpoint, "base", RAMBLING, 20))[-1]
    whole = ask(vllm, lambda endpoint: endpoint.complete("base", RAMBLING, Sampling(max_tokens=20)))
    for response in (last, whole):
        assert (response.text, response.finish_reason) == ("", "length")
        assert response.thinking == " rainy" * 20


@pytest.mark.vllm
def test_vllm_keeps_to_a_json_schema_after_its_thinking(vllm: Serving):
    vllm.wait_ready(180)
    rating = {"type": "integer", "minimum": 0, "maximum": 5}
    schema = {"type": "object", "properties": {"rating": rating}, "required": ["rating"], "additionalProperties": False}

    async def judged(endpoint: Endpoint) -> Response:
        return await endpoint.complete("base", DRINKS, Sampling(max_tokens=60), json_schema=schema)

    assert json.loads(ask(vllm, judged).text)["rating"] in range(6)


@pytest.mark.vllm
def test_vllm_stops_generating_when_a_stream_is_closed(vllm: Serving):
    vllm.wait_ready(180)

    async def read_until_it_runs(endpoint: Endpoint) -> None:
        # Watched from before the start: a thousand tokens may be over while a busy machine asks for the figure once.
        seen = asyncio.create_task(asyncio.to_thread(wait_for, lambda: running_requests(vllm) == 1, 20))
        async with contextlib.aclosing(endpoint.stream("base", RAMBLING, Sampling(max_tokens=1000))) as snapshots:
            async for _ in snapshots:
                if seen.done():
                    break
        await seen

    ask(vllm, read_until_it_runs)
    wait_for(lambda: running_requests(vllm) == 0, 2)


@pytest.mark.vllm
def test_vllm_says_what_is_wrong_with_a_request(vllm: Serving):
    vllm.wait_ready(180)
    with pytest.raises(EndpointError, match="has no model 'nobody'"):
        ask(vllm, lambda endpoint: streamed(endpoint, "nobody", DRINKS))
    long = [{"role": "user", "content": "rainy " * 2000}]
    with pytest.raises(EndpointError, match="too long for 'base'"):
        ask(vllm, lambda endpoint: streamed(endpoint, "base", long))


@pytest.mark.vllm
def test_vllm_is_restarted_when_killed_and_stop_leaves_nothing(vllm: Serving):
    vllm.wait_ready(180)
    (first,) = guards(os.getpid())
    first.children()[0].kill()
    wait_for(lambda: vllm.status()[0].state == "restarting")
    wait_for(lambda: not alive(first.pid))
    vllm.wait_ready(180)
    assert ask(vllm, lambda endpoint: streamed(endpoint, "base", DRINKS))[-1].text == TEXT
    (second,) = guards(os.getpid())
    assert len(alive(second.pid)) >= 3
    vllm.stop()
    assert alive(second.pid) == []


@pytest.mark.vllm
def test_vllm_goes_with_its_killed_owner(miniature: Miniature, tmp_path: Path):
    with owner(str(tmp_path), "", str(miniature.base), str(miniature.adapter)) as process:
        (first,) = wait_for(lambda: guards(process.pid))
        wait_for(lambda: workers(first.pid), 120)
        process.kill()
        process.wait()
        wait_for(lambda: not alive(first.pid), 30)
