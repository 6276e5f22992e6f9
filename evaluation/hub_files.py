"""Datasets of the model hub on this disk: downloaded at one revision with the licence beside them, and read without a network.

A dataset's folder, `data/hub/<id>/`, is a copy of its repository, and is read as the hub itself would read it. Where no hub
can be reached, put the copy there by hand.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from evaluation.benchmarks import BenchmarkError
from evaluation.fingerprint import files_hash
from presets.hub_dataset import HubDataset
from presets.profile import ROOT

FOLDER = ROOT / "data" / "hub"
SOURCE = ".source.json"
"""Beside the files, hidden from the reader of tables: which repository and commit they came from, under what licence."""
DATA_FILES = ("*.parquet", "*.jsonl", "*.json", "*.csv")


def _download(dataset: HubDataset, folder: Path) -> str:
    """Download a dataset's data and card from the hub; return the commit. Raises `BenchmarkError`."""
    from huggingface_hub import HfApi, snapshot_download  # a second to import
    from huggingface_hub.errors import HTTPError

    try:
        commit = HfApi().dataset_info(dataset.repo, revision=dataset.revision).sha
        patterns = ["README.md", "LICENSE*", *DATA_FILES]
        snapshot_download(dataset.repo, repo_type="dataset", revision=commit, local_dir=folder, allow_patterns=patterns)
    except (HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BenchmarkError(
            f"{dataset.repo} at revision {dataset.revision or 'main'} cannot be downloaded ({reason}). Where there is no "
            f"network, copy the dataset's repository into {folder} by hand"
        ) from error
    return commit


def folder_of(dataset: HubDataset) -> Path:
    """Where a dataset's files lie, whether they are there or not."""
    return FOLDER / dataset.id


def fetch(dataset: HubDataset) -> Path:
    """Bring a dataset here and return its folder. Raises `BenchmarkError`."""
    folder = folder_of(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    source = {"repo": dataset.repo, "revision": _download(dataset, folder), "licence": dataset.licence}
    (folder / SOURCE).write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    return folder


def is_here(dataset: HubDataset) -> bool:
    """True when the dataset's folder holds data."""
    return bool(_data_files(folder_of(dataset)))


def source_facts(dataset: HubDataset) -> dict[str, Any]:
    """What a run says of its data: repository, commit (null where the files came by hand) and their SHA-256."""
    folder = folder_of(dataset)
    try:
        source = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        source = {"repo": dataset.repo, "revision": None, "licence": dataset.licence}
    return {**source, "sha256": files_hash(_data_files(folder), folder)}


def read_splits(dataset: HubDataset) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each split, in the files' order. Raises `BenchmarkError` when they are not here or not readable."""
    folder = folder_of(dataset)
    if not is_here(dataset):
        raise BenchmarkError(
            f"{dataset.title.split(':')[0]} is not here: run `python -m evaluation fetch {dataset.id}`, or copy the files of "
            f"the hub's dataset {dataset.repo} ({dataset.licence}) into {folder}"
        )
    from datasets import disable_progress_bars, load_dataset  # seconds to import, and only for these benchmarks

    disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory(prefix="hub-dataset-") as cache:
            loaded = load_dataset(str(folder), cache_dir=cache)
            return {str(split): rows.to_list() for split, rows in loaded.items()}
    except Exception as error:  # the library has no one class for the ways in which a file can be no table
        reason = str(error).strip().splitlines()[0]
        raise BenchmarkError(
            f"{folder}: cannot be read as a dataset ({reason}); remove the folder and fetch {dataset.id} again"
        ) from error


def column(row: dict[str, Any], name: str, place: str) -> Any:
    """A row's value of a column. Raises `BenchmarkError` naming the place and the columns there are."""
    if row.get(name) is None:
        raise BenchmarkError(f"{place}: {name}: is missing; the row has {', '.join(row)}")
    return row[name]


def _data_files(folder: Path) -> list[Path]:
    """The files with rows; what is hidden belongs to whoever downloaded them."""
    found = [path.relative_to(folder) for pattern in DATA_FILES for path in folder.rglob(pattern)]
    return [folder / path for path in found if not any(part.startswith(".") for part in path.parts)]
