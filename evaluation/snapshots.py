"""Copies of the live store that go to another place every few minutes and at exit, and come back where there is no store."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path

from evaluation.schema import StoreError
from evaluation.snapshot_place import Place, number
from evaluation.store_backup import backup, restore
from evaluation.store_check import is_sound

EVERY_S = 300.0
KEEP = 24
"""How many snapshots a place keeps: the store as it was before each of the last so many changes that were kept."""

log = logging.getLogger(__name__)


class Snapshots:
    """Keeps copies of one store at one place, in a thread of its own, from `start` to `stop`."""

    def __init__(self, database: Path, place: Place, *, every_s: float = EVERY_S) -> None:
        self._database, self._place, self._every_s = database, place, every_s
        self._kept: tuple[tuple[int, int], ...] = ()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
        self.last_good: datetime | None = None
        """When the newest copy was last known to hold all that the store holds (UTC); None before the first."""
        self.problem = ""
        """Why the latest try failed, for whoever runs the page; empty when it did not."""

    def start(self) -> None:
        """Make the first copy, and one every so often, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Make the last copy and return."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.attempt()

    def attempt(self) -> bool:
        """True when a good copy is at the place now; what went wrong is logged, and stands in `problem`."""
        now = datetime.now(UTC)
        try:
            self._save(now)
        except StoreError as error:
            log.warning("no snapshot: %s", error)
            self.problem = str(error)
        except Exception as error:
            log.exception("no snapshot")
            self.problem = f"a fault in this program ({error!r})"
        else:
            self.last_good, self.problem = now, ""
        return not self.problem

    def last_good_timestamp(self) -> float:
        """`last_good` as seconds since 1970, 0 before the first."""
        return self.last_good.timestamp() if self.last_good else 0.0

    def _run(self) -> None:
        self.attempt()
        while not self._stopping.wait(self._every_s):
            self.attempt()

    def _save(self, now: datetime) -> None:
        """Nothing is copied while nothing was written. Raises `StoreError`."""
        state = _state(self._database)
        if state == self._kept:
            return
        copy = self._database.with_name(self._database.name + ".snapshot")
        try:
            backup(self._database, copy, force=True)
            names = self._place.names()
            name = f"store-{number(names[-1]) + 1 if names else 1:06}-{now:%Y%m%dT%H%M%SZ}.sqlite3"
            self._place.put(copy, name, names[: -KEEP + 1])
        finally:
            copy.unlink(missing_ok=True)
        self._kept = state


def restore_newest(place: Place, database: Path) -> str | None:
    """Put the newest sound snapshot where there is no store yet; returns its name, None when the place has none.

    Raises `StoreError` when the place cannot be reached, none of its snapshots is sound, or this program is too old for
    them: to begin anew then would push out what is there.
    """
    names = place.names()
    for name in reversed(names):
        copy = database.with_name(database.name + ".snapshot")
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.fetch(name, copy)
            if is_sound(copy):
                restore(copy, database)
                return name
        finally:
            copy.unlink(missing_ok=True)
        log.warning("%s: is damaged; the snapshot before it is taken", name)
    if names:
        raise StoreError(
            f"{place}: none of its {len(names)} snapshots is sound; look at them with `python -m evaluation.store check`, and "
            "move them elsewhere to begin anew"
        )
    return None


def _state(database: Path) -> tuple[tuple[int, int], ...]:
    """What changes whenever something is written: time and size of the file, and of the log beside it."""
    files = (database, database.with_name(database.name + "-wal"))
    return tuple((stat.st_mtime_ns, stat.st_size) for file in files if file.exists() for stat in [file.stat()])
