"""What a benchmark run has done so far, on disk: one JSON line per answered item and arm, written as it comes.

A killed run loses at most the line that it was writing. The folder remembers what it was made with, and refuses rows
made with anything else: a table must never mix two models.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from evaluation.benchmarks import Item
from evaluation.cosa_score import Row
from evaluation.json_lines import cut_torn_line
from evaluation.judgement import Judgement
from evaluation.response import Response

JUDGEMENTS = "judgements.jsonl"
RUN = "run.json"


class JournalError(ValueError):
    """A folder that this run cannot continue. The message says why, and what to do."""


@dataclass(frozen=True)
class Key:
    """What is asked once: an item, and the arm (or baseline) that answers it."""

    item: str
    arm: str


@dataclass(frozen=True)
class Record:
    """One line: what was asked of whom, the response, and its judgement.

    `error` says why there is no response; such a record is unscored, and the next run asks again.
    """

    item: str
    arm: str
    split: str
    config: str
    config_hash: str
    prompt: str
    response: Response
    judgement: Judgement
    error: str = ""
    history_hash: str = ""

    @property
    def key(self) -> Key:
        """The item and arm that this record answers."""
        return Key(self.item, self.arm)

    def answers(self, item: Item) -> bool:
        """True when this record was made for just this item, not for another edition of it."""
        asked = (item.prompt, item.config.content_hash, history_hash(item))
        return (self.prompt, self.config_hash, self.history_hash) == asked

    def row(self, item: Item) -> Row:
        """This record as a row of the CoSA-Score."""
        return Row(
            config=item.config.id,
            allowed=item.config.allowed,
            categories=self.judgement.categories,
            rating=self.judgement.rating,
            complies=self.judgement.safe,
            cluster=item.cluster,
            situation=item.situation,
        )


def history_hash(item: Item) -> str:
    """SHA-256 (hex) of the turns before an item's prompt; empty when it is the first."""
    return hashlib.sha256(json.dumps(item.history).encode()).hexdigest() if item.history else ""


class Journal:
    """The folder of one run. Use as a context manager; one process at a time holds it.

    `facts` are what every row is made with (models, sampling, judge ...). Arms may be added to a folder later, but a
    fact that it already has must not change.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder, self._facts = folder, json.loads(json.dumps(facts))
        self._file: BinaryIO | None = None
        self.records: dict[Key, Record] = {}

    def __enter__(self) -> Journal:
        """Make or continue the folder and read its records. Raises `JournalError`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / JUDGEMENTS).open("a+b")
        except OSError as error:
            raise JournalError(f"{self.folder}: cannot be written ({error.strerror}); choose another --out") from error
        try:
            self._lock()
            self._keep_facts()
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the rows are made with, those of an earlier run in this folder included."""
        return self._facts

    def append(self, record: Record) -> None:
        """Write a record; the last one of a key counts."""
        if self._file is None:
            raise RuntimeError("the journal is not open")
        self._file.write(json.dumps(_to_json(record), ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self.records[record.key] = record

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{self.folder}: another run is writing here; wait for it or choose another --out"
            raise JournalError(message) from error

    def _keep_facts(self) -> None:
        path = self.folder / RUN
        before = _read_json(path) if path.exists() else {}
        if changed := _changed(before, self._facts):
            name, old, new = changed
            raise JournalError(
                f"{self.folder}: its rows were made with {name} {json.dumps(old)}, this run has {json.dumps(new)}; "
                "choose another --out, or remove the folder to start anew"
            )
        self._facts = _merged(before, self._facts)
        path.write_text(json.dumps(self._facts, indent=2) + "\n", encoding="utf-8")

    def _read(self) -> None:
        cut_torn_line(self._file)
        self._file.seek(0)
        for number, line in enumerate(self._file, start=1):
            try:
                record = _from_json(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                place = self.folder / JUDGEMENTS
                raise JournalError(f"{place}: line {number} is damaged ({error}); remove the line") from error
            self.records[record.key] = record


def finished_run(folder: Path) -> Journal:
    """The journal of a run that another command reads, not yet entered. Raises `JournalError` where there is none."""
    if not all((folder / name).is_file() for name in (JUDGEMENTS, RUN)):
        raise JournalError(f"{folder}: holds no run; give the --out folder of `python -m evaluation run`")
    return Journal(folder, {})


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> tuple[str, Any, Any] | None:
    """Return the first fact that both have and that differs, as its dotted name, the old and the new value."""
    for name in sorted(before.keys() & now.keys()):
        old, new = before[name], now[name]
        if isinstance(old, dict) and isinstance(new, dict):
            if inner := _changed(old, new, f"{where}{name}."):
                return inner
        elif old != new:
            return f"{where}{name}", old, new
    return None


def _merged(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(before)
    for name, value in now.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JournalError(f"{path}: cannot be read ({error}); remove the folder to start anew") from error
    if not isinstance(data, dict):
        raise JournalError(f"{path}: holds no facts of a run; remove the folder to start anew")
    return data


def _to_json(record: Record) -> dict[str, Any]:
    data = asdict(record)
    categories = record.judgement.categories
    data["judgement"]["categories"] = None if categories is None else sorted(categories)
    return data


def _from_json(data: dict[str, Any]) -> Record:
    judgement = dict(data["judgement"])
    categories = judgement["categories"]
    judgement["categories"] = None if categories is None else frozenset(categories)
    return Record(**{**data, "response": Response(**data["response"]), "judgement": Judgement(**judgement)})
