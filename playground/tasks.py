"""Tasks that outlive whoever asked for them, and streams that can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from typing import Any

from evaluation.response import Response


def keep(tasks: dict[str, asyncio.Task[None]], key: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """The task of this work, in `tasks` until it is done."""
    task = tasks[key] = asyncio.create_task(work)
    task.add_done_callback(lambda _: tasks.pop(key))
    return task


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks that still run, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def settled(tasks: Mapping[str, asyncio.Task[None]], key: str) -> None:
    """Wait for the task, if there is one; whoever stops waiting does not stop the task."""
    if (task := tasks.get(key)) is not None:
        await asyncio.shield(task)


async def until(stop: asyncio.Event, stream: AsyncIterator[Response]) -> AsyncGenerator[Response, None]:
    """What the stream yields until it ends or `stop` is set, even while it is silent; the stream is closed then."""
    stopper = asyncio.ensure_future(stop.wait())
    step: asyncio.Future[Response] | None = None
    try:
        while not stop.is_set():
            step = asyncio.ensure_future(anext(stream))
            await asyncio.wait({step, stopper}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                return
            try:
                response = step.result()
            except StopAsyncIteration:
                return
            yield response
    finally:
        stopper.cancel()
        if step is not None and not step.done():
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
