"""The client to a model: everything that generates is a server of the OpenAI protocol, ours or somebody else's."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from evaluation.response import Response
from presets.arm import Message
from presets.profile import Sampling

if TYPE_CHECKING:
    # openai takes about a second to import: the page need not wait for it, so it is imported where it is used.
    import openai
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 120.0
"""How long a server may send nothing. Long enough for a CPU to read a long prompt behind others."""

MAX_DETAIL = 300
"""Characters of a server's own message that are passed on."""

NO_KEY = "EMPTY"
"""Sent as the key to a server that wants none."""

HIDDEN = "[hidden]"
"""Stands in a message for a key or password of ours."""

TOP_LOGPROBS = 20
"""The most that vLLM and OpenAI give by default."""


class EndpointError(Exception):
    """Why there is no answer, in plain words for the page. `retryable`: the same request may work in a while."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class Endpoint:
    """One OpenAI-protocol server. Use as `async with Endpoint(base_url) as endpoint:`, within one event loop.

    `timeout_s` is the longest silence that is borne, not the longest answer. Nothing is tried again here: a person sees
    at once what went wrong, and a long run knows best how long to wait.
    """

    def __init__(self, base_url: str, api_key: str = NO_KEY, *, timeout_s: float = SILENCE_TIMEOUT_S) -> None:
        import openai

        self.base_url = base_url
        self._timeout_s = timeout_s
        self._faults = _Faults(base_url, api_key)
        timeout = openai.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))
        # A proxy from the environment must not come between us and our own servers.
        is_ours = urlsplit(base_url).hostname in ("127.0.0.1", "localhost", "::1")
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or NO_KEY,
            timeout=timeout,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(timeout=timeout, trust_env=not is_ours),
        )

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Called by the end of `async with`."""
        await self._client.close()

    async def stream(self, model: str, messages: Sequence[Message], sampling: Sampling) -> AsyncIterator[Response]:
        """Yield growing snapshots of one response; the last alone has a `finish_reason`.

        Close the iterator (`contextlib.aclosing`, or cancel its task) to make the server stop generating.
        Raises `EndpointError`, also after some snapshots.
        """
        started = time.monotonic()
        growth = _Growth(started)
        request = _request(model, messages, sampling)
        with self._plain_words(model):
            options = {"stream": True, "stream_options": {"include_usage": True}}
            async with await self._client.chat.completions.create(**request, **options) as chunks:
                async for chunk in chunks:
                    if growth.add(chunk):
                        yield growth.snapshot
        if growth.finish_reason is None:
            raise self._faults.broken_off()
        yield growth.final()

    async def complete(
        self,
        model: str,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        json_schema: dict[str, Any] | None = None,
    ) -> Response:
        """Return one whole response; with `json_schema` its text is JSON of that shape. Raises `EndpointError`.

        `ttft_s` stays None: nobody saw the first token come.
        """
        started = time.monotonic()
        request = _request(model, messages, sampling)
        if json_schema is not None:
            schema = {"name": "answer", "schema": json_schema, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        completion = await self._create(request)
        choice, usage = completion.choices[0], completion.usage
        return Response(
            text=choice.message.content or "",
            thinking=_reasoning(choice.message),
            model=completion.model or "",
            request_id=completion.id or "",
            finish_reason=choice.finish_reason or "stop",
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            duration_s=time.monotonic() - started,
        )

    async def first_token(self, model: str, messages: Sequence[Message]) -> dict[str, float]:
        """Return the log-probabilities of the likeliest first tokens; empty where the server gives none.

        Raises `EndpointError`.
        """
        request = _request(model, messages, Sampling(max_tokens=1))
        completion = await self._create({**request, "logprobs": True, "top_logprobs": TOP_LOGPROBS})
        logprobs = completion.choices[0].logprobs
        if logprobs is None or not logprobs.content:
            return {}
        return {top.token: top.logprob for top in logprobs.content[0].top_logprobs if math.isfinite(top.logprob)}

    async def _create(self, request: dict[str, Any]) -> ChatCompletion:
        from openai.types.chat import ChatCompletion

        with self._plain_words(request["model"]):
            completion = await self._client.chat.completions.create(**request)
        # The library does not validate: whatever a wrong address answers arrives here.
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise EndpointError(
                f"{self._faults.host} did not send a chat answer; is the address right?", retryable=False
            )
        return completion

    @contextmanager
    def _plain_words(self, model: str) -> Iterator[None]:
        import openai

        faults = self._faults
        try:
            yield
        except openai.APITimeoutError as error:
            message = f"{faults.host} sent nothing for {self._timeout_s:g} s; it may be overloaded. Try again."
            raise EndpointError(message, retryable=True) from error
        except openai.APIConnectionError as error:
            raise faults.unreachable(error) from error
        except openai.APIStatusError as error:
            raise faults.refused(model, error) from error
        except openai.APIError as error:
            message = f"The model server failed while it answered: {faults.detail(error)}"
            raise EndpointError(message, retryable=True) from error
        except ValueError as error:
            message = f"{faults.host} sent something that is not the OpenAI protocol; is the address right?"
            raise EndpointError(message, retryable=False) from error


class _Growth:
    """A response as it grows from a stream's chunks. `started` is on the monotonic clock."""

    def __init__(self, started: float) -> None:
        self._started = started
        self.snapshot = Response()
        self.finish_reason: str | None = None

    def add(self, chunk: ChatCompletionChunk) -> bool:
        """Take a chunk in; True when text or thinking has grown."""
        news: dict[str, Any] = {
            "model": chunk.model or self.snapshot.model,
            "request_id": chunk.id or self.snapshot.request_id,
        }
        if chunk.usage is not None:
            news |= {"prompt_tokens": chunk.usage.prompt_tokens, "completion_tokens": chunk.usage.completion_tokens}
        text = thinking = ""
        if chunk.choices:
            choice = chunk.choices[0]
            self.finish_reason = choice.finish_reason or self.finish_reason
            text, thinking = choice.delta.content or "", _reasoning(choice.delta)
        if text or thinking:
            news |= {"text": self.snapshot.text + text, "thinking": self.snapshot.thinking + thinking}
            news |= {"duration_s": self._elapsed()}
            if self.snapshot.ttft_s is None:
                news |= {"ttft_s": news["duration_s"]}
        self.snapshot = dataclasses.replace(self.snapshot, **news)
        return bool(text or thinking)

    def final(self) -> Response:
        """The finished response."""
        return dataclasses.replace(self.snapshot, finish_reason=self.finish_reason, duration_s=self._elapsed())

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def _request(model: str, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    return {"model": model, "messages": list(messages), **dataclasses.asdict(sampling)}


def _reasoning(part: Any) -> str:
    """What vLLM (`reasoning`, formerly `reasoning_content`) adds to the protocol; a delta's or a message's thinking."""
    extra = part.model_extra or {}
    return extra.get("reasoning") or extra.get("reasoning_content") or ""


class _Faults:
    """Puts what goes wrong with one server into words that anybody may read: its host, but neither key nor password."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.host = shown_host(base_url)
        userinfo = urlsplit(base_url).netloc.rpartition("@")[0]
        parts = [userinfo, *userinfo.split(":", 1)]
        secrets = {api_key, *parts, *map(unquote, parts)} - {"", NO_KEY}
        # The longest first: one may be a part of another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def unreachable(self, error: openai.APIConnectionError) -> EndpointError:
        if type(error.__cause__).__name__ in ("RemoteProtocolError", "ReadError"):
            return self.broken_off()
        return EndpointError(
            f"Nothing answers at {self.host}: the model server is not running, or still starting.", retryable=True
        )

    def broken_off(self) -> EndpointError:
        return EndpointError(f"The connection to {self.host} broke off before the answer was complete.", retryable=True)

    def refused(self, model: str, error: openai.APIStatusError) -> EndpointError:
        status, detail = error.status_code, self.detail(error)
        if status in (401, 403):
            # The server's own words may quote the key, and not always as it was sent.
            return EndpointError(
                f"{self.host} refuses the API key (HTTP {status}); check the profile's key.", retryable=False
            )
        if status == 404:
            return EndpointError(
                f"{self.host} has no model {model!r}, or no chat at this address: {detail}", retryable=False
            )
        if status == 429:
            return EndpointError(f"The model server is too busy or a quota is used up: {detail}", retryable=True)
        if status >= 500 or status == 408:
            return EndpointError(f"The model server failed (HTTP {status}): {detail}", retryable=True)
        if "context length" in detail or "context_length" in str(error.code):
            advice = "start a new one, or shorten the prompt or the safety config"
            message = f"The conversation is too long for {model!r}; {advice}. ({detail})"
            return EndpointError(message, retryable=False)
        return EndpointError(f"The model server refused the request (HTTP {status}): {detail}", retryable=False)

    def detail(self, error: openai.APIError) -> str:
        """The server's own message without our secrets, on one line and not too long."""
        message = error.body.get("message") if isinstance(error.body, dict) else None
        words = str(message or error.message)
        for secret in self._secrets:
            words = words.replace(secret, HIDDEN)
        words = " ".join(words.split())
        return words if len(words) <= MAX_DETAIL else words[: MAX_DETAIL - 1] + "…"


def shown_host(base_url: str) -> str:
    """The host, and the port if there is one, of an address: what may be shown of it."""
    return urlsplit(base_url).netloc.rpartition("@")[2] or "the given address"
