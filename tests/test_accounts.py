"""Accounts in the store: who may log in, as what, and that a password can be read nowhere."""

from __future__ import annotations

import io
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from evaluation.accounts import Account, accounts, add, change, is_right, main, role_of
from evaluation.export import FORMATS, export
from evaluation.schema import StoreError
from evaluation.store import Store

SECRET = "a long enough secret"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Store(tmp_path / "store.db").close()
    add(tmp_path / "store.db", "anna", "author", SECRET)
    return tmp_path / "store.db"


def test_an_account_may_log_in_with_its_password_until_it_is_disabled(path: Path) -> None:
    assert is_right(path, "anna", SECRET)
    assert not is_right(path, "anna", SECRET + "!")
    assert not is_right(path, "bert", SECRET)
    assert role_of(path, "anna") == "author"
    change(path, "anna", role="reviewer", password="another long secret")
    assert not is_right(path, "anna", SECRET)
    assert is_right(path, "anna", "another long secret")
    change(path, "anna", disabled=True)
    assert not is_right(path, "anna", "another long secret")
    assert role_of(path, "anna") is None
    assert accounts(path)[0].disabled_at is not None
    change(path, "anna", disabled=False)
    assert role_of(path, "anna") == "reviewer"


def test_the_password_stands_nowhere(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        (stored,) = db.execute("SELECT password_hash FROM accounts").fetchone()
    assert stored.startswith("$argon2id$")
    for format_name in FORMATS:
        export(path, format_name, tmp_path / format_name, with_personal=True)
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert SECRET.encode() not in written


def test_a_name_that_there_is_not_takes_as_long_as_one_that_there_is(path: Path) -> None:
    """By a factor, not by a clock: without a hash to check, an unknown name would be refused a hundred times faster."""
    seconds = {}
    for name in ("anna", "nobody"):
        started = time.perf_counter()
        for _ in range(3):
            assert not is_right(path, name, "wrong password")
        seconds[name] = time.perf_counter() - started
    assert seconds["nobody"] > seconds["anna"] / 10


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("anna", SECRET, "already"),
        ("Anna B", SECRET, "an id has only"),
        ("bert", "short", "5 characters; it needs 10 to 200"),
        ("bert", "x" * 201, "201 characters"),
    ],
)
def test_what_is_no_account_is_refused(path: Path, name: str, password: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        add(path, name, "visitor", password)
    assert [account.name for account in accounts(path)] == ["anna"]


def test_a_change_of_nobody_is_refused(path: Path) -> None:
    with pytest.raises(StoreError, match="no account 'bert'"):
        change(path, "bert", role="admin")


def test_the_commands_do_all_of_it(path: Path, monkeypatch, capsys) -> None:
    def run(*arguments: str, typed: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return main([*arguments, "--db", str(path)])

    assert run("add", "bert", "--role", "admin", typed="one more secret\n") == 0
    assert run("role", "anna", "--role", "visitor") == 0
    assert run("password", "anna", typed="yet another secret\n") == 0
    assert run("disable", "bert") == 0
    capsys.readouterr()
    assert run("list") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["anna", "visitor"],
        ["bert", "admin", "disabled"],
    ]
    assert is_right(path, "anna", "yet another secret")
    assert run("enable", "bert") == 0
    assert isinstance(accounts(path)[1], Account)
    assert role_of(path, "bert") == "admin"
    assert run("add", "carl", typed="short\n") == 1
    assert "it needs 10" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run("role", "anna")
    monkeypatch.delenv("COSA_DB", raising=False)
    with pytest.raises(SystemExit, match="2"):
        main(["list"])
