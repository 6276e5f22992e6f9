"""How a step's output was made: parameters, the hashes of what it read, counts and library versions, in a file beside it."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation.fingerprint import files_hash

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
CONTENTS = ("*.safetensors", "tokenizer*.json", "*.yaml")
"""What counts in a folder that is read: weights, tokenizer, words."""
NOT_DECIDING = frozenset({"threads", "measure_every", "questions", "save_steps"})
"""Parameters that are written down but not compared: how fast a step runs, how often it is measured and saved."""
STARTED = "started.json"


def provenance(parameters: Mapping[str, Any], inputs: Iterable[Path], **samples: Iterable[Any]) -> dict[str, Any]:
    """What decides an output, as plain JSON values: the step's parameters, and the SHA-256 of each input and sample.

    A sample is the beginning of what a step draws. It differs when the code that draws has learnt to write other text,
    and stays the same when only the code's own words have changed.
    """
    hashes = {f"{path.parent.name}/{path.name}": _sha256(path) for path in inputs}
    hashes |= {f"sample of {name}": _sample_hash(rows) for name, rows in samples.items()}
    return json.loads(json.dumps({"parameters": parameters, "inputs": hashes}))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What decides an output and is not the same, such as `parameters.tokens: 24000000 -> 26000000`; empty if all is."""
    found = []
    for part in ("parameters", "inputs"):
        old, new = before.get(part, {}), after.get(part, {})
        for key in sorted((old.keys() | new.keys()) - NOT_DECIDING):
            if old.get(key) != new.get(key):
                found.append(f"{part}.{key}: {json.dumps(old.get(key))} -> {json.dumps(new.get(key))}")
    return found


def is_done(output: Path, made_by: Mapping[str, Any]) -> bool:
    """True when `output` is finished and was made by just this. Raises `ValueError` for a manifest that is no JSON."""
    path = _manifest_path(output)
    return output.exists() and path.is_file() and not differences(_read(path), made_by)


def start_or_go_on(folder: Path, made_by: Mapping[str, Any], *, force: bool = False) -> None:
    """Leave in `folder` what an interrupted run of the same kind left there; move any other aside, to `<folder>.old`.

    Raises `ValueError` for a manifest that is no JSON.
    """
    started, finished = folder / STARTED, _manifest_path(folder)
    if folder.exists() and (reasons := _reasons_against(started, finished, made_by, force=force)):
        aside = _move_aside(folder)
        log.warning(
            "%s begins anew, since it was not made by what is asked for now; to have it back, restore that and move"
            " %s (kept until the next time) to its place:\n  %s",
            folder,
            aside,
            "\n  ".join(reasons),
        )
    finished.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    _write(started, made_by)


def write_manifest(output: Path, made_by: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    """Write `<output>.manifest.json`, which marks the step as done."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    _write(_manifest_path(output), {**made_by, "counts": counts, "versions": versions})


def _reasons_against(started: Path, finished: Path, made_by: Mapping[str, Any], *, force: bool) -> list[str]:
    """Why a run cannot go on in a folder that holds `started`; empty when it can."""
    if force:
        return ["--force was given"]
    record = finished if finished.is_file() else started
    if not record.is_file():
        return [f"{record} is missing, so nobody knows what it was made by"]
    return differences(_read(record), made_by)


def _move_aside(folder: Path) -> Path:
    """Rename a folder and its manifest, replacing what was moved aside before; return the new place."""
    aside = folder.with_name(folder.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    _manifest_path(aside).unlink(missing_ok=True)
    folder.rename(aside)
    if _manifest_path(folder).is_file():
        _manifest_path(folder).rename(_manifest_path(aside))
    return aside


def _manifest_path(output: Path) -> Path:
    return output.with_name(output.name + ".manifest.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is not JSON ({error}); remove it to run its step anew") from error


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in one move: a kill in between leaves the old file, or none."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _sample_hash(rows: Iterable[Any]) -> str:
    return hashlib.sha256("".join(json.dumps(row) + "\n" for row in rows).encode()).hexdigest()


def _sha256(path: Path) -> str:
    if path.is_file():
        return files_hash([path], path.parent)
    return files_hash((file for pattern in CONTENTS for file in path.glob(pattern)), path)
