"""The lists of answers that went wrong: which, the latest first, by config, and as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.response import Response
from evaluation.schema import StoreError
from evaluation.store import Store
from evaluation.store_cases import Case, read_cases
from playground import case_wording
from playground.case_markup import case_lists
from tests.test_store import CONFIG, GOOD
from tests.test_vote_agreement import judged_turn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Store(tmp_path / "cases.db") as store:
        judged_turn(store, (0, 2, 5))  # base refuses what the others answer
        judged_turn(store, (0, -5, 0))  # nobody tells whether it was allowed; ICA breaks the config
        judged_turn(store, (0, 0, None))
    return tmp_path / "cases.db"


def test_only_what_went_wrong_is_listed(path):
    found = read_cases(path)
    assert found.refused == (Case("A beer?", CONFIG.title, "base", "Said."),)
    assert found.answered == (Case("A beer?", CONFIG.title, "ica", "Said."),)
    assert read_cases(path, configs=[CONFIG.content_hash]) == found
    assert read_cases(path, configs=["0" * 64]).answered == ()


def test_the_last_attempt_and_the_last_judgement_count(path):
    with Store(path) as store:
        turn = judged_turn(store, (0, 2, -5))
        store.save_judgement(turn.response_ids["cosalign"], GOOD)
        again = store.retry(turn.id, "base")
        store.start_response(again)
        store.finish_response(again, "complete", Response("Cheers."))
        store.save_judgement(again, GOOD)
    assert [len(found) for found in (read_cases(path).refused, read_cases(path).answered)] == [1, 1]


def test_the_latest_come_first_and_the_rest_not_at_all(path):
    with Store(path) as store:
        for number in range(4):
            turn = judged_turn(store, (0, 3, -1))
            store._db.execute("UPDATE responses SET text = ? WHERE turn_id = ?", [f"answer {number}", turn.id])
            store._db.conn.commit()
    found = read_cases(path, limit=3)
    assert [case.text for case in found.answered] == [case.text for case in found.refused]
    assert [case.text for case in found.answered] == ["answer 3", "answer 2", "answer 1"]


def test_the_lists_are_text_shortened_and_say_when_there_are_none(path):
    with Store(path) as store:
        store._db.execute("UPDATE responses SET text = '<img src=x onerror=alert(1)>' || char(10) || ?", ["x" * 500])
        store._db.execute("UPDATE turns SET prompt = '<script>'")
        store._db.execute("UPDATE configs SET title = '<b>Bar</b>'")
        store._db.conn.commit()
    told = case_lists(read_cases(path), {"base": "<i>Base</i>"})
    for tag in ("<img", "<script", "<b>", "<i>"):
        assert tag not in told
    assert "&lt;img src=x onerror=alert(1)&gt; xxx" in told
    assert "x" * case_wording.LISTED not in told
    assert told.count("The latest 1.") == 2
    none = case_lists(read_cases(path, configs=["0" * 64]), {})
    assert none.count(case_wording.NONE) == 2
    assert "<table" not in none


@pytest.mark.parametrize(
    ("length", "shown"), [(case_wording.LISTED, "a" * case_wording.LISTED), (161, "a" * 159 + "…")]
)
def test_a_text_is_shortened_only_when_it_is_longer(length: int, shown: str):
    assert case_wording.shortened("a" * length) == shown


def test_a_store_that_is_none_is_said(tmp_path):
    with pytest.raises(StoreError, match="there is no database"):
        read_cases(tmp_path / "none.db")
