"""`python -m benchmarks [page] [store] [large-store] [load] [serving] [running]`: one table each, and the same figures as JSON.

Exit codes: 0 done, 1 something could not be measured (what was measured stays), 2 the command cannot be carried out.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import large_store, load, page, running, serving, store
from benchmarks.over_http import served_page
from benchmarks.report import OnStep, Report, print_report, write_report
from benchmarks.spread import MeasurementError
from evaluation.provenance import arm_records
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.serving import Serving, ServingError
from evaluation.store import Store, StoreError
from presets.profile import Profile, Server, load_profile
from presets.yaml_file import PresetError

NAMES = ("page", "store", "large-store", "load", "serving", "running")
OUT = Path("runs/benchmarks")
REPEATS = 20
START_TIMEOUT_S = 1800.0
"""A large model may first have to be downloaded and loaded."""

PIPE_WIDTH = 140
"""Columns of the tables where no terminal says how many there are."""

ANSWER = "Poker is a card game in which players bet on the value of their hand. "
PACE = {"first_delay_s": 0.03, "chunk_delay_s": 0.01}
"""Of the scripted server: about as fast as tinyworld on two cores."""

Emit = Callable[[Report], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line and return the exit code."""
    options = parse(arguments)
    try:
        profile = load_profile(options.profile)
        folder = options.out / "scripted" if options.scripted else options.out
        folder.mkdir(parents=True, exist_ok=True)
        run(options, profile, folder)
    except PresetError as error:
        return complain(str(error), 2)
    except (MeasurementError, ServingError, StoreError, OSError) as error:
        return complain(str(error), 1)
    except KeyboardInterrupt:
        return complain("stopped", 130)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags. `names` holds each wanted benchmark once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What is fast, and what it costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument(
        "--profile", default="tinyworld", help="whose servers: an id, or a YAML file (default: tinyworld)"
    )
    parser.add_argument("--scripted", action="store_true", help="a dry run: a scripted server instead of the models")
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help="of everything that is timed (default: %(default)s)"
    )
    parser.add_argument("--visitors", type=int, default=load.VISITORS, help="of load, at once (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=load.MINUTES, help="that load takes (default: %(default)s; 10 tells more)"
    )
    parser.add_argument("--no-browser", action="store_true", help="measure the page only as far as its server")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the figures (default: %(default)s)")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; at least 1 is needed")
    if options.visitors < 1 or not 0 < options.minutes <= load.LONGEST:
        parser.error(f"load needs --visitors of at least 1, and --minutes above 0 and up to {load.LONGEST}")
    options.names = options.names or list(NAMES)
    return options


def complain(message: str, code: int) -> int:
    """Print the message and return the code."""
    print(f"benchmarks: {message}", file=sys.stderr)
    return code


def run(options: argparse.Namespace, profile: Profile, folder: Path) -> None:
    """Measure, print and write what is wanted: the store first, while no server runs beside it."""
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    facts = describe(options, profile)

    def emit(report: Report) -> None:
        print_report(report, console)
        console.print(f"{write_report(report, folder, facts)}\n", markup=False, highlight=False, soft_wrap=True)

    with tempfile.TemporaryDirectory(dir=folder, prefix="files-") as files:
        if "store" in options.names:
            emit(store.measure(Path(files), repeats=options.repeats, on_step=progress("store")))
        if "large-store" in options.names:
            emit(large_store.measure(Path(files), repeats=options.repeats, on_step=progress("large-store")))
        if "load" in options.names:
            emit(measure_load(options, profile, Path(files)))
        if {"page", "serving", "running"} & set(options.names):
            with open_serving(profile, folder / "logs", scripted=options.scripted) as servers:
                measure_servers(options, profile, servers, folder=Path(files), emit=emit)


def measure_load(options: argparse.Namespace, profile: Profile, folder: Path) -> Report:
    """The report of the many visitors, before other servers take the cores."""
    how = {"visitors": options.visitors, "minutes": options.minutes, "on_step": progress("load")}
    prompts = profile.examples
    if not prompts:
        raise MeasurementError(f"profile {profile.id!r} has no examples; visitors ask them, so add some")
    if not options.scripted:
        with load.running_app(options.profile, folder) as (address, store, pid):
            return asyncio.run(load.measure(address, store, pid, prompts=prompts, **how))
    return asyncio.run(scripted_load(profile, folder, prompts=prompts, **how))


async def scripted_load(profile: Profile, folder: Path, **how: Any) -> Report:
    """The same over a scripted server, with the page in this process."""
    with open_serving(profile, folder / "logs", scripted=True) as servers, Store(folder / "load.sqlite3") as store:
        async with served_page(servers, store) as address:
            return await load.measure(address, store.path, os.getpid(), **how)


def measure_servers(
    options: argparse.Namespace, profile: Profile, servers: Serving, *, folder: Path, emit: Emit
) -> None:
    """Emit the reports of the benchmarks that need running servers."""
    repeats = options.repeats
    if "page" in options.names:
        with_browser, on_step = not options.no_browser, progress("page")
        measured = page.measure(
            servers, records=profile, folder=folder, repeats=repeats, with_browser=with_browser, on_step=on_step
        )
        emit(asyncio.run(measured))
    if "running" in options.names:
        measured = running.measure(servers, folder=folder, repeats=repeats, on_step=progress("running"))
        emit(asyncio.run(measured))
    if "serving" in options.names:
        with_adapters = [server for server in profile.servers if server.adapters]
        if not with_adapters:
            raise MeasurementError(f"no server of profile {profile.id!r} has an adapter to set beside its base model")
        for server in with_adapters:
            emit(asyncio.run(serving.measure(servers, server=server, repeats=repeats, on_step=progress("serving"))))


def describe(options: argparse.Namespace, profile: Profile) -> dict[str, Any]:
    """What was measured, with what, and when."""
    record = next(iter(arm_records(profile).values()))
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": profile.id,
        "scripted": options.scripted,
        "repeats": options.repeats,
        "cores": os.cpu_count(),
        "engine": f"{record.engine} {record.engine_version}" if record.engine else None,
        "library_versions": dict(record.library_versions),
    }


@contextmanager
def open_serving(profile: Profile, log_folder: Path, *, scripted: bool) -> Iterator[Serving]:
    """The profile's servers, ready; or, for a dry run, a scripted one in the place of each. Raises `ServingError`."""
    if not scripted:
        with Serving(profile, log_folder=log_folder) as servers:
            print("benchmarks: starting the model servers ...", file=sys.stderr, flush=True)
            servers.wait_ready(START_TIMEOUT_S)
            yield servers
        return
    with ScriptedServer(script) as server:
        stand_ins = tuple(Server(id=each.id, base_url=server.base_url) for each in profile.servers)
        with Serving(replace(profile, servers=stand_ins), log_folder=log_folder) as servers:
            servers.wait_ready(START_TIMEOUT_S)
            yield servers


def script(body: dict[str, Any]) -> ScriptedReply:
    """A short answer after some thinking; as long a one as may be where its end is to be ignored."""
    if body.get("ignore_eos"):
        return ScriptedReply("word " * body["max_tokens"], **PACE)
    return ScriptedReply(ANSWER * 3, thinking="gambling: games of chance, yes", **PACE)


def progress(name: str) -> OnStep:
    """Tells a terminal how far a benchmark is: a line now and then, since a spinner would take part of a core."""

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\rbenchmarks: {name}, step {done} of {total}", end=end, file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    sys.exit(main())
