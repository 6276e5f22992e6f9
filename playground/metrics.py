"""What the page counts for Prometheus: how much was asked, answered and voted, never what or by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from evaluation.response import Response, Status
from evaluation.serving import ServerStatus
from evaluation.vote import Outcome

FIRST_TOKEN_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of the histogram: tinyworld's first token takes hundredths of a second, a crowded 8 B model's takes seconds."""


class Metrics:
    """The numbers of one page, from its start on; Prometheus keeps what was before."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own = {"registry": self._registry}
        self._turns = Counter("cosa_turns", "Prompts that were put to the arms, those of the grids among them.", **own)
        self._responses = Counter("cosa_responses", "Responses that reached a final state.", ("arm", "status"), **own)
        self._first_token = Histogram(
            "cosa_time_to_first_token_seconds",
            "From asking a model to its first token.",
            ("arm",),
            buckets=FIRST_TOKEN_S,
            **own,
        )
        self._votes = Counter("cosa_votes", "Votes, changed ones among them.", ("outcome",), **own)

    def asked(self) -> None:
        """A turn was written down."""
        self._turns.inc()

    def answered(self, arm_id: str, status: Status, response: Response) -> None:
        """An arm's response is final."""
        self._responses.labels(arm_id, status).inc()
        if response.ttft_s is not None:
            self._first_token.labels(arm_id).observe(response.ttft_s)

    def voted(self, outcome: Outcome) -> None:
        """A vote is on disk."""
        self._votes.labels(outcome).inc()

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Ask for this value whenever the metrics are read."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def watch_servers(self, ids: Iterable[str], status: Callable[[], Iterable[ServerStatus]]) -> None:
        """Tell of each server whether it is ready (1) or not (0), whenever the metrics are read."""
        ready = Gauge("cosa_server_ready", "1 when the model server is ready.", ("server",), registry=self._registry)
        for server in ids:
            ready.labels(server).set_function(
                lambda server=server: any(s.id == server and s.state == "ready" for s in status())
            )

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self._registry)


def store_bytes(path: Path) -> int:
    """The bytes that a store takes on its disk, with the log that SQLite keeps beside it."""
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
