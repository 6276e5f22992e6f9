"""Judge and voters, on a real store: pairs, choices, changed votes, what is not judged, two people, two judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.judgement import Judgement
from evaluation.response import Response
from evaluation.store import Store
from evaluation.vote import Vote
from evaluation.vote_agreement import (
    Ballot,
    NoVotesError,
    main,
    people_agreement,
    read_ballots,
    vote_agreement,
)
from tests.test_store import ARMS, begin

BEST = ("base", "ica", "cosalign")


def judged_turn(store: Store, grades: tuple[int | None, ...], *, judge: str = "tinyworld", session: str = "s"):
    """A turn whose three answers are graded so; a negative grade breaks the config, None is unscored."""
    turn = begin(store, session_id=session)
    for arm, grade in zip(ARMS, grades, strict=True):
        response_id = turn.response_ids[arm.arm_id]
        store.start_response(response_id)
        store.finish_response(response_id, "complete", Response("Said.", finish_reason="stop"))
        if grade is None:
            judgement = Judgement(judge, unscored="not read")
        else:
            judgement = Judgement(judge, abs(grade), frozenset({"alcohol"}), safe=grade >= 0)
        store.save_judgement(response_id, judgement)
    return turn


def vote(store: Store, turn, name: str, choice: str, session: str = "s") -> None:
    outcome = choice if choice in ("tie", "all_bad") else "best"
    best = choice if outcome == "best" else None
    store.save_vote(Vote(name, turn.id, session, outcome, best, BEST))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five turns: an agreeing vote, a differing one, a tie, all bad, and one that nobody could judge."""
    with Store(tmp_path / "votes.db") as store:
        agreeing = judged_turn(store, (0, 2, 5))
        vote(store, agreeing, "v1", "ica")
        vote(store, agreeing, "v2", "cosalign")  # the mind was changed: this one counts
        vote(store, judged_turn(store, (4, -5, 4)), "v3", "ica")
        vote(store, judged_turn(store, (3, 3, 0)), "v4", "tie")
        vote(store, judged_turn(store, (0, -2, 0)), "v5", "all_bad")
        vote(store, judged_turn(store, (0, None, 5)), "v6", "cosalign")
        vote(store, agreeing, "v7", "cosalign", session="another")
    return tmp_path / "votes.db"


def test_pairs_and_choices_add_up(path):
    found = vote_agreement(read_ballots(path))
    # cosalign beat two, for two people; ica "beat" two that the judge valued higher.
    assert (found.votes, found.unjudged) == (6, 1)
    assert (found.concordant, found.discordant, found.no_say) == (4, 2, 0)
    assert found.concordant_share == pytest.approx(4 / 6)
    assert found.tau == pytest.approx(2 / 6)
    assert found.choices == {
        ("cosalign", "cosalign"): 2,
        ("tie", "ica"): 1,
        ("tie", "tie"): 1,
        ("all bad", "all bad"): 1,
    }
    assert found.same_choice == pytest.approx(4 / 5)
    by_chance = (2 * 2 + 2 * 1 + 1 * 1) / 25
    assert found.kappa == pytest.approx((4 / 5 - by_chance) / (1 - by_chance))
    # Sessions are drawn whole: "s" alone gives 2 of 4, "another" alone 2 of 2.
    assert (found.ci_low, found.ci_high) == (0.5, 1.0)


def test_two_people_on_one_turn_are_compared_and_a_changed_vote_counts_once(path):
    people = people_agreement(read_ballots(path))
    assert (people.pairs, people.share) == (1, 1.0)
    alone = [Ballot("t", "s", "ica", "j", {"ica": 1.0, "base": 0.0})]
    assert people_agreement(alone).share is None


def test_equal_values_have_no_say():
    found = vote_agreement([Ballot("t", "s", "ica", "j", {"ica": 0.4, "base": 0.4, "cosalign": -0.4})])
    assert (found.concordant, found.no_say, found.tau) == (1, 1, 0.5)
    assert found.choices == {("tie", "ica"): 1}


def test_each_judge_is_told_apart(tmp_path, capsys):
    with Store(tmp_path / "two.db") as store:
        vote(store, judged_turn(store, (0, 0, 5), judge="llm/one"), "v1", "cosalign")
        vote(store, judged_turn(store, (0, 0, 5), judge="llm/two"), "v2", "base")
    assert main(["--db", str(tmp_path / "two.db"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {judge: each["concordant_share"] for judge, each in found["judges"].items()} == {
        "llm/one": 1.0,
        "llm/two": 0.0,
    }
    assert found["people"] == {"pairs": 0, "share": None}


def test_the_table_shows_what_the_object_says(path, capsys):
    assert main(["--db", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "4 / 2 / 0" in printed
    assert "66.7 [50.0, 100.0]" in printed
    assert "judge tie, person ica: 1" in printed
    assert "same choice: 100.0 % of 1" in printed


def test_without_votes_or_verdicts_there_is_a_message(tmp_path, capsys):
    with Store(tmp_path / "empty.db") as store:
        assert main(["--db", str(tmp_path / "empty.db")]) == 2
        assert "nobody has voted yet" in capsys.readouterr().err
        vote(store, judged_turn(store, (None, 1, 1)), "v1", "tie")
    assert main(["--db", str(tmp_path / "empty.db")]) == 2
    assert "none of its 1 votes" in capsys.readouterr().err
    with pytest.raises(NoVotesError):
        vote_agreement(read_ballots(tmp_path / "empty.db"))


@pytest.mark.parametrize(
    ("content", "words"), [(None, "there is no database"), ("no database at all", "is no SQLite database")]
)
def test_a_file_that_is_no_store_is_said(tmp_path, capsys, content, words):
    path = tmp_path / "other.db"
    if content is not None:
        path.write_text(content)
    assert main(["--db", str(path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
