"""The store: every conversation, response, judgement and vote, in one SQLite file on a local disk.

It loses nothing: a response has a row, pending, before its first token is asked for, and always reaches a final state;
votes are only ever added. Several threads and several processes of one machine may write at once.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from evaluation.judgement import Judgement
from evaluation.process import is_alive, process_start
from evaluation.response import FINAL, Response, Status
from evaluation.schema import UPDATE_RESPONSE, StoreError, immediate, open_database, open_read_only, plain_words
from evaluation.store_erase import erase, key_hash, left_over, owned, write_again
from evaluation.store_fork import copy_turns
from evaluation.store_records import (
    ArmRecord,
    StoredResponse,
    StoredTurn,
    Turn,
    config_columns,
    facts_hash,
    read_arm,
    read_comparison,
    read_judgement,
    read_response,
    read_turn,
    response_columns,
    storable,
    to_json,
    vote_columns,
)
from evaluation.vote import Vote
from presets.profile import Sampling
from presets.safety_config import SafetyConfig

__all__ = ["ArmRecord", "Store", "StoreError", "StoredResponse", "StoredTurn", "Turn"]

ABANDONED = "the program that wrote this response ended before the response did"


class Store:
    """An open store. Every method may be called from any thread, and waits while another process writes (30 s at most).

    Each write is one transaction. What has returned outlives this process; a vote outlives a power cut too.
    Every method raises `StoreError` for an id that is not in the store, and for what SQLite refuses.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, make it (and its folder) or migrate it, and close what dead processes left unfinished.

        Raises `StoreError`, and leaves the file as it is, when it is newer than this program or not one of its files.
        """
        self.path = Path(path)
        self._lock = threading.Lock()
        self._db: Database | None = open_database(self.path)
        self._process_id = _new_id()
        pid = os.getpid()
        row = {"id": self._process_id, "pid": pid, "started": process_start(pid), "opened_at": _now()}
        with self._write() as db:
            _insert(db, "processes", row)
        self.abandon()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what this store left unfinished becomes abandoned, and unkept goes. A second call does nothing."""
        with self._lock:
            if self._db is None:
                return
            with plain_words(self.path), immediate(self._db):
                _abandon(self._db, [self._process_id])
                self._db.execute("UPDATE processes SET closed_at = ? WHERE id = ?", [_now(), self._process_id])
                erase(self._db, left_over(self._db))
            self._db.close()
            self._db = None

    def save_config(self, config: SafetyConfig) -> str:
        """The config's content hash, once it is stored; the id and title of the first with this content are kept."""
        with self._write() as db:
            return _save_config(db, config)

    def begin_conversation(
        self, *, session_id: str, profile: str, key: str | None = None, kept: bool = True, after: Sequence[str] = ()
    ) -> str:
        """The id of a new conversation, which begins with copies of the turns `after` (ids), if there are any.

        `session_id` is whoever votes; `profile` is the id of the profile that runs. Whoever holds `key` may have the words
        erased; those of one that is not to be `kept` go when it ends.
        """
        row = {"id": _new_id(), "session_id": session_id, "profile": profile, "created_at": _now()}
        with self._write() as db:
            _insert(db, "conversations", {**row, "owner": None if key is None else key_hash(key), "kept": kept})
            copy_turns(db, row["id"], after)
        return row["id"]

    def erase(self, keys: Mapping[str, str]) -> int:
        """How many conversations were emptied of words: those whose id stands here with the key that it was begun with.

        Raises `StoreError`, having erased nothing, while one of them is still being answered.
        """
        with self._write(durable=True) as db:
            erase(db, found := owned(db, keys))
            return len(found)

    def begin_turn(
        self,
        conversation_id: str,
        *,
        prompt: str,
        config: SafetyConfig,
        system_prompt: str,
        sampling: Sampling,
        arms: Sequence[ArmRecord],
    ) -> Turn:
        """A new turn with one pending response per arm, stored at once. Raises `ValueError` unless there are arms, each once."""
        ids = [arm.arm_id for arm in arms]
        if not ids or len(set(ids)) < len(ids):
            raise ValueError(f"a turn needs one record per arm, each arm once; got {ids}")
        with self._write() as db:
            _require(db, "conversations", conversation_id)
            turn_id = _insert_turn(db, conversation_id, prompt, _save_config(db, config), system_prompt, sampling)
            responses = {}
            for position, arm in enumerate(arms):
                _save_arm_version(db, arm)
                place = {"turn_id": turn_id, "arm_id": arm.arm_id, "arm_version": arm.version, "position": position}
                responses[arm.arm_id] = self._insert_pending(db, {**place, "attempt": 1})
        return Turn(turn_id, conversation_id, responses)

    def retry(self, turn_id: str, arm_id: str) -> str:
        """The id of a new pending response of this arm; the earlier attempt stays.

        Raises `StoreError` while that attempt is unfinished.
        """
        with self._write() as db:
            current = {row["arm_id"]: row for row in _current_responses(db, turn_id)}
            if arm_id not in current:
                known = ", ".join(current)
                raise StoreError(f"turn {turn_id!r} has no response of arm {arm_id!r} to try again; it has {known}")
            last = current[arm_id]
            if last["status"] not in FINAL:
                raise StoreError(f"arm {arm_id!r} is still answering ({last['status']}); stop it before a new attempt")
            place = {name: last[name] for name in ("turn_id", "arm_id", "arm_version", "position")}
            return self._insert_pending(db, {**place, "attempt": last["attempt"] + 1})

    def start_response(self, response_id: str) -> bool:
        """True when the response streams now; False when it had been finished (stopped while it waited)."""
        with self._write() as db:
            _require(db, "responses", response_id)
            sql = """UPDATE responses SET status = 'streaming', updated_at = :now,
                     started_at = coalesce(started_at, :now) WHERE id = :id AND finished_at IS NULL"""
            return db.execute(sql, {"id": response_id, "now": _now()}).rowcount == 1

    def save_partial(self, response_id: str, response: Response) -> bool:
        """True when the text so far is stored; False when the response had been finished before."""
        with self._write() as db:
            return _update_response(db, response_id, response, status=None, error="")

    def finish_response(self, response_id: str, status: Status, response: Response, error: str = "") -> bool:
        """True when this call finished the response; False when it was finished already: the first final state wins.

        Raises `ValueError` for a status that is not final.
        """
        if status not in FINAL:
            raise ValueError(f"a response cannot be finished as {status!r}; the final states are {', '.join(FINAL)}")
        with self._write() as db:
            return _update_response(db, response_id, response, status=status, error=error)

    def save_judgement(
        self, response_id: str, judgement: Judgement, *, judged_by: Mapping[str, Any] | None = None
    ) -> str:
        """The id of the stored judgement. The last judgement of a response counts; earlier ones stay.

        `judged_by` holds the judge's facts (`provenance.judge_facts`); None stands for what is not known.
        Raises `StoreError` while the response is unfinished.
        """
        row = {**asdict(judgement), "id": _new_id(), "response_id": response_id, "created_at": _now()}
        row["categories"] = None if judgement.categories is None else to_json(sorted(judgement.categories))
        with self._write() as db:
            status = _require(db, "responses", response_id)["status"]
            if status not in FINAL:
                raise StoreError(f"response {response_id!r} cannot be judged yet: it is {status}; finish it first")
            row["judge_version"] = None if judged_by is None else _save_judge_version(db, judged_by)
            _insert(db, "judgements", row)
        return row["id"]

    def save_vote(self, vote: Vote) -> bool:
        """True when the vote is new, False when it is stored already, on the very same responses.

        A session's later vote on the same turn is a new revision: it counts, and the earlier one stays.
        Raises `StoreError` while a response of the turn is unfinished, and for arms that are not in the turn.
        """
        row = storable(vote_columns(vote))
        with self._write(durable=True) as db:
            current = _current_responses(db, vote.turn_id)
            row["responses"] = to_json(_presented(vote, current))
            if stored := list(db.query("SELECT * FROM votes WHERE id = ?", [vote.id])):
                if any(stored[0][name] != value for name, value in row.items()):
                    raise StoreError(f"vote {vote.id!r} is stored as another or on earlier answers; give it a new id")
                return False
            _require_final(current)
            sql = "SELECT coalesce(max(revision), 0) + 1 FROM votes WHERE turn_id = ? AND session_id = ?"
            revision = db.execute(sql, [vote.turn_id, vote.session_id]).fetchone()[0]
            _insert(db, "votes", {**row, "revision": revision, "created_at": _now()})
        return True

    def abandon(self) -> int:
        """How many unfinished responses of dead processes became `abandoned`; a new store has done this already.

        What those processes did not live to erase of conversations that were not to be kept is erased.

        A process of another container or machine counts as dead: only processes of one machine may share the file.
        """
        sql = """SELECT id, pid, started, closed_at FROM processes
                 WHERE id IN (SELECT process_id FROM responses WHERE finished_at IS NULL)"""
        with self._write() as db:
            owners = list(db.query(sql))
            erase(db, left_over(db))
            return _abandon(db, [owner["id"] for owner in owners if not is_alive(owner)])

    def turns(self, conversation_id: str) -> list[StoredTurn]:
        """The conversation's turns, oldest first, with the last attempt of each arm. Raises `StoreError` for an erased one."""
        sql = """SELECT t.*, g.title AS config_title, g.text AS config_text
                 FROM turns AS t JOIN configs AS g ON g.hash = t.config_hash
                 WHERE t.conversation_id = ? ORDER BY t.turn_index"""
        with self._read() as db:
            if _require(db, "conversations", conversation_id)["erased_at"]:
                raise StoreError(f"the words of conversation {conversation_id!r} were erased by whoever wrote them")
            return [_turn(db, row) for row in list(db.query(sql, [conversation_id]))]

    def session_judgements(self, session_id: str) -> list[tuple[str, Judgement]]:
        """(arm id, judgement) of each judged response that is complete and its arm's last attempt, oldest turn first.

        Unscored judgements are among them.
        """
        sql = """SELECT r.arm_id, j.* FROM conversations AS c
                 JOIN turns AS t ON t.conversation_id = c.id
                 JOIN responses_current AS r ON r.turn_id = t.id AND r.status = 'complete'
                 JOIN judgements_current AS j ON j.response_id = r.id
                 WHERE c.session_id = ? ORDER BY c.created_at, c.id, t.turn_index, r.position"""
        with self._read() as db:
            return [(row["arm_id"], read_judgement(row)) for row in db.query(sql, [session_id])]

    def comparisons(self, *, session_id: str | None = None, profile: str | None = None) -> Iterator[dict[str, Any]]:
        """One flat row per response, earlier attempts too, with its config, prompt, provenance, judgement and vote.

        A response on which several sessions voted stands there once per vote; `won` is None unless a best arm was
        named. Reads one snapshot over a connection of its own: later writes neither wait nor show.
        """
        sql = """SELECT * FROM comparisons WHERE (:session_id IS NULL OR session_id = :session_id)
                 AND (:profile IS NULL OR profile = :profile)"""
        with open_read_only(self.path) as db, plain_words(self.path):
            for row in db.query(sql, {"session_id": session_id, "profile": profile}):
                yield read_comparison(row)

    @contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[Database]:
        """A transaction that holds the write lock. `durable` makes it outlast a power cut too, for a slower commit."""
        with self._lock, plain_words(self.path):
            db = self._open()
            db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            with immediate(db):
                yield db

    @contextmanager
    def _read(self) -> Iterator[Database]:
        with self._lock, plain_words(self.path), self._open().atomic() as db:
            yield db

    def _open(self) -> Database:
        if self._db is None:
            raise StoreError(f"{self.path}: this store has been closed; open a new one")
        return self._db

    def _insert_pending(self, db: Database, place: Mapping[str, Any]) -> str:
        now = _now()
        row = {**place, "id": _new_id(), "process_id": self._process_id, "status": "pending"}
        _insert(db, "responses", {**row, "created_at": now, "updated_at": now})
        return row["id"]


def _abandon(db: Database, process_ids: Sequence[str]) -> int:
    sql = """UPDATE responses SET status = 'abandoned', error = ?, finished_at = ?, updated_at = ?
             WHERE finished_at IS NULL AND process_id = ?"""
    now = _now()
    return sum(db.execute(sql, [ABANDONED, now, now, process_id]).rowcount for process_id in process_ids)


def _save_config(db: Database, config: SafetyConfig) -> str:
    _insert_once(db, "configs", "hash", {**config_columns(config), "created_at": _now()})
    write_again(db, config)
    return config.content_hash


def _save_arm_version(db: Database, arm: ArmRecord) -> None:
    row = {**asdict(arm), "id": arm.version, "library_versions": to_json(arm.library_versions), "created_at": _now()}
    _insert_once(db, "arm_versions", "id", row)


def _save_judge_version(db: Database, facts: Mapping[str, Any]) -> str:
    row = {"id": facts_hash(facts), "facts": to_json(facts), "created_at": _now()}
    _insert_once(db, "judge_versions", "id", row)
    return row["id"]


def _insert_turn(
    db: Database, conversation_id: str, prompt: str, config_hash: str, system_prompt: str, sampling: Sampling
) -> str:
    sql = "SELECT coalesce(max(turn_index), -1) + 1 FROM turns WHERE conversation_id = ?"
    index = db.execute(sql, [conversation_id]).fetchone()[0]
    row = {"id": _new_id(), "conversation_id": conversation_id, "turn_index": index, "prompt": prompt}
    row |= {"config_hash": config_hash, "system_prompt": system_prompt, "created_at": _now()}
    _insert(db, "turns", {**row, **asdict(sampling)})
    return row["id"]


def _update_response(db: Database, response_id: str, response: Response, *, status: Status | None, error: str) -> bool:
    _require(db, "responses", response_id)
    now = _now()
    row = {**response_columns(response), "id": response_id, "status": status, "error": error, "now": now}
    row["finished_at"] = None if status is None else now
    return db.execute(UPDATE_RESPONSE, storable(row)).rowcount == 1


def _current_responses(db: Database, turn_id: str) -> list[dict[str, Any]]:
    _require(db, "turns", turn_id)
    return list(db.query("SELECT * FROM responses_current WHERE turn_id = ? ORDER BY position", [turn_id]))


def _require_final(rows: Sequence[Mapping[str, Any]]) -> None:
    if unfinished := [row["arm_id"] for row in rows if row["status"] not in FINAL]:
        raise StoreError(f"a vote must wait: {', '.join(unfinished)} still answering; vote when every arm has finished")


def _presented(vote: Vote, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids of the responses that the vote compares, as presented. Raises `StoreError` for arms that are not there."""
    ids = {row["arm_id"]: row["id"] for row in rows}
    if len(set(vote.presented)) < len(vote.presented) or not set(vote.presented) <= set(ids):
        raise StoreError(f"the vote presents {', '.join(vote.presented)}; the turn's arms are {', '.join(ids)}")
    return [ids[arm_id] for arm_id in vote.presented]


def _turn(db: Database, row: Mapping[str, Any]) -> StoredTurn:
    sql = """SELECT j.* FROM judgements_current AS j JOIN responses AS r ON r.id = j.response_id WHERE r.turn_id = ?"""
    judgements = {found["response_id"]: read_judgement(found) for found in db.query(sql, [row["id"]])}
    current = _current_responses(db, row["id"])
    sql = "SELECT * FROM arm_versions WHERE id IN (SELECT arm_version FROM responses WHERE turn_id = ?)"
    arms = {found["id"]: read_arm(found) for found in db.query(sql, [row["id"]])}
    votes = db.query("SELECT * FROM votes_current WHERE turn_id = ? ORDER BY created_at", [row["id"]])
    responses = [read_response(each, arms[each["arm_version"]], judgements.get(each["id"])) for each in current]
    return read_turn(row, responses, list(votes))


def _require(db: Database, table: str, row_id: str) -> dict[str, Any]:
    rows = list(db.query(f"SELECT * FROM {table} WHERE id = ?", [row_id]))
    if not rows:
        raise StoreError(f"there is no {table.removesuffix('s')} {row_id!r} in the store; was it made in another file?")
    return rows[0]


def _insert(db: Database, table: str, row: Mapping[str, Any]) -> None:
    db.table(table).insert(storable(row))


def _insert_once(db: Database, table: str, key: str, row: Mapping[str, Any]) -> None:
    # INSERT OR IGNORE would also pass over a row that breaks a CHECK.
    if not db.table(table).count_where(f"{key} = ?", [row[key]]):
        _insert(db, table, row)


def _new_id() -> str:
    return str(uuid.uuid4())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


if __name__ == "__main__":
    from evaluation.store_commands import main

    sys.exit(main())
