"""The store loses nothing that was confirmed, overwrites nothing, and leaves alone a file that is not its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from evaluation.export import export
from evaluation.judgement import Judgement
from evaluation.migrations import STEPS, migrations
from evaluation.process import process_start
from evaluation.response import Response
from evaluation.schema import filesystem, open_database
from evaluation.store import ABANDONED, ArmRecord, Store, StoreError, Turn
from evaluation.store_commands import main
from evaluation.store_history import find_conversations
from evaluation.store_scores import read_store_scores
from evaluation.vote import Vote
from presets.profile import Sampling
from presets.safety_config import SafetyConfig, render_system_prompt

ROOT = Path(__file__).parent.parent
CONFIG = SafetyConfig("bar", "Bar", "Beer is fine.", taxonomy="tinyworld", allowed=frozenset({"alcohol"}))
BASE = ArmRecord("base", "Base", "main", "base", model_hash="b" * 64, shows_config=False, engine="vllm")
ICA = ArmRecord("ica", "ICA", "main", "base", demos_hash="d" * 64, library_versions={"vllm": "0.32.0"})
COSALIGN = ArmRecord("cosalign", "CoSAlign", "main", "cosalign", adapter_path="models/lora", adapter_hash="a" * 64)
ARMS = (BASE, ICA, COSALIGN)
DONE = Response("Cheers.", "drinks are fine", "base", "req-1", "stop", 12, 3, ttft_s=0.021, duration_s=0.25)
GOOD = Judgement("tinyworld", 4, frozenset({"alcohol"}), safe=True, reason="names a beer", raw="rating 4")

JUDGE = {"kind": "llm", "model": "base", "weights": {"model": "w" * 64}}

EARLIER_JUDGEMENT = f"""
INSERT INTO configs VALUES ('{"c" * 64}', 'bar', 'Bar', 'Beer is fine.', 'en', 'tinyworld', '["alcohol"]', '', '2026');
INSERT INTO processes VALUES ('p', 1, 'then', '2026', '2026');
INSERT INTO conversations VALUES ('c', 's', 'tinyworld', '2026');
INSERT INTO turns VALUES ('t', 'c', 0, 'A beer?', '{"c" * 64}', '', 0.0, 1.0, 9, 0, '2026');
INSERT INTO arm_versions(id, arm_id, title, server, model, shows_config, prompt_template_version, library_versions,
  created_at) VALUES ('{"a" * 64}', 'ica', 'ICA', 'main', 'base', 1, '1', '{{}}', '2026');
INSERT INTO responses(id, turn_id, arm_id, arm_version, process_id, position, attempt, status, text, created_at,
  updated_at, finished_at) VALUES ('r', 't', 'ica', '{"a" * 64}', 'p', 0, 1, 'complete', 'Beer.', '2026', '2026', '2026');
INSERT INTO judgements VALUES (1, 'j', 'r', 'tinyworld', 4, '["alcohol"]', 1, '', NULL, '', NULL, '2026');
"""
"""One judged response, written as it was before the migration m004."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as store:
        yield store


def begin(store: Store, *, session_id: str = "s", arms: Sequence[ArmRecord] = ARMS, profile: str = "tinyworld") -> Turn:
    return ask(store, store.begin_conversation(session_id=session_id, profile=profile), arms=arms)


def ask(
    store: Store,
    conversation_id: str,
    *,
    prompt: str = "A beer?",
    arms: Sequence[ArmRecord] = ARMS,
    config: SafetyConfig = CONFIG,
) -> Turn:
    system_prompt = render_system_prompt(config)
    return store.begin_turn(
        conversation_id, prompt=prompt, config=config, system_prompt=system_prompt, sampling=Sampling(seed=7), arms=arms
    )


def finish_all(store: Store, turn: Turn) -> None:
    for response_id in turn.response_ids.values():
        store.start_response(response_id)
        store.finish_response(response_id, "complete", DONE)


def vote_on(turn: Turn, vote_id: str = "v1", **changes: object) -> Vote:
    vote = Vote(vote_id, turn.id, "s", "best", "ica", ("cosalign", "ica", "base"), "friendlier")
    return replace(vote, **changes)


def rows(path: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def response_row(path: Path, response_id: str, columns: str = "status, text, error") -> tuple:
    return rows(path, f"SELECT {columns} FROM responses WHERE id = '{response_id}'")[0]


# A process of its own, that writes until it is told to stop, and says what is confirmed.
WRITER = """
import json, sys, time
from pathlib import Path
from tests.test_store import DONE, begin, finish_all, vote_on
from evaluation.response import Response
from evaluation.store import Store

path, name, turns, begin_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
time.sleep(max(0, begin_at - time.time()))
store = Store(path)
for number in range(turns):
    turn = begin(store, session_id=name)
    finish_all(store, turn)
    store.save_vote(vote_on(turn, f"{name}-{number}", session_id=name))
    waiting = begin(store, session_id=name)
    streaming = waiting.response_ids["ica"]
    store.start_response(streaming)
    store.save_partial(streaming, Response(text=f"partial {number}"))
    print(json.dumps([turn.response_ids, f"{name}-{number}", waiting.response_ids, f"partial {number}"]), flush=True)
sys.stdin.read()
"""


def start_writer(path: Path, name: str, *, turns: int, begin_at: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(turns), str(begin_at)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], *, kill: bool = False) -> list[list]:
    """What the process had confirmed and we had not read yet."""
    if kill:
        process.send_signal(signal.SIGKILL)
        out = process.stdout.read()
        process.wait(timeout=30)
        process.stdin.close()
        process.stdout.close()
    else:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines() if line.endswith("]")]


# Opening


def test_the_folder_is_made_and_write_ahead_logging_is_really_on(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "store.db"
    with Store(path):
        assert rows(path, "PRAGMA journal_mode") == [("wal",)]
        assert path.with_name("store.db-wal").exists()
    assert path.read_bytes()[18:20] == b"\x02\x02", "the file's header asks for WAL"


def test_every_table_is_strict_and_foreign_keys_hold(store: Store, path: Path) -> None:
    tables = rows(path, "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE '%sqlite_%'")
    assert {name for name, _ in tables} >= {"configs", "turns", "arm_versions", "responses", "judgements", "votes"}
    assert all(strict for _, strict in tables)
    with pytest.raises(StoreError, match="there is no conversation 'nowhere'"):
        ask(store, "nowhere")
    with open_database(path) as db, pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        db.execute("INSERT INTO turns SELECT 'x', 'nowhere', 0, 'p', 'h', 's', 0.0, 1.0, 1, 0, 'now', NULL")


@pytest.mark.parametrize("step", range(1, len(STEPS)), ids=lambda step: f"before {STEPS[step].__name__}")
@pytest.mark.parametrize("with_row", [False, True], ids=["empty", "with a row"])
def test_an_older_schema_is_migrated_and_keeps_its_rows(path: Path, with_row: bool, step: int) -> None:
    old = Database(path)
    migrations().apply(old, stop_before=STEPS[step].__name__)
    if with_row:
        old["conversations"].insert({"id": "c", "session_id": "old", "profile": "tinyworld", "created_at": "2026"})
    old.close()
    with Store(path) as store:
        names = [step.__name__ for step in STEPS]
        assert rows(path, "SELECT name FROM _sqlite_migrations ORDER BY id") == [(name,) for name in names]
        assert rows(path, "SELECT session_id FROM conversations") == ([("old",)] if with_row else [])
        turn = ask(store, "c") if with_row else begin(store)
        finish_all(store, turn)
        assert store.save_vote(vote_on(turn))
        assert len(list(store.comparisons())) == 3


def test_judgements_from_before_their_judges_were_stored_stay_and_have_none(path: Path) -> None:
    old = Database(path)
    migrations().apply(old, stop_before="m004_judge_versions")
    old.executescript(EARLIER_JUDGEMENT)
    old.close()
    with Store(path) as store:
        assert [row.judgement for row in store.turns("c")[0].responses] == [replace(GOOD, raw="", reason="")]
        (before,) = store.comparisons()
        store.save_judgement("r", GOOD, judged_by=JUDGE)
        (after,) = store.comparisons()
    assert (before["rating"], before["judge_version"], before["judge_facts"]) == (4, None, None)
    assert (after["rating"], after["judge_facts"]) == (4, JUDGE)


def test_opening_waits_for_a_program_that_writes_to_a_file_without_a_log(path: Path) -> None:
    old = Database(path)
    migrations().apply(old, stop_before=STEPS[1].__name__)
    old.close()
    with closing(sqlite3.connect(path, check_same_thread=False)) as writer:
        writer.execute("INSERT INTO conversations VALUES ('c', 's', 'tinyworld', '2026')")
        commit = threading.Timer(0.3, writer.commit)
        commit.start()
        with Store(path) as store:
            assert store.turns("c") == []
        commit.join()


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with Store(path) as store:
        assert begin(store).response_ids.keys() == {"base", "ica", "cosalign"}


NEWER = "INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES ('store', 'm999_future', 'now')"


def test_a_newer_schema_is_refused_and_left_byte_identical(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(NEWER)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer version.*m999_future.*update the program"):
        Store(path)
    assert path.read_bytes() == before


def test_a_newer_schema_that_still_lies_in_the_log_of_a_killed_process_is_refused(tmp_path: Path) -> None:
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(NEWER)
        connection.commit()
        copy.write_bytes(path.read_bytes())
        log = path.with_name("store.db-wal").read_bytes()
    assert log
    copy.with_name("copy.db-wal").write_bytes(log)
    before = copy.read_bytes()
    with pytest.raises(StoreError, match="newer version"):
        Store(copy)
    assert (copy.read_bytes(), copy.with_name("copy.db-wal").read_bytes()) == (before, log)


@pytest.mark.parametrize("text", ["x", "notes on votes\n" * 500], ids=["short", "long"])
def test_a_text_file_is_refused_and_left_as_it_is(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(StoreError, match="no SQLite database and was left as it is; choose another file"):
        Store(path)
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipes(id)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database .it holds recipes"):
        Store(path)
    assert path.read_bytes() == before


def test_a_damaged_database_is_refused_in_plain_words(path: Path) -> None:
    with Store(path) as store:
        finish_all(store, begin(store))
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 4000 + content[4100:])
    with pytest.raises(StoreError, match="damaged"):
        Store(path)


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="choose another file"):
        Store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="folder cannot be made"):
        Store(tmp_path / "file" / "store.db")


MOUNTS = """overlay / overlay rw 0 0
/dev/sda1 /home ext4 rw 0 0
server:/x /home/shared\\040files nfs4 rw 0 0
hf /data fuse.hf-mount rw 0 0
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/srv/a.db", "overlay"),
        ("/home/a.db", "ext4"),
        ("/home/shared files/a.db", "nfs4"),
        ("/data/a", "fuse.hf-mount"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(place: str, kind: str) -> None:
    assert filesystem(Path(place), MOUNTS) == kind


def test_a_network_disk_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.schema.filesystem", lambda *_: "fuse.hf-mount")
    with pytest.raises(StoreError, match="file locks do not hold; put it on a local disk"):
        Store(path)
    assert not path.exists()


def test_a_closed_store_says_so(path: Path) -> None:
    store = Store(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="has been closed"):
        store.begin_conversation(session_id="s", profile="tinyworld")


# Several processes and threads


def test_processes_that_open_a_new_file_at_once_and_write_lose_nothing(path: Path) -> None:
    begin_at = time.time() + 1.5
    writers = [start_writer(path, name, turns=15, begin_at=begin_at) for name in ("a", "b", "c")]
    confirmed = [line for writer in writers for line in end(writer)]
    assert len(confirmed) == 45
    votes = {row[0] for row in rows(path, "SELECT id FROM votes")}
    assert votes == {vote_id for _, vote_id, _, _ in confirmed}
    complete = {row[0] for row in rows(path, "SELECT id FROM responses WHERE status = 'complete'")}
    assert complete == {response_id for ids, *_ in confirmed for response_id in ids.values()}
    assert rows(path, "SELECT count(*) FROM _sqlite_migrations") == [(len(STEPS),)]


def test_a_killed_process_loses_nothing_confirmed_and_only_its_unfinished_rows_are_abandoned(path: Path) -> None:
    living = start_writer(path, "living", turns=1)
    doomed = start_writer(path, "doomed", turns=100_000)
    try:
        _, _, others, _ = json.loads(living.stdout.readline())
        confirmed = [json.loads(doomed.stdout.readline()) for _ in range(10)]
        confirmed += end(doomed, kill=True)
        with Store(path):
            for finished, vote_id, waiting, partial in confirmed:
                for response_id in finished.values():
                    assert response_row(path, response_id)[:2] == ("complete", DONE.text)
                assert rows(path, f"SELECT outcome, best FROM votes WHERE id = '{vote_id}'") == [("best", "ica")]
                assert {response_row(path, response_id, "status") for response_id in waiting.values()} == {
                    ("abandoned",)
                }
                assert response_row(path, waiting["ica"])[1:] == (partial, ABANDONED)
            assert response_row(path, others["ica"])[:2] == ("streaming", "partial 0")
            assert response_row(path, others["base"])[:2] == ("pending", "")
        unfinished = (
            "SELECT DISTINCT p.pid FROM responses JOIN processes AS p ON p.id = process_id WHERE finished_at IS NULL"
        )
        assert rows(path, unfinished) == [(living.pid,)]
    finally:
        end(living)
    with Store(path) as store:
        assert rows(path, "SELECT count(*) FROM responses WHERE finished_at IS NULL") == [(0,)]
        assert store.abandon() == 0


def test_a_process_that_took_over_the_pid_of_a_dead_one_is_not_mistaken_for_it(path: Path) -> None:
    store = Store(path)
    turn = begin(store)
    with Store(path) as second:
        assert response_row(path, turn.response_ids["base"], "status") == ("pending",)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE processes SET started = 'earlier'")
        assert second.abandon() == 3
    assert response_row(path, turn.response_ids["base"], "status") == ("abandoned",)
    store.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_is_running_until_it_ends_even_if_nobody_has_collected_it() -> None:
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_start(child.pid) not in (None, process_start(os.getpid()))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) is None, "a zombie writes nothing"
    child.communicate()
    assert process_start(child.pid) is None


def test_threads_share_one_store_without_loss(store: Store, path: Path) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(8):
                turn = begin(store, session_id=name)
                finish_all(store, turn)
                store.save_vote(vote_on(turn, f"{name}-{number}", session_id=name))
                store.session_judgements(name)
        except Exception as error:  # noqa: BLE001 - the main thread reports it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert rows(path, "SELECT count(*) FROM votes") == [(40,)]
    assert rows(path, "SELECT count(*) FROM responses WHERE status = 'complete'") == [(120,)]


def test_turns_of_one_conversation_are_numbered_without_gaps(store: Store) -> None:
    turn = begin(store)
    for number in range(1, 4):
        ask(store, turn.conversation_id, prompt=f"question {number}")
    turns = store.turns(turn.conversation_id)
    assert [(row.turn_index, row.prompt) for row in turns] == [
        (0, "A beer?"),
        (1, "question 1"),
        (2, "question 2"),
        (3, "question 3"),
    ]


# Configs, turns and arms


def test_saving_a_config_twice_keeps_one_row(store: Store, path: Path) -> None:
    first = store.save_config(CONFIG)
    assert store.save_config(replace(CONFIG, title="Another name")) == first == CONFIG.content_hash
    free = SafetyConfig("free", "Free", "Anything.", taxonomy="tinyworld", allowed=None)
    assert store.save_config(free) == free.content_hash
    saved = rows(path, "SELECT hash, title, text, allowed FROM configs ORDER BY title")
    assert saved == [(first, "Bar", "Beer is fine.", '["alcohol"]'), (free.content_hash, "Free", "Anything.", None)]


def test_a_turn_has_a_pending_row_per_arm_before_anything_is_asked_for(store: Store, path: Path) -> None:
    turn = begin(store)
    assert list(turn.response_ids) == ["base", "ica", "cosalign"]
    for response_id in turn.response_ids.values():
        assert response_row(path, response_id) == ("pending", "", "")
    assert rows(path, "SELECT seed, config_hash FROM turns") == [(7, CONFIG.content_hash)]


def test_a_turn_that_fails_half_way_leaves_no_row(store: Store, path: Path) -> None:
    conversation_id = store.begin_conversation(session_id="s", profile="tinyworld")
    with pytest.raises(StoreError, match="CHECK constraint"):
        ask(store, conversation_id, arms=[BASE, replace(COSALIGN, adapter_hash="short")])
    assert rows(path, "SELECT count(*) FROM turns") == rows(path, "SELECT count(*) FROM responses") == [(0,)]


@pytest.mark.parametrize("arms", [[], [BASE, ICA, BASE]], ids=["none", "one twice"])
def test_a_turn_needs_each_arm_once(store: Store, arms: list[ArmRecord]) -> None:
    with pytest.raises(ValueError, match="each arm once"):
        begin(store, arms=arms)


def test_arms_are_stored_once_per_version(store: Store, path: Path) -> None:
    begin(store)
    begin(store)
    begin(store, arms=[BASE, ICA, replace(COSALIGN, adapter_hash="b" * 64)])
    found = rows(path, "SELECT arm_id, adapter_hash FROM arm_versions ORDER BY arm_id, adapter_hash")
    assert found == [("base", None), ("cosalign", "a" * 64), ("cosalign", "b" * 64), ("ica", None)]


# Responses


def test_a_response_streams_and_ends_with_all_that_is_known_of_it(store: Store) -> None:
    turn = begin(store, arms=[ICA])
    response_id = turn.response_ids["ica"]
    assert store.start_response(response_id)
    assert store.save_partial(response_id, Response(text="Che", ttft_s=0.021))
    assert store.finish_response(response_id, "complete", DONE)
    (stored,) = store.turns(turn.conversation_id)[0].responses
    assert (stored.id, stored.status, stored.attempt, stored.error) == (response_id, "complete", 1, "")
    assert stored.response == DONE


def test_finishing_is_idempotent_and_the_first_final_state_wins(store: Store, path: Path) -> None:
    response_id = begin(store).response_ids["ica"]
    assert store.finish_response(response_id, "stopped", Response(text="so far"))
    finished = response_row(path, response_id, "*")
    assert not store.finish_response(response_id, "complete", DONE)
    assert not store.save_partial(response_id, DONE)
    assert not store.start_response(response_id)
    assert response_row(path, response_id, "*") == finished


def test_a_failure_without_text_keeps_the_text_that_was_saved(store: Store, path: Path) -> None:
    response_id = begin(store).response_ids["ica"]
    store.start_response(response_id)
    store.save_partial(response_id, Response(text="half an ans", thinking="hm"))
    store.finish_response(response_id, "error", Response(), error="the server went away")
    assert response_row(path, response_id) == ("error", "half an ans", "the server went away")


def test_text_that_sqlite_cannot_hold_is_stored_as_near_as_it_can_be(store: Store, path: Path) -> None:
    response_id = begin(store).response_ids["ica"]
    store.finish_response(response_id, "complete", Response(text="cut \ud83d, whole \ud83d\ude00, nul \0 end"))
    assert response_row(path, response_id)[1] == "cut \ufffd, whole 😀, nul \0 end"


def test_a_response_cannot_be_finished_as_something_unfinished(store: Store) -> None:
    with pytest.raises(ValueError, match="'streaming'; the final states are complete, stopped, error, abandoned"):
        store.finish_response(begin(store).response_ids["ica"], "streaming", DONE)


@pytest.mark.parametrize("call", ["start_response", "save_partial", "finish_response", "save_judgement"])
def test_an_unknown_response_is_an_error(store: Store, call: str) -> None:
    more = {"save_partial": (DONE,), "finish_response": ("complete", DONE), "save_judgement": (GOOD,)}
    with pytest.raises(StoreError, match="there is no response 'nowhere'"):
        getattr(store, call)("nowhere", *more.get(call, ()))


def test_a_retry_is_a_new_attempt_and_the_old_row_stays(store: Store, path: Path) -> None:
    turn = begin(store)
    with pytest.raises(StoreError, match="still answering"):
        store.retry(turn.id, "ica")
    store.finish_response(turn.response_ids["ica"], "error", Response(), error="connection refused")
    again = store.retry(turn.id, "ica")
    store.start_response(again)
    store.finish_response(again, "complete", DONE)
    assert response_row(path, turn.response_ids["ica"]) == ("error", "", "connection refused")
    current = {row.arm.arm_id: row for row in store.turns(turn.conversation_id)[0].responses}
    assert list(current) == ["base", "ica", "cosalign"]
    assert (current["ica"].id, current["ica"].attempt, current["ica"].response) == (again, 2, DONE)
    with pytest.raises(StoreError, match="no response of arm 'other'"):
        store.retry(turn.id, "other")


def test_closing_abandons_what_this_store_left_unfinished_and_nothing_else(path: Path) -> None:
    first, second = Store(path), Store(path)
    ours, theirs = begin(first), begin(second)
    first.close()
    assert response_row(path, ours.response_ids["base"], "status") == ("abandoned",)
    assert response_row(path, theirs.response_ids["base"], "status") == ("pending",)
    second.close()


# Judgements


UNSCORED = Judgement("llm", raw='{"rating": "very"}', unscored="the rating is not a number")


@pytest.mark.parametrize(
    "judgement",
    [GOOD, replace(GOOD, categories=frozenset(), safe=False, rule="no beer"), UNSCORED],
    ids=["scored", "breaks a rule", "unscored"],
)
def test_a_judgement_comes_back_as_it_was(store: Store, judgement: Judgement) -> None:
    turn = begin(store)
    finish_all(store, turn)
    store.save_judgement(turn.response_ids["ica"], judgement)
    assert store.session_judgements("s") == [("ica", judgement)]
    judged = [row.judgement for row in store.turns(turn.conversation_id)[0].responses]
    assert judged == [None, judgement, None]


def test_the_last_judgement_of_the_last_complete_attempt_counts(store: Store) -> None:
    turn = begin(store, session_id="mine")
    finish_all(store, turn)
    assert store.save_judgement(turn.response_ids["base"], UNSCORED) != store.save_judgement(
        turn.response_ids["base"], GOOD
    )
    store.save_judgement(turn.response_ids["ica"], GOOD)
    store.retry(turn.id, "ica")
    other = begin(store, session_id="other")
    store.finish_response(other.response_ids["base"], "stopped", DONE)
    store.save_judgement(other.response_ids["base"], GOOD)
    assert store.session_judgements("mine") == [("base", GOOD)]
    assert store.session_judgements("other") == []


def test_a_judgement_says_what_judged_and_each_judge_is_stored_once(store: Store, path: Path) -> None:
    turn = begin(store)
    finish_all(store, turn)
    other = {**JUDGE, "weights": {"model": "v" * 64}}
    store.save_judgement(turn.response_ids["base"], GOOD, judged_by=JUDGE)
    store.save_judgement(turn.response_ids["ica"], GOOD, judged_by=dict(reversed(JUDGE.items())))
    store.save_judgement(turn.response_ids["cosalign"], GOOD, judged_by=other)
    base, ica, cosalign = store.comparisons()
    assert (base["judge_facts"], ica["judge_facts"], cosalign["judge_facts"]) == (JUDGE, JUDGE, other)
    assert base["judge_version"] == ica["judge_version"] != cosalign["judge_version"]
    assert rows(path, "SELECT count(*) FROM judge_versions") == [(2,)]


def test_a_judgement_that_is_refused_leaves_no_judge_behind(store: Store, path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be judged yet"):
        store.save_judgement(begin(store).response_ids["ica"], GOOD, judged_by=JUDGE)
    assert rows(path, "SELECT count(*) FROM judge_versions") == [(0,)]


def test_a_response_that_still_streams_cannot_be_judged(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot be judged yet: it is pending"):
        store.save_judgement(begin(store).response_ids["ica"], GOOD)


# Votes


def test_the_same_vote_sent_twice_is_one_row(store: Store, path: Path) -> None:
    turn = begin(store)
    finish_all(store, turn)
    assert store.save_vote(vote_on(turn))
    assert not store.save_vote(vote_on(turn))
    assert rows(path, "SELECT revision, outcome, best, presented, reason FROM votes") == [
        (1, "best", "ica", '["cosalign", "ica", "base"]', "friendlier")
    ]


def test_a_changed_vote_keeps_both_and_the_last_counts(store: Store, path: Path) -> None:
    turn = begin(store)
    finish_all(store, turn)
    changed = vote_on(turn, "v2", outcome="tie", best=None)
    other = vote_on(turn, "v3", session_id="other")
    assert [store.save_vote(vote) for vote in (vote_on(turn), changed, other)] == [True, True, True]
    assert rows(path, "SELECT id, revision FROM votes ORDER BY id") == [("v1", 1), ("v2", 2), ("v3", 1)]
    assert set(store.turns(turn.conversation_id)[0].votes) == {changed, other}


def test_a_used_vote_id_cannot_hide_another_vote(store: Store, path: Path) -> None:
    turn = begin(store)
    finish_all(store, turn)
    store.save_vote(vote_on(turn))
    with pytest.raises(StoreError, match="is stored as another .*; give it a new id"):
        store.save_vote(vote_on(turn, outcome="all_bad", best=None))
    assert rows(path, "SELECT outcome FROM votes") == [("best",)]


def test_a_used_vote_id_cannot_stand_for_a_vote_on_later_answers(store: Store, path: Path) -> None:
    turn = begin(store)
    finish_all(store, turn)
    store.save_vote(vote_on(turn))
    again = store.retry(turn.id, "ica")
    for _ in ("while it answers", "when it has answered"):
        with pytest.raises(StoreError, match="on earlier answers; give it a new id"):
            store.save_vote(vote_on(turn))
        store.finish_response(again, "complete", DONE)
    assert store.save_vote(vote_on(turn, "v2"))
    assert rows(path, "SELECT id, revision FROM votes ORDER BY revision") == [("v1", 1), ("v2", 2)]


def test_a_vote_waits_until_every_arm_has_finished(store: Store, path: Path) -> None:
    turn = begin(store)
    store.start_response(turn.response_ids["base"])
    for arm_id in ("ica", "cosalign"):
        store.finish_response(turn.response_ids[arm_id], "complete", DONE)
    with pytest.raises(StoreError, match="base still answering"):
        store.save_vote(vote_on(turn))
    store.finish_response(turn.response_ids["base"], "error", Response(), error="timed out")
    assert store.save_vote(vote_on(turn))
    store.retry(turn.id, "base")
    with pytest.raises(StoreError, match="base still answering"):
        store.save_vote(vote_on(turn, "v2"))
    assert rows(path, "SELECT id FROM votes") == [("v1",)]


@pytest.mark.parametrize("presented", [("ica", "stranger"), ("ica", "ica", "base")], ids=["stranger", "twice"])
def test_a_vote_on_arms_that_the_turn_does_not_have_is_refused(store: Store, presented: tuple[str, ...]) -> None:
    turn = begin(store)
    finish_all(store, turn)
    with pytest.raises(StoreError, match="the turn's arms are base, ica, cosalign"):
        store.save_vote(vote_on(turn, presented=presented))
    with pytest.raises(StoreError, match="there is no turn 'nowhere'"):
        store.save_vote(vote_on(turn, turn_id="nowhere"))


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE votes SET outcome = 'tie', best = NULL",
        "DELETE FROM votes",
        "INSERT OR REPLACE INTO votes SELECT id, turn_id, session_id, revision, 'tie', NULL, presented, responses, "
        "'', created_at, blind, person, '{}', '{}' FROM votes",
        "INSERT OR REPLACE INTO votes SELECT 'v2', turn_id, session_id, revision, 'tie', NULL, presented, responses, "
        "'', created_at, blind, person, '{}', '{}' FROM votes",
    ],
    ids=["update", "delete", "replace by id", "replace by revision"],
)
def test_votes_are_append_only_for_every_program(store: Store, path: Path, sql: str) -> None:
    turn = begin(store)
    finish_all(store, turn)
    store.save_vote(vote_on(turn))
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(sql)
    assert store.turns(turn.conversation_id)[0].votes == (vote_on(turn),)


def test_a_full_disk_is_told_and_what_was_stored_stays(store: Store, path: Path) -> None:
    """SQLite's own limit on a file's pages makes the very error that a full disk makes."""
    turn = begin(store)
    finish_all(store, turn)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages}")

    def fill() -> None:
        for _ in range(200):
            begin(store)

    with pytest.raises(StoreError, match="the disk is full; free some space"):
        fill()
    assert [answer.status for answer in store.turns(turn.conversation_id)[0].responses] == ["complete"] * len(ARMS)
    store._db.execute("PRAGMA max_page_count=1000000")
    assert store.save_vote(vote_on(turn)), "with space again it goes on"


def test_a_database_that_stays_locked_is_told_and_works_again_afterwards(store: Store, path: Path) -> None:
    store._db.execute("PRAGMA busy_timeout=200")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has been writing"):
            begin(store)
        other.rollback()
    assert begin(store).id


# What comes out


def test_comparisons_hold_everything_about_each_response(store: Store) -> None:
    turn = begin(store)
    finish_all(store, turn)
    store.save_judgement(turn.response_ids["ica"], GOOD)
    store.save_vote(vote_on(turn))
    base, ica, cosalign = store.comparisons()
    assert [(row["arm_id"], row["won"]) for row in (base, ica, cosalign)] == [
        ("base", False),
        ("ica", True),
        ("cosalign", False),
    ]
    assert (ica["config_text"], ica["allowed"], ica["prompt"]) == (CONFIG.text, ["alcohol"], "A beer?")
    assert (ica["system_prompt"], base["system_prompt"]) == (render_system_prompt(CONFIG), None)
    assert (ica["text"], ica["ttft_ms"], ica["returned_model"], ica["seed"]) == ("Cheers.", 21.0, "base", 7)
    assert (ica["rating"], ica["categories"], ica["safe"]) == (4, ["alcohol"], True)
    assert (ica["library_versions"], cosalign["adapter_hash"]) == ({"vllm": "0.32.0"}, "a" * 64)
    assert (base["model_hash"], ica["demos_hash"], ica["model_hash"]) == ("b" * 64, "d" * 64, None)
    assert (cosalign["rating"], cosalign["safe"], cosalign["presented"]) == (None, None, ["cosalign", "ica", "base"])


def test_a_vote_belongs_to_the_attempts_that_were_on_the_screen(store: Store) -> None:
    turn = begin(store)
    finish_all(store, turn)
    store.save_vote(vote_on(turn))
    store.finish_response(store.retry(turn.id, "ica"), "complete", DONE)
    attempts = [row for row in store.comparisons() if row["arm_id"] == "ica"]
    assert [(row["attempt"], row["is_current"], row["won"]) for row in attempts] == [(1, False, True), (2, True, None)]


def test_comparisons_can_be_narrowed_and_do_not_block_writes(store: Store) -> None:
    begin(store, session_id="a", profile="tinyworld")
    begin(store, session_id="b", profile="remote")
    assert {row["profile"] for row in store.comparisons(session_id="b")} == {"remote"}
    assert {row["session_id"] for row in store.comparisons(profile="tinyworld")} == {"a"}
    reading = store.comparisons()
    next(reading)
    begin(store, session_id="late")
    assert {row["session_id"] for row in reading} == {"a", "b"}


def test_check_counts_rows_and_writes_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(path) as store:
        finish_all(store, begin(store))
    before = path.read_bytes()
    assert main(["check", "--db", str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["responses", "3"] in lines
    assert lines[-1] == ["integrity_check", "ok"]
    assert path.read_bytes() == before


def test_check_reports_what_is_wrong(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--db", str(path)]) == 1
    assert "there is no database" in capsys.readouterr().err
    assert not path.exists()
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO turns SELECT 'x', 'nowhere', 0, 'p', 'h', 's', 0.0, 1.0, 1, 0, 'now', NULL")
    assert main(["check", "--db", str(path)]) == 1
    assert "lacks its conversations row" in capsys.readouterr().out


def test_check_takes_the_file_from_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()
    result = subprocess.run(
        [sys.executable, "-m", "evaluation.store", "check"],
        cwd=ROOT, env={**os.environ, "COSA_DB": str(path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "integrity_check" in result.stdout


@pytest.mark.parametrize("command", ["export", "scores", "history"])
def test_what_only_reads_says_of_an_older_file_how_it_is_brought_up_to_date(path: Path, command: str) -> None:
    old = Database(path)
    migrations().apply(old, stop_before=STEPS[-1].__name__)
    old.close()
    before = path.read_bytes()
    readers = {
        "export": lambda: export(path, "csv", path.with_name("out.csv")),
        "scores": lambda: read_store_scores(path),
        "history": lambda: find_conversations(path, ["c"]),
    }
    with pytest.raises(StoreError, match="earlier version of this program; start the playground with it once"):
        readers[command]()
    assert path.read_bytes() == before
