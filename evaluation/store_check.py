"""Whether a store's file is sound, by SQLite's own checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evaluation.schema import StoreError, open_read_only, plain_words


@dataclass(frozen=True)
class Report:
    """What `check` found: rows per table, and what is wrong with the file (empty when it is sound)."""

    counts: dict[str, int]
    problems: tuple[str, ...]


def check(path: Path) -> Report:
    """Rows per table and the file's faults, by SQLite's own checks; nothing is written. Raises `StoreError`."""
    with open_read_only(path) as db, plain_words(path):
        counts = {table.name: table.count for table in db.tables}
        found = [row[0] for row in db.execute("PRAGMA integrity_check")]
        lost = [f"{row[0]} row {row[1]} lacks its {row[2]} row" for row in db.execute("PRAGMA foreign_key_check")]
    return Report(counts, tuple([line for line in found if line != "ok"] + lost))


def is_sound(path: Path) -> bool:
    """True for a database in which `check` finds no fault."""
    try:
        return not check(path).problems
    except StoreError:
        return False
