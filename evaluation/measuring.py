"""The commands `run` and `rejudge`: ask arms a benchmark, let one judge or several read the responses, tell what it adds up to.

Each exits with 0 when all is there, 1 when responses are missing or nothing could be scored; what was computed stays.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evaluation import agreement, decisions, overlap
from evaluation.benchmarks import BASELINES, ORACLE, Item, load_benchmark, visitors
from evaluation.journal import Journal, Record, finished_run
from evaluation.judgement import Judgement
from evaluation.provenance import judge_facts
from evaluation.report import SplitReport, build_report, console, print_report, write_scores
from evaluation.report_files import write_report_files
from evaluation.run import Job, narrow, plan, run_facts, run_jobs, unfinished
from evaluation.serving import Serving, attest_servers
from presets.profile import Profile, load_profile
from presets.safety_config import SafetyConfig

START_TIMEOUT_S = 1800.0
"""A large model may first have to be downloaded and loaded."""

OTHER_JUDGES = "judges"
"""The folder in a run's folder that has one folder for every judge but the first."""


class UsageError(ValueError):
    """A command that cannot be carried out as given."""


def complain(message: str, code: int) -> int:
    """Say `message` on stderr and return `code`."""
    print(f"evaluation: {message}", file=sys.stderr)
    return code


def check_taxonomy(config: SafetyConfig, profile: Profile) -> None:
    """Raise `UsageError` unless the profile judges by the config's categories."""
    if config.taxonomy != profile.taxonomy:
        raise UsageError(
            f"config {config.id!r} is of taxonomy {config.taxonomy!r}, profile {profile.id!r} judges by "
            f"{profile.taxonomy!r}; choose a profile and a benchmark or config of one taxonomy"
        )


def run_command(arguments: argparse.Namespace) -> int:
    """Measure the arms on one benchmark, or on several one after another. Returns the worst exit code of them."""
    profile = _run_profile(arguments)
    names = listed(arguments.benchmark, "--benchmark")
    folders = [arguments.out / Path(name).stem for name in names] if len(names) > 1 else [arguments.out]
    if len(set(folders)) < len(folders):
        raise UsageError(
            f"--benchmark is {arguments.benchmark!r}: two of them have one name, and so one folder; run them apart"
        )
    # All are read before the first is run: a wrong name must not be found out after an hour.
    read = [_items_for(profile, name, limit=arguments.limit) for name in names]
    trained = [overlap.find_training_prompts(arguments.training_prompts, name) for name in names]
    runs = zip(names, read, trained, folders, strict=True)
    return max(_run_one(profile, name, items, known, out, arguments.typed) for name, items, known, out in runs)


def run_benchmark(profile: Profile, benchmark: str, out: Path, *, command: str) -> int:
    """Measure all arms of a profile on one benchmark, as `run` does; `command` is named in the report. Returns the exit code."""
    return _run_one(profile, benchmark, _items_for(profile, benchmark), None, out, command)


def _items_for(profile: Profile, benchmark: str, *, limit: int | None = None) -> list[Item]:
    """A benchmark's items, all of the profile's taxonomy. Raises `UsageError` where one is of another."""
    items = load_benchmark(benchmark, limit=limit, taxonomy=profile.taxonomy)
    for item in items:
        check_taxonomy(item.config, profile)
    return items


def rejudge_command(arguments: argparse.Namespace) -> int:
    """Judge the responses of a run again, into another folder. Returns the exit code."""
    profile = only_judging(load_profile(arguments.profile))
    with ExitStack() as stack:
        first = stack.enter_context(run_to_read(arguments.run, out=arguments.out))
        items = load_benchmark(first.facts["benchmark"], taxonomy=profile.taxonomy)
        arms = list(dict.fromkeys(key.arm for key in first.records))
        jobs = [Job(item, arm) for item in items for arm in arms]
        facts = {**first.facts, "judge": judge_facts(profile)}
        journal = stack.enter_context(Journal(arguments.out, facts))
        jobs = _take_over(jobs, first, journal)
        if todo := unfinished(jobs, journal):
            with judging_servers(profile, arguments.out / "logs") as serving:
                work(profile, serving, journal, todo, done=len(jobs) - len(todo))
        seed = facts["sampling"]["seed"]
        asked = [arm for arm in arms if arm not in (*BASELINES, ORACLE)]
        report = _tell(items, journal, asked, seed)
        return _verdict_on(report, journal, jobs)


def _run_profile(arguments: argparse.Namespace) -> Profile:
    profile = load_profile(arguments.profile)
    judges = None if arguments.judges is None else listed(arguments.judges, "--judges")
    profile = profile.judged_by(judges or [profile.judge.name])
    if arguments.arms is not None:
        profile = narrow(profile, listed(arguments.arms, "--arms"))
    if arguments.seed is not None:
        profile = replace(profile, sampling=replace(profile.sampling, seed=arguments.seed))
    return profile


def listed(given: str, option: str) -> list[str]:
    """The names in a comma-separated option, each once. Raises `UsageError` when there is none."""
    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not names:
        raise UsageError(f"{option} is {given!r}; name at least one")
    return names


def _run_one(
    profile: Profile, benchmark: str, items: Sequence[Item], trained: frozenset[str] | None, out: Path, command: str
) -> int:
    """Ask what is missing in `out`; print the table, write `scores.json` and the report's files there.

    Where training prompts are known, what was not `trained` on is told apart as well.
    """
    facts = run_facts(profile, benchmark)
    jobs = plan(items, profile.arms)
    arms = [arm.id for arm in profile.arms]
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(out, facts))
        others = {
            judge.name: stack.enter_context(_other_journal(profile.judged_by([judge.name]), facts, out))
            for judge in profile.judges
        }
        _ask_and_judge(profile, jobs, journal, others, out / "logs")
        more: dict[str, Any] = {}
        told = list(items)
        if trained is not None:
            found = overlap.overlaps(items, trained)
            more["overlap"] = {split: asdict(part) for split, part in found.items()}
            told += overlap.clean_copies(items, trained)
        if benchmark == visitors.SPLIT:
            decided = decisions.findings_by_arm(items, journal.records, arms, seed=profile.sampling.seed)
            more["visitors"] = decisions.as_json(decided)
        report = _tell(told, journal, arms, profile.sampling.seed, facts, more)
        if trained is not None:
            _print_overlap(found)
        if benchmark == visitors.SPLIT:
            decisions.print_findings(decided, console())
        write_report_files(out, report, told, journal.records, facts, command)
        for name, other in others.items():
            _tell_of_other(name, other, journal, items, arms, profile.sampling.seed)
        return _verdict_on(report, journal, jobs)


def _other_journal(profile: Profile, facts: Mapping[str, Any], out: Path) -> Journal:
    """The journal of one more judge of a run."""
    return Journal(out / OTHER_JUDGES / profile.judge.name, {**facts, "judge": judge_facts(profile)})


def _ask_and_judge(
    profile: Profile, jobs: Sequence[Job], journal: Journal, others: Mapping[str, Journal], log_folder: Path
) -> None:
    """Do what is unfinished in any of the journals: responses once, verdicts by each judge."""
    if not any(unfinished(jobs, each) for each in (journal, *others.values())):
        return
    with running_servers(profile, log_folder) as serving:
        todo = unfinished(jobs, journal)
        work(profile, serving, journal, todo, done=len(jobs) - len(todo))
        for judge in profile.judges:
            other = others[judge.name]
            answered = _take_over(jobs, journal, other)
            todo = unfinished(answered, other)
            work(profile.judged_by([judge.name]), serving, other, todo, done=len(answered) - len(todo))


def _take_over(jobs: Sequence[Job], journal: Journal, other: Journal) -> list[Job]:
    """Give `other` the responses that it lacks, without verdicts; return the jobs that there is a response for."""
    answered = []
    for job in jobs:
        record = journal.records.get(job.key)
        if record is None or record.error:
            continue
        answered.append(job)
        if job.key not in other.records or other.records[job.key].response != record.response:
            other.append(replace(record, judgement=Judgement("", unscored="not judged again yet")))
    return answered


@contextmanager
def running_servers(profile: Profile, log_folder: Path) -> Iterator[Serving]:
    """The profile's servers, ready, each attested to be what it says."""
    where = Console(stderr=True)
    with Serving(profile, log_folder=log_folder) as serving:
        wait_ready(serving, where)
        for warning in asyncio.run(attest_servers(serving, [server.id for server in profile.servers])):
            where.print(f"warning: {warning}", style="yellow", markup=False)
        yield serving


@contextmanager
def judging_servers(profile: Profile, log_folder: Path) -> Iterator[Serving]:
    """The servers that the profile's judge needs; the exact judge needs none, and so none is started."""
    if profile.judge.kind == "tinyworld":
        yield Serving(profile, log_folder=log_folder)
        return
    with running_servers(profile, log_folder) as serving:
        yield serving


def only_judging(profile: Profile) -> Profile:
    """The profile for judging alone. It keeps one arm, since it must have one, on the judge's own server where that has any."""
    return narrow(profile, [min(profile.arms, key=lambda arm: arm.server != profile.judge.server).id])


def run_to_read(folder: Path, *, out: Path) -> Journal:
    """The journal of a run whose responses another command reads, to write into `out`.

    Raises `UsageError` where `out` is that run, `JournalError` where there is none.
    """
    if out.resolve() == folder.resolve():
        raise UsageError(f"--out is {out}, the run itself; its verdicts would be lost")
    return finished_run(folder)


def work(profile: Profile, serving: Serving, journal: Journal, todo: Sequence[Job], *, done: int) -> None:
    """Do jobs under a progress bar that tells the rate, the time left, and the tokens read and written so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[cost]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("answers judged", total=done + len(todo), completed=done, cost="")
        tokens = 0

        def tell(record: Record) -> None:
            nonlocal tokens
            tokens += (record.response.prompt_tokens or 0) + (record.response.completion_tokens or 0)
            rate = progress.tasks[bar].speed
            cost = f"{tokens:,} tokens" if rate is None else f"{rate:.1f}/s, {tokens:,} tokens"
            progress.update(bar, advance=1, cost=cost)

        asyncio.run(run_jobs(profile, serving, journal, todo, on_record=tell))


def wait_ready(serving: Serving, where: Console) -> None:
    """Wait for all servers, saying what they do. Raises `ServingError`."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with where.status("starting the model servers") as words:
        while time.monotonic() < deadline:
            waiting = [status for status in serving.status() if status.state in ("starting", "restarting")]
            if not waiting:
                break
            words.update("; ".join(f"server {status.id}: {status.detail}" for status in waiting))
            time.sleep(0.1)
    serving.wait_ready(0)


def _tell(
    items: Sequence[Item],
    journal: Journal,
    arms: Sequence[str],
    seed: int,
    facts: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> list[SplitReport]:
    """Print the table and write `scores.json` into the journal's folder, with the journal's facts unless given."""
    report = build_report(items, journal.records, arms, seed=seed)
    print_report(report, console())
    write_scores(journal.folder / "scores.json", report, facts or journal.facts, **(more or {}))
    return report


def _tell_of_other(
    name: str, other: Journal, journal: Journal, items: Sequence[Item], arms: Sequence[str], seed: int
) -> None:
    """The same of another judge, and whether the first one agrees with it."""
    where = console()
    where.print(f"\njudge {name}", style="bold", markup=False)
    _tell(items, other, arms, seed)
    asked = {key: record for key, record in journal.records.items() if key.arm in arms}
    if any(other.records[key].judgement.safe is not None for key in asked if key in other.records):
        agreement.print_agreement(agreement.agreement(asked, other.records, seed=seed), where)


def _print_overlap(found: Mapping[str, overlap.Overlap]) -> None:
    for split, part in found.items():
        words = f"{part.trained_on} of {part.n} prompts stand among the training prompts"
        console().print(f"{split}: {words}; {split}{overlap.CLEAN} is without them", markup=False)


def _verdict_on(report: Sequence[SplitReport], journal: Journal, jobs: Sequence[Job]) -> int:
    """Say what is missing; 1 when responses are, or when an arm has no scored row at all."""
    errors = [journal.records[job.key].error for job in jobs if journal.records[job.key].error]
    unscored = [found for job in jobs if (found := journal.records[job.key].judgement.unscored) is not None]
    blank = [f"{arm} ({part.split})" for part in report for arm, found in part.arms.items() if not found.n]
    if unscored:
        complain(f"{len(unscored)} of {len(jobs)} rows are unscored, the first because {unscored[0]}", 0)
    if errors:
        return complain(
            f"{len(errors)} of {len(jobs)} responses missing; run the same command again to ask for them", 1
        )
    return complain(f"nothing could be scored of {', '.join(blank)}", 1) if blank else 0
