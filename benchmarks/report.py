"""What a benchmark found: one table for people, and the same figures as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.spread import Spread

NOTHING = "–"

OnStep = Callable[[int, int], None]
"""Told how many steps of how many are done."""


@dataclass(frozen=True)
class Report:
    """One benchmark's table with its notes, and `data`: its figures and every value behind them, as JSON can hold."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    data: Mapping[str, Any]


def cell(figure: Spread | None, digits: int = 0, *, sign: bool = False) -> str:
    """A median with its quartiles, `1.04 [1.01, 1.09]`; a dash where there is none."""
    if figure is None:
        return NOTHING
    shape = f"{'+' if sign else ''}.{digits}f"
    return f"{figure.median:{shape}} [{figure.low:{shape}}, {figure.high:{shape}}]"


def print_report(report: Report, console: Console) -> None:
    """Print the table, and its notes under it."""
    table = Table(title=report.title, title_justify="left")
    for index, column in enumerate(report.columns):
        table.add_column(column, justify="right" if index else "left")
    for row in report.rows:
        table.add_row(*row)
    console.print(table)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)


def write_report(report: Report, folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write `folder/<name>.json`, whole or not at all, and return its path. `facts` say what was measured, and when."""
    path = folder / f"{report.name}.json"
    draft = path.with_name(path.name + ".part")
    content = {"benchmark": report.name, "facts": dict(facts), "notes": list(report.notes), **report.data}
    draft.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)
    return path
