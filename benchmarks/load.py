"""Many visitors at once on one page: is a turn lost or shown to somebody else, how long do they wait, does memory stay flat?

Each visitor's prompts carry a mark that is looked for in everybody's panes and in the store. The page is `app.py` itself,
in a process of its own; visitors speak gradio's protocol over HTTP, as a browser does, without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import secrets
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.over_http import PATIENCE_S, OverHttp
from benchmarks.report import NOTHING, OnStep, Report
from benchmarks.spread import MeasurementError
from presets.profile import ROOT

VISITORS = 100
MINUTES = 2.0
LONGEST = 60
THINK_S = 10.0
"""Mean of the pause before each prompt and each vote, drawn evenly from none to twice as long."""

TURNS = 2
"""Prompts of one conversation; then the visitor opens the page anew."""

MARK = re.compile(r"mark-[0-9a-f]{12}")
READY_S = 300.0


@dataclass
class Seen:
    """What all visitors saw: by mark the turns that came to their end (`asked`) and the votes. Seconds from sending to the first word and to the last verdict, and from voting to its storing."""

    first_s: list[float] = field(default_factory=list)
    judged_s: list[float] = field(default_factory=list)
    vote_s: list[float] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    voted: Counter[str] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)


async def visit(http: OverHttp, seen: Seen, until: float, draw: random.Random, prompts: Sequence[str]) -> None:
    """One visitor after the other in the same place, until the time is over; each asks, reads and votes."""
    await asyncio.sleep(draw.uniform(0, THINK_S))
    while time.monotonic() < until:
        mark = f"mark-{secrets.token_hex(6)}"
        try:
            visitor = await http.arrive()
            for _ in range(TURNS):
                await asyncio.sleep(draw.uniform(0, 2 * THINK_S))
                if time.monotonic() > until:
                    return
                await _ask(http, visitor, f"{draw.choice(prompts)} {mark}", mark, seen)
                await asyncio.sleep(draw.uniform(0, 2 * THINK_S))
                started = time.perf_counter()
                await http.vote(visitor, draw.randrange(3))
                seen.vote_s.append(time.perf_counter() - started)
                seen.voted[mark] += 1
        except (MeasurementError, httpx.HTTPError) as error:
            seen.failed[f"{type(error).__name__}: {error}"[:200]] += 1


async def _ask(http: OverHttp, visitor: str, prompt: str, mark: str, seen: Seen) -> None:
    started, first = time.perf_counter(), None
    async for panes in http.turn(visitor, prompt):
        if first is None and any('class="said"' in pane for pane in panes):
            first = time.perf_counter() - started
        shown = {found for pane in panes for found in MARK.findall(pane)}
        if shown - {mark}:
            seen.mixed.append(f"{mark} saw {', '.join(sorted(shown - {mark}))}")
    if first is not None:
        seen.first_s.append(first)
    seen.judged_s.append(time.perf_counter() - started)
    seen.asked[mark] = seen.asked.get(mark, 0) + 1


async def measure(
    address: str, store: Path, pid: int, *, prompts: Sequence[str], visitors: int, minutes: float, on_step: OnStep
) -> Report:
    """The report on the page at this address, whose process is `pid`, with its store. Raises `MeasurementError`."""
    seen, until, started = Seen(), time.monotonic() + 60 * minutes, time.monotonic()
    # Uvicorn closes a connection that was idle for 5 s, and a request that is sent in this moment breaks off.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=4)
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S, trust_env=False, limits=limits) as http:
        page = OverHttp(http, (await http.get("config")).raise_for_status().json())
        memory = [rss_mb(pid)]
        each = [visit(page, seen, until, random.Random(number), prompts) for number in range(visitors)]
        running = asyncio.gather(*each)
        while not running.done():
            await asyncio.wait([running], timeout=max(1.0, 6 * minutes))
            memory.append(rss_mb(pid))
            on_step(min(int(time.monotonic() - started), int(60 * minutes)), int(60 * minutes))
        await running
    if not seen.judged_s:
        raise MeasurementError(f"not one turn came to its end: {dict(seen.failed)}")
    return report(seen, lost_in(store, seen), memory, visitors=visitors, minutes=minutes)


def lost_in(store: Path, seen: Seen) -> list[str]:
    """What the store lacks, or has wrong, of what visitors saw end: in words, one for each."""
    lost = []
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        turns = db.execute(
            "SELECT t.conversation_id, t.prompt, EXISTS (SELECT 1 FROM votes WHERE turn_id = t.id) FROM turns AS t"
        ).fetchall()
        unfinished = db.execute("SELECT status, error, count(*) FROM responses GROUP BY status, error").fetchall()
    marks: dict[str, set[str]] = {}
    stored, voted = Counter[str](), Counter[str]()
    for conversation, prompt, has_vote in turns:
        for mark in MARK.findall(prompt):
            marks.setdefault(conversation, set()).add(mark)
            stored[mark] += 1
            voted[mark] += has_vote
    lost += [
        f"conversation {name} has the words of {len(found)} visitors" for name, found in marks.items() if len(found) > 1
    ]
    lost += [
        f"{mark}: {count} asked, {stored[mark]} stored" for mark, count in seen.asked.items() if stored[mark] < count
    ]
    lost += [
        f"{mark}: {count} votes, {voted[mark]} stored" for mark, count in seen.voted.items() if voted[mark] < count
    ]
    return lost + [f"{count} answers {status}: {error}" for status, error, count in unfinished if status != "complete"]


def report(seen: Seen, lost: Sequence[str], memory: Sequence[float], *, visitors: int, minutes: float) -> Report:
    """The table."""
    turns, settled = len(seen.judged_s), memory[len(memory) // 5]
    rows = [
        ("turns that ended", f"{turns} ({turns / minutes:.0f} a minute)"),
        ("turns shown to somebody else", str(len(seen.mixed))),
        ("turns or votes lost, or wrong in the store", str(len(lost))),
        ("refused or broken off", str(sum(seen.failed.values()))),
        ("first word, median / p95", _seconds(seen.first_s)),
        ("all answers judged, median / p95", _seconds(seen.judged_s)),
        ("vote stored, median / p95", _seconds(seen.vote_s)),
        ("memory of the page, start / after a fifth / end", f"{memory[0]:.0f} / {settled:.0f} / {memory[-1]:.0f} MB"),
    ]
    return Report(
        name="load",
        title=f"{visitors} visitors at once for {minutes:g} minutes",
        columns=("what", "measured"),
        rows=tuple(rows),
        notes=tuple(
            [f"Each pauses {THINK_S:g} s on average before a prompt and before a vote."]
            + [f"Lost: {each}." for each in lost[:5]]
            + [f"Failed {count} times: {words}" for words, count in seen.failed.most_common(5)]
        ),
        data={
            "visitors": visitors,
            "minutes": minutes,
            "turns": turns,
            "mixed": seen.mixed,
            "lost": list(lost),
            "failed": dict(seen.failed),
            "memory_mb": list(memory),
            "samples": {"first_s": seen.first_s, "judged_s": seen.judged_s, "vote_s": seen.vote_s},
        },
    )


def _seconds(values: Sequence[float]) -> str:
    if len(values) < 2:
        return NOTHING
    return f"{statistics.median(values):.2f} / {statistics.quantiles(values, n=20)[-1]:.2f} s"


def rss_mb(pid: int) -> float:
    """The memory that a process has resident, in megabytes. Raises `MeasurementError` when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError as error:
        raise MeasurementError(f"the page's process {pid} has gone: {error}") from error
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) / 1000


@contextlib.contextmanager
def running_app(profile: str, folder: Path) -> Iterator[tuple[str, Path, int]]:
    """The address, store and process of `app.py` with this profile, ready for prompts. Raises `MeasurementError`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store, address = folder / "load.sqlite3", f"http://127.0.0.1:{port}"
    command = [sys.executable, "app.py", "--profile", profile, "--db", str(store.resolve()), "--port", str(port)]
    with (folder / "app.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        _wait_ready(address, process, folder / "app.log")
        yield address, store, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        if process.poll() is None:
            process.kill()


def _wait_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        if process.poll() is not None:
            raise MeasurementError(f"the page ended before it was ready: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.5)
    raise MeasurementError(f"the page was not ready after {READY_S:g} s; see {log}")
