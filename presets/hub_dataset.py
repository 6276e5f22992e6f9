"""Datasets of the model hub: which, under what licence, and at which revision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from presets import yaml_file
from presets.yaml_file import FieldError, PresetError, require_id, require_text

PATH = Path(__file__).parent / "hub_datasets.yaml"


@dataclass(frozen=True)
class HubDataset:
    """One dataset. `revision` is the commit to take; None takes the newest, which is then recorded."""

    id: str
    repo: str
    title: str
    licence: str
    revision: str | None = None

    def __post_init__(self) -> None:
        require_id("id", self.id)
        for field in ("title", "licence"):
            require_text(field, getattr(self, field))
        if self.repo.count("/") != 1:
            raise FieldError("repo", f"is {self.repo!r}; it has the form owner/name")


@cache
def load_hub_datasets() -> dict[str, HubDataset]:
    """Return the datasets by id, in the file's order. Raises `PresetError`."""
    rows = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return {found.id: found for found in yaml_file.build_list(HubDataset, rows, PATH, "datasets")}


def find_hub_dataset(name: str) -> HubDataset:
    """Return the dataset with this id. Raises `PresetError` naming those there are."""
    known = load_hub_datasets()
    if name not in known:
        raise PresetError(f"there is no hub dataset {name!r}; there are {', '.join(known)}")
    return known[name]
