"""Copies of a store that are whole while others write to it: by SQLite's backup API, never by copying the file.

A copy gets its name only when it is finished and sound; a kill before that leaves a `.partial` file, which the next copy
replaces. https://sqlite.org/backup.html
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from evaluation.process import process_start
from evaluation.schema import StoreError, open_database, open_read_only, plain_words, require_known_schema
from evaluation.store_check import check, is_sound
from evaluation.store_erase import erase, unkept

BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside an open file. That of another database would be taken for this one's."""


def backup(source: Path, out: Path, *, force: bool = False) -> None:
    """Copy the store in `source`, as it stands at one moment, to the file `out`, without words that are not to be kept.

    Raises `StoreError` when there is something at `out` already (unless `force`), and when the copy is not sound.
    """
    if out.exists() and not force:
        raise StoreError(f"{out}: is there already and was left as it is; choose another --out, or give --force")
    _copy(source, out)


def restore(source: Path, database: Path) -> Path | None:
    """Put the backup in `source` in the place of `database`; returns where what stood there is kept now, if there was any.

    Raises `StoreError`, and leaves everything as it is, for a backup that is damaged, newer than this program or another
    program's, and while a program has the database open.
    """
    with plain_words(source), open_read_only(source) as db:
        require_known_schema(db, source)
        if "conversations" not in db.table_names():
            raise StoreError(f"{source}: is no store (it has no conversations); name a file that `backup` made")
    _require_sound(source)
    kept = _put_aside(database) if database.exists() else None
    for suffix in BESIDE:
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    _copy(source, database)
    open_database(database).close()  # in WAL mode again, and of the newest schema
    return kept


def vacuum(database: Path) -> tuple[int, int]:
    """Give back the space that nothing uses; returns the file's bytes before and after. Raises `StoreError`."""
    before = database.stat().st_size if database.exists() else 0
    with open_read_only(database):  # raises where there is none; opening to write would make one
        pass
    with plain_words(database), closing(open_database(database)) as db:
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before, database.stat().st_size


def _copy(source: Path, out: Path) -> None:
    partial = out.with_name(out.name + ".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with plain_words(source), open_read_only(source) as db, closing(sqlite3.connect(partial)) as copy:
            db.conn.backup(copy)
            copy.execute("PRAGMA secure_delete=ON")
            with copy:
                erase(copy, unkept(copy))
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, which needs none beside it
        _require_sound(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error}); choose another place") from error


def _require_sound(path: Path) -> None:
    if problems := check(path).problems:
        raise StoreError(f"{path}: is damaged ({problems[0]}); use another copy")


def _put_aside(database: Path) -> Path:
    """Keep what stands at `database`, readable or not, under a name that tells when it was replaced."""
    kept = database.with_name(f"{database.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    if not is_sound(database):
        for suffix in ("", *BESIDE):
            if (part := database.with_name(database.name + suffix)).exists():
                part.rename(kept.with_name(kept.name + suffix))
        return kept
    if users := _users(database):
        raise StoreError(
            f"{database}: process {users[0]} has it open; stop the playground first, restore, then start it again"
        )
    _copy(database, kept)
    return kept


def _users(database: Path) -> Sequence[int]:
    """The processes of this machine that have the store open."""
    sql = "SELECT pid, started FROM processes WHERE closed_at IS NULL"
    with plain_words(database), open_read_only(database) as db:
        return [pid for pid, started in db.execute(sql) if process_start(pid) == started]
