"""Backups: whole while others write, never half, and a restore that loses nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from evaluation.schema import StoreError
from evaluation.store import Store
from evaluation.store_backup import backup, restore, vacuum
from evaluation.store_check import check
from evaluation.store_commands import main as run
from tests.test_store import begin


def main(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def conversations(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute("SELECT count(*) FROM conversations").fetchone()[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one conversation, closed."""
    with Store(tmp_path / "store.db") as store:
        begin(store)
    return tmp_path / "store.db"


def test_a_backup_is_whole_while_others_write(tmp_path: Path) -> None:
    stop = threading.Event()
    with Store(tmp_path / "store.db") as store:

        def write() -> None:
            while not stop.is_set():
                begin(store)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(5):
                backup(store.path, tmp_path / f"copy-{number}.db")
        finally:
            stop.set()
            writer.join()
        total = conversations(store.path)
    counts = [conversations(tmp_path / f"copy-{number}.db") for number in range(5)]
    assert counts == sorted(counts)
    assert 0 < counts[-1] <= total
    assert all(check(tmp_path / f"copy-{number}.db").problems == () for number in range(5))
    assert not list(tmp_path.glob("copy-*-wal")), "one file is the whole backup"
    assert not list(tmp_path.glob("*.partial"))


def test_a_backup_does_not_replace_another_unasked(path: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "copies" / "copy.db"
    assert main("backup", "--db", path, "--out", out) == 0
    with Store(path) as store:
        begin(store)
    assert main("backup", "--db", path, "--out", out) == 1
    assert "--force" in capsys.readouterr().err
    assert conversations(out) == 1
    assert main("backup", "--db", path, "--out", out, "--force") == 0
    assert conversations(out) == 2


def test_a_backup_that_is_killed_leaves_no_file_under_its_name(path: Path, tmp_path: Path) -> None:
    """The process is stopped for good between the copy and its name; the next backup takes its place."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom evaluation import store_backup\n"
        "store_backup._require_sound = lambda path: (print('copied', flush=True), time.sleep(60))\n"
        "store_backup.backup(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    out = tmp_path / "copy.db"
    with subprocess.Popen([sys.executable, "-c", script, str(path), str(out)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"copied\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not out.exists()
    backup(path, out)
    assert conversations(out) == 1
    assert not list(tmp_path.glob("*.partial"))


def test_a_restore_brings_back_what_was_and_keeps_what_stood_there(path: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    with Store(path) as store:
        begin(store)
    assert main("restore", "--db", path, "--from", copy) == 0
    (kept,) = tmp_path.glob("store.db.before-restore-*")
    assert str(kept) in capsys.readouterr().out
    assert (conversations(path), conversations(kept)) == (1, 2)
    with Store(path) as store:
        begin(store)
    assert (conversations(path), conversations(copy)) == (2, 1)


def test_a_restore_over_a_damaged_store_keeps_the_damaged_file(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    damaged = b"SQLite format 3\x00" + b"\xff" * 5000
    path.write_bytes(damaged)
    kept = restore(copy, path)
    assert kept.read_bytes() == damaged
    assert conversations(path) == 1


def test_a_restore_to_where_nothing_was(path: Path, tmp_path: Path) -> None:
    assert restore(path, tmp_path / "new.db") is None
    assert conversations(tmp_path / "new.db") == 1


def test_nothing_is_restored_while_a_playground_has_the_store_open(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    with Store(path) as store:
        begin(store)
        with pytest.raises(StoreError, match="has it open; stop the playground"):
            restore(copy, path)
        begin(store)
    assert conversations(path) == 3


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE _sqlite_migrations SET name = 'm999_future' WHERE name = 'm002_current'")
        db.commit()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:20480] = os.urandom(16384)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (newer, "newer version"),
        (damage, "damaged|refused|malformed"),
        (lambda path: path.write_text("not a database"), "no SQLite database"),
        (lambda path: path.unlink(), "there is no database"),
        (lambda path: (path.unlink(), sqlite3.connect(path).execute("CREATE TABLE t(x)")), "another program"),
    ],
    ids=["newer", "damaged", "a text", "nothing", "another program's"],
)
def test_a_backup_that_is_none_is_refused_and_the_store_stays(path: Path, tmp_path: Path, spoil, words: str) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    spoil(copy)
    with pytest.raises(StoreError, match=words):
        restore(copy, path)
    assert conversations(path) == 1
    assert not list(tmp_path.glob("store.db.*"))


def test_a_full_disk_is_told_and_leaves_no_copy(path: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk."""
    command = ["bash", "-c", 'ulimit -f 8; exec "$@"', "-", sys.executable, "-m", "evaluation.store", "backup"]
    out = tmp_path / "copy.db"
    done = subprocess.run(
        [*command, "--db", str(path), "--out", str(out)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(str(tmp_path))
    assert not out.exists()
    assert conversations(path) == 1


def test_vacuum_gives_space_back(path: Path, capsys) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE filler(x)")
        db.execute("INSERT INTO filler VALUES (zeroblob(3000000))")
        db.execute("DROP TABLE filler")
        db.commit()
    before, after = vacuum(path)
    assert after < before - 2_000_000
    assert conversations(path) == 1
    assert main("vacuum", "--db", path.with_name("nothing.db")) == 1
    assert "there is no database" in capsys.readouterr().err
    assert not path.with_name("nothing.db").exists()
