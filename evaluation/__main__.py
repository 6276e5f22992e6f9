"""`python -m evaluation run` measures arms on a benchmark; `rejudge` lets another judge read a run's responses; `score`
scores judged responses; `chat` asks one arm one thing.

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
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evaluation import decisions, score_report
from evaluation.benchmarks import BASELINES, ORACLE, BenchmarkError, Item, load_benchmark, visitors
from evaluation.endpoint import EndpointError
from evaluation.journal import JUDGEMENTS, RUN, Journal, JournalError, Key
from evaluation.judge import open_judge
from evaluation.judged_rows import RowsError, read_judged_rows
from evaluation.judgement import Judgement
from evaluation.provenance import judge_facts
from evaluation.report import SplitReport, build_report, print_report, write_scores
from evaluation.report_files import write_report_files
from evaluation.response import Response
from evaluation.run import Job, RunError, narrow, plan, run_facts, run_jobs, unfinished
from evaluation.serving import Serving, ServingError, attest_servers, open_endpoint
from presets.profile import Profile, load_profile
from presets.safety_config import SafetyConfig, find_safety_config
from presets.yaml_file import PresetError

START_TIMEOUT_S = 1800.0
"""A large model may first have to be downloaded and loaded."""

PIPE_WIDTH = 160
"""Columns of the table where no terminal says how many there are."""


class UsageError(ValueError):
    """A command that cannot be carried out as given."""


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
        return _complain(str(error), 2)
    except (ServingError, RunError, EndpointError, OSError) as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("stopped", 130)


def _complain(message: str, code: int) -> int:
    print(f"evaluation: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluation", description="Measure controllable safety.")
    commands = parser.add_subparsers(required=True, metavar="run|rejudge|score|chat")
    run = commands.add_parser("run", help="ask arms a benchmark, judge the responses, print one table")
    run.set_defaults(command=run_command)
    run.add_argument("--profile", required=True, help="a profile's id, or a YAML file")
    run.add_argument("--benchmark", required=True, help="names, or .jsonl files of one's own, with commas between them")
    run.add_argument("--arms", help="arm ids with commas between them (default: all of the profile)")
    run.add_argument(
        "--out",
        required=True,
        type=Path,
        help="folder for rows and scores, with one in it for each of several benchmarks; a stopped run goes on there",
    )
    run.add_argument("--limit", type=int, help="at most so many items of each split")
    run.add_argument("--seed", type=int, help="of sampling and bootstrap (default: the profile's)")
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
    return parser


def run_command(arguments: argparse.Namespace) -> int:
    """Measure the arms on one benchmark, or on several one after another. Returns the worst exit code of them."""
    profile = _run_profile(arguments)
    names = list(dict.fromkeys(name.strip() for name in arguments.benchmark.split(",") if name.strip()))
    if not names:
        raise UsageError(f"--benchmark is {arguments.benchmark!r}; name at least one")
    folders = [arguments.out / Path(name).stem for name in names] if len(names) > 1 else [arguments.out]
    if len(set(folders)) < len(folders):
        raise UsageError(
            f"--benchmark is {arguments.benchmark!r}: two of them have one name, and so one folder; run them apart"
        )
    # All are read before the first is run: a wrong name must not be found out after an hour.
    read = [load_benchmark(name, limit=arguments.limit, taxonomy=profile.taxonomy) for name in names]
    for item in (item for items in read for item in items):
        _check_taxonomy(item.config, profile)
    runs = zip(names, read, folders, strict=True)
    return max(_run_one(profile, name, items, folder, arguments.typed) for name, items, folder in runs)


def _run_one(profile: Profile, benchmark: str, items: Sequence[Item], out: Path, command: str) -> int:
    """Ask what is missing in `out`; print the table, write `scores.json` and the report's files there."""
    facts = run_facts(profile, benchmark)
    jobs = plan(items, profile.arms)
    with Journal(out, facts) as journal:
        if todo := unfinished(jobs, journal):
            _answer(profile, journal, todo, done=len(jobs) - len(todo), log_folder=out / "logs")
        report = build_report(items, journal.records, [arm.id for arm in profile.arms], seed=profile.sampling.seed)
        console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
        print_report(report, console)
        more = {}
        if benchmark == visitors.SPLIT:
            found = decisions.findings_by_arm(
                items, journal.records, [arm.id for arm in profile.arms], seed=profile.sampling.seed
            )
            decisions.print_findings(found, console)
            more = {"visitors": decisions.as_json(found)}
        write_scores(out / "scores.json", report, facts, **more)
        write_report_files(out, report, items, journal.records, facts, command)
        return _verdict_on(report, journal, jobs, items)


def rejudge_command(arguments: argparse.Namespace) -> int:
    """Judge the responses of a run again, into another folder. Returns the exit code."""
    profile = load_profile(arguments.profile)
    # No arm is asked anything, but a profile has one; where it can be, one on the server that the judge needs anyway.
    profile = narrow(profile, [min(profile.arms, key=lambda arm: arm.server != profile.judge.server).id])
    if not all((arguments.run / name).is_file() for name in (JUDGEMENTS, RUN)):
        raise UsageError(f"{arguments.run}: holds no run; give the --out folder of `python -m evaluation run`")
    if arguments.out.resolve() == arguments.run.resolve():
        raise UsageError(f"--out is {arguments.out}, the run itself; its verdicts would be lost")
    with Journal(arguments.run, {}) as journal:
        facts, found = journal.facts, dict(journal.records)
    items = load_benchmark(facts["benchmark"], taxonomy=profile.taxonomy)
    arms = list(dict.fromkeys(key.arm for key in found))
    jobs = [Job(item, arm) for item in items for arm in arms if Key(item.id, arm) in found]
    with Journal(arguments.out, {**facts, "judge": judge_facts(profile)}) as journal:
        for job in jobs:
            record = found[job.key]
            if job.key not in journal.records and not record.error:
                journal.append(replace(record, judgement=Judgement("", unscored="not judged again yet")))
        jobs = [job for job in jobs if job.key in journal.records]
        if todo := unfinished(jobs, journal):
            _answer(profile, journal, todo, done=len(jobs) - len(todo), log_folder=arguments.out / "logs")
        asked = [arm for arm in arms if arm not in (*BASELINES, ORACLE)]
        report = build_report(items, journal.records, asked, seed=facts["sampling"]["seed"])
        print_report(report, Console(width=None if sys.stdout.isatty() else PIPE_WIDTH))
        write_scores(arguments.out / "scores.json", report, journal.facts)
        return _verdict_on(report, journal, jobs, items)


def _run_profile(arguments: argparse.Namespace) -> Profile:
    profile = load_profile(arguments.profile)
    if arguments.arms is not None:
        names = [name.strip() for name in arguments.arms.split(",") if name.strip()]
        if not names:
            raise UsageError(f"--arms is {arguments.arms!r}; name at least one of the profile's arms")
        profile = narrow(profile, names)
    if arguments.seed is not None:
        profile = replace(profile, sampling=replace(profile.sampling, seed=arguments.seed))
    return profile


def _check_taxonomy(config: SafetyConfig, profile: Profile) -> None:
    if config.taxonomy != profile.taxonomy:
        raise UsageError(
            f"config {config.id!r} is of taxonomy {config.taxonomy!r}, profile {profile.id!r} judges by "
            f"{profile.taxonomy!r}; choose a profile and a benchmark or config of one taxonomy"
        )


def _answer(profile: Profile, journal: Journal, todo: Sequence[Job], *, done: int, log_folder: Path) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Serving(profile, log_folder=log_folder) as serving:
        _wait_ready(serving, console)
        for warning in asyncio.run(attest_servers(serving, [server.id for server in profile.servers])):
            console.print(f"warning: {warning}", style="yellow", markup=False)
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            bar = progress.add_task("answers judged", total=done + len(todo), completed=done)
            asyncio.run(run_jobs(profile, serving, journal, todo, on_record=lambda _: progress.advance(bar)))


def _wait_ready(serving: Serving, console: Console) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with console.status("starting the model servers") as words:
        while time.monotonic() < deadline:
            waiting = [status for status in serving.status() if status.state in ("starting", "restarting")]
            if not waiting:
                break
            words.update("; ".join(f"server {status.id}: {status.detail}" for status in waiting))
            time.sleep(0.1)
    serving.wait_ready(0)


def _verdict_on(report: Sequence[SplitReport], journal: Journal, jobs: Sequence[Job], items: Sequence[Item]) -> int:
    """Say what is missing; 1 when responses are, or when an arm has no scored row at all."""
    errors = [journal.records[job.key].error for job in jobs if journal.records[job.key].error]
    unscored = [found for job in jobs if (found := journal.records[job.key].judgement.unscored) is not None]
    blank = [f"{arm} ({part.split})" for part in report for arm, found in part.arms.items() if not found.n]
    if unscored:
        _complain(f"{len(unscored)} of {len(jobs)} rows are unscored, the first because {unscored[0]}", 0)
    if errors:
        return _complain(
            f"{len(errors)} of {len(jobs)} responses missing; run the same command again to ask for them", 1
        )
    return _complain(f"nothing could be scored of {', '.join(blank)}", 1) if blank else 0


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
        score_report.print_scores(found, Console(width=None if sys.stdout.isatty() else PIPE_WIDTH))
    return 0


def chat_command(arguments: argparse.Namespace) -> int:
    """Ask one arm one thing; print the answer and its judgement. Returns the exit code."""
    profile = narrow(load_profile(arguments.profile), [arguments.arm])
    config = find_safety_config(arguments.config, profile.taxonomy)
    _check_taxonomy(config, profile)
    if profile.arms[0].filter is not None:
        raise UsageError(f"arm {arguments.arm!r} has a filter, which only `run` applies; ask an arm without one")
    if not arguments.prompt.strip():
        raise UsageError("the prompt is empty; write what to ask")
    # Kept when something fails: the message names the log in it.
    log_folder = Path(tempfile.mkdtemp(prefix="evaluation-chat-"))
    with Serving(profile, log_folder=log_folder) as serving:
        _wait_ready(serving, Console(stderr=True))
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
