"""Many requests at once: how many, in which order, and what a fault does to the rest."""

from __future__ import annotations

import asyncio

import pytest

from evaluation.endpoint import EndpointError
from evaluation.workers import patiently, work_off


def test_no_more_are_under_way_than_asked_for():
    under_way, most, done = 0, 0, []

    async def do(item: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        done.append(item)

    asyncio.run(work_off(range(10), do, concurrency=3))
    assert (most, sorted(done)) == (3, list(range(10)))


def test_the_first_fault_ends_the_work_and_is_told_as_it_is():
    begun = []

    async def do(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise KeyError("the second")
        await asyncio.sleep(60)

    with pytest.raises(KeyError, match="the second"):
        asyncio.run(work_off(range(10), do, concurrency=2))
    assert begun == [0, 1]


@pytest.mark.parametrize(
    ("faults", "asked", "passes"),
    [
        ([True, True], 3, True),
        ([True, True, True], 3, False),
        ([False], 1, False),
        ([True, False], 2, False),
    ],
)
def test_what_may_pass_is_asked_again_and_what_may_not_is_raised(faults, asked, passes):
    attempts = 0

    async def ask() -> str:
        nonlocal attempts
        attempts += 1
        if attempts <= len(faults):
            raise EndpointError("busy", retryable=faults[attempts - 1])
        return "yes"

    if passes:
        assert asyncio.run(patiently(ask, (0.0, 0.0))) == "yes"
    else:
        with pytest.raises(EndpointError, match="busy"):
            asyncio.run(patiently(ask, (0.0, 0.0)))
    assert attempts == asked
