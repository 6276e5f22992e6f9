"""Addresses for those who run the page: does it live, does it take prompts, and its numbers. No visitor stands in them."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST

from playground.answering import Answering
from playground.metrics import Metrics

NOT_READY = 503


class Health:
    """`/healthz`: the page answers. `/readyz`: prompts are answered now, else 503. `/metrics`: for Prometheus."""

    def __init__(self, answering: Answering, metrics: Metrics) -> None:
        self._answering, self._metrics = answering, metrics

    @property
    def routes(self) -> Sequence[APIRoute]:
        """For the page's server, before gradio's own: that takes every path for the name of a page."""
        paths = {"/healthz": self.alive, "/readyz": self.ready, "/metrics": self.numbers}
        return [APIRoute(path, answer, include_in_schema=False) for path, answer in paths.items()]

    async def alive(self) -> Response:
        """200 as long as the page's server answers at all."""
        return PlainTextResponse("ok\n")

    async def ready(self) -> Response:
        """200 when every server that an arm of the page needs is ready and checked, and the page is not stopping; else 503."""
        needed = {arm.server for arm in self._answering.arms.values()}
        servers = {status.id: status.state for status in self._answering.status()}
        away = self._answering.is_checking or self._answering.is_closing
        ready = not away and all(servers[server] == "ready" for server in needed)
        return JSONResponse({"ready": ready, "servers": servers}, status_code=200 if ready else NOT_READY)

    async def numbers(self) -> Response:
        """The metrics in Prometheus' text format."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)
