"""Ways to ask every arm of the page the same prompt: by direct calls to the servers, and through the page's Python layer.

`benchmarks.browser` is the third way, through the page itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import openai

from benchmarks.spread import MeasurementError
from evaluation.serving import Serving
from playground.answering import Answering
from playground.session import Session, Turn
from presets.arm import Message
from presets.profile import Profile, Sampling, Server
from presets.safety_config import SafetyConfig

SETTLE_TIMEOUT_S = 300.0
LOOK_S = 0.1


@dataclass(frozen=True)
class Timing:
    """Seconds from asking to: the first token (thinking or text), the first text, the last token, the verdict.

    `first_text_s` is None for an answer without text, `judged_s` where nothing is judged. `tokens` were generated.
    """

    first_token_s: float
    first_text_s: float | None
    complete_s: float
    judged_s: float | None
    tokens: int


class Way(Protocol):
    """One way to ask every arm at once. `name` stands in the table."""

    name: str

    async def ask(self, prompt: str) -> Timing:
        """Ask every arm, as the first prompt of a conversation. Raises `MeasurementError` when an arm fails."""
        ...


def merge(arms: Sequence[Timing]) -> Timing:
    """A turn as somebody sees who waits for all its arms: the first of the firsts, the last of the lasts."""
    texts = [arm.first_text_s for arm in arms if arm.first_text_s is not None]
    verdicts = [arm.judged_s for arm in arms if arm.judged_s is not None]
    return Timing(
        first_token_s=min(arm.first_token_s for arm in arms),
        first_text_s=min(texts, default=None),
        complete_s=max(arm.complete_s for arm in arms),
        judged_s=max(verdicts, default=None),
        tokens=sum(arm.tokens for arm in arms),
    )


class Stopwatch:
    """Notes when things happen for the first time, in seconds since `started`."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._marks: dict[str, float] = {}

    def mark(self, name: str, happened: object = True) -> None:
        """Note the time, if it happened and is not noted yet."""
        if happened and name not in self._marks:
            self._marks[name] = time.perf_counter() - self._started

    def timing(self, tokens: int | None) -> Timing:
        """What was noted. Raises `MeasurementError` for an answer without a token, or of unknown length."""
        marks = self._marks
        if "token" not in marks or tokens is None:
            raise MeasurementError("an arm answered nothing, or its server counts no tokens; nothing can be compared")
        return Timing(marks["token"], marks.get("text"), marks["complete"], marks.get("judged"), tokens)


@asynccontextmanager
async def open_client(serving: Serving, server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    """The plain OpenAI client of a server, with nothing of ours in between."""
    http = openai.DefaultAsyncHttpxClient(trust_env=not server.is_local)
    key = server.api_key or "EMPTY"
    base_url = serving.base_url(server.id)
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, http_client=http) as client:
        yield client


async def stream_once(
    client: openai.AsyncOpenAI,
    model: str,
    messages: Sequence[Message],
    *,
    sampling: Sampling,
    started: float,
    extra: Mapping[str, Any] | None = None,
) -> Timing:
    """One streamed answer. `started` is on the performance counter, `extra` goes into the request's body as it stands.

    Raises `MeasurementError` when the server refuses or breaks off.
    """
    watch, tokens = Stopwatch(started), None
    options = {"stream": True, "stream_options": {"include_usage": True}, "extra_body": extra}
    request = {"model": model, "messages": list(messages), **dataclasses.asdict(sampling)}
    try:
        async for chunk in await client.chat.completions.create(**request, **options):
            if chunk.choices:
                delta = chunk.choices[0].delta
                extra_fields = delta.model_extra or {}
                reasoning = extra_fields.get("reasoning") or extra_fields.get("reasoning_content")
                watch.mark("token", delta.content or reasoning)
                watch.mark("text", delta.content)
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    except openai.OpenAIError as error:
        raise MeasurementError(f"model {model!r} did not answer a direct call: {error}") from error
    watch.mark("complete")
    return watch.timing(tokens)


class Direct:
    """The baseline: one streaming call per arm to its server, all at once, by the plain OpenAI client."""

    name = "direct calls"

    def __init__(self, profile: Profile, config: SafetyConfig, clients: Mapping[str, openai.AsyncOpenAI]) -> None:
        self._arms = [profile.arm(arm_id) for arm_id in profile.page_arms]
        self._config, self._sampling, self._clients = config, profile.sampling, clients

    async def ask(self, prompt: str) -> Timing:
        """See `Way.ask`."""
        started = time.perf_counter()
        calls = [
            stream_once(
                self._clients[arm.server],
                arm.model,
                arm.messages(self._config, [], prompt),
                sampling=self._sampling,
                started=started,
            )
            for arm in self._arms
        ]
        return merge(await asyncio.gather(*calls))


@asynccontextmanager
async def open_direct(profile: Profile, serving: Serving, config: SafetyConfig) -> AsyncIterator[Direct]:
    """The direct calls, with one open client per server of the page's arms."""
    async with AsyncExitStack() as opened:
        names = {profile.arm(arm_id).server for arm_id in profile.page_arms}
        yield Direct(
            profile,
            config,
            {name: await opened.enter_async_context(open_client(serving, profile.server(name))) for name in names},
        )


class Layer:
    """The page's Python layer without the page: every arm asked, stored and, if wanted, judged as a click would."""

    def __init__(self, answering: Answering, config: SafetyConfig, *, judges: bool) -> None:
        self.name = f"Python layer, judge {'on' if judges else 'off'}"
        self._answering, self._config, self._judges = answering, config, judges

    async def ask(self, prompt: str) -> Timing:
        """See `Way.ask`."""
        session, started = Session(), time.perf_counter()
        turn = await self._answering.begin(session, prompt, self._config)
        return merge(await asyncio.gather(*(self._follow(session, turn, arm, started) for arm in turn.answers)))

    async def _follow(self, session: Session, turn: Turn, arm_id: str, started: float) -> Timing:
        watch = Stopwatch(started)
        async for answer in self._answering.answer(session, turn, arm_id):
            watch.mark("token", answer.response.text or answer.response.thinking)
            watch.mark("text", answer.response.text)
        watch.mark("complete")
        answer = turn.answers[arm_id]
        if answer.status != "complete":
            raise MeasurementError(f"arm {arm_id!r} ended {answer.status} through the Python layer: {answer.error}")
        if self._judges:
            await self._answering.judge(turn, arm_id)
            watch.mark("judged")
        return watch.timing(answer.response.completion_tokens)


async def settled(answering: Answering) -> list[str]:
    """What is wrong with the arms, in plain words, once their check is over: it must not run while something is timed.

    Raises `MeasurementError` when that takes longer than `SETTLE_TIMEOUT_S`.
    """
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while (warnings := answering.warnings()) is None:
        if time.monotonic() > deadline:
            raise MeasurementError(f"the check of the arms was not over after {SETTLE_TIMEOUT_S:g} s; see the logs")
        await asyncio.sleep(LOOK_S)
    return warnings
