"""What a benchmark run costs on its way: tokens a second of `evaluation run`, of a bare load, and of one request at a time."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import openai

from benchmarks.report import OnStep, Report, cell
from benchmarks.spread import MeasurementError, in_turn, ratios, spread
from benchmarks.ways import open_client
from evaluation.benchmarks import Item, load_benchmark
from evaluation.journal import Journal
from evaluation.run import Job, narrow, run_facts, run_jobs
from evaluation.serving import Serving
from evaluation.workers import CONCURRENCY
from presets.profile import Profile

BENCHMARK = "tinyworld"
REQUESTS = 128
"""Of each repeat: four times as many as are under way at once, so that filling up and running dry are a small part."""
SINGLE = 16
"""How many of them are asked one at a time."""
RUN, BARE, ONE = "evaluation run", "bare load", "one at a time"
FASTER, SHARE = 3.0, 0.9
"""What is wanted: so many times the speed of one at a time, and this share of the bare load's."""

Rates = Mapping[str, Sequence[float]]
"""For each way, tokens a second, one value per repeat."""


async def measure(serving: Serving, *, folder: Path, repeats: int, on_step: OnStep) -> Report:
    """The report on the first arm of the profile's page that sees the config. Raises `MeasurementError`."""
    whole = serving.profile
    arm = next((arm for arm in whole.arms if arm.shows_config and arm.filter is None), None)
    if arm is None:
        raise MeasurementError(f"profile {whole.id!r} has no arm that sees a config; add one to ask")
    profile = narrow(whole, [arm.id])
    items = load_benchmark(BENCHMARK)
    async with open_client(serving, profile.server(arm.server)) as client:
        rates: dict[str, list[float]] = {RUN: [], BARE: [], ONE: []}
        for repeat in range(repeats):
            drawn = [items[(repeat * REQUESTS + place) % len(items)] for place in range(REQUESTS)]
            await _bare(client, profile, drawn)  # untimed: whoever came first would pay for the prompts alone
            ways: dict[str, Callable[[], Awaitable[float]]] = {
                RUN: lambda drawn=drawn, repeat=repeat: _run(serving, profile, drawn, folder / f"run-{repeat}"),
                BARE: lambda drawn=drawn: _bare(client, profile, drawn),
                ONE: lambda drawn=drawn: _bare(client, profile, drawn[:SINGLE], concurrency=1),
            }
            for name in in_turn(list(ways), repeat):
                rates[name].append(await ways[name]())
            on_step(repeat + 1, repeats)
    return report(rates)


async def _run(serving: Serving, profile: Profile, items: Sequence[Item], folder: Path) -> float:
    """The run as people start it: every response judged and written down."""
    with Journal(folder, run_facts(profile, BENCHMARK)) as journal:
        jobs = [Job(item, profile.arms[0].id) for item in items]
        started = time.perf_counter()
        await run_jobs(profile, serving, journal, jobs)
        seconds = time.perf_counter() - started
        return _rate([record.response.completion_tokens for record in journal.records.values()], seconds)


async def _bare(
    client: openai.AsyncOpenAI, profile: Profile, items: Sequence[Item], *, concurrency: int = CONCURRENCY
) -> float:
    """The same requests by the plain client, so many at once, with nothing done with the answers."""
    arm, queue = profile.arms[0], iter(items)
    tokens: list[int | None] = []

    async def work() -> None:
        for item in queue:
            messages = arm.messages(item.config, item.history, item.prompt)
            completion = await client.chat.completions.create(
                model=arm.model, messages=messages, **dataclasses.asdict(profile.sampling)
            )
            tokens.append(completion.usage.completion_tokens if completion.usage else None)

    started = time.perf_counter()
    try:
        await asyncio.gather(*(work() for _ in range(concurrency)))
    except openai.OpenAIError as error:
        raise MeasurementError(f"model {arm.model!r} did not answer a direct call: {error}") from error
    return _rate(tokens, time.perf_counter() - started)


def _rate(tokens: Sequence[int | None], seconds: float) -> float:
    counted = [count for count in tokens if count is not None]
    if len(counted) < len(tokens) or not sum(counted):
        raise MeasurementError("the server counts no tokens, so there is no speed to compare")
    return sum(counted) / seconds


def report(rates: Rates) -> Report:
    """The table of tokens a second, and whether the run is as fast as wanted."""
    share, faster = spread(ratios(rates[RUN], rates[BARE])), spread(ratios(rates[RUN], rates[ONE]))
    kept = {f"{SHARE:.0%} of the bare load": share.median >= SHARE, f"{FASTER:g} x one": faster.median >= FASTER}
    rows = [(name, cell(spread(found)), cell(spread(ratios(rates[RUN], found)), 2)) for name, found in rates.items()]
    return Report(
        name="running",
        title="A benchmark run, judged and written down, beside the same requests bare",
        columns=("way", "tokens/s", "the run is so many times as fast"),
        rows=tuple(rows),
        notes=(
            f"Medians [quartiles]; {REQUESTS} requests a repeat, {CONCURRENCY} at once; {SINGLE} of them one at a time.",
            "; ".join(f"at least {limit}: {'kept' if is_kept else 'MISSED'}" for limit, is_kept in kept.items()),
        ),
        data={"ratio_to_bare": dataclasses.asdict(share), "ratio_to_one": dataclasses.asdict(faster), "samples": rates},
    )
