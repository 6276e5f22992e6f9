"""What the page adds to its servers: each prompt of the profile's examples, asked every way in turn, many times over."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import browser
from benchmarks.over_http import OverHttp, open_over_http, served_page
from benchmarks.report import OnStep, Report, cell
from benchmarks.spread import MeasurementError, Spread, differences, in_turn, ratios, spread
from benchmarks.ways import Layer, Timing, Way, open_direct, settled
from evaluation.judge import open_judge
from evaluation.provenance import Provenance
from evaluation.serving import Serving
from evaluation.store import Store
from playground.answering import Answering
from presets.profile import Profile
from presets.safety_config import SafetyConfig, load_safety_configs

MAX_RATIO = 1.10
MAX_ADDED_MS = 150.0
"""What the page may add to the time of all answers, and to the first token."""

JUDGED = {
    OverHttp.name: "What the app adds",
    browser.Browser.name: "What a visitor sees whose browser shares these cores",
}
"""The ways that are held against the limits, and what each stands for."""

Samples = Mapping[str, Sequence[Sequence[Timing]]]
"""For each way's name: for each repeat, one timing per prompt. The first way is the baseline."""


@dataclass(frozen=True)
class Cost:
    """One way's figures over the repeats, and what they are beside the baseline's of the same repeat.

    First token and first text are means over the prompts; `total_s` and `judged_s` are sums over them, as is `tokens`.
    None stands for what a way does not have.
    """

    first_token_ms: Spread
    added_ms: Spread
    first_text_ms: Spread | None
    total_s: Spread
    ratio: Spread
    judged_s: Spread | None
    tokens: Spread


async def measure(
    serving: Serving, *, records: Profile, folder: Path, repeats: int, with_browser: bool, on_step: OnStep
) -> Report:
    """The report on `serving.profile`; `records` is the profile whose arms stand in the store as what answered.

    Raises `MeasurementError` when an arm fails or there is nothing to ask.
    """
    profile = serving.profile
    if not profile.examples:
        raise MeasurementError(f"profile {profile.id!r} has no examples; the page benchmark asks them, so add some")
    config = default_config(profile)
    notes = [] if with_browser else ["Without a browser: what a visitor sees was not measured."]
    if with_browser and (lack := browser.missing()):
        notes, with_browser = [f"What a visitor sees was not measured: {lack}."], False
    with Store(folder / "page.sqlite3") as store:
        answering = Answering(
            profile, serving, partial(open_judge, profile, serving), store, provenance=Provenance(records)
        )
        async with open_ways(answering, serving, config, store, with_browser=with_browser) as ways:
            notes += [f"Warning: {words}" for words in await settled(answering)]
            samples = await collect(ways, profile.examples, repeats, on_step)
    return report(samples, profile, config, notes)


def default_config(profile: Profile) -> SafetyConfig:
    """The config that the page shows first. Raises `MeasurementError` when there is none."""
    configs = load_safety_configs(profile.taxonomy)
    if not configs:
        raise MeasurementError(f"taxonomy {profile.taxonomy!r} has no ready-made safety config to ask under; add one")
    return configs.get(profile.default_config or "") or next(iter(configs.values()))


@asynccontextmanager
async def open_ways(
    answering: Answering, serving: Serving, config: SafetyConfig, store: Store, *, with_browser: bool
) -> AsyncIterator[list[Way]]:
    """Every way, the baseline first, each with a layer more than the one before it."""
    async with AsyncExitStack() as opened:
        opened.push_async_callback(answering.close)
        direct = await opened.enter_async_context(open_direct(serving.profile, serving, config))
        ways: list[Way] = [direct, *(Layer(answering, config, judges=judges) for judges in (False, True))]
        address = await opened.enter_async_context(served_page(serving, store))
        ways.append(await opened.enter_async_context(open_over_http(address)))
        if with_browser:
            ways.append(await opened.enter_async_context(browser.open_browser(address)))
        yield ways


async def collect(ways: Sequence[Way], prompts: Sequence[str], repeats: int, on_step: OnStep) -> Samples:
    """Each way's timings, after one untimed round that fills every cache alike; neighbours swap from turn to turn."""
    samples: dict[str, list[list[Timing]]] = {way.name: [] for way in ways}
    for repeat in range(-1, repeats):
        timings: dict[str, list[Timing]] = {way.name: [] for way in ways}
        for index, prompt in enumerate(prompts):
            for way in in_turn(ways, repeat + index):
                timings[way.name].append(await way.ask(prompt))
            on_step((repeat + 1) * len(prompts) + index + 1, (repeats + 1) * len(prompts))
        for name, found in timings.items():
            if repeat >= 0:
                samples[name].append(found)
    return samples


def costs(samples: Samples) -> dict[str, Cost]:
    """Each way's cost beside the first way's."""
    baseline = next(iter(samples.values()))
    return {name: _cost(timings, baseline) for name, timings in samples.items()}


def _cost(timings: Sequence[Sequence[Timing]], baseline: Sequence[Sequence[Timing]]) -> Cost:
    first, base_first = (_means_ms(each, lambda one: one.first_token_s) for each in (timings, baseline))
    total, base_total = ([sum(one.complete_s for one in repeat) for repeat in each] for each in (timings, baseline))
    are_judged = all(one.judged_s is not None for repeat in timings for one in repeat)
    have_text = all(one.first_text_s is not None for repeat in timings for one in repeat)
    return Cost(
        first_token_ms=spread(first),
        added_ms=spread(differences(first, base_first)),
        first_text_ms=spread(_means_ms(timings, lambda one: one.first_text_s or 0.0)) if have_text else None,
        total_s=spread(total),
        ratio=spread(ratios(total, base_total)),
        judged_s=spread([sum(one.judged_s or 0.0 for one in repeat) for repeat in timings]) if are_judged else None,
        tokens=spread([float(sum(one.tokens for one in repeat)) for repeat in timings]),
    )


def _means_ms(timings: Sequence[Sequence[Timing]], pick: Callable[[Timing], float]) -> list[float]:
    return [1000 * statistics.fmean(pick(one) for one in repeat) for repeat in timings]


def report(samples: Samples, profile: Profile, config: SafetyConfig, notes: Sequence[str]) -> Report:
    """The table of every way's cost, and whether what the app adds, and what a visitor sees, keep to their limits."""
    found = costs(samples)
    verdicts = {way: _verdict(found[way]) for way in JUDGED if way in found}
    explained = "Medians [quartiles] over the repeats; ratio and added time are taken within each repeat."
    if len({each.tokens for each in found.values()}) > 1:
        explained += " The ways generated different numbers of tokens: their totals are not for the same work."
    return Report(
        name="page",
        title=f"The page beside direct calls: {len(profile.page_arms)} arms at once, {len(profile.examples)} prompts",
        columns=("way", "first token, ms", "added, ms", "first text, ms", "total, s", "ratio", "judged, s", "tokens"),
        rows=tuple((way, *_cells(each)) for way, each in found.items()),
        notes=(explained, *(f"{JUDGED[way]}, {way}: {words}" for way, (words, _) in verdicts.items()), *notes),
        data={
            "config": config.id,
            "prompts": list(profile.examples),
            "limits": {"ratio": MAX_RATIO, "added_ms": MAX_ADDED_MS},
            "kept": {way: kept for way, (_, kept) in verdicts.items()},
            "ways": {way: asdict(each) for way, each in found.items()},
            "samples": _raw(samples),
        },
    )


def _verdict(cost: Cost) -> tuple[str, dict[str, bool]]:
    """Whether the cost keeps to each limit, in words and by the limit's name."""
    kept = {"ratio": cost.ratio.median <= MAX_RATIO, "added_ms": cost.added_ms.median <= MAX_ADDED_MS}
    ratio, added = ("kept" if is_kept else "MISSED" for is_kept in kept.values())
    words = (
        f"{cost.ratio.median:.3f} times the direct calls' total (at most {MAX_RATIO:g}: {ratio}), "
        f"first token {cost.added_ms.median:+.0f} ms (at most {MAX_ADDED_MS:+g}: {added})."
    )
    return words, kept


def _cells(cost: Cost) -> tuple[str, ...]:
    return (
        cell(cost.first_token_ms),
        cell(cost.added_ms, sign=True),
        cell(cost.first_text_ms),
        cell(cost.total_s, 2),
        cell(cost.ratio, 3),
        cell(cost.judged_s, 2),
        f"{cost.tokens.median:.0f}",
    )


def _raw(samples: Samples) -> dict[str, list[list[dict[str, Any]]]]:
    return {way: [[asdict(one) for one in repeat] for repeat in repeats] for way, repeats in samples.items()}
