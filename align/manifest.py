"""How a step's output was made: parameters, the hashes of what it read, counts and library versions, in a file beside it."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation.fingerprint import files_hash

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
CONTENTS = ("*.safetensors", "tokenizer*.json", "*.yaml")
"""What counts in a folder that is read: weights, tokenizer, words."""
STARTED = "started.json"


def provenance(parameters: Mapping[str, Any], inputs: Iterable[Path]) -> dict[str, Any]:
    """What decides an output: the step's parameters and the SHA-256 of each input, as plain JSON values."""
    hashes = {f"{path.parent.name}/{path.name}": _sha256(path) for path in inputs}
    return json.loads(json.dumps({"parameters": parameters, "inputs": hashes}))


def is_done(output: Path, made_by: Mapping[str, Any]) -> bool:
    """True when `output` is finished and was made by just this."""
    path = _manifest_path(output)
    if not output.exists() or not path.is_file():
        return False
    manifest = json.loads(path.read_text(encoding="utf-8"))
    return all(manifest.get(key) == value for key, value in made_by.items())


def start_or_go_on(folder: Path, made_by: Mapping[str, Any], *, force: bool = False) -> None:
    """Leave in `folder` what an interrupted run of the same kind left there; of any other, take all away."""
    started = folder / STARTED
    same = started.is_file() and json.loads(started.read_text(encoding="utf-8")) == made_by
    finished = _manifest_path(folder)
    if force or not same or finished.exists():
        shutil.rmtree(folder, ignore_errors=True)
        finished.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    started.write_text(json.dumps(made_by), encoding="utf-8")


def write_manifest(output: Path, made_by: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    """Write `<output>.manifest.json`, which marks the step as done."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    manifest = {**made_by, "counts": counts, "versions": versions}
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    _manifest_path(output).write_text(text, encoding="utf-8")


def _manifest_path(output: Path) -> Path:
    return output.with_name(output.name + ".manifest.json")


def _sha256(path: Path) -> str:
    if path.is_file():
        return files_hash([path], path.parent)
    return files_hash((file for pattern in CONTENTS for file in path.glob(pattern)), path)
