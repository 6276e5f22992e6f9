"""An export read back into a store: conversations, responses, judgements and votes, with the ids that they had.

    python -m evaluation.store import --db FILE --format FORMAT --in PATH

What is there already is not added again, so a file may be read twice, and a longer export after a shorter one. What the store
made itself stays as it is: rows of its own conversations are passed over. Every conversation that was read says so
(`conversations.imported_from`, also in what goes out). Where a file does not tell who voted, each conversation's first voter
counts as a person, its second as another. What a format does not hold gets the store's defaults; the tables hold more than
pairs and labels do, so a conversation is read from the one or the other.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.export import Row
from evaluation.process import process_start
from evaluation.read_export import read_rows
from evaluation.response import FINAL
from evaluation.schema import StoreError, immediate, open_database, plain_words
from evaluation.store_records import ArmRecord, config_columns, facts_hash, storable, to_json
from presets.profile import Sampling
from presets.safety_config import SafetyConfig, render_system_prompt
from presets.yaml_file import FieldError, PresetError

TABLES = ("csv: ", "parquet: ", "hub: ")
"""How `imported_from` begins where responses came with their ids."""

UNFINISHED = "responses that were still being written"
OWN = "rows of conversations that this store made itself"
OTHER_KIND = "rows of conversations that were read from a table before, or from pairs and labels (use an empty store)"
ANOTHER_PROMPT = "rows of a turn that has another prompt here"


@dataclass
class Imported:
    """How many rows were read, how many were added to each table, and how many were passed over and why."""

    read: int = 0
    added: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def import_export(database: Path, format_name: str, source: Path) -> Imported:
    """Read `source`, in one of `read_export.READERS`, into the store; it is made where there is none. All of it or nothing.

    Raises `StoreError` for a file that is no such export, for rows that break the store's rules, and a store that cannot
    be written.
    """
    rows = read_rows(format_name, source)
    with plain_words(database), closing(open_database(database)) as db, immediate(db):
        importer = _Importer(db, f"{format_name}: {source.name}")
        try:
            for row in rows:
                importer.add(row)
            importer.add_votes()
        except (sqlite3.IntegrityError, FieldError, PresetError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{source}: one of its first {importer.found.read} rows breaks the store's rules ({error}); nothing was "
                "imported, export the file again"
            ) from error
    return importer.found


class _Importer:
    """Adds rows of `comparisons` to an open store (as `open_database` gives it), inside one transaction."""

    def __init__(self, db: Any, label: str) -> None:
        self.found = Imported()
        self._db, self._label, self._now = db, label, datetime.now(UTC).isoformat(timespec="milliseconds")
        self._votes: dict[str, tuple[Row, str]] = {}
        self._voted_on: dict[str, dict[str, str]] = {}
        self._ids: dict[str, str] = {}
        self._process = str(uuid.uuid4())
        pid = os.getpid()
        row = {"id": self._process, "pid": pid, "started": process_start(pid), "opened_at": self._now}
        self._insert("processes", {**row, "closed_at": self._now})

    def add(self, row: Row) -> None:
        """Add what a row tells, except its vote, which waits until all of its responses are there."""
        self.found.read += 1
        if row["status"] not in FINAL:
            self.found.left_out[UNFINISHED] += 1
            return
        if reason := self._conversation(row):
            self.found.left_out[reason] += 1
            return
        turn = self._turn(row)
        if turn is None:
            self.found.left_out[ANOTHER_PROMPT] += 1
            return
        response = self._response(row, turn)
        self._judgement(row, response)
        if row["vote_id"] is not None:
            self._votes.setdefault(row["vote_id"], (row, turn))
            self._voted_on.setdefault(row["vote_id"], {})[row["arm_id"]] = response
        if row["response_id"] is not None:
            self._ids[row["response_id"]] = response

    def add_votes(self) -> None:
        """Add the votes of the rows so far."""
        for vote_id, (row, turn) in self._votes.items():
            if self._value("SELECT 1 FROM votes WHERE id = ?", vote_id):
                continue
            if given := row.get("vote_responses"):
                responses = [self._ids.get(each, each) for each in given]
            else:
                responses = list(self._voted_on[vote_id].values())
            session, revision = self._voter(row, turn)
            vote = {"id": vote_id, "turn_id": turn, "session_id": session, "revision": revision}
            vote["person"] = row["vote_person"]
            vote |= {"outcome": row["outcome"], "best": row["best"], "blind": bool(row["vote_blind"])}
            vote |= {"presented": to_json(row["presented"]), "responses": to_json(responses)}
            vote |= {"axes": to_json(row.get("vote_axes") or {}), "flags": to_json(row.get("vote_flags") or {})}
            vote |= {"reason": row.get("vote_reason") or "", "created_at": row["voted_at"]}
            self._insert("votes", vote)

    def _conversation(self, row: Row) -> str | None:
        """None when rows may be added to the row's conversation, else why not; it is added where it is not there."""
        name = row["conversation_id"]
        known = self._db.execute("SELECT imported_from FROM conversations WHERE id = ?", [name]).fetchone()
        if known is None:
            session = row.get("session_id") or f"imported:{name}"
            place = {"id": name, "session_id": session, "profile": row["profile"], "created_at": row["created_at"]}
            self._insert("conversations", {**place, "imported_from": self._label})
            return None
        if known[0] is None:
            return OWN
        return OTHER_KIND if known[0].startswith(TABLES) != self._label.startswith(TABLES) else None

    def _turn(self, row: Row) -> str | None:
        """The id of the row's turn, which is added where it is not there; None when another prompt has its place."""
        sql = "SELECT id, prompt FROM turns WHERE conversation_id = ? AND turn_index = ?"
        known = self._db.execute(sql, [row["conversation_id"], row["turn_index"]]).fetchone()
        if known is not None:
            return known[0] if known[1] == row["prompt"] else None
        config = self._config(row)
        turn = {name: row[name] for name in ("conversation_id", "turn_index", "prompt", "created_at")}
        turn |= {"id": row["turn_id"], "config_hash": config.content_hash, "copied_from": row.get("copied_from")}
        turn["system_prompt"] = row.get("system_prompt") or render_system_prompt(config)
        defaults = asdict(Sampling())
        self._insert("turns", {**turn, **{name: row.get(name, value) for name, value in defaults.items()}})
        return row["turn_id"]

    def _config(self, row: Row) -> SafetyConfig:
        allowed = None if row["allowed"] is None else frozenset(row["allowed"])
        source = row.get("config_source") or ""
        config = SafetyConfig(
            row["config_id"], row["config_title"], row["config_text"], row["taxonomy"], allowed, row["language"], source
        )
        if config.content_hash != row["config_hash"]:
            raise ValueError(f"the config {config.id!r} is not the one that its hash {row['config_hash']} names")
        self._insert_once("configs", "hash", {**config_columns(config), "created_at": self._now})
        return config

    def _response(self, row: Row, turn: str) -> str:
        """The id of the row's response, which is added where it is not there. Without an id, the same text is the same."""
        arm, attempt, text = row["arm_id"], row.get("attempt"), row["text"] or ""
        sql = """SELECT id FROM responses WHERE turn_id = :turn AND arm_id = :arm
                 AND iif(:id IS NULL, text = :text, id = :id)"""
        place = {"id": row["response_id"], "turn": turn, "arm": arm, "text": text}
        if known := self._db.execute(sql, storable(place)).fetchone():
            return known[0]
        last = self._value("SELECT max(attempt) FROM responses WHERE turn_id = ? AND arm_id = ?", turn, arm) or 0
        name = row["response_id"] or str(uuid.uuid5(uuid.NAMESPACE_OID, to_json([turn, arm, text])))
        response = {"id": name, "turn_id": turn, "arm_id": arm, "arm_version": self._arm_version(row)}
        response |= {"process_id": self._process, "position": self._position(turn, arm), "text": text}
        response["attempt"] = last + 1 if attempt is None else attempt
        for column in ("thinking", "error", "returned_model", "request_id"):
            response[column] = row.get(column) or ""
        for column in ("finish_reason", "prompt_tokens", "completion_tokens", "ttft_ms", "duration_ms", "started_at"):
            response[column] = row.get(column)
        end = row.get("finished_at") or row["created_at"]
        times = {"created_at": row["created_at"], "updated_at": end, "finished_at": end}
        self._insert("responses", {**response, "status": row["status"], **times})
        return name

    def _position(self, turn: str, arm: str) -> int:
        """Where the arm stands in its turn: where it stood before, or after the others."""
        known = self._value("SELECT position FROM responses WHERE turn_id = ? AND arm_id = ?", turn, arm)
        if known is not None:
            return known
        return self._value("SELECT coalesce(max(position), -1) + 1 FROM responses WHERE turn_id = ?", turn)

    def _arm_version(self, row: Row) -> str:
        facts = {each.name: row[each.name] for each in fields(ArmRecord) if row.get(each.name) is not None}
        arm = row["arm_id"]
        facts["title"] = row.get("arm_title") or arm
        record = ArmRecord(**{"server": "imported", "model": arm, **facts})
        columns = {**asdict(record), "id": record.version, "library_versions": to_json(record.library_versions)}
        self._insert_once("arm_versions", "id", {**columns, "created_at": self._now})
        return record.version

    def _judgement(self, row: Row, response: str) -> None:
        if row.get("judge") is None:
            return
        said = {name: row[name] for name in ("judge", "rating", "safe", "rule", "unscored")}
        said["categories"] = None if row["categories"] is None else to_json(sorted(row["categories"]))
        said |= {"reason": row["judge_reason"] or "", "raw": row["judge_raw"] or "", "judge_version": None}
        if (facts := row.get("judge_facts")) is not None:
            said["judge_version"] = facts_hash(facts)
            version = {"id": said["judge_version"], "facts": to_json(facts), "created_at": self._now}
            self._insert_once("judge_versions", "id", version)
        name = str(uuid.uuid5(uuid.NAMESPACE_OID, to_json([response, said])))
        self._insert_once("judgements", "id", {"id": name, "response_id": response, "created_at": self._now, **said})

    def _voter(self, row: Row, turn: str) -> tuple[str, int]:
        """The session that voted, and which of its votes on the turn this is."""
        session = row.get("vote_session_id") or f"imported:{row['conversation_id']}:{row['vote_person']}"
        sql = "SELECT revision FROM votes WHERE turn_id = ? AND session_id = ?"
        taken = {revision for (revision,) in self._db.execute(sql, [turn, session])}
        return session, max(taken) + 1 if row["vote_revision"] in taken else row["vote_revision"]

    def _value(self, sql: str, *values: Any) -> Any:
        found = self._db.execute(sql, values).fetchone()
        return None if found is None else found[0]

    def _insert_once(self, table: str, key: str, row: Mapping[str, Any]) -> None:
        if not self._value(f"SELECT 1 FROM {table} WHERE {key} = ?", row[key]):
            self._insert(table, row)

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        marks = ", ".join(f":{name}" for name in row)
        self._db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", storable(row))
        self.found.added[table] += 1
