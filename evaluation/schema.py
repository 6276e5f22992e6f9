"""The store's file: how it is opened, refused, checked. Its tables are in `evaluation.migrations`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from evaluation.migrations import STEPS, migrations

BUSY_TIMEOUT_S = 30
"""How long a write waits for another process that is writing."""

MAGIC = b"SQLite format 3\0"

NETWORK_FILESYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "glusterfs", "fuse")
LOCAL_FUSE = ("fuse.fuse-overlayfs", "fuse.gocryptfs")

UPDATE_RESPONSE = """
UPDATE responses SET
  text = coalesce(nullif(:text, ''), text), thinking = coalesce(nullif(:thinking, ''), thinking),
  returned_model = coalesce(nullif(:model, ''), returned_model),
  request_id = coalesce(nullif(:request_id, ''), request_id),
  finish_reason = coalesce(:finish_reason, finish_reason),
  prompt_tokens = coalesce(:prompt_tokens, prompt_tokens),
  completion_tokens = coalesce(:completion_tokens, completion_tokens),
  ttft_ms = coalesce(:ttft_ms, ttft_ms), duration_ms = coalesce(:duration_ms, duration_ms),
  status = coalesce(:status, status), error = :error, finished_at = :finished_at, updated_at = :now
WHERE id = :id AND finished_at IS NULL
"""
"""A final snapshot that came out empty (the arm failed) never erases the text that was saved before it."""


class StoreError(Exception):
    """Something the store cannot do, in plain words: what was given, why it cannot work, what to do."""


def open_database(path: Path) -> Database:
    """An open database in WAL mode with the newest schema; file and folder are made where there are none.

    Raises `StoreError`, and leaves the file as it is, when it is no database, somebody else's, or newer than this code.
    """
    _require_local_disk(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: its folder cannot be made ({error}); choose another file with --db") from error
    with plain_words(path):
        if _has_content(path):
            with open_read_only(path) as db:
                require_known_schema(db, path)
        db = Database(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False), execute_plugins=False)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
    return db


def open_read_only(path: Path) -> Database:
    """An open database that cannot be written to. Raises `StoreError` when there is none."""
    if not _has_content(path):
        raise StoreError(f"{path}: there is no database; name the file with --db")
    with plain_words(path):
        address = f"{path.resolve().as_uri()}?mode=ro"
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        return Database(connection, execute_plugins=False)


def open_to_read(path: Path) -> Database:
    """As `open_read_only`, for those who read the newest schema. Raises `StoreError` for an older one, too."""
    db = open_read_only(path)
    with plain_words(path):
        require_known_schema(db, path)
        if len(migrations().applied(db)) < len(STEPS):
            db.close()
            raise StoreError(
                f"{path}: was written by an earlier version of this program; start the playground with it once "
                f"(app.py --db {path}), which brings it up to date"
            )
    return db


@contextmanager
def immediate(db: Database) -> Iterator[None]:
    """One transaction that holds the write lock from its start.

    A transaction that begins with a read and writes later fails at once when another process wrote in between.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.commit()
    except BaseException:
        db.rollback()
        raise


@contextmanager
def plain_words(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into `StoreError`s that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the bits only refine it
        advice = {
            sqlite3.SQLITE_BUSY: f"another process has been writing to it for {BUSY_TIMEOUT_S} s; stop it or try again",
            sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
            sqlite3.SQLITE_READONLY: "it cannot be written to; change its permissions or choose another with --db",
            sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check its folder's permissions or choose another with --db",
            sqlite3.SQLITE_NOTADB: "it is no SQLite database; choose another file with --db",
            sqlite3.SQLITE_CORRUPT: "it is damaged; keep a copy of it and go on with another file (--db)",
        }.get(code, "the database refused this")
        raise StoreError(f"{path}: {advice} ({error})") from error


def _has_content(path: Path) -> bool:
    """True for a database, False for no file or an empty one. Raises `StoreError` for anything else."""
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error}); choose another file with --db") from error
    if head and head != MAGIC:
        raise StoreError(f"{path}: is no SQLite database and was left as it is; choose another file with --db")
    return bool(head)


def require_known_schema(db: Database, path: Path) -> None:
    """Raise `StoreError` for a schema that is newer than this code or another program's. An empty database passes."""
    known = [step.__name__ for step in STEPS]
    applied = [step.name for step in migrations().applied(db)]
    if unknown := [name for name in applied if name not in known]:
        raise StoreError(
            f"{path}: was written by a newer version of this program (it has {unknown[-1]}, this version knows "
            f"{known[-1]} at most) and was left as it is; update the program or choose another file with --db"
        )
    if not applied and (tables := db.table_names()):
        raise StoreError(
            f"{path}: is another program's database (it holds {', '.join(tables[:3])}) and was left as it is; "
            "choose another file with --db"
        )


def _prepare(db: Database, path: Path) -> None:
    _turn_on_wal(db, path)
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA foreign_keys=ON")
    db.execute(
        "PRAGMA secure_delete=ON"
    )  # What is erased is overwritten, or its words would stand in the file's free pages.
    with immediate(db):  # of two processes that open a new file at once, one migrates and the other waits
        require_known_schema(db, path)
        migrations().apply(db)


def _turn_on_wal(db: Database, path: Path) -> None:
    """Raises `StoreError` unless the file is in WAL mode now.

    SQLite does not wait for the lock that this needs, so two processes that open a new file at once try again here.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise StoreError(f"{path}: its file system has no write-ahead logging (it gives {mode!r}); use a local disk")


def _require_local_disk(path: Path) -> None:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return
    kind = filesystem(path, mounts.read_text(encoding="utf-8", errors="replace"))
    if kind not in LOCAL_FUSE and kind.split(".")[0] in NETWORK_FILESYSTEMS:
        raise StoreError(f"{path}: lies on {kind}, where file locks do not hold; put it on a local disk with --db")


def filesystem(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`, out of the text of /proc/mounts; empty when none does."""
    place, found, kind = path.resolve(), 0, ""
    for line in mounts.splitlines():
        _, point, this_kind, *_ = line.split(" ")
        folder = Path(point.replace("\\040", " "))
        if place.is_relative_to(folder) and len(folder.parts) >= found:
            found, kind = len(folder.parts), this_kind
    return kind
