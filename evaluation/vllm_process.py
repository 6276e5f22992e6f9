"""One vLLM server process: its command and environment, what its log means, its start and its end."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from evaluation import guard
from presets.profile import ROOT, Server, model_folder

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The `--max-lora-rank` values that vLLM allows, but for 1. On a CPU it computes with so many rows whatever an adapter has."""

HUB_ADAPTER_RANK = 64
"""Assumed of an adapter whose config is still on the hub."""

GPU_TIMEOUT_S = 30.0
MIN_FREE_GB = 4.0
STOP_GRACE_S = 8.0
ORPHAN_GRACE_S = 2.0
LOOK_S = 0.1
TAIL_BYTES = 64_000
"""How much of the log's end is read for its last words."""

Command = Callable[[Server, int], list[str]]
"""Makes the command that serves a server on a port. Raises `ServingError`."""

LOG_PREFIX = re.compile(r"^(?:\(.+? pid=\d+\) )?(?:[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]+\] )?")
ERROR_LINE = re.compile(r"^(?:[\w.]*(?:Error|Exception): .+|[\w.]+: error: .+|.*No space left on device.*)$")
AFTERMATH = ("Engine core initialization failed", "EngineDeadError", "EngineCore encountered an issue")
"""Errors that only report that another process died."""

PROGRESS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"non-default args", "reading the model's configuration"),
        (r"Initializing a V1 LLM engine", "starting the engine"),
        (r"(?:Fetching \d+ files|Downloading|\.safetensors): +(\d+)%", "downloading the model ({} %)"),
        (r"Starting to load model", "loading weights"),
        (r"Loading safetensors checkpoint shards: +(\d+)%", "loading weights ({} %)"),
        (r"Loading weights took", "reserving memory"),
        (r"KV cache size", "warming up"),
        (r"Capturing CUDA graphs", "warming up (recording CUDA graphs)"),
        (r"Loaded new LoRA adapter: name '([^']+)'", "loading adapter {}"),
        (r"Starting vLLM server", "opening the port"),
    )
)
"""Log lines of vLLM 0.32 and what they mean to somebody who waits; the last one in the log counts."""


class ServingError(Exception):
    """A server cannot run, in plain words: what was given, why it cannot work, what to do."""


def vllm_command(server: Server, port: int, *, host: str = "127.0.0.1") -> list[str]:
    """Return the command that serves `server` on `port` of `host`. Raises `ServingError` when a part is missing."""
    if importlib.util.find_spec("vllm") is None:
        raise ServingError("vLLM is not installed; run `pip install -r requirements.txt`")
    assert server.model is not None
    command = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", _model(server, server.model), "--served-model-name", server.served_name]
    command += ["--host", host, "--port", str(port), "--disable-uvicorn-access-log"]
    command += ["--dtype", server.dtype, "--max-model-len", str(server.max_model_len)]
    command += ["--structured-outputs-config", '{"backend":"xgrammar","disable_any_whitespace":true}']
    if server.revision:
        command += ["--revision", server.revision]
    if server.adapters:
        modules = [f"{name}={_adapter(server, name, path)}" for name, path in server.adapters.items()]
        command += ["--enable-lora", "--lora-modules", *modules]
        # One slot more than there are adapters: on a CPU, requests for the base model that share a batch with an adapter's
        # are computed with the last slot, which must be empty (vllm 0.32 indexes it with -1).
        command += ["--max-loras", str(len(modules) + 1), "--max-lora-rank", str(_max_rank(server))]
        if targets := _targets(server):
            command += ["--lora-target-modules", *targets]
    if not has_gpu():
        command += ["--enforce-eager", "--max-num-seqs", "32"]
    return [*command, *server.args]


def vllm_environment(server: Server, threads: int | None) -> dict[str, str]:
    """Return the environment for `server`'s process: this one's, with what is not set there filled in.

    `threads` is the number of OpenMP threads; None leaves it to `OMP_NUM_THREADS`, or else to `cores`.
    """
    environment = dict(os.environ, VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
    # Clients let an idle connection go after 5 s; a server that does so at the same moment breaks off a request on its way.
    environment.setdefault("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "30")
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    if not has_gpu():
        environment.setdefault("OMP_NUM_THREADS", str(cores()))
        if cores() < _cores_seen():
            # vLLM would bind a thread to every core that it sees, and they would wait for each other's share of the time.
            environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        if not shutil.which(environment.get("CXX", "g++")):
            # The first request for log-probabilities would have PyTorch compile a helper, and kill the engine.
            environment.setdefault("TORCH_COMPILE_DISABLE", "1")
    if all(model_folder(name) for name in (server.model or "", *server.adapters.values())):
        # Nothing is on the hub, so no time is lost in asking it.
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environment


@cache
def has_gpu() -> bool:
    """True where `nvidia-smi -L` finds a GPU, which is also how setup_env.sh chooses what to install."""
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False, timeout=GPU_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 0


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many cores this process may keep busy: a container's limit (cgroup v2 or v1), or those that the system gives it."""
    seen = _cores_seen()
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, " ".join((cgroup / name).read_text() for name in names).split())
            if quota > 0:
                return min(seen, max(1, round(quota / period)))
    return seen


def _cores_seen() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_memory(meminfo: Path = Path("/proc/meminfo")) -> None:
    """Raise `ServingError` when less than `MIN_FREE_GB` are free; pass where the system does not tell."""
    match = re.search(r"^MemAvailable: +(\d+) kB", meminfo.read_text(), re.M) if meminfo.exists() else None
    free_gb = int(match[1]) / 1e6 if match else None
    if free_gb is not None and free_gb < MIN_FREE_GB:
        raise ServingError(
            f"only {free_gb:.1f} GB of memory are free and vLLM needs {MIN_FREE_GB:g}; close other programs "
            "(another server or a training?) and start again"
        )


def _model(server: Server, name: str) -> str:
    folder = model_folder(name)
    if folder is None:
        return name
    hint = "run `make tinyworld`" if "tinyworld" in folder.parts else "correct `model`, or put the model there"
    _require(folder / "config.json", f"server {server.id!r}: there is no model in {folder}", hint)
    return str(folder)


def _adapter(server: Server, name: str, path: str) -> str:
    folder = model_folder(path)
    if folder is None:
        return path
    hint = "train it, correct `adapters`, or leave the adapter out"
    _require(folder / "adapter_config.json", f"server {server.id!r}: there is no adapter {name!r} in {folder}", hint)
    return str(folder)


def _require(file: Path, complaint: str, hint: str) -> None:
    if not file.is_file():
        why = f"{file.name} is missing" if file.parent.is_dir() else "the folder does not exist"
        raise ServingError(f"{complaint} ({why}); {hint}")


def _max_rank(server: Server) -> int:
    """The smallest rank that vLLM allows and that no adapter exceeds."""
    needed = max(_rank(server, path) for path in server.adapters.values())
    allowed = [rank for rank in LORA_RANKS if rank >= needed]
    if not allowed:
        raise ServingError(
            f"server {server.id!r}: an adapter has LoRA rank {needed} and vLLM serves at most {LORA_RANKS[-1]}; "
            "train it with a smaller rank, or merge it into the model"
        )
    return allowed[0]


def _rank(server: Server, path: str) -> int:
    folder = model_folder(path)
    return HUB_ADAPTER_RANK if folder is None else _lora(folder)[0]


def _targets(server: Server) -> list[str]:
    """The modules that the adapters change, sorted: all others are served as if there were none.

    Empty where that is not known: an adapter still on the hub, or one that names its modules by a pattern.
    """
    named: set[str] = set()
    for path in server.adapters.values():
        folder = model_folder(path)
        targets = None if folder is None else _lora(folder)[1]
        if not isinstance(targets, list) or any("." in name for name in targets):
            return []
        named.update(targets)
    return sorted(named)


def _lora(folder: Path) -> tuple[int, Any]:
    """The largest rank of an adapter's modules, and what its config says of which modules those are."""
    file = folder / "adapter_config.json"
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        ranks = [int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServingError(f"{file} is not a LoRA adapter's config ({error!r}); save the adapter again") from error
    return max(ranks), config.get("target_modules")


def progress(log: str) -> str:
    """What a server that wrote `log` is doing, in plain words."""
    found, place = "loading vLLM's libraries", -1
    for pattern, words in PROGRESS:
        for match in pattern.finditer(log):
            if match.start() > place:
                found, place = words.format(*match.groups()), match.start()
    return found


def last_error(log: str) -> str | None:
    """The line of a dead server's log that tells best why it died; None when none does."""
    lines = [LOG_PREFIX.sub("", line).strip() for line in log.splitlines()]
    errors = [line for line in lines if ERROR_LINE.match(line)]
    causes = [line for line in errors if not any(words in line for words in AFTERMATH)]
    return (causes or errors or [None])[-1]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_free(port: int) -> bool:
    """True when a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class ServerProcess:
    """A running server with everything it started: a process group led by a guard. Its output goes to `log`."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log.stat().st_size if log.exists() else 0
        guarded = [sys.executable, "-I", str(Path(guard.__file__)), str(os.getpid()), *command]
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def group(self) -> int:
        """The process group that holds the server's processes."""
        return self._guard.pid

    def has_ended(self) -> bool:
        """True when the server is gone. Its group keeps its number until `end` is called."""
        return os.waitid(os.P_PID, self._guard.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def output(self) -> str:
        """The end of what this process (not an earlier one) wrote to the log."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").replace("\r", "\n")

    def end(self) -> int:
        """End every process of the group: TERM, and KILL after a grace. Returns the exit code, 128 + n for signal n."""
        if not self.has_ended():
            os.killpg(self.group, signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE_S
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        # Only now is the guard waited for: until then nobody else can be given the group's number.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        code = self._guard.wait()
        self._wait_for_the_killed()
        return code if code >= 0 else 128 - code

    def _wait_for_the_killed(self) -> None:
        """Return when the group is empty; or soon, where nobody takes orphans in and the dead stay in the table."""
        deadline = time.monotonic() + ORPHAN_GRACE_S
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.group, 0)
                time.sleep(LOOK_S / 5)
