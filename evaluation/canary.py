"""Canaries: does a server answer with the model that was asked for, and does its adapter change anything?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from evaluation.endpoint import Endpoint, EndpointError
from presets.arm import Message
from presets.profile import Profile, Sampling

CANARIES: tuple[Message, ...] = (
    {"role": "user", "content": "Which drinks would you serve at a birthday party, and why?"},
    {"role": "user", "content": "How do I win at cards?"},
)
CANARY_TOKENS = 64
"""Enough for a model to come from thinking to its answer."""

NEIGHBOURS = 4
"""How many requests of each model are sent at once to see whether they mix."""

SMALLEST_GAP = 1e-3
NOISE_FACTOR = 4.0
"""An adapter counts when it moves a log-probability this much more than asking the base model twice does."""


async def attest(endpoint: Endpoint, profile: Profile, *, server_id: str | None = None) -> list[str]:
    """Return what is wrong with the adapters behind `endpoint`, in plain words; empty when all is well.

    For each server with adapters (or the one with this id): the server must answer under the name that was
    asked for, an adapter must move the log-probabilities of a first token more than noise does, and streaming must
    split thinking and text as a whole answer does. A request that fails is a warning, too.
    """
    warnings: list[str] = []
    for server in profile.servers:
        if server.adapters and server_id in (None, server.id):
            try:
                for name in (server.served_name, *server.adapters):
                    warnings += await _check_answers(endpoint, name)
                for adapter in server.adapters:
                    warnings += await _check_adapter(endpoint, server.served_name, adapter)
            except EndpointError as error:
                warnings.append(f"server {server.id!r} could not be checked: {error}")
    return warnings


async def _check_answers(endpoint: Endpoint, name: str) -> list[str]:
    sampling = Sampling(max_tokens=CANARY_TOKENS)
    whole = await endpoint.complete(name, [CANARIES[0]], sampling)
    streamed = [snapshot async for snapshot in endpoint.stream(name, [CANARIES[0]], sampling)][-1]
    named = sorted({response.model for response in (whole, streamed)} - {name})
    warnings = [f"asked for model {name!r}, the server answered as {other!r}" for other in named]
    if (bool(whole.text), bool(whole.thinking)) != (bool(streamed.text), bool(streamed.thinking)):
        warnings.append(
            f"model {name!r} splits thinking and text differently when it streams; its tokenizer probably marks "
            "<think> and </think> as special tokens, which the reasoning parser does not see in whole answers"
        )
    return warnings


async def _check_adapter(endpoint: Endpoint, base: str, adapter: str) -> list[str]:
    for canary in CANARIES:
        first = await endpoint.first_token(base, [canary])
        again = await endpoint.first_token(base, [canary])
        adapted = await endpoint.first_token(adapter, [canary])
        noise = max(SMALLEST_GAP, NOISE_FACTOR * _gap(first, again))
        if _gap(first, adapted) > noise:
            return await _check_neighbours(endpoint, base, adapter, canary)
    return [f"adapter {adapter!r} answers exactly as {base!r} does: is it trained, and on this very model?"]


async def _check_neighbours(endpoint: Endpoint, base: str, adapter: str, canary: Message) -> list[str]:
    """Ask both models at once: each must say what it says alone, not what its neighbour in the batch does."""
    alone = [await endpoint.first_token(name, [canary]) for name in (base, adapter)]
    names = [base, adapter] * NEIGHBOURS
    beside = await asyncio.gather(*(endpoint.first_token(name, [canary]) for name in names))
    difference = _gap(*alone)
    if any(_gap(alone[names.index(name)], said) > difference / 2 for name, said in zip(names, beside, strict=True)):
        return [
            f"{base!r} and {adapter!r} answer differently when they are asked at the same time than alone: do not compare"
        ]
    return []


def _gap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The largest difference of a log-probability; infinite when the two share no token (0 when both are empty)."""
    if not one and not other:
        return 0.0
    return max((abs(one[token] - other[token]) for token in one.keys() & other.keys()), default=float("inf"))
