"""Tell a running process from one that is gone, even when a later process was given its number."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def process_start(pid: int) -> str | None:
    """When a process started, in words that no later process with its pid shares; None when it is not running.

    Without /proc (not Linux) only the pid itself is looked at.
    """
    if not Path("/proc/self/stat").exists():
        return _start_without_proc(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(b")")[2].split()  # the name before it may hold spaces
    if state in (b"Z", b"X"):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id")  # some sandboxes have none
    return f"{boot.read_text(encoding='ascii').strip() if boot.exists() else 'boot'} {int(fields[18])}"


def _start_without_proc(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it runs, as another user
    return "unknown"


def is_alive(owner: Mapping[str, Any]) -> bool:
    """True while the process of this row of the table `processes` runs; another one that got its number is another."""
    return owner["closed_at"] is None and process_start(owner["pid"]) == owner["started"]
