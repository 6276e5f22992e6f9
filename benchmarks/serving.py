"""What an adapter costs on its server: tokens a second of base and adapter, one stream alone and many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice, product

import openai

from benchmarks.report import OnStep, Report, cell
from benchmarks.spread import MeasurementError, in_turn, ratios, spread
from benchmarks.ways import open_client, stream_once
from evaluation.serving import Serving
from presets.arm import Message
from presets.profile import Profile, Server
from presets.safety_config import load_safety_configs, render_system_prompt

STREAMS = (1, 32)
"""How many answers at once: one visitor's single answer, and as many as a CPU server takes in at a time."""

TOKENS = 128
"""The length of every answer. The end of an answer is ignored, so that both models do the same work."""

Rates = Mapping[str, Mapping[int, Sequence[float]]]
"""For each model's name and number of streams: tokens a second, one value per repeat. The first model is the base."""


@dataclass(frozen=True)
class Load:
    """What a server is asked, again and again: `conversations` in this order, on a client of its own."""

    client: openai.AsyncOpenAI
    profile: Profile
    conversations: Sequence[Sequence[Message]]

    async def rate(self, model: str, streams: int, *, skip: int = 0) -> float:
        """Tokens a second of so many answers at once, from sending to the last token; prompts are part of the time."""
        chosen = islice(cycle(self.conversations), skip, skip + streams)
        sampling = replace(self.profile.sampling, max_tokens=TOKENS)
        started = time.perf_counter()
        answers = [
            stream_once(self.client, model, messages, sampling=sampling, started=started, extra={"ignore_eos": True})
            for messages in chosen
        ]
        timings = await asyncio.gather(*answers)
        if wrong := [timing.tokens for timing in timings if timing.tokens != TOKENS]:
            raise MeasurementError(
                f"model {model!r} made {wrong[0]} tokens and was to make {TOKENS}; is its context full?"
            )
        return sum(timing.tokens for timing in timings) / max(timing.complete_s for timing in timings)


async def measure(serving: Serving, *, server: Server, repeats: int, on_step: OnStep) -> Report:
    """The report on `server`, whose names are asked at its address in `serving`.

    Raises `MeasurementError` when it has no adapter, or fails.
    """
    if not server.adapters:
        raise MeasurementError(
            f"server {server.id!r} has no adapter of ours, so there is nothing to set beside its base"
        )
    names = (server.served_name, *server.adapters)
    async with open_client(serving, serving.profile.server(server.id)) as client:
        load = Load(client, serving.profile, conversations(serving.profile))
        rates = await collect(load, names, repeats, on_step)
    return report(rates, server)


def conversations(profile: Profile) -> list[list[Message]]:
    """Every ready-made config with every example prompt, so that requests at once are different ones."""
    configs = load_safety_configs(profile.taxonomy).values()
    pairs = product(profile.examples, map(render_system_prompt, configs))
    found = [[Message(role="system", content=system), Message(role="user", content=words)] for words, system in pairs]
    if not found:
        raise MeasurementError(f"profile {profile.id!r} has no examples, or its taxonomy no configs; add some to ask")
    return found


async def collect(load: Load, names: Sequence[str], repeats: int, on_step: OnStep) -> Rates:
    """Each model's rates, after one untimed round; the models swap places from repeat to repeat."""
    rates: dict[str, dict[int, list[float]]] = {name: {streams: [] for streams in STREAMS} for name in names}
    for repeat in range(-1, repeats):
        for streams in STREAMS:
            for name in in_turn(names, repeat):
                rate = await load.rate(name, streams, skip=max(repeat, 0) * streams)
                if repeat >= 0:
                    rates[name][streams].append(rate)
        on_step(repeat + 2, repeats + 1)
    return rates


def report(rates: Rates, server: Server) -> Report:
    """The table of tokens a second, and each adapter's share of the base model's."""
    base = rates[server.served_name]
    figures = {name: {streams: spread(found) for streams, found in each.items()} for name, each in rates.items()}
    shares = {
        name: {streams: spread(ratios(found, base[streams])) for streams, found in each.items()}
        for name, each in rates.items()
    }
    heads = [head for streams in STREAMS for head in (f"{streams} at once, tokens/s", "ratio")]
    rows = [
        (name, *(text for s in STREAMS for text in (cell(figures[name][s]), cell(shares[name][s], 3))))
        for name in rates
    ]
    return Report(
        name=f"serving-{server.id}",
        title=f"Base and adapters on server {server.id}",
        columns=("model", *heads),
        rows=tuple(rows),
        notes=(
            f"Medians [quartiles]; every answer runs to {TOKENS} tokens. The ratio is adapter to base, per repeat.",
        ),
        data={
            "tokens": TOKENS,
            "models": {
                name: {
                    str(s): {"tokens_per_s": asdict(figures[name][s]), "ratio": asdict(shares[name][s])}
                    for s in STREAMS
                }
                for name in rates
            },
            "samples": {name: {str(s): list(found) for s, found in each.items()} for name, each in rates.items()},
        },
    )
