"""A run's rows as log files of Inspect, the evaluation framework of the UK's AI Security Institute, one file per arm.

    python -m evaluation.inspect_log --run runs/a --out runs/a/inspect
    inspect view --log-dir runs/a/inspect

Needs the package inspect-ai, which nothing else here does. Source: https://inspect.aisi.org.uk/eval-logs.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.benchmarks import BASELINES, BenchmarkError, Item, load_benchmark
from evaluation.cosa_score import score
from evaluation.journal import JUDGEMENTS, JournalError, Key, Record, finished_run
from presets.safety_config import render_system_prompt
from presets.yaml_file import PresetError

try:
    from inspect_ai import log, model, scorer
except ModuleNotFoundError:
    log = model = scorer = None

SCORER = "cosa"
"""The scorer's name in the logs; its value is a row's h * s, in [-1, 1]."""


class NoInspectError(RuntimeError):
    """Inspect is not installed. The message says how to install it."""


def write_inspect_logs(
    folder: Path, items: Sequence[Item], records: Mapping[Key, Record], facts: Mapping[str, Any], made: datetime
) -> list[Path]:
    """Write `<arm>.json` into `folder` for every arm, baselines left out; return the files.

    `facts` are the run's, `made` is when its rows were: the same run gives the same bytes. Raises `NoInspectError`.
    """
    if log is None:
        raise NoInspectError("inspect-ai is not installed; run `.venv/bin/python -m pip install inspect-ai`")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for arm in dict.fromkeys(key.arm for key in records if key.arm not in BASELINES and key.arm in facts["arms"]):
        mine = [(item, records[key]) for item in items if (key := Key(item.id, arm)) in records]
        written.append(folder / f"{arm}.json")
        log.write_eval_log(_arm_log(arm, mine, facts, made), str(written[-1]))
    return written


def _arm_log(arm: str, mine: Sequence[tuple[Item, Record]], facts: Mapping[str, Any], made: datetime) -> log.EvalLog:
    when = made.isoformat()
    asked = facts["arms"][arm]
    name = f"{facts['profile']}/{asked['model']}"
    samples = [_sample(item, record, name, asked["shows_config"]) for item, record in mine]
    return log.EvalLog(
        status="error" if any(record.error for _, record in mine) else "success",
        eval=log.EvalSpec(
            eval_id=arm,
            run_id=facts["profile"],
            created=when,
            task=facts["benchmark"],
            task_id=facts["benchmark"],
            dataset=log.EvalDataset(name=facts["benchmark"], samples=len(samples)),
            model=name,
            model_generate_config=model.GenerateConfig(**_sampling(facts["sampling"])),
            config=log.EvalConfig(),
            metadata={"arm": arm, **facts},
        ),
        plan=log.EvalPlan(),
        results=_results(mine),
        stats=log.EvalStats(started_at=when, completed_at=when),
        samples=samples,
    )


def _sampling(sampling: Mapping[str, Any]) -> dict[str, Any]:
    names = ("temperature", "top_p", "max_tokens", "seed")
    return {name: sampling[name] for name in names if name in sampling}


def _results(mine: Sequence[tuple[Item, Record]]) -> log.EvalResults:
    found = score([record.row(item) for item, record in mine])
    shown = ("cosa_score", "helpful_safe", "helpful_unsafe", "n", "n_unscored")
    metrics = {each: getattr(found, each) for each in shown}
    told = {each: log.EvalMetric(name=each, value=value) for each, value in metrics.items() if value is not None}
    return log.EvalResults(
        total_samples=len(mine),
        completed_samples=sum(not record.error for _, record in mine),
        scores=[log.EvalScore(name=SCORER, scorer=SCORER, metrics=told)],
    )


def _sample(item: Item, record: Record, name: str, shows_config: bool) -> log.EvalSample:
    """Of a row without a response only the error is told; an unscored one has no score, and its reason as metadata."""
    said = [model.ChatMessageSystem(content=render_system_prompt(item.config))] if shows_config else []
    kinds = {"user": model.ChatMessageUser, "assistant": model.ChatMessageAssistant}
    said += [kinds[message["role"]](content=message["content"]) for message in item.history]
    said.append(model.ChatMessageUser(content=item.prompt))
    response = record.response
    output = model.ModelOutput.from_content(name, response.text)
    for number, message in enumerate((*said, output.message)):
        message.id = f"{item.id}-{number}"  # drawn at random otherwise: the same run would give other bytes
    output.usage = _usage(record)
    output.time = response.duration_s
    return log.EvalSample(
        id=item.id,
        epoch=1,
        input=said,
        target="",
        output=output,
        messages=[*said, output.message],
        scores=_scores(item, record),
        metadata={
            "split": item.split,
            "config": item.config.id,
            "allowed": None if item.config.allowed is None else sorted(item.config.allowed),
            "situation": item.situation,
            "cluster": item.cluster,
            "thinking": response.thinking,
            "unscored": record.judgement.unscored,
            "error": record.error,
        },
    )


def _usage(record: Record) -> model.ModelUsage | None:
    read, written = record.response.prompt_tokens, record.response.completion_tokens
    if read is None or written is None:
        return None
    return model.ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _scores(item: Item, record: Record) -> dict[str, scorer.Score]:
    judgement = record.judgement
    value = record.row(item).value
    if value is None:
        return {}
    told = {
        "judge": judgement.judge,
        "rating": judgement.rating,
        "categories": sorted(judgement.categories or ()),
        "safe": judgement.safe,
        "rule": judgement.rule,
    }
    words = judgement.reason or None
    return {SCORER: scorer.Score(value=value, answer=record.response.text, explanation=words, metadata=told)}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the logs of a finished run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.inspect_log", description="A run as Inspect's logs.")
    parser.add_argument("--run", required=True, type=Path, help="the --out folder of a run; it is only read")
    parser.add_argument("--out", required=True, type=Path, help="folder for the logs, one file per arm")
    options = parser.parse_args(argv)
    try:
        with finished_run(options.run) as journal:
            facts = journal.facts
            items = load_benchmark(facts["benchmark"], taxonomy=facts.get("taxonomy", ""))
            made = datetime.fromtimestamp((options.run / JUDGEMENTS).stat().st_mtime, UTC)
            written = write_inspect_logs(options.out, items, journal.records, facts, made)
    except (NoInspectError, JournalError, BenchmarkError, PresetError, OSError) as error:
        print(f"evaluation.inspect_log: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
