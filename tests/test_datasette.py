"""docs/datasette.yaml belongs to our schema: its tables are there, and its queries find the rows they tell of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from evaluation.store import Store
from tests.test_vote_agreement import judged_turn, vote

PLAYGROUND = yaml.safe_load((Path(__file__).parent.parent / "docs" / "datasette.yaml").read_text(encoding="utf-8"))[
    "databases"
]["playground"]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with Store(tmp_path / "playground.sqlite3") as store:
        vote(store, judged_turn(store, (0, -5, 5)), "v1", "cosalign")
        vote(store, judged_turn(store, (0, 0, None)), "v2", "tie")
    with closing(sqlite3.connect(tmp_path / "playground.sqlite3")) as connection:
        yield connection


ROWS = {
    "votes_by_arm": [("cosalign", 2, 1, 0.5), ("base", 2, 0, 0.0), ("ica", 2, 0, 0.0)],
    "votes_by_place": [(1, 1, 0), (2, 1, 0), (3, 1, 1)],
    "cosa_score": [("Bar", "base", 2, 0.0), ("Bar", "cosalign", 1, 1.0), ("Bar", "ica", 2, -0.5)],
    "latency": [("base", 2, None, None), ("cosalign", 2, None, None), ("ica", 2, None, None)],
}
"""What these queries find; of the others the number of rows is told."""

COUNTS = {"answered_though_forbidden": 1, "search_prompts": 2}


@pytest.mark.parametrize("name", list(PLAYGROUND["queries"]))
def test_every_query_finds_its_rows(db: sqlite3.Connection, name: str):
    found = db.execute(PLAYGROUND["queries"][name]["sql"], {"word": "beer"}).fetchall()
    if name in ROWS:
        assert sorted(found) == sorted(ROWS[name])
    else:
        assert len(found) == COUNTS[name]


def test_every_table_of_ours_is_described(db: sqlite3.Connection):
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    ours = {name for name in tables if not name.startswith(("_", "sqlite_"))}
    assert set(PLAYGROUND["tables"]) == ours | {"comparisons"}
