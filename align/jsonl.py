"""Rows between the steps: JSON Lines that are either whole or not there, with a manifest that says how they were made."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


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


def read_rows(path: Path, *, needed: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file. Raises `RowError` for a broken one, or one without a field that is `needed`."""
    if not path.is_file():
        raise RowError(f"{path}: there is no such file; run the step that writes it first")
    fields = tuple(needed)
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise RowError(f"{path}: line {number}: is not JSON ({error.msg} at column {error.colno})") from error
            if not isinstance(row, dict):
                raise RowError(f"{path}: line {number}: is a {type(row).__name__}; an object is needed")
            for field in fields:
                if field not in row:
                    raise RowError(f"{path}: line {number}: {field}: is missing")
            yield row


def write_manifest(
    out: Path, *, parameters: Mapping[str, Any], inputs: Iterable[Path], counts: Mapping[str, int]
) -> None:
    """Write `<out>.manifest.json`: parameters, input hashes, counts and library versions. It marks a step as done."""
    manifest = {
        "parameters": parameters,
        "inputs": {path.name: _sha256(path) for path in inputs},
        "counts": counts,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }
    manifest_path(out).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_done(out: Path, *, parameters: Mapping[str, Any], inputs: Iterable[Path]) -> bool:
    """True when `out` was made by these parameters from these very inputs."""
    if not out.exists() or not manifest_path(out).is_file():
        return False
    manifest = json.loads(manifest_path(out).read_text(encoding="utf-8"))
    same_inputs = manifest["inputs"] == {path.name: _sha256(path) for path in inputs}
    return same_inputs and manifest["parameters"] == json.loads(json.dumps(parameters))


def manifest_path(out: Path) -> Path:
    """Where the manifest of a step's output lies."""
    return out.with_name(out.name + ".manifest.json")


def _sha256(path: Path) -> str:
    """The hash of a file, or of all weights and tokenizer files of a model folder."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted([*path.glob("*.safetensors"), *path.glob("tokenizer*.json")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()
