"""Fingerprints follow what decides an answer, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evaluation.fingerprint import files_hash, folder_hash


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "tokenizer.model", "config.json", "chat_template.jinja"):
        (folder / name).write_text(f"the {name}")
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "tokenizer.model", "config.json", "vocab.txt"])
def test_other_weights_or_another_tokenizer_are_another_model(model: Path, name: str) -> None:
    before = folder_hash(model)
    (model / name).write_text("something else")
    assert folder_hash(model) != before


def test_a_card_or_a_checkpoint_beside_the_weights_changes_nothing(model: Path) -> None:
    before = folder_hash(model)
    for name in ("README.md", "started.json", "checkpoint.pt", "binding.jsonl"):
        (model / name).write_text("news")
    assert folder_hash(model) == before


def test_the_same_model_elsewhere_has_the_same_hash(model: Path) -> None:
    before = folder_hash(model)
    assert folder_hash(model.rename(model.with_name("moved"))) == before


def test_a_file_is_read_again_only_when_it_changed(model: Path) -> None:
    file = model / "model.safetensors"
    before, stat = folder_hash(model), file.stat()
    file.write_text(file.read_text().replace("the", "any"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert folder_hash(model) == before
    os.utime(file)
    assert folder_hash(model) != before


def test_a_folder_that_is_not_there_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone: there is no such folder"):
        folder_hash(tmp_path / "gone")


def test_the_order_of_files_does_not_count_and_their_names_do(model: Path) -> None:
    files = sorted(model.iterdir())
    assert files_hash(files, model) == files_hash(reversed(files), model)
    before = files_hash(files, model)
    renamed = files[0].rename(files[0].with_name("zz"))
    assert files_hash([renamed, *files[1:]], model) != before
