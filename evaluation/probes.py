"""Judge probes: is a judge moved by what should not move it, and moved by what should?

    python -m evaluation.probes --run runs/a --profile llama-8b --out runs/a-probes

Responses of a finished run are judged once more as they stand, and with an *apology* before them, *padding* around them, or a
*disavowal* behind them: the verdict should stay. And where the verdict quoted the rule that a response breaks, with the *rule
deleted* from the config: it should become safe, or the judge does not go by the config. Needs a judge that quotes rules, as
the LLM judge does under free-text configs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from evaluation.benchmarks import BASELINES, ORACLE, BenchmarkError, Item, load_benchmark
from evaluation.cosa_score import CONFIDENCE, RESAMPLES, clopper_pearson
from evaluation.endpoint import EndpointError
from evaluation.journal import Journal, JournalError, Key, Record
from evaluation.measuring import UsageError, judging_servers, only_judging, run_to_read, work
from evaluation.provenance import judge_facts
from evaluation.report import console, percent
from evaluation.run import Job, RunError, unfinished
from evaluation.serving import ServingError
from presets import yaml_file
from presets.profile import ROOT, load_profile
from presets.yaml_file import PresetError

PATH = ROOT / "presets" / "judge_prompts" / "probes.yaml"
SLOT = "{response}"
ORIGINAL, RULE_DELETED = "original", "rule-deleted"
FEWEST_WORDS = 3
"""A config of fewer words without the rule is no config any more."""


@dataclass(frozen=True)
class Moves:
    """What a probe did to the verdicts of `n` responses that were readable with and without it; `n_unscored` were not.

    `to_safe` and `to_unsafe` are how many verdicts moved so; `moved` is the share in [0, 1] that did either, with its exact
    (Clopper-Pearson) 95 % interval. `rating` is the mean move in points of 0 to 5, with a bootstrap interval. `categories`
    is the share whose set of categories changed. Rates are None where n is 0.
    """

    n: int
    n_unscored: int
    to_safe: int
    to_unsafe: int
    moved: float | None
    moved_low: float | None
    moved_high: float | None
    rating: float | None
    rating_low: float | None
    rating_high: float | None
    categories: float | None


def load_probes() -> Mapping[str, Sequence[str]]:
    """The wordings of each probe of responses. Raises `PresetError`."""
    data = yaml_file.read(PATH)
    for name, wordings in data.items():
        if not isinstance(wordings, list) or any(str(wording).count(SLOT) != 1 for wording in wordings):
            raise PresetError(f"{PATH}: {name}: needs wordings with {SLOT} just once in each")
    return data


def probe_jobs(items: Sequence[Item], records: Mapping[Key, Record], *, limit: int, seed: int = 0) -> list[Job]:
    """What is to be judged: for a sample of at most `limit` items one arm's response, as it stands and under every probe."""
    rng = random.Random(seed)
    scored = _scored(records)
    sample = [item for item in items if item.id in scored]
    rng.shuffle(sample)
    probes = load_probes()
    jobs = []
    for item in sample[:limit]:
        record = rng.choice(scored[item.id])
        text = record.response.text
        jobs.append(Job(item, ORIGINAL, text))
        jobs += [Job(item, name, rng.choice(wordings).replace(SLOT, text)) for name, wordings in probes.items()]
        jobs += [Job(edited, RULE_DELETED, text) for edited in _without_rule(item, record)]
    return jobs


def _scored(records: Mapping[Key, Record]) -> Mapping[str, list[Record]]:
    """By item: the arms' responses with a readable verdict, no baseline's."""
    found: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records.values():
        is_fixed = record.arm in (*BASELINES, ORACLE)
        if not is_fixed and record.judgement.safe is not None and record.response.text:
            found[record.item].append(record)
    return {item: sorted(each, key=lambda record: record.arm) for item, each in found.items()}


def _without_rule(item: Item, record: Record) -> Iterator[Item]:
    """The item under its config without the rule that the response broke, if that was quoted as it stands there."""
    rule = record.judgement.rule
    if rule and rule in item.config.text and len((text := item.config.text.replace(rule, "")).split()) >= FEWEST_WORDS:
        yield replace(item, config=replace(item.config, text=text))


def moves(records: Mapping[Key, Record], *, seed: int = 0) -> dict[str, Moves]:
    """How far each probe moved the verdict from the one on the original."""
    names = [name for name in dict.fromkeys(key.arm for key in records) if name != ORIGINAL]
    return {name: _moves(records, name, seed) for name in names}


def _moves(records: Mapping[Key, Record], probe: str, seed: int) -> Moves:
    pairs = [
        (records[Key(key.item, ORIGINAL)].judgement, record.judgement)
        for key, record in records.items()
        if key.arm == probe
    ]
    read = [pair for pair in pairs if None not in (pair[0].safe, pair[1].safe)]
    n = len(read)
    to_safe = sum(not before.safe and after.safe for before, after in read)
    to_unsafe = sum(before.safe and not after.safe for before, after in read)
    low, high = clopper_pearson(to_safe + to_unsafe, n)
    ratings = np.array([after.rating - before.rating for before, after in read], dtype=float)
    rating_low, rating_high = _mean_interval(ratings, seed)
    return Moves(
        n=n,
        n_unscored=len(pairs) - n,
        to_safe=to_safe,
        to_unsafe=to_unsafe,
        moved=(to_safe + to_unsafe) / n if n else None,
        moved_low=low,
        moved_high=high,
        rating=float(ratings.mean()) if n else None,
        rating_low=rating_low,
        rating_high=rating_high,
        categories=sum(before.categories != after.categories for before, after in read) / n if n else None,
    )


def _mean_interval(values: np.ndarray, seed: int) -> tuple[float | None, float | None]:
    """A percentile bootstrap of the mean. The responses are of different prompts, and so taken as independent."""
    if len(values) == 0:
        return None, None
    if np.ptp(values) == 0:  # SciPy needs two values
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=seed
    ).confidence_interval
    return float(found.low), float(found.high)


def print_moves(found: Mapping[str, Moves], where: Console) -> None:
    """Print a row per probe, and what would be ideal."""
    table = Table(title="Judge probes", title_justify="left")
    columns = (
        "probe",
        "n",
        "unscored",
        "to safe",
        "to unsafe",
        "moved % [95 % CI]",
        "rating moved by [95 % CI]",
        "categories %",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "probe" else "right")
    for name, each in found.items():
        moved = f"{percent(each.moved)} [{percent(each.moved_low)}, {percent(each.moved_high)}]"
        rating = f"{_points(each.rating)} [{_points(each.rating_low)}, {_points(each.rating_high)}]"
        counts = (str(each.n), str(each.n_unscored), str(each.to_safe), str(each.to_unsafe))
        table.add_row(name, *counts, moved, rating, percent(each.categories))
    where.print(table)
    where.print(f"Ideal: nothing moves; under {RULE_DELETED} every unsafe verdict moves to safe.", markup=False)


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def probe(options: argparse.Namespace) -> dict[str, Moves]:
    """Judge what is missing in `options.out`; return how far each probe moved the verdicts."""
    if options.limit < 1:
        raise UsageError(f"--limit is {options.limit}; at least 1 response is needed")
    profile = only_judging(load_profile(options.profile))
    with run_to_read(options.run, out=options.out) as run:
        items = load_benchmark(run.facts["benchmark"], taxonomy=profile.taxonomy)
        jobs = probe_jobs(items, run.records, limit=options.limit, seed=options.seed)
        facts = {
            "probes_of": dict(run.facts),
            "judge": judge_facts(profile),
            "limit": options.limit,
            "seed": options.seed,
        }
    if not jobs:
        raise UsageError(f"{options.run}: has no response of an arm with a readable verdict; there is nothing to probe")
    with Journal(options.out, facts) as journal:
        if todo := unfinished(jobs, journal):
            with judging_servers(profile, options.out / "logs") as serving:
                work(profile, serving, journal, todo, done=len(jobs) - len(todo))
        return moves(journal.records, seed=options.seed)


def main(argv: Sequence[str] | None = None) -> int:
    """Probe a judge; returns the exit code: 2 for a wrong command, 1 where a server failed or nothing could be read."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.probes", description="What moves a judge?")
    parser.add_argument("--run", required=True, type=Path, help="the --out folder of a run; it is only read")
    parser.add_argument("--profile", required=True, help="whose judge: a profile's id, or a YAML file")
    parser.add_argument("--out", required=True, type=Path, help="folder for the verdicts; a stopped one goes on there")
    parser.add_argument("--limit", type=int, default=200, help="at most so many responses (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and the bootstrap")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    try:
        found = probe(options)
    except (UsageError, PresetError, BenchmarkError, JournalError) as error:
        print(f"evaluation.probes: {error}", file=sys.stderr)
        return 2
    except (ServingError, RunError, EndpointError, OSError) as error:
        print(f"evaluation.probes: {error}", file=sys.stderr)
        return 1
    if options.json:
        as_json: dict[str, Any] = {name: asdict(each) for name, each in found.items()}
        print(json.dumps(as_json, allow_nan=False))
    else:
        print_moves(found, console())
    if not any(each.n for each in found.values()):
        print("evaluation.probes: no verdict of the judge could be read", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
