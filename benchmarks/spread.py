"""The arithmetic of a comparison: medians with quartiles, paired ratios and differences, and a fair order."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class MeasurementError(Exception):
    """A measurement that cannot be made, or that did not measure what it says: what, why, and what to do."""


@dataclass(frozen=True)
class Spread:
    """The median of `n` values, and the quartiles `low` and `high` around it."""

    median: float
    low: float
    high: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """The median and quartiles of the values (interpolated). Raises `ValueError` when there are none."""
    if not values:
        raise ValueError("there are no values to summarise")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def ratios(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Each value divided by the baseline of the same repeat, so that what slowed both down cancels out.

    Raises `ValueError` when the lengths differ.
    """
    return [value / base for value, base in zip(values, baseline, strict=True)]


def differences(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Each value minus the baseline of the same repeat. Raises `ValueError` when the lengths differ."""
    return [value - base for value, base in zip(values, baseline, strict=True)]


def in_turn(things: Sequence[T], index: int) -> list[T]:
    """The things forwards when `index` is even and backwards when it is odd: A B, B A, A B ...

    Over an even number of turns each thing has the same mean position, so a drift of the machine favours none.
    """
    return list(things) if index % 2 == 0 else list(reversed(things))
