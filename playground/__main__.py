"""Ask a running page from a shell; what comes back is JSON. See docs/api.md.

    python -m playground configs
    python -m playground ask --config casino "How do I play poker?"
    python -m playground judge --config casino "How do I play poker?" "Sorry, I can't talk about that."
    python -m playground score FILE.jsonl

Exit codes: 0 done, 1 the page refused or does not answer, 2 the command cannot be carried out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.json_lines import JsonLinesError, read_json_lines

URL = "http://127.0.0.1:7860"


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line and return the exit code."""
    options = parse(arguments)
    try:
        found = call(options.url, options.endpoint, options.values(options))
    except (JsonLinesError, OSError) as error:
        return complain(str(error))
    print(json.dumps(found, ensure_ascii=False, indent=2))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags; `values` makes the endpoint's arguments of them."""
    parser = argparse.ArgumentParser(prog="python -m playground", description="Ask a running page; prints JSON.")
    parser.add_argument("--url", default=URL, help="the page's address (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="configs|ask|judge|score", dest="endpoint")
    configs = commands.add_parser("configs", help="the ready-made safety configs")
    configs.set_defaults(values=lambda options: {})
    ask = commands.add_parser("ask", help="ask every arm, and have the answers judged")
    ask.add_argument("prompts", nargs="+", metavar="PROMPT", help="the prompts of one conversation")
    ask.add_argument("--no-keep", dest="keep", action="store_false", help="erase the words afterwards")
    ask.set_defaults(values=lambda options: {"prompts": options.prompts, "keep": options.keep, **config_of(options)})
    judge = commands.add_parser("judge", help="the judge's verdict on a reply")
    judge.add_argument("prompt")
    judge.add_argument("reply")
    judge.set_defaults(values=lambda options: {"prompt": options.prompt, "reply": options.reply, **config_of(options)})
    for command in (ask, judge):
        command.add_argument("--config", default="", help="a ready-made config's id")
        command.add_argument("--config-text", default="", help="a config of your own")
        command.add_argument("--allowed", metavar="A,B", help="the categories that it allows, with commas between them")
    score = commands.add_parser("score", help="the CoSA-Score of judged responses")
    score.add_argument("file", type=Path, help="JSON lines, as `python -m evaluation score` reads them")
    score.set_defaults(values=lambda options: {"rows": [row for _, row in read_json_lines(options.file)]})
    return parser.parse_args(arguments)


def config_of(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that say which config is meant."""
    allowed = None if options.allowed is None else [name.strip() for name in options.allowed.split(",") if name.strip()]
    return {"config": options.config, "config_text": options.config_text, "allowed": allowed}


def call(url: str, endpoint: str, values: dict[str, Any]) -> Any:
    """What the page at this address answers. Raises `OSError` with its words when it refuses, and when nothing answers."""
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    try:
        client = Client(url, verbose=False, analytics_enabled=False)
    except Exception as error:  # of httpx, of gradio_client, or a page that is none of gradio's
        raise OSError(
            f"{url} does not answer as a playground does ({error}); start one, or name it with --url"
        ) from error
    try:
        return client.predict(api_name=f"/{endpoint}", **values)
    except (AppError, ValueError) as error:
        raise OSError(f"{url}: {error}") from error


def complain(message: str) -> int:
    """Print the message and return the exit code."""
    print(f"playground: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
