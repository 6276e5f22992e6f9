"""Rows between the steps: JSON Lines that are either whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.json_lines import JsonLinesError, read_json_lines


class RowError(ValueError):
    """A row that cannot be used. The message names the file, the line, and what is wrong with it."""


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows to `path` and return how many. A kill in between leaves the old file, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    count = 0
    with partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    partial.replace(path)
    return count


def read_rows(
    path: Path, *, needed: Iterable[str] = (), fault: Callable[[dict[str, Any]], str] = lambda row: ""
) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file.

    Raises `RowError` for a broken one, one without a field that is `needed`, or one of which `fault` says what is wrong.
    """
    if not path.is_file():
        raise RowError(f"{path}: there is no such file; run the step that writes it first")
    fields = tuple(needed)
    try:
        for number, row in read_json_lines(path):
            if not isinstance(row, dict):
                raise RowError(f"{path}: line {number}: is a {type(row).__name__}; an object is needed")
            for field in fields:
                if field not in row:
                    raise RowError(f"{path}: line {number}: {field}: is missing")
            if wrong := fault(row):
                raise RowError(f"{path}: line {number}: {wrong}")
            yield row
    except JsonLinesError as error:
        raise RowError(str(error)) from error
