"""The servers of a profile: vLLM processes that we start, watch, restart and stop, or somebody's that we look at."""

from __future__ import annotations

import atexit
import base64
import http.client
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from evaluation.canary import attest
from evaluation.endpoint import NO_KEY, Endpoint, shown_host
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
from presets.profile import Profile, Server

__all__ = ["Serving", "ServerStatus", "ServingError", "State", "attest", "attest_servers", "open_endpoint"]

State = Literal["starting", "ready", "restarting", "failed", "stopped"]

LOOK_S = 0.25
HEALTH_EVERY_S = 2.0
HEALTH_TIMEOUT_S = 5.0
HANGS_AFTER_S = 60.0
"""A server that was ready and then gives no sign of health for this long is restarted."""

SETTLED_AFTER_S = 60.0
"""A server that was ready for this long has not failed in a row with its last failure."""

MAX_FAILURES = 3
MAX_BACK_OFF_S = 30.0
REMOTE_EVERY_S = 15.0

log = logging.getLogger(__name__)


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
        self._logged: tuple[State, str] | None = None
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

    def _set(self, state: State, detail: str, *, is_news: bool = True) -> None:
        """Set the status, and log it unless it is no news or was logged last."""
        same = state == self._state[0]
        self._state = (state, detail, self._state[2] if same else time.monotonic())
        if is_news and self._logged != (state, detail):
            self._logged = (state, detail)
            level = logging.WARNING if state in ("failed", "restarting") else logging.INFO
            log.log(level, "server %s %s", self.server.id, state if detail == state else f"{state}: {detail}")

    def _run(self) -> None:
        try:
            self._watch()
        except (ServingError, OSError) as error:
            self._set("failed", str(error))
        except Exception as error:
            log.exception("watching server %s failed", self.server.id)
            self._set("failed", f"it is no longer watched, because of a fault in this program ({error!r}); start again")

    def _watch(self) -> None:
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

    def _watch(self) -> None:
        check_memory()
        failures, why = 0, ""
        while not self._stopping.is_set():
            ready_s, why = self._live(why)
            if self._stopping.is_set():
                break
            failures = 1 if ready_s > SETTLED_AFTER_S else failures + 1
            if failures >= MAX_FAILURES:
                self._set("failed", f"it died {failures} times in a row, the last time because {why}")
                return
            self._set("restarting", f"it died because {why}")
            self._stopping.wait(self._back_off_s * 2 ** (failures - 1))
            self._wait_for_memory(why)
        self._set("stopped", "stopped")

    def _live(self, died_before: str) -> tuple[float, str]:
        """Run one process until it ends or hangs; return how many seconds it was ready, and why it died."""
        process = self._launch()
        try:
            ready_s = self._follow(process, died_before)
            tells = process.output()
        finally:
            code = process.end()
        return ready_s, _cause_of_death(code, tells, self._log)

    def _wait_for_memory(self, died_before: str) -> None:
        """Return when a new process has the memory that it needs: whoever holds it now may be gone soon."""
        pause = self._back_off_s
        is_news = True
        while not self._stopping.is_set():
            try:
                check_memory()
                return
            except ServingError as error:
                words = f"it died because {died_before}; to start it again, {error}"
                self._set("restarting", words, is_news=is_news)
            is_news = False  # only the number of free bytes changes from now on
            self._stopping.wait(pause)
            pause = min(2 * pause, MAX_BACK_OFF_S)

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
                words = progress(process.output()) + again
                self._set("restarting" if died_before else "starting", words, is_news=False)
        return 0.0 if ready_at is None else time.monotonic() - ready_at

    def _is_healthy(self) -> bool:
        return _probe(f"http://127.0.0.1:{self._port}/health", {}, HEALTH_TIMEOUT_S) == 200


class _RemoteWatcher(_Watcher):
    """Looks from time to time whether somebody's server answers, and takes our key."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.base_url = (server.base_url or "").rstrip("/")

    def _watch(self) -> None:
        url, headers = _without_userinfo(f"{self.base_url}/models")
        if self.server.api_key and not headers:
            headers = {"Authorization": f"Bearer {self.server.api_key}"}
        while not self._stopping.is_set():
            self._set(*self._judged(_probe(url, headers, HEALTH_TIMEOUT_S)))
            self._stopping.wait(REMOTE_EVERY_S)
        self._set("stopped", "no longer looked at")

    def _judged(self, status: int | str) -> tuple[State, str]:
        host = shown_host(self.base_url)
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
    except (ValueError, http.client.InvalidURL):
        # Their own words quote the address or the header, and so the key.
        return "the address or the key has characters that cannot be sent"
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", None) or error)


def _without_userinfo(url: str) -> tuple[str, dict[str, str]]:
    """The address without `user:password@`, and the header that says the same, as the model's client sends it.

    Raises `ServingError`, which does not quote the address, when it has no host or a port that is no number.
    """
    try:
        parts = urlsplit(url)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ServingError(
            "`base_url` is no address; write it like https://host:8000/v1, "
            "and signs like / in a password as %2F and so on"
        )
    userinfo, _, host = parts.netloc.rpartition("@")
    if not userinfo:
        return url, {}
    user, _, password = map(unquote, userinfo.partition(":"))
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {token}"}


def _cause_of_death(code: int, output: str, log: Path) -> str:
    if error := last_error(output):
        return f"{error} (log: {log})"
    if code == 128 + 9:
        return f"it was killed, as the system does when memory runs out (log: {log})"
    return f"it ended with exit code {code} (log: {log})"


def open_endpoint(serving: Serving, server_id: str) -> Endpoint:
    """Return a client to one of the servers; use it in `async with`. Raises `KeyError`."""
    key = serving.profile.server(server_id).api_key
    return Endpoint(serving.base_url(server_id), key or NO_KEY)


async def attest_servers(serving: Serving, server_ids: Iterable[str]) -> list[str]:
    """Return what is wrong with the adapters behind these servers, in plain words; see `evaluation.canary.attest`."""
    warnings: list[str] = []
    for server_id in server_ids:
        async with open_endpoint(serving, server_id) as endpoint:
            warnings += await attest(endpoint, serving.profile, server_id=server_id)
    return warnings
