"""The open connections of a page: to each arm's server and to the judge, opened when they are first needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from evaluation.endpoint import Endpoint, EndpointError
from evaluation.judge import Judge
from evaluation.serving import ServerStatus, Serving, open_endpoint
from playground import wording
from presets.arm import Arm
from presets.profile import Profile

JUDGE_LOOK_S = 0.5
"""Seconds between two looks whether the judge's server has started."""

STARTING = ("starting", "restarting")
AWAY = ("failed", "stopped")

JudgeFactory = Callable[[], AbstractAsyncContextManager[Judge]]

log = logging.getLogger(__name__)


class Connections:
    """Belongs to one event loop, in which `close` ends it."""

    def __init__(self, profile: Profile, serving: Serving, open_judge: JudgeFactory) -> None:
        self._profile, self._serving, self._open_judge = profile, serving, open_judge
        self._opened = AsyncExitStack()
        self._endpoints: dict[str, Endpoint] = {}
        self._judge: Judge | None = None
        self._judge_opens = asyncio.Lock()

    async def close(self) -> None:
        """Close what was opened."""
        await self._opened.aclose()

    def is_starting(self, arm: Arm) -> bool:
        """True while the arm's server starts, for the first time or again."""
        return self._status(arm.server).state in STARTING

    async def endpoint(self, arm: Arm) -> Endpoint:
        """The open connection to the arm's server; it outlives the turn. A server that moved gets a new one.

        Raises `EndpointError` with the server's own words when it is away.
        """
        self._require(arm.server)
        endpoint = self._endpoints.get(arm.server)
        if endpoint is None or endpoint.base_url != self._serving.base_url(arm.server):
            endpoint = await self._opened.enter_async_context(open_endpoint(self._serving, arm.server))
            self._endpoints[arm.server] = endpoint
        return endpoint

    async def judge(self) -> Judge:
        """The judge, once its server, if it needs one, has started. Raises `EndpointError` when that is away."""
        if (server_id := self._profile.judge.server) is not None:
            while self._status(server_id).state in STARTING:
                await asyncio.sleep(JUDGE_LOOK_S)
            self._require(server_id)
        return await self._opened_judge()

    async def warm_judge(self) -> None:
        """Open the judge. One that cannot be is logged; each verdict tries again, and says on the page what is wrong."""
        try:
            await self._opened_judge()
        except Exception:
            log.exception("the judge cannot be opened")

    async def _opened_judge(self) -> Judge:
        async with self._judge_opens:
            if self._judge is None:
                self._judge = await self._opened.enter_async_context(self._open_judge())
        return self._judge

    def _status(self, server_id: str) -> ServerStatus:
        return next(status for status in self._serving.status() if status.id == server_id)

    def _require(self, server_id: str) -> None:
        status = self._status(server_id)
        if status.state in AWAY:
            raise EndpointError(wording.server_away(status), retryable=True)
