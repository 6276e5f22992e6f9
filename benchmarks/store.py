"""What the store adds to SQLite: the writes of whole turns through `Store`, beside the same rows by bare sqlite3."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.report import OnStep, Report, cell
from benchmarks.spread import Spread, in_turn, ratios, spread
from evaluation.judgement import Judgement
from evaluation.process import process_start
from evaluation.response import Response
from evaluation.store import ArmRecord, Store
from presets.profile import Sampling
from presets.safety_config import SafetyConfig, render_system_prompt

ARMS = tuple(ArmRecord(arm_id, arm_id, "main", arm_id) for arm_id in ("base", "ica", "cosalign"))
CONFIG = SafetyConfig("bar", "Bar", "You may talk about drinks.", "tinyworld", frozenset({"alcohol"}))
SAMPLING = Sampling()
PROMPT = "Any tips on red wine?"
SENTENCE = "A light red wine goes with a plate of cold meat, and it is served a little cooler than the room. "
PARTIALS = 3
"""Saves of a growing text, as an answer of two seconds has."""

PARTIAL_TEXTS = tuple(SENTENCE * (index + 1) for index in range(PARTIALS))
FINAL = Response(SENTENCE * (PARTIALS + 1), "alcohol: yes", "base", "chatcmpl-1", "stop", 120, 96, 0.05, 1.9)
JUDGEMENT = Judgement("tinyworld", 5, frozenset({"alcohol"}), True, "It answers in full.")
WRITES_PER_TURN = 1 + len(ARMS) * (1 + PARTIALS + 1 + 1)
"""The turn with its pending responses; for each arm: start, partial saves, end, judgement. Each is a transaction."""

TURNS = 20
"""Turns in one timed batch."""

STORE, BARE = "Store", "bare sqlite3"
WriteTurn = Callable[[], None]


def measure(folder: Path, *, repeats: int, on_step: OnStep, turns: int = TURNS) -> Report:
    """The report on new files in `folder`, one per batch, on whose disk it depends."""
    openers = {STORE: open_store, BARE: open_bare}
    seconds: dict[str, list[float]] = {name: [] for name in openers}
    for repeat in range(repeats):
        for name in in_turn(list(openers), repeat):
            with openers[name](folder / f"{name.split()[0].lower()}-{repeat}.sqlite3") as write_turn:
                seconds[name].append(_batch(write_turn, turns))
        on_step(repeat + 1, repeats)
    return report(seconds, turns)


def _batch(write_turn: WriteTurn, turns: int) -> float:
    """The seconds that so many turns take, after one that prepares statements and writes what is written once."""
    write_turn()
    started = time.perf_counter()
    for _ in range(turns):
        write_turn()
    return time.perf_counter() - started


@contextmanager
def open_store(path: Path) -> Iterator[WriteTurn]:
    """A function that writes one turn through `Store`."""
    with Store(path) as store:
        conversation = store.begin_conversation(session_id="session", profile="tinyworld")

        def write_turn() -> None:
            turn = store.begin_turn(
                conversation,
                prompt=PROMPT,
                config=CONFIG,
                system_prompt=render_system_prompt(CONFIG),
                sampling=SAMPLING,
                arms=ARMS,
            )
            for response_id in turn.response_ids.values():
                store.start_response(response_id)
                for text in PARTIAL_TEXTS:
                    store.save_partial(response_id, Response(text))
                store.finish_response(response_id, "complete", FINAL)
                store.save_judgement(response_id, JUDGEMENT)

        yield write_turn


@contextmanager
def open_bare(path: Path) -> Iterator[WriteTurn]:
    """A function that writes one turn with sqlite3 alone, into the store's schema and in as many transactions."""
    with Store(path) as store:
        conversation = store.begin_conversation(session_id="session", profile="tinyworld")
        config_hash = store.save_config(CONFIG)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for setting in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            db.execute(f"PRAGMA {setting}")
        yield _BareTurns(db, conversation, config_hash).write_turn


class _BareTurns:
    """Writes turns with one statement per row, prepared once, and none to check anything."""

    def __init__(self, db: sqlite3.Connection, conversation: str, config_hash: str) -> None:
        self._db, self._conversation, self._config_hash = db, conversation, config_hash
        self._turns = 0
        pid = os.getpid()
        self._process = str(uuid.uuid4())
        row = {"id": self._process, "pid": pid, "started": process_start(pid), "opened_at": _now()}
        self._insert("processes", row)
        for arm in ARMS:
            row = {**asdict(arm), "id": arm.version, "library_versions": "{}", "created_at": _now()}
            self._insert("arm_versions", row)

    def write_turn(self) -> None:
        """One turn: WRITES_PER_TURN transactions."""
        for response_id in self._begin_turn():
            self._update(response_id, {"status": "streaming", "started_at": _now()})
            for text in PARTIAL_TEXTS:
                self._update(response_id, {"text": text})
            self._update(response_id, _final_columns())
            with self._transaction():
                self._insert("judgements", {"response_id": response_id, **_stamped(), **_judgement_columns()})

    def _begin_turn(self) -> list[str]:
        turn = {"conversation_id": self._conversation, "turn_index": self._turns, "prompt": PROMPT, **_stamped()}
        turn |= {"config_hash": self._config_hash, "system_prompt": render_system_prompt(CONFIG), **asdict(SAMPLING)}
        self._turns += 1
        responses = []
        with self._transaction():
            self._insert("turns", turn)
            for position, arm in enumerate(ARMS):
                row = {"turn_id": turn["id"], "arm_id": arm.arm_id, "arm_version": arm.version, **_stamped()}
                row |= {"process_id": self._process, "position": position, "attempt": 1, "status": "pending"}
                self._insert("responses", {**row, "updated_at": row["created_at"]})
                responses.append(row["id"])
        return responses

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        yield
        self._db.execute("COMMIT")

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        marks = ", ".join(f":{name}" for name in row)
        self._db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", row)

    def _update(self, response_id: str, row: Mapping[str, Any]) -> None:
        changes = ", ".join(f"{name} = :{name}" for name in (*row, "updated_at"))
        with self._transaction():
            values = {**row, "updated_at": _now(), "id": response_id}
            self._db.execute(f"UPDATE responses SET {changes} WHERE id = :id", values)


def _final_columns() -> dict[str, Any]:
    columns = asdict(FINAL)
    columns |= {"returned_model": columns.pop("model"), "status": "complete", "finished_at": _now()}
    return columns | {"ttft_ms": 1000 * columns.pop("ttft_s"), "duration_ms": 1000 * columns.pop("duration_s")}


def _judgement_columns() -> dict[str, Any]:
    return {**asdict(JUDGEMENT), "categories": '["alcohol"]'}


def _stamped() -> dict[str, str]:
    return {"id": str(uuid.uuid4()), "created_at": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def report(seconds: Mapping[str, list[float]], turns: int) -> Report:
    """The table of writes a second, and how many times longer the store takes."""
    writes = turns * WRITES_PER_TURN
    rates = {name: spread([writes / taken for taken in found]) for name, found in seconds.items()}
    turn_ms = {name: spread([1000 * taken / turns for taken in found]) for name, found in seconds.items()}
    ratio = {name: spread(ratios(found, seconds[BARE])) for name, found in seconds.items()}
    note = (
        f"A turn is {WRITES_PER_TURN} transactions: the turn with {len(ARMS)} pending responses, then for each its "
        f"start, {PARTIALS} partial saves, its end and its judgement. Medians [quartiles] over batches of {turns} turns."
    )
    return Report(
        name="store",
        title="The store beside bare sqlite3",
        columns=("way", "writes/s", "ms per turn", "time, ratio"),
        rows=tuple((name, cell(rates[name]), cell(turn_ms[name], 2), cell(ratio[name], 2)) for name in seconds),
        notes=(note,),
        data={
            "ways": {name: _figures(rates[name], turn_ms[name], ratio[name]) for name in seconds},
            "writes_per_turn": WRITES_PER_TURN,
            "turns": turns,
            "samples": {"seconds": dict(seconds)},
        },
    )


def _figures(rate: Spread, turn_ms: Spread, ratio: Spread) -> dict[str, Any]:
    return {"writes_per_s": asdict(rate), "turn_ms": asdict(turn_ms), "time_ratio": asdict(ratio)}
