"""Files of JSON lines that people bring: one value a line, blank lines between them ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


class JsonLinesError(ValueError):
    """A file that cannot be read. The message names it, the line if it is one line's fault, and what is needed."""


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Each line's number, from 1, and its value. Raises `JsonLinesError`."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except json.JSONDecodeError as error:
        raise JsonLinesError(f"{path}: line {number}: is not JSON ({error})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise JsonLinesError(f"{path}: cannot be read as UTF-8 text ({error}); give a JSON-lines file") from error


def cut_torn_line(file: BinaryIO) -> None:
    """Cut off a last line without an end, from a file open for reading and appending: its writer was killed over it."""
    file.seek(0)
    torn = file.read().rpartition(b"\n")[2]
    if torn:
        file.truncate(file.tell() - len(torn))
