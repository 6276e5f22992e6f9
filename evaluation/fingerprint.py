"""What a run was made with, as SHA-256: two runs with the same fingerprints used the same weights and words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

MODEL_FILES = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
)
"""What decides how a model or adapter answers; manifests, cards and checkpoints beside it do not."""


def folder_hash(folder: Path) -> str:
    """SHA-256 (hex) of the weights, tokenizer and config of a model or adapter; a file is read again only when it changed.

    Weights of many gigabytes take a while the first time. Raises `FileNotFoundError` when there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    return files_hash({path for pattern in MODEL_FILES for path in folder.glob(pattern)}, folder)


def files_hash(paths: Iterable[Path], root: Path) -> str:
    """SHA-256 (hex) of these files' contents and of their names below `root`, in whatever order they come."""
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        if path.is_file():
            stat = path.stat()
            content = _content_hash(path, stat.st_size, stat.st_mtime_ns)
            total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=1024)
def _content_hash(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
