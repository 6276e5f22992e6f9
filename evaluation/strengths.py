"""Bradley-Terry strengths of arms out of people's votes, with intervals.

The model says that of two arms the first is preferred with probability sigmoid(its strength - the other's), whatever third
arm stands beside them; so votes on different sets of arms add up. The fit is choix's (Maystre and Grossglauser, 2015).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import choix
import numpy as np

PRIOR = 0.1
"""choix's regularisation, in votes: without one an arm that never wins would be infinitely weak."""

RESAMPLES = 200
FEWEST = 10
"""Votes below which no strength is told."""


@dataclass(frozen=True)
class Ballot:
    """A vote on these arms: the best of them, or None when none was (a tie, or all bad). `cluster` is its conversation."""

    cluster: str
    arms: tuple[str, ...]
    best: str | None


@dataclass(frozen=True)
class Strength:
    """An arm's strength in log-odds against the average arm, and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def strengths(ballots: Sequence[Ballot], *, seed: int = 0) -> dict[str, Strength]:
    """Each arm's strength; nothing below `FEWEST` ballots. The bootstrap draws whole conversations.

    A best arm beats every other one; between arms of which neither was best, and in a tie, each has half a win.
    """
    arms = sorted({arm for ballot in ballots for arm in ballot.arms})
    if len(ballots) < FEWEST or len(arms) < 2:
        return {}
    kinds, counts = _kinds(ballots, arms)
    shape = (len(arms), len(arms))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES)
    fitted = np.array([_fit((each @ kinds).reshape(shape)) for each in (counts, *drawn)])
    low, high = np.quantile(fitted[1:], [0.025, 0.975], axis=0)
    return {
        arm: Strength(float(fitted[0, place]), float(low[place]), float(high[place])) for place, arm in enumerate(arms)
    }


def _kinds(ballots: Sequence[Ballot], arms: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The tables of wins of conversations, flat, one for each set of votes that occurs, and how many conversations have it.

    Conversations with equal votes are interchangeable, so that 100,000 of them are drawn as quickly as a few.
    """
    cast: defaultdict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
    for ballot in ballots:
        cast[ballot.cluster].append((ballot.arms, ballot.best or ""))
    found = Counter(tuple(sorted(votes)) for votes in cast.values())
    return np.array([_table(votes, arms).ravel() for votes in found]), np.array(list(found.values()))


def _table(votes: Iterable[tuple[tuple[str, ...], str]], arms: Sequence[str]) -> np.ndarray:
    """How often each arm (a row) beats each other one (a column)."""
    place = {arm: index for index, arm in enumerate(arms)}
    table = np.zeros((len(arms), len(arms)))
    for shown, best in votes:
        for one, other in itertools.combinations(shown, 2):
            share = 0.5 if best not in (one, other) else float(best == one)
            table[place[one], place[other]] += share
            table[place[other], place[one]] += 1 - share
    return table


def _fit(wins: np.ndarray) -> np.ndarray:
    return choix.ilsr_pairwise_dense(wins, alpha=PRIOR)
