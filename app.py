"""Start the playground: flags -> servers, judge, store -> page -> launch. Nothing else."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from evaluation.accounts import accounts, role_of
from evaluation.judge import open_judge
from evaluation.serving import Serving
from evaluation.snapshot_place import find_place
from evaluation.snapshots import Snapshots, restore_newest
from evaluation.store import Store, StoreError
from playground.json_log import JsonLines
from presets.profile import load_profile
from presets.yaml_file import PresetError

DEFAULT_DB = Path("data/playground.sqlite3")
CANNOT_START = 2
"""Exit code when the flags, the profile, the store or the port forbid a start."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts on which only this machine's own users reach the page."""

OUR_PACKAGES = ("evaluation", "playground")
"""Whose log is shown from INFO on. The libraries under the page speak up at WARNING, or nobody could read it."""

SWITCHES = {
    "share": "make a public link; read the warning",
    "accounts": "let only those in who log in with an account (python -m evaluation.accounts), to do what their role allows",
    "allow-config-edits": "let visitors use configs of their own even where the page is open to others (--host, --share)",
    "allow-exports": "let visitors download what everybody wrote even where the page is open to others (--host, --share)",
    "allow-api": "let programs ask (docs/api.md) even where the page is open to others (--host, --share)",
    "blind": "hide the names of the arms until the vote, in every conversation; else each visitor chooses",
}

LIMITS = {
    "answers": "answers that may be begun in a minute (a turn has one of each arm)",
    "tokens": "tokens that the models may write in an hour",
    "streams": "answers that may be written at once",
}
"""The flags --max-...: what one visitor may ask for, see `playground.limits.Allowance`."""

FINISH_S = 10.0
"""What answers that grow may still take when the program is told to stop. A second signal ends it at once."""

SHARE_WARNING = (
    "WARNING: --share gives everyone who has the link a page that can relax a model's safety, through a tunnel "
    "that is not ours. Share it only with people whom you trust, and stop it when you are done."
)


class CannotStart(Exception):
    """Why the playground cannot start, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM; 0 then, 2 when it cannot start."""
    options = parse(
        [*shlex.split(os.environ.get("COSA_ARGS", "")), *(sys.argv[1:] if arguments is None else arguments)]
    )
    show_log(options.log_format)
    stopping = stop_on_signals()
    try:
        check_port(options.host, options.port)
        with ExitStack() as parts:
            address = open_playground(options, parts)
            print(f"The playground: {address}   (Ctrl-C stops it and its model servers)", flush=True)
            stopping.wait()
            print("Stopping ...", flush=True)
    except CannotStart as error:
        print(f"Cannot start: {error}", file=sys.stderr)
        return CANNOT_START
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags, with their defaults from the environment."""
    parser = argparse.ArgumentParser(
        prog="app.py",
        description="The Controllable Safety Playground, on a web page.",
        epilog="$COSA_ARGS is read before these flags, for places where only the environment can be chosen (a Space).",
    )
    parser.add_argument("--profile", default="tinyworld", help="which servers, arms and judge: an id, or a YAML file")
    parser.add_argument(
        "--db",
        type=Path,
        default=Path(os.environ.get("COSA_DB") or DEFAULT_DB),
        help=f"the SQLite file that keeps everything (default: $COSA_DB, or {DEFAULT_DB}); logs go beside it",
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"),
        help="the address to listen on (default: $GRADIO_SERVER_NAME, or 127.0.0.1, but 0.0.0.0 in a Hugging Face Space); "
        "0.0.0.0 opens it to the network",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("GRADIO_SERVER_PORT") or 7860,
        help="the port of the page (default: $GRADIO_SERVER_PORT, or 7860)",
    )
    for name, what in SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=what)
    limits = parser.add_argument_group(
        "limits per visitor", "0 sets none; without these flags there are limits only where others reach the page"
    )
    for name, what in LIMITS.items():
        limits.add_argument(f"--max-{name}", type=int, metavar="N", help=what)
    parser.add_argument(
        "--snapshots",
        metavar="REPO_OR_FOLDER",
        help="keep copies of the store there, every five minutes and at exit, and start from the newest where there is no "
        "store: owner/name, a private dataset repository of the model hub (HF_TOKEN), or a folder such as ./snapshots",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how the log reads on standard error: for people (the default), or one JSON object per line",
    )
    return parser.parse_args(arguments)


def show_log(log_format: str) -> None:
    """Show the log on the terminal, above all how the model servers are; as `json` for programs, else for people."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    if log_format == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
    for name in OUR_PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)


def check_port(host: str, port: int) -> None:
    """Raise `CannotStart` unless the page can listen on this address."""
    if not 1 <= port <= 65535:
        raise CannotStart(f"{port} is not a port; give one between 1 and 65535, for example --port 7861")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise CannotStart(
            f"the page cannot listen on {host}:{port} ({error.strerror or error}). Another program may have the port, "
            "perhaps a playground that is still running: stop it, or choose another port with --port."
        ) from error


def is_only_here(options: argparse.Namespace) -> bool:
    """True when only this machine's own users reach the page."""
    return options.host in LOOPBACK and not options.share


def granted(options: argparse.Namespace) -> set[str]:
    """What everybody may do, whoever it is: all of it where only this machine's own users reach the page, else what a flag
    allows. On a public page anybody comes, and not everybody may write safety configs, or read what others have written;
    with accounts it is their roles that allow more.
    """
    flags = {"edit": options.allow_config_edits, "export": options.allow_exports, "call": options.allow_api}
    return {name for name, given in flags.items() if given or (is_only_here(options) and not options.accounts)}


def open_login(options: argparse.Namespace) -> dict[str, object]:
    """What the page's server must be told so that it lets in only those who log in. Raises `StoreError` without accounts."""
    if not accounts(options.db):
        raise StoreError(
            f"{options.db} has no accounts, so nobody could log in; make one: "
            f"python -m evaluation.accounts add NAME --role admin --db {options.db}"
        )
    from playground.login import MESSAGE, Login

    return {"auth": Login(options.db).check, "auth_message": MESSAGE}


def trust_proxy_of_space() -> None:
    """On a Space every request comes through the hub's proxy, which says who asks; else all visitors would share one limit."""
    if os.environ.get("SPACE_ID"):
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")  # read by uvicorn


def open_playground(options: argparse.Namespace, parts: ExitStack) -> str:
    """The address of the running page. `parts` closes what was opened, the page first. Raises `CannotStart`."""
    # gradio takes seconds to import: --help and a taken port need not wait for it.
    from playground.limits import NO_LIMITS, PUBLIC
    from playground.page import build_page
    from playground.roles import Roles

    given = {name: value for name in LIMITS if (value := getattr(options, f"max_{name}")) is not None}
    try:
        profile = load_profile(options.profile)
        snapshots = open_snapshots(options)
        store = parts.enter_context(Store(options.db))
        serving = Serving(profile, log_folder=options.db.parent / "logs")
        parts.callback(serving.stop)
        judge = partial(open_judge, profile, serving)
        allowance = replace(NO_LIMITS if is_only_here(options) else PUBLIC, **given)
        roles = Roles(frozenset(granted(options)), partial(role_of, options.db) if options.accounts else None)
        choices = {"always_blind": options.blind, "allowance": allowance, "roles": roles, "snapshots": snapshots}
        page = build_page(profile, serving, judge, store, **choices)
        login = open_login(options) if options.accounts else {}
    except (PresetError, StoreError, ValueError) as error:
        raise CannotStart(str(error)) from error
    trust_proxy_of_space()
    if options.share:
        print(SHARE_WARNING, file=sys.stderr, flush=True)
    if snapshots is not None:
        snapshots.start()
        parts.callback(snapshots.stop)
    where = {"server_name": options.host, "server_port": options.port, "share": options.share}
    _, local, public = page.blocks.launch(prevent_thread_lock=True, **where, **login, **page.launch_options)
    parts.callback(page.blocks.close, verbose=False)
    parts.callback(page.compare.answering.finish, FINISH_S)
    # Only now: a model server that loads would keep the page from answering for many seconds.
    serving.start()
    return public or local


def open_snapshots(options: argparse.Namespace) -> Snapshots | None:
    """What copies the store elsewhere, if that is wanted; a store that is not there has come back from it. Raises `StoreError`."""
    if options.snapshots is None:
        return None
    place = find_place(options.snapshots)
    if not options.db.exists() and (name := restore_newest(place, options.db)):
        print(f"The store was restored from {name} of {place}", flush=True)
    return Snapshots(options.db, place)


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set. A second one ends the program at once."""
    stopping = threading.Event()

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopping


if __name__ == "__main__":
    sys.exit(main())
