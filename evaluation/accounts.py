"""Who may log in to a page, and as what: names with hashed passwords in the store.

    python -m evaluation.accounts add anna --role author --db FILE      asks for the password twice, or reads it from a pipe
    python -m evaluation.accounts role|password|disable|enable NAME ...   list

Passwords are hashed with argon2id, by argon2-cffi with its own parameters (RFC 9106's second recommendation).
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from evaluation.schema import StoreError, immediate, open_database, open_to_read, plain_words
from presets.yaml_file import FieldError, require_id

Role = Literal["visitor", "author", "reviewer", "admin"]
"""What somebody may do, each all that the one before may; `playground.roles` says what that is."""

FEWEST = 10
"""Characters of a password."""
MOST = 200

HASHER = PasswordHasher()
NOBODYS = HASHER.hash("the password of no account")
"""Held against whatever is typed for a name that there is not, so that it takes as long as for one that there is."""


@dataclass(frozen=True)
class Account:
    """One account; `disabled_at` (ISO 8601, UTC) when it may not log in any more."""

    name: str
    role: Role
    created_at: str
    disabled_at: str | None


def add(path: Path, name: str, role: Role, password: str) -> None:
    """Add an account. Raises `StoreError` for a name that is taken or none, and for a password that is too short."""
    _require_name(name)
    row = {"name": name, "role": role, "password_hash": _hashed(password), "created_at": _now()}
    with plain_words(path), closing(open_database(path)) as db, immediate(db):
        if db.execute("SELECT 1 FROM accounts WHERE name = ?", [name]).fetchone():
            raise StoreError(f"there is an account {name!r} already; change it with the commands role and password")
        db.execute(
            "INSERT INTO accounts(name, role, password_hash, created_at) VALUES (:name, :role, :password_hash, :created_at)",
            row,
        )


def change(
    path: Path, name: str, *, role: Role | None = None, password: str | None = None, disabled: bool | None = None
) -> None:
    """Change what is given of an account. Raises `StoreError` for a name that there is not."""
    changes: dict[str, str | None] = {} if role is None else {"role": role}
    if password is not None:
        changes["password_hash"] = _hashed(password)
    if disabled is not None:
        changes["disabled_at"] = _now() if disabled else None
    assignments = ", ".join(f"{column} = :{column}" for column in changes)
    with plain_words(path), closing(open_database(path)) as db, immediate(db):
        found = db.execute(f"UPDATE accounts SET {assignments} WHERE name = :name", {**changes, "name": name})
        if found.rowcount != 1:
            raise StoreError(f"there is no account {name!r} in {path}; `list` names those that there are")


def accounts(path: Path) -> list[Account]:
    """All accounts, by name. Raises `StoreError`."""
    sql = "SELECT name, role, created_at, disabled_at FROM accounts ORDER BY name"
    with plain_words(path), open_to_read(path) as db:
        return [Account(*row) for row in db.execute(sql)]


def role_of(path: Path, name: str) -> Role | None:
    """The role of an account that may log in; None for any other name. Raises `StoreError`."""
    with plain_words(path), open_to_read(path) as db:
        found = db.execute("SELECT role FROM accounts WHERE name = ? AND disabled_at IS NULL", [name]).fetchone()
    return found and found[0]


def is_right(path: Path, name: str, password: str) -> bool:
    """True when this is the password of an account that may log in. As slow for a name that there is not."""
    with plain_words(path), open_to_read(path) as db:
        sql = "SELECT password_hash FROM accounts WHERE name = ? AND disabled_at IS NULL"
        found = db.execute(sql, [name]).fetchone()
    try:
        HASHER.verify(found[0] if found else NOBODYS, password[:MOST])
    except (VerificationError, InvalidHashError):
        return False
    return found is not None


def _require_name(name: str) -> None:
    try:
        require_id("name", name)
    except FieldError as error:
        raise StoreError(f"{error}") from error


def _hashed(password: str) -> str:
    if not FEWEST <= len(password) <= MOST:
        raise StoreError(f"the password has {len(password)} characters; it needs {FEWEST} to {MOST}")
    return HASHER.hash(password)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; 0 when it was, 1 when it cannot be."""
    options = parse(arguments)
    try:
        return options.run(options)
    except StoreError as error:
        print(f"evaluation.accounts: {error}", file=sys.stderr)
        return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags; `run` carries out the command."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.accounts", description="Who may log in to a page.")
    commands = parser.add_subparsers(required=True, metavar="add|role|password|disable|enable|list")
    runs = {
        "add": (lambda o: add(o.db, o.name, o.role, asked_password()), "a new account; asks for its password"),
        "role": (lambda o: change(o.db, o.name, role=o.role), "give an account another role"),
        "password": (lambda o: change(o.db, o.name, password=asked_password()), "give an account another password"),
        "disable": (lambda o: change(o.db, o.name, disabled=True), "keep an account from logging in"),
        "enable": (lambda o: change(o.db, o.name, disabled=False), "let it log in again"),
    }
    for name, (run, what) in runs.items():
        command = commands.add_parser(name, help=what)
        command.add_argument("name", help="letters, digits, - and _")
        if name in ("add", "role"):
            command.add_argument(
                "--role", choices=get_args(Role), default="visitor" if name == "add" else None, required=name == "role"
            )
        command.set_defaults(run=lambda options, run=run: told(run(options), options))
    listing = commands.add_parser("list", help="all accounts")
    listing.set_defaults(run=print_accounts)
    for command in commands.choices.values():
        command.add_argument("--db", type=Path, default=os.environ.get("COSA_DB"), help="the store (default: $COSA_DB)")
    options = parser.parse_args(arguments)
    if options.db is None:
        parser.error("which store? give --db FILE or set COSA_DB")
    return options


def told(_: None, options: argparse.Namespace) -> int:
    """Say how the account stands now."""
    (account,) = (each for each in accounts(options.db) if each.name == options.name)
    print(f"{account.name}: {account.role}{', disabled' if account.disabled_at else ''}")
    return 0


def print_accounts(options: argparse.Namespace) -> int:
    """Print a line for each account."""
    for account in accounts(options.db):
        print(f"{account.name:24} {account.role:10} {'disabled' if account.disabled_at else ''}".rstrip())
    return 0


def asked_password() -> str:
    """The password that somebody types, unseen and twice; or the first line of what is piped in. Raises `StoreError`."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise StoreError("the two passwords differ; nothing was changed")
    return password


if __name__ == "__main__":
    sys.exit(main())
