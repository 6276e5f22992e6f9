"""Where snapshots of a store are kept: a folder, or a private dataset repository of the model hub."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from evaluation.schema import StoreError

NAME = re.compile(r"store-(\d{6})-\d{8}T\d{6}Z\.sqlite3")
"""Of a snapshot. The number decides which is the newest: clocks step, numbers only grow."""

REPO = re.compile(r"[\w.-]+/[\w.-]+")
FOLDER_STARTS = ("/", "./", "../", "~")

SQUASH_EVERY = 100
"""Commits until what was dropped is also taken out of a repository's history, where it would take space for ever."""


class Place(Protocol):
    """Keeps files whole or not at all. Every method raises `StoreError` when the place cannot be reached."""

    def names(self) -> list[str]:
        """The snapshots' names, oldest first."""

    def put(self, file: Path, name: str, drop: Sequence[str]) -> None:
        """Keep a copy of the file under this name, and let these older ones go."""

    def fetch(self, name: str, to: Path) -> None:
        """Write the snapshot to the file `to`."""


def find_place(text: str) -> Place:
    """The folder or the repository that a person named. Raises `StoreError` for what could be neither or both."""
    if text.startswith(FOLDER_STARTS) or text in (".", ".."):
        return Folder(Path(text).expanduser())
    if REPO.fullmatch(text):
        return HubRepository(text)
    raise StoreError(
        f"{text!r} names no place for snapshots; write owner/name for a dataset repository of the model hub, or a folder "
        "that begins with ./ or /"
    )


def number(name: str) -> int:
    """The number in a snapshot's name."""
    match = NAME.fullmatch(name)
    assert match is not None
    return int(match[1])


class Folder:
    """Snapshots as files of one folder, best on another disk than the store's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def names(self) -> list[str]:
        """See `Place`."""
        with self._reached():
            self._folder.mkdir(parents=True, exist_ok=True)
            return _snapshots(path.name for path in self._folder.iterdir())

    def put(self, file: Path, name: str, drop: Sequence[str]) -> None:
        """See `Place`."""
        with self._reached():
            partial = self._folder / f"{name}.partial"
            shutil.copyfile(file, partial)
            partial.replace(self._folder / name)
            for old in drop:
                (self._folder / old).unlink(missing_ok=True)

    def fetch(self, name: str, to: Path) -> None:
        """See `Place`."""
        with self._reached():
            shutil.copyfile(self._folder / name, to)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{self._folder}: snapshots cannot be kept there ({error}); name another folder"
            ) from error


class HubRepository:
    """Snapshots as files of a private dataset repository. The token is `HF_TOKEN`'s, or that of `hf auth login`."""

    def __init__(self, repo: str) -> None:
        self._repo = {"repo_id": repo, "repo_type": "dataset"}
        self._is_there, self._commits = False, 0

    def __str__(self) -> str:
        return f"the hub's dataset {self._repo['repo_id']}"

    def names(self) -> list[str]:
        """See `Place`. The repository is made, private, where there is none."""
        with self._reached() as api:
            if not self._is_there:
                api.create_repo(**self._repo, private=True, exist_ok=True)
                self._is_there = True
            info = api.repo_info(**self._repo)
            names = [file.rfilename for file in info.siblings or ()]
        if not info.private:
            raise StoreError(
                f"{self}: is public, and snapshots hold what everybody wrote; make it private, or name another"
            )
        return _snapshots(names)

    def put(self, file: Path, name: str, drop: Sequence[str]) -> None:
        """See `Place`. All of it is one commit."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        changes = [CommitOperationAdd(name, file), *(CommitOperationDelete(old) for old in drop)]
        with self._reached() as api:
            api.create_commit(**self._repo, operations=changes, commit_message=name)
            self._commits += 1
            if self._commits % SQUASH_EVERY == 0:
                api.super_squash_history(**self._repo)

    def fetch(self, name: str, to: Path) -> None:
        """See `Place`."""
        with tempfile.TemporaryDirectory(prefix="snapshot-") as folder, self._reached() as api:
            shutil.move(api.hf_hub_download(**self._repo, filename=name, local_dir=folder), to)

    @contextmanager
    def _reached(self) -> Iterator:
        from huggingface_hub import HfApi  # a second to import
        from huggingface_hub.errors import HTTPError

        try:
            yield HfApi()
        except (HTTPError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise StoreError(
                f"{self}: cannot be reached or written to ({reason}); check its name, and that HF_TOKEN holds a token that may "
                "write to it"
            ) from error


def _snapshots(names: Iterator[str] | Sequence[str]) -> list[str]:
    return sorted((name for name in names if NAME.fullmatch(name)), key=number)
