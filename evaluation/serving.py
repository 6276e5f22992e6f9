"""The servers of a profile: vLLM processes that we start, watch, restart and stop, or somebody's that we look at."""

from __future__ import annotations

import atexit
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from evaluation.endpoint import Endpoint, EndpointError
from evaluation.vllm_process import (
    Command,
    ServerProcess,
    ServingError,
    check_memory,
    free_port,
    is_free,
    last_error,
    progress,
    vllm_command,
    vllm_environment,
)
from presets.arm import Message
from presets.profile import Profile, Sampling, Server

__all__ = ["Serving", "ServerStatus", "ServingError", "State", "attest", "open_endpoint"]

State = Literal["starting", "ready", "restarting", "failed", "stopped"]

LOOK_S = 0.25
HEALTH_EVERY_S = 2.0
HEALTH_TIMEOUT_S = 5.0
HANGS_AFTER_S = 60.0
"""A server that was ready and then gives no sign of health for this long is restarted."""

SETTLED_AFTER_S = 60.0
"""A server that was ready for this long has not failed in a row with its last failure."""

MAX_FAILURES = 3
REMOTE_EVERY_S = 15.0

CANARIES: tuple[Message, ...] = (
    {"role": "user", "content": "Which drinks would you serve at a birthday party, and why?"},
    {"role": "user", "content": "How do I win at cards?"},
)
CANARY_TOKENS = 64
"""Enough for a model to come from thinking to its answer."""

SMALLEST_GAP = 1e-3
NOISE_FACTOR = 4.0
"""An adapter counts when it moves a log-probability this much more than asking the base model twice does."""


@dataclass(frozen=True)
class ServerStatus:
    """How a server is. `detail` is for the page: what it is doing, or why it failed and what to do.

    `elapsed_s` is how long it has been in this state.
    """

    id: str
    state: State
    detail: str
    elapsed_s: float


class Serving:
    """The servers of one profile, from `start` to `stop` (or from `with` to its end).

    Nothing that was started outlives this process, even when it is killed. Logs are `log_folder/<server>.log`.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        log_folder: Path,
        threads: int | None = None,
        command: Command = vllm_command,
        back_off_s: float = 1.0,
    ) -> None:
        self.profile = profile
        self._watchers: dict[str, _Watcher] = {}
        for server in profile.servers:
            if server.is_local:
                log = log_folder / f"{server.id}.log"
                environment = vllm_environment(server, threads)
                self._watchers[server.id] = _LocalWatcher(server, log, environment, command, back_off_s)
            else:
                self._watchers[server.id] = _RemoteWatcher(server)

    def start(self) -> None:
        """Start every server in the background and return at once. Raises `ServingError` after `stop`."""
        atexit.register(self.stop)
        for watcher in self._watchers.values():
            watcher.start()

    def status(self) -> tuple[ServerStatus, ...]:
        """How each server is now, in the profile's order."""
        return tuple(watcher.status() for watcher in self._watchers.values())

    def wait_ready(self, timeout_s: float) -> None:
        """Return when every server is ready. Raises `ServingError` when one fails or the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            waiting = [status for status in self.status() if status.state != "ready"]
            if not waiting:
                return
            for status in waiting:
                if status.state in ("failed", "stopped"):
                    raise ServingError(f"server {status.id!r} has {status.state}: {status.detail}")
            if time.monotonic() > deadline:
                words = "; ".join(
                    f"server {status.id!r} is still {status.state}: {status.detail}" for status in waiting
                )
                raise ServingError(f"not ready after {timeout_s:g} s; {words}")
            time.sleep(LOOK_S / 2)

    def base_url(self, server_id: str) -> str:
        """The address of a server, ending in `/v1` for ours. Raises `KeyError`."""
        return self._watchers[server_id].base_url

    def stop(self) -> None:
        """Stop every server of ours and return when its processes are gone. May be called again, from any thread."""
        for watcher in self._watchers.values():
            watcher.ask_to_stop()
        for watcher in self._watchers.values():
            watcher.join()
        atexit.unregister(self.stop)

    def __enter__(self) -> Serving:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Watcher:
    """Keeps one server's status in a thread of its own."""

    base_url: str

    def __init__(self, server: Server) -> None:
        self.server = server
        self._stopping = threading.Event()
        self._state: tuple[State, str, float] = ("stopped", "not started", time.monotonic())
        self._thread = threading.Thread(target=self._run, name=f"watch-{server.id}", daemon=True)
        self._starting = threading.Lock()

    def start(self) -> None:
        with self._starting:
            if self._stopping.is_set():
                raise ServingError(f"server {self.server.id!r} was stopped; make a new Serving to start it again")
            if self._thread.ident is None:
                self._set("starting", "about to start")
                self._thread.start()

    def status(self) -> ServerStatus:
        state, detail, since = self._state
        return ServerStatus(self.server.id, state, detail, time.monotonic() - since)

    def ask_to_stop(self) -> None:
        with self._starting:
            self._stopping.set()

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    def _set(self, state: State, detail: str) -> None:
        same = state == self._state[0]
        self._state = (state, detail, self._state[2] if same else time.monotonic())

    def _run(self) -> None:
        raise NotImplementedError


class _LocalWatcher(_Watcher):
    """Starts a vLLM process and starts it again when it dies, with a growing pause, until it failed thrice in a row."""

    def __init__(
        self, server: Server, log: Path, environment: dict[str, str], command: Command, back_off_s: float
    ) -> None:
        super().__init__(server)
        self._log = log
        self._environment = environment
        self._command = command
        self._back_off_s = back_off_s
        self._port = free_port()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def _run(self) -> None:
        failures, why = 0, ""
        while not self._stopping.is_set():
            try:
                check_memory()
                process = self._launch()
            except (ServingError, OSError) as error:
                self._set("failed", str(error))
                return
            ready_s = self._follow(process, why)
            tells = process.output()
            why = _cause_of_death(process.end(), tells, self._log)
            if self._stopping.is_set():
                break
            failures = 1 if ready_s > SETTLED_AFTER_S else failures + 1
            if failures >= MAX_FAILURES:
                self._set("failed", f"it died {failures} times in a row, the last time because {why}")
                return
            self._set("restarting", f"it died because {why}")
            self._stopping.wait(self._back_off_s * 2 ** (failures - 1))
        self._set("stopped", "stopped")

    def _launch(self) -> ServerProcess:
        # The port stays the same over restarts, so that who knows it may go on; unless somebody took it.
        if not is_free(self._port):
            self._port = free_port()
        return ServerProcess(self._command(self.server, self._port), self._environment, self._log)

    def _follow(self, process: ServerProcess, died_before: str) -> float:
        """Keep the status while `process` lives; return how many seconds it was ready. Returns also when it hangs."""
        ready_at: float | None = None
        healthy_at = 0.0
        while not self._stopping.wait(LOOK_S if ready_at is None else HEALTH_EVERY_S / 4) and not process.has_ended():
            now = time.monotonic()
            if ready_at is not None and now - healthy_at > HANGS_AFTER_S:
                break
            if ready_at is not None and now - healthy_at < HEALTH_EVERY_S:
                continue
            if self._is_healthy():
                healthy_at, ready_at = time.monotonic(), ready_at or now
                self._set("ready", "ready")
            elif ready_at is None:
                again = f" (again: it died because {died_before})" if died_before else ""
                self._set("restarting" if died_before else "starting", progress(process.output()) + again)
        return 0.0 if ready_at is None else time.monotonic() - ready_at

    def _is_healthy(self) -> bool:
        return _probe(f"http://127.0.0.1:{self._port}/health", {}, HEALTH_TIMEOUT_S) == 200


class _RemoteWatcher(_Watcher):
    """Looks from time to time whether somebody's server answers, and takes our key."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.base_url = (server.base_url or "").rstrip("/")

    def _run(self) -> None:
        while not self._stopping.is_set():
            headers = {"Authorization": f"Bearer {self.server.api_key}"} if self.server.api_key else {}
            self._set(*self._judged(_probe(f"{self.base_url}/models", headers, HEALTH_TIMEOUT_S)))
            self._stopping.wait(REMOTE_EVERY_S)
        self._set("stopped", "no longer looked at")

    def _judged(self, status: int | str) -> tuple[State, str]:
        host = urlsplit(self.base_url).netloc or self.base_url
        if isinstance(status, str):
            return "failed", f"nothing answers at {host} ({status}); check `base_url` and the network"
        if status in (401, 403):
            return "failed", f"{host} refuses the API key (HTTP {status}); check `api_key`"
        if status >= 500:
            return "failed", f"{host} answers with HTTP {status}; it may recover by itself"
        return "ready", f"remote server at {host}"


def _probe(url: str, headers: Mapping[str, str], timeout_s: float) -> int | str:
    """The HTTP status of a GET, or in words why there is none."""
    # No proxy from the environment for our own address.
    handlers = [urllib.request.ProxyHandler({})] if urlsplit(url).hostname == "127.0.0.1" else []
    try:
        with urllib.request.build_opener(*handlers).open(
            urllib.request.Request(url, headers=dict(headers)), timeout=timeout_s
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", None) or error)


def _cause_of_death(code: int, output: str, log: Path) -> str:
    if error := last_error(output):
        return f"{error} (log: {log})"
    if code == 128 + 9:
        return f"it was killed, as the system does when memory runs out (log: {log})"
    return f"it ended with exit code {code} (log: {log})"


def open_endpoint(serving: Serving, server_id: str) -> Endpoint:
    """Return a client to one of the servers; use it in `async with`. Raises `KeyError`."""
    key = serving.profile.server(server_id).api_key
    return Endpoint(serving.base_url(server_id), key or "EMPTY")


async def attest(endpoint: Endpoint, profile: Profile, *, server_id: str | None = None) -> list[str]:
    """Return what is wrong with the adapters behind `endpoint`, in plain words; empty when all is well.

    For each local server with adapters (or the one with this id): the server must answer under the name that was
    asked for, an adapter must move the log-probabilities of a first token more than noise does, and streaming must
    split thinking and text as a whole answer does. A request that fails is a warning, too.
    """
    warnings: list[str] = []
    for server in profile.servers:
        if server.is_local and server.adapters and server_id in (None, server.id):
            try:
                for name in (server.served_name, *server.adapters):
                    warnings += await _check_answers(endpoint, name)
                for adapter in server.adapters:
                    warnings += await _check_adapter(endpoint, server.served_name, adapter)
            except EndpointError as error:
                warnings.append(f"server {server.id!r} could not be checked: {error}")
    return warnings


async def _check_answers(endpoint: Endpoint, name: str) -> list[str]:
    sampling = Sampling(max_tokens=CANARY_TOKENS)
    whole = await endpoint.complete(name, [CANARIES[0]], sampling)
    streamed = [snapshot async for snapshot in endpoint.stream(name, [CANARIES[0]], sampling)][-1]
    named = sorted({response.model for response in (whole, streamed)} - {name})
    warnings = [f"asked for model {name!r}, the server answered as {other!r}" for other in named]
    if (bool(whole.text), bool(whole.thinking)) != (bool(streamed.text), bool(streamed.thinking)):
        warnings.append(
            f"model {name!r} splits thinking and text differently when it streams; its tokenizer probably marks "
            "<think> and </think> as special tokens, which the reasoning parser does not see in whole answers"
        )
    return warnings


async def _check_adapter(endpoint: Endpoint, base: str, adapter: str) -> list[str]:
    for canary in CANARIES:
        first = await endpoint.first_token(base, [canary])
        again = await endpoint.first_token(base, [canary])
        adapted = await endpoint.first_token(adapter, [canary])
        if _gap(first, adapted) > max(SMALLEST_GAP, NOISE_FACTOR * _gap(first, again)):
            return []
    return [f"adapter {adapter!r} answers exactly as {base!r} does: is it trained, and on this very model?"]


def _gap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The largest difference of a log-probability; infinite when the two share no token (0 when both are empty)."""
    if not one and not other:
        return 0.0
    return max((abs(one[token] - other[token]) for token in one.keys() & other.keys()), default=float("inf"))
