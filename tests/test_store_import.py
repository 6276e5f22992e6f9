"""What left a store comes back: the same rows go out again, nothing doubles, and what was read says so."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evaluation.export import FORMATS, Filters, export
from evaluation.read_export import READERS
from evaluation.response import Response
from evaluation.schema import StoreError
from evaluation.store import Store
from evaluation.store_check import check
from evaluation.store_commands import main
from evaluation.store_import import OWN, UNFINISHED, import_export
from evaluation.store_scores import read_store_scores
from evaluation.vote import Vote
from tests.test_export import answered, conversation, vote
from tests.test_store import ARMS, GOOD, JUDGE, ask

MARK = "imported_from"
"""The one column in which a row differs from the one that it was read from."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A conversation whose arms were not all always there, changed and second votes, a retry, judgements, odd texts."""
    with Store(tmp_path / "first.db") as store:
        talk = conversation(store)
        vote(store, answered(store, talk, "Hello.", "Hello.", "", prompt="Hi", last="error"), "v1", "ica")
        turn = answered(store, talk, 'No, "never"\r\n', "A lager.", "A stout.")
        vote(store, turn, "v2", "base")
        vote(store, turn, "v3", "cosalign")  # the mind was changed
        vote(store, turn, "v4", "tie", session="bob")
        again = store.retry(turn.id, "ica")
        store.start_response(again)
        store.finish_response(again, "complete", Response("A pils.", "hm", ttft_s=0.02, duration_s=0.25))
        store.save_judgement(again, GOOD, judged_by=JUDGE)
        store.save_vote(Vote("v5", turn.id, "cid", "best", "ica", ("cosalign", "ica", "base"), ""))
        vote(store, answered(store, talk, "X.", "Y.", "Z.", prompt="And now?"), "v6", "all_bad")
        answered(store, conversation(store), "Nobody", "voted", "here.")
        talk = conversation(store, session="cid")
        vote(store, answered(store, talk, "Hello.", "Hello.", "Hello.", prompt="Hi"), "v8", "tie", session="cid")
        turn = answered(store, talk, "No.", "A lager.", "A stout.")
        vote(store, turn, "v9", "cosalign", session="cid")
        vote(store, turn, "v10", "ica", session="bob")
        store.save_vote(Vote("v11", turn.id, "dan", "best", "base", ("ica", "base", "cosalign"), blind=True))
    return tmp_path / "first.db"


def out(database: Path, format_name: str, **options) -> list[dict]:
    """What the store exports now, without the mark; in an order of its own, since rows of one millisecond have none."""
    file = database.with_name(f"{database.stem}-{format_name}")
    export(database, format_name, file, **options)
    rows = [{name: value for name, value in row.items() if name != MARK} for row in read_back(format_name, file)]
    return sorted(rows, key=str)


def read_back(format_name: str, file: Path) -> list[dict]:
    if format_name in ("csv", "parquet", "hub"):
        return list(READERS[format_name](file))
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("with_personal", [False, True], ids=["without who", "with who"])
@pytest.mark.parametrize("format_name", list(FORMATS))
def test_the_same_rows_go_out_again(path: Path, tmp_path: Path, format_name: str, with_personal: bool):
    before = out(path, format_name, with_personal=with_personal)
    assert len(before) > 3
    second = tmp_path / "second.db"
    import_export(second, format_name, tmp_path / f"first-{format_name}")
    assert out(second, format_name, with_personal=with_personal) == before
    assert check(second).problems == ()


@pytest.mark.parametrize("format_name", list(FORMATS))
def test_a_file_read_twice_adds_nothing(path: Path, tmp_path: Path, format_name: str):
    before = out(path, format_name)
    first = import_export(tmp_path / "second.db", format_name, tmp_path / f"first-{format_name}")
    again = import_export(tmp_path / "second.db", format_name, tmp_path / f"first-{format_name}")
    assert first.added["votes"] > 1
    assert {table for table, count in again.added.items() if count} == {"processes"}
    assert out(tmp_path / "second.db", format_name) == before


@pytest.mark.parametrize("later", list(FORMATS))
@pytest.mark.parametrize("first", list(FORMATS))
def test_two_formats_of_one_store_do_not_double_a_vote_or_a_text(path: Path, tmp_path: Path, first: str, later: str):
    out(path, first), out(path, later)
    second = tmp_path / "second.db"
    import_export(second, first, tmp_path / f"first-{first}")
    import_export(second, later, tmp_path / f"first-{later}")
    with Store(second) as store:
        rows = list(store.comparisons())
    voted = [(row["vote_id"], row["arm_id"]) for row in rows if row["vote_id"]]
    assert len(voted) == len(set(voted))
    texts = {(row["response_id"], row["turn_id"], row["arm_id"], row["text"]) for row in rows}
    assert len(texts) == len({each[1:] for each in texts})


def test_what_was_read_says_so_and_what_the_store_made_stays_as_it_is(path: Path, tmp_path: Path):
    before = out(path, "csv")
    found = import_export(path, "csv", tmp_path / "first-csv")
    assert found.left_out == {OWN: found.read}
    assert out(path, "csv") == before
    with Store(tmp_path / "second.db") as store:
        answered(store, conversation(store), "Ours", "is", "ours.")
    import_export(tmp_path / "second.db", "csv", tmp_path / "first-csv")
    with Store(tmp_path / "second.db") as store:
        marks = {row["text"]: row[MARK] for row in store.comparisons()}
    assert marks["Ours"] is None
    assert marks["A pils."] == "csv: first-csv"
    out(tmp_path / "second.db", "csv")
    assert {row[MARK] for row in read_back("csv", tmp_path / "second-csv")} == {None, "csv: first-csv"}


def test_nobody_known_counts_once_per_conversation_and_a_changed_vote_counts_as_changed(path: Path, tmp_path: Path):
    second = tmp_path / "second.db"
    out(path, "csv", filters=Filters(annotators=frozenset({"bob"})))
    import_export(second, "csv", tmp_path / "first-csv")
    out(path, "csv")
    import_export(second, "csv", tmp_path / "first-csv")
    with Store(path) as store, Store(second) as other:
        voted = {row["vote_id"] for row in store.comparisons()}
        rows = list(other.comparisons())
    assert {row["vote_id"] for row in rows} == voted
    assert len({row["vote_session_id"] for row in rows if row["vote_id"]}) == 6, "three here, three there"
    before, after = read_store_scores(path), read_store_scores(second)
    assert after.open_votes.votes == before.open_votes.votes
    assert (after.open_votes.ties, after.open_votes.all_bad) == (before.open_votes.ties, before.open_votes.all_bad)
    with Store(path) as store:
        turn = next(row["turn_id"] for row in store.comparisons() if row["vote_id"] == "v6")
        store.save_vote(Vote("v7", turn, "ann", "tie", None, ("base", "ica", "cosalign")))
    out(path, "csv")
    import_export(second, "csv", tmp_path / "first-csv")
    assert read_store_scores(second).open_votes.n == before.open_votes.n
    assert read_store_scores(second).open_votes.all_bad == before.open_votes.all_bad - 1


def test_the_rest_of_a_turn_may_come_later(path: Path, tmp_path: Path):
    before = out(path, "csv")
    for arms in ({"ica"}, {"base", "cosalign"}):
        export(path, "csv", tmp_path / "part.csv", filters=Filters(arms=frozenset(arms)))
        import_export(tmp_path / "second.db", "csv", tmp_path / "part.csv")
    rows = out(tmp_path / "second.db", "csv")
    assert rows == before


def test_an_answer_that_was_being_written_comes_when_it_is_whole(tmp_path: Path):
    with Store(tmp_path / "first.db") as store:
        turn = ask(store, conversation(store))
        export(store.path, "csv", tmp_path / "out.csv")
        found = import_export(tmp_path / "second.db", "csv", tmp_path / "out.csv")
        assert found.left_out == {UNFINISHED: 3}
        for arm in ARMS:
            store.start_response(turn.response_ids[arm.arm_id])
            store.finish_response(turn.response_ids[arm.arm_id], "complete", Response("Yes."))
        export(store.path, "csv", tmp_path / "out.csv")
    assert import_export(tmp_path / "second.db", "csv", tmp_path / "out.csv").added["responses"] == 3


BROKEN = [
    pytest.param("csv", "a,b\n1,2\n", "lacks the columns arm_id", id="another table"),
    pytest.param("trl-preference", '{"prompt": []}\n', "KeyError", id="another dataset"),
    pytest.param("trl-kto", "hello\n", "is no trl-kto file", id="no JSON"),
    pytest.param("parquet", "hello\n", "cannot be read|is no parquet", id="no Parquet"),
    pytest.param("hub", None, "cannot be read", id="no folder"),
]


@pytest.mark.parametrize(("format_name", "content", "said"), BROKEN)
def test_what_is_no_export_is_refused(tmp_path: Path, format_name: str, content: str | None, said: str):
    file = tmp_path / "in"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StoreError, match=said):
        import_export(tmp_path / "second.db", format_name, file)


def damaged(path: Path, **changes: str) -> Path:
    """An export as CSV whose last row was changed by hand."""
    file = path.with_name("damaged.csv")
    export(path, "csv", file)
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    rows[-1] |= changes
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


@pytest.mark.parametrize(
    "changes",
    [{"config_text": "Anything goes."}, {"config_id": "no id!"}, {"status": "complete", "attempt": "0"}],
    ids=str,
)
def test_a_row_that_breaks_a_rule_imports_nothing(path: Path, tmp_path: Path, changes: dict[str, str]):
    with Store(tmp_path / "second.db"):
        pass
    file = damaged(path, conversation_id="another", turn_id="another", response_id="another", **changes)
    with pytest.raises(StoreError, match="breaks the store's rules .*nothing was imported"):
        import_export(tmp_path / "second.db", "csv", file)
    with Store(tmp_path / "second.db") as store:
        assert list(store.comparisons()) == []


def test_the_command_says_what_was_new(path: Path, tmp_path: Path, capsys):
    out(path, "lmarena")
    arguments = ["import", "--format", "lmarena", "--in", str(tmp_path / "first-lmarena"), "--db"]
    assert main([*arguments, str(tmp_path / "second.db")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "rows read" in said
    assert "new votes 9" in said
    assert main([*arguments, str(path)]) == 0
    assert OWN in capsys.readouterr().out
    assert main([*arguments[:4], str(tmp_path / "none"), "--db", str(path)]) == 1
    assert "name another file with --in" in capsys.readouterr().err
