"""Many requests under way at once, none given up because a server is busy for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from evaluation.endpoint import EndpointError

CONCURRENCY = 32
"""Requests under way at once; vLLM batches about as many on a CPU."""

RETRY_DELAYS_S = (1.0, 5.0, 20.0, 40.0)
"""Waits between attempts. Together they outlast the restart of a vLLM server that died."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def work_off(
    items: Iterable[Item], do: Callable[[Item], Awaitable[None]], *, concurrency: int = CONCURRENCY
) -> None:
    """Await `do` of every item, begun in their order and at most `concurrency` at once.

    The first exception ends the work and is raised as it is; what is said by those that are stopped then adds nothing.
    """
    queue = iter(items)

    async def work() -> None:
        for item in queue:
            await do(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def patiently(ask: Callable[[], Awaitable[Answer]], delays_s: Sequence[float] = RETRY_DELAYS_S) -> Answer:
    """What `ask` returns, asked again after each delay as long as its fault may pass.

    Raises the `EndpointError` that will not pass, or the last.
    """
    for delay in delays_s:
        try:
            return await ask()
        except EndpointError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(delay)
    return await ask()
