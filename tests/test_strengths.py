"""Bradley-Terry strengths: what is known of them in closed form, and what they must not depend on."""

from __future__ import annotations

import math

import pytest

from evaluation.strengths import FEWEST, Ballot, strengths

PAIR = ("base", "cosalign")


def ballots(wins: int, losses: int, ties: int = 0) -> list[Ballot]:
    outcomes = ["cosalign"] * wins + ["base"] * losses + [None] * ties
    return [Ballot(f"c{number}", PAIR, best) for number, best in enumerate(outcomes)]


@pytest.mark.parametrize(("wins", "losses", "ties"), [(300, 100, 0), (250, 50, 100), (100, 100, 0)])
def test_of_two_arms_the_odds_are_those_of_the_wins_with_a_tie_as_half_of_one(
    wins: int, losses: int, ties: int
) -> None:
    found = strengths(ballots(wins, losses, ties))
    odds = math.log((wins + ties / 2) / (losses + ties / 2))
    assert found["cosalign"].value - found["base"].value == pytest.approx(odds, abs=0.01)
    assert found["cosalign"].value + found["base"].value == pytest.approx(0, abs=1e-6)
    assert found["cosalign"].low < found["cosalign"].value < found["cosalign"].high


def test_an_arm_that_never_wins_has_a_finite_strength_and_a_third_arm_is_measured_through_the_second() -> None:
    votes = ballots(20, 20) + [Ballot(f"d{number}", ("cosalign", "ica"), "cosalign") for number in range(40)]
    found = strengths(votes)
    assert math.isfinite(found["ica"].value)
    assert found["ica"].value < found["base"].value - 2
    assert found["base"].value == pytest.approx(found["cosalign"].value, abs=0.05), "the prior pulls a little"


def test_the_interval_is_that_of_conversations_not_of_votes() -> None:
    alone = ballots(60, 40)
    together = [Ballot(f"c{number // 10}", PAIR, ballot.best) for number, ballot in enumerate(alone)]
    one, other = strengths(alone)["base"], strengths(together)["base"]
    assert one.value == pytest.approx(other.value)
    assert other.high - other.low > 2 * (one.high - one.low)
    assert strengths(alone)["base"] == one, "seeded"


def test_too_few_votes_say_nothing() -> None:
    assert strengths(ballots(FEWEST - 1, 0)) == {}
    assert strengths(ballots(FEWEST, 0)) != {}
