"""`python -m evaluation run` measures arms on a benchmark; `rejudge` lets another judge read a run's responses; `score`
scores judged responses; `chat` asks one arm one thing; `fetch` brings a benchmark's data from the model hub.

Exit codes: 0 done, 1 a server failed (what was computed stays), 2 the command cannot be carried out as given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from evaluation import hub_files, score_report
from evaluation.benchmarks import BenchmarkError
from evaluation.endpoint import EndpointError
from evaluation.journal import JournalError
from evaluation.judge import open_judge
from evaluation.judged_rows import RowsError, read_judged_rows
from evaluation.judgement import Judgement
from evaluation.measuring import UsageError, check_taxonomy, complain, rejudge_command, run_command, wait_ready
from evaluation.report import console
from evaluation.response import Response
from evaluation.run import RunError, narrow
from evaluation.serving import Serving, ServingError, open_endpoint
from presets.hub_dataset import find_hub_dataset, load_hub_datasets
from presets.profile import Profile, load_profile
from presets.safety_config import SafetyConfig, find_safety_config
from presets.yaml_file import PresetError


@dataclass(frozen=True)
class Reply:
    """One answer and its judgement."""

    response: Response
    judgement: Judgement


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line and return the exit code."""
    arguments = _parser().parse_args(argv)
    arguments.typed = shlex.join(["python", "-m", "evaluation", *(sys.argv[1:] if argv is None else argv)])
    try:
        return arguments.command(arguments)
    except (UsageError, PresetError, BenchmarkError, JournalError, RowsError) as error:
        return complain(str(error), 2)
    except (ServingError, RunError, EndpointError, OSError) as error:
        return complain(str(error), 1)
    except KeyboardInterrupt:
        return complain("stopped", 130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluation", description="Measure controllable safety.")
    commands = parser.add_subparsers(required=True, metavar="run|rejudge|score|chat|fetch")
    run = commands.add_parser("run", help="ask arms a benchmark, judge the responses, print one table")
    run.set_defaults(command=run_command)
    run.add_argument("--profile", required=True, help="a profile's id, or a YAML file")
    run.add_argument("--benchmark", required=True, help="names, or .jsonl files of one's own, with commas between them")
    run.add_argument("--arms", help="arm ids with commas between them (default: all of the profile)")
    run.add_argument(
        "--judges",
        help="judges of the profile with commas between them; the first decides the scores (default: its judge)",
    )
    run.add_argument(
        "--out",
        required=True,
        type=Path,
        help="folder for rows and scores, with one in it for each of several benchmarks; a stopped run goes on there",
    )
    run.add_argument("--limit", type=int, help="at most so many items of each split")
    run.add_argument("--seed", type=int, help="of sampling and bootstrap (default: the profile's)")
    run.add_argument(
        "--training-prompts",
        metavar="SOURCE",
        help="a .jsonl file or a hub dataset: items with a prompt of it are counted, and the rest is scored apart, too",
    )
    again = commands.add_parser("rejudge", help="judge a finished run's responses with another profile's judge")
    again.set_defaults(command=rejudge_command)
    again.add_argument("--run", required=True, type=Path, help="the --out folder of a run; it is only read")
    again.add_argument("--profile", required=True, help="whose judge: a profile's id, or a YAML file")
    again.add_argument(
        "--out", required=True, type=Path, help="folder for the new verdicts; a stopped one goes on there"
    )
    scoring = commands.add_parser("score", help="score a file of judged responses; needs no model")
    scoring.set_defaults(command=score_command)
    scoring.add_argument("--judgements", required=True, type=Path, help="JSON lines, one judged response each")
    scoring.add_argument(
        "--weights", default="1,0,0", help="lambda,rho,omega of the general score (default: the paper's)"
    )
    scoring.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    scoring.add_argument("--json", action="store_true", help="print one JSON object")
    chat = commands.add_parser("chat", help="one answer and its judgement")
    chat.set_defaults(command=chat_command)
    chat.add_argument("--profile", required=True, help="a profile's id, or a YAML file")
    chat.add_argument("--arm", required=True, help="an arm's id")
    chat.add_argument("--config", required=True, help="a ready-made config's id, or a .yaml or .txt file")
    chat.add_argument("prompt")
    chat.add_argument("--json", action="store_true", help="print one JSON object")
    fetch = commands.add_parser("fetch", help="download a benchmark's data from the model hub; shows its licence")
    fetch.set_defaults(command=fetch_command)
    fetch.add_argument("dataset", help=", ".join(load_hub_datasets()))
    fetch.add_argument(
        "--revision", help="the commit to take (default: the one in presets/hub_datasets.yaml, or the newest)"
    )
    return parser


def fetch_command(arguments: argparse.Namespace) -> int:
    """Download a dataset from the hub and say where it is, at which commit, and under what licence. Returns the exit code."""
    dataset = find_hub_dataset(arguments.dataset)
    if arguments.revision is not None:
        dataset = replace(dataset, revision=arguments.revision)
    folder = hub_files.fetch(dataset)
    facts = hub_files.source_facts(dataset)
    print(f"{dataset.title}\nLicence: {dataset.licence}\n{dataset.repo} at {facts['revision']} is in {folder}")
    return 0


def score_command(arguments: argparse.Namespace) -> int:
    """Score a file of judged responses; print the table or one JSON object. Returns the exit code."""
    try:
        weights = score_report.parse_weights(arguments.weights)
    except ValueError as error:
        raise UsageError(str(error)) from error
    found = score_report.score_rows(read_judged_rows(arguments.judgements), weights=weights, seed=arguments.seed)
    if arguments.json:
        print(json.dumps(score_report.as_json(found), ensure_ascii=False, allow_nan=False))
    else:
        score_report.print_scores(found, console())
    return 0


def chat_command(arguments: argparse.Namespace) -> int:
    """Ask one arm one thing; print the answer and its judgement. Returns the exit code."""
    profile = narrow(load_profile(arguments.profile), [arguments.arm])
    config = find_safety_config(arguments.config, profile.taxonomy)
    check_taxonomy(config, profile)
    if profile.arms[0].filter is not None:
        raise UsageError(f"arm {arguments.arm!r} has a filter, which only `run` applies; ask an arm without one")
    if not arguments.prompt.strip():
        raise UsageError("the prompt is empty; write what to ask")
    # Kept when something fails: the message names the log in it.
    log_folder = Path(tempfile.mkdtemp(prefix="evaluation-chat-"))
    with Serving(profile, log_folder=log_folder) as serving:
        wait_ready(serving, Console(stderr=True))
        reply = asyncio.run(_ask_once(profile, serving, config, arguments.prompt))
    shutil.rmtree(log_folder)
    print(json.dumps(_chat_json(reply), ensure_ascii=False) if arguments.json else _chat_words(reply))
    return 0


async def _ask_once(profile: Profile, serving: Serving, config: SafetyConfig, prompt: str) -> Reply:
    arm = profile.arms[0]
    async with open_endpoint(serving, arm.server) as endpoint, open_judge(profile, serving) as judge:
        response = await endpoint.complete(arm.model, arm.messages(config, [], prompt), profile.sampling)
        return Reply(response, await judge.judge(config=config, prompt=prompt, response=response))


def _chat_json(reply: Reply) -> dict[str, object]:
    judgement = reply.judgement
    return {
        "response": reply.response.text,
        "helpfulness": judgement.helpfulness,
        "categories": None if judgement.categories is None else sorted(judgement.categories),
        "safe": judgement.safe,
        "thinking": reply.response.thinking,
        "rating": judgement.rating,
        "reason": judgement.reason,
        "rule": judgement.rule,
        "unscored": judgement.unscored,
        "model": reply.response.model,
        "judge": judgement.judge,
    }


def _chat_words(reply: Reply) -> str:
    judgement = reply.judgement
    if judgement.unscored is not None:
        verdict = f"unscored: {judgement.unscored}"
    else:
        found = ", ".join(sorted(judgement.categories or ())) or "none"
        obeys = "obeys" if judgement.safe else "breaks"
        verdict = f"helpful {judgement.rating}/5, {obeys} the config, categories: {found}"
    lines = [reply.response.text, "", verdict, judgement.reason]
    # A model's text must not be able to drive the terminal.
    return "".join(c for c in "\n".join(lines).rstrip() if c.isprintable() or c in "\n\t")


if __name__ == "__main__":
    sys.exit(main())
