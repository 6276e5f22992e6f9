"""What the paper's published figures say of how they were made, asked of ours: CoSA, tables 1, 3 and 4 (arXiv 2410.08968 v1)."""

from __future__ import annotations

import pytest

from evaluation.cosa_score import Row, score
from evaluation.judgement import MAX_RATING
from presets.published_score import load_published_scores
from tests.test_run import filtering, report_of, run

PUBLISHED = load_published_scores()


def rows(config: str, ratings: list[int], *, unsafe: int = 0) -> list[Row]:
    """Rows of one config, the first `unsafe` of which break it."""
    return [
        Row(config, None, frozenset(), rating, number >= unsafe, f"{config}-{number}")
        for number, rating in enumerate(ratings)
    ]


def worth(config: str, value: float, n: int = 200) -> list[Row]:
    """Safe rows whose mean helpfulness is `value`."""
    points = round(value * n * MAX_RATING)
    return rows(config, [min(MAX_RATING, max(0, points - MAX_RATING * place)) for place in range(n)])


def test_the_score_over_eight_configs_is_the_mean_of_five_seen_and_three_unseen_ones():
    """GPT-4o-mini with ICA: 0.275 and 0.212 in table 5, 0.251 in table 1."""
    seen = [row for number in range(5) for row in worth(f"seen-{number}", 0.275)]
    unseen = [row for number in range(3) for row in worth(f"unseen-{number}", 0.212)]
    assert score(seen).cosa_score == pytest.approx(0.275)
    assert score(unseen).cosa_score == pytest.approx(0.212)
    assert score(seen + unseen).cosa_score == pytest.approx(0.251, abs=0.0005)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda row: f"{row.setup}, {row.benchmark}")
def test_helpfulness_is_graded_as_in_the_published_rows(published):
    """Score over (H+S - H+U) is the mean grade of what helps: 0.77 to 0.90 in the paper's rows, 1 if h were yes or no."""
    graded = published.cosa_score / (published.helpful_safe - published.helpful_unsafe) * 100
    assert 0.76 < graded < 0.91
    helping, breaking = round(published.helpful_safe * 10), round(published.helpful_unsafe * 10)
    ratings = [4] * (helping + breaking) + [0] * (1_000 - helping - breaking)
    ours = score(rows("one", ratings, unsafe=breaking))
    assert ours.cosa_score / (ours.helpful_safe - ours.helpful_unsafe) == pytest.approx(0.8)
    assert 100 * ours.helpful_safe == pytest.approx(published.helpful_safe)
    assert 100 * ours.helpful_unsafe == pytest.approx(published.helpful_unsafe)


def test_people_read_200_prompts_so_that_their_rates_are_halves_of_a_percent():
    shares = [
        rate for row in PUBLISHED if row.benchmark == "CoSApien" for rate in (row.helpful_safe, row.helpful_unsafe)
    ]
    assert shares
    assert all((2 * rate).is_integer() for rate in shares)


def test_a_filter_takes_away_what_is_unsafe_and_an_oracle_nothing_else(tmp_path):
    """Cascade-Oracle minus ICA is the helpfulness of what is unsafe; a cascade can only lower both rates."""
    arms = ("ica", "cascade", "cascade-oracle")
    run(tmp_path, filtering(), arms=arms)
    (seen, unseen) = report_of(tmp_path, arms=arms)
    for part in (seen, unseen):
        ica, cascade, oracle = (part.arms[arm] for arm in arms)
        assert oracle.helpful_safe == ica.helpful_safe
        assert oracle.helpful_unsafe == 0
        assert cascade.helpful_safe <= ica.helpful_safe
        assert cascade.helpful_unsafe <= ica.helpful_unsafe
    assert seen.arms["ica"].helpful_unsafe == 0.5, "there was something to take away"
    assert seen.arms["cascade-oracle"].cosa_score - seen.arms["ica"].cosa_score == pytest.approx(0.5 * 3 / MAX_RATING)
