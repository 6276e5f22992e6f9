"""The commands of `python -m evaluation.store`: look after a store's file, and take its data along."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.export import FORMATS, Filters, export
from evaluation.read_export import READERS
from evaluation.schema import StoreError
from evaluation.store_backup import backup, restore, vacuum
from evaluation.store_check import check
from evaluation.store_import import import_export

VOTES = {"all": None, "blind": True, "open": False}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 when it did what it should, 1 when not, and says why."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.store", description="Look after a store's file.")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="count the rows and look for damage; writes nothing")
    checking.set_defaults(run=check_command)
    exporting = commands.add_parser("export", help="write votes and comparisons for others to read")
    exporting.set_defaults(run=export_command)
    exporting.add_argument("--format", required=True, choices=list(FORMATS), help="see evaluation/export.py")
    exporting.add_argument("--out", required=True, type=Path, help="the file to write; for hub: the folder")
    for option, what in (("config", "a config's id"), ("arm", "an arm's id"), ("profile", "a profile's id")):
        exporting.add_argument(
            f"--{option}", action="append", default=[], metavar="ID", help=f"{what}; may be repeated"
        )
    exporting.add_argument("--annotator", action="append", default=[], metavar="SESSION", help="whose votes")
    exporting.add_argument("--votes", choices=list(VOTES), default="all", help="cast without names, with names, or all")
    exporting.add_argument(
        "--with-personal", action="store_true", help="who voted, and the reasons that they wrote, too"
    )
    importing = commands.add_parser("import", help="read an export back; what is there already is not added again")
    importing.set_defaults(run=import_command)
    importing.add_argument("--format", required=True, choices=list(READERS), help="the one that it was exported in")
    importing.add_argument(
        "--in", required=True, type=Path, dest="source", metavar="PATH", help="the file; for hub: the folder"
    )
    copying = commands.add_parser("backup", help="copy the store, whole, while it is in use")
    copying.set_defaults(run=backup_command)
    copying.add_argument("--out", required=True, type=Path, help="the copy")
    copying.add_argument("--force", action="store_true", help="replace a copy that is there")
    restoring = commands.add_parser("restore", help="put a backup in the store's place; what stood there is kept")
    restoring.set_defaults(run=restore_command)
    restoring.add_argument("--from", dest="source", required=True, type=Path, help="the backup")
    vacuuming = commands.add_parser("vacuum", help="give back the space that nothing uses")
    vacuuming.set_defaults(run=vacuum_command)
    for command in (checking, exporting, importing, copying, restoring, vacuuming):
        command.add_argument("--db", type=Path, default=os.environ.get("COSA_DB"), help="the file (default: $COSA_DB)")
    options = parser.parse_args(arguments)
    if options.db is None:
        parser.error("which file? give --db FILE or set COSA_DB")
    try:
        return options.run(options)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1


def check_command(options: argparse.Namespace) -> int:
    """Print rows per table and whether the file is sound; 0 when it is."""
    report = check(options.db)
    for table, count in report.counts.items():
        print(f"{table:20} {count:>8}")
    print(f"{'integrity_check':20} {'; '.join(report.problems) or 'ok':>8}")
    return 1 if report.problems else 0


def export_command(options: argparse.Namespace) -> int:
    """Write the file; print how many rows it has, and what was left out and why. 1 when there is nothing to write."""
    filters = Filters(
        *(frozenset(chosen) for chosen in (options.config, options.arm, options.profile, options.annotator)),
        blind=VOTES[options.votes],
    )
    found = export(options.db, options.format, options.out, filters=filters, with_personal=options.with_personal)
    print(f"{options.out}: {found.rows} rows")
    _tell_left_out(found.left_out)
    return 0


def import_command(options: argparse.Namespace) -> int:
    """Read the file; print how many of its rows were new, and what was passed over and why; 0 when that is done."""
    found = import_export(options.db, options.format, options.source)
    print(f"{options.source}: {found.read} rows read")
    for table in ("conversations", "turns", "responses", "judgements", "votes"):
        print(f"new {table:20} {found.added[table]:>8}")
    _tell_left_out(found.left_out)
    return 0


def _tell_left_out(left_out: Mapping[str, int]) -> None:
    for reason, count in sorted(left_out.items()):
        print(f"left out: {count} {reason}")


def backup_command(options: argparse.Namespace) -> int:
    """Copy the store; 0 when the copy is whole."""
    backup(options.db, options.out, force=options.force)
    print(f"{options.out}: a whole copy of {options.db}, {options.out.stat().st_size:,} bytes")
    return 0


def restore_command(options: argparse.Namespace) -> int:
    """Put a backup in the store's place, and say where what stood there is; 0 when that is done."""
    kept = restore(options.source, options.db)
    print(f"{options.db}: is {options.source} now" + (f"; what stood there is {kept}" if kept else ""))
    return 0


def vacuum_command(options: argparse.Namespace) -> int:
    """Print the file's size before and after; 0 when that is done."""
    before, after = vacuum(options.db)
    print(f"{options.db}: {before:,} bytes before, {after:,} after")
    return 0
