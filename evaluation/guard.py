"""Runs a server's command so that none of its processes outlives the one who asked for it, however that one ends.

`python guard.py OWNER_PID COMMAND...` leads a process group of its own. vLLM is a tree of processes that stays behind,
memory and all, when its root is killed; so when the owner is gone the guard ends the whole group. A look at the parent
twice a second does what `PR_SET_PDEATHSIG` cannot: it holds for the grandchildren, and does not take the end of
the owner's *thread* for the end of the owner. Standard library only: it must start at once and stay small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

LOOK_S = 0.5
GRACE_S = 8.0
"""How long the group may take to end by itself after TERM."""


def guard(owner: int, command: list[str]) -> int:
    """Run `command` until it ends or `owner` is gone; return its exit code (128 + n for signal n)."""
    # A handler, not SIG_IGN, which the command would inherit: TERM to the group is meant for the others.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while (code := _wait(server, LOOK_S)) is None:
        if os.getppid() != owner:
            _end_group(server)
    return code if code >= 0 else 128 - code


def _wait(server: subprocess.Popen[bytes], seconds: float) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return server.wait(seconds)
    return None


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """End every process of the group; this one is the last to go."""
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while _wait(server, LOOK_S) is None and time.monotonic() < deadline:
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), sys.argv[2:]))
