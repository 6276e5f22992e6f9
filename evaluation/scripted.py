"""A scripted model: a real HTTP server that speaks the OpenAI protocol and says what it was told to say.

It stands in for a model server in tests, and for visitors who have none: `python -m evaluation.scripted --port 8001`
echoes. It also misbehaves on request: slow, refusing, failing, cut off in the middle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.02
"""How often a delayed answer looks whether its reader is still there."""


@dataclass(frozen=True)
class ScriptedReply:
    """One answer, or one fault. A chunk is one word of `thinking`, then of `text`.

    `status` other than 200 answers with that HTTP status and `error`. With status 200 an `error` is sent inside the
    stream, after the chunks, as a server does that fails half-way. `drop_after` cuts the connection after that many
    chunks. `model` is the name the reply carries; the one asked for when None.
    """

    text: str
    thinking: str = ""
    chunk_delay_s: float = 0.0
    first_delay_s: float = 0.0
    status: int = 200
    error: str = ""
    drop_after: int | None = None
    model: str | None = None


Script = Callable[[dict[str, Any]], ScriptedReply] | Sequence[ScriptedReply]
"""What to answer: a function of the request's body, or the replies in order."""


class ConnectionCut(Exception):
    """Raised inside a stream to make the HTTP server close the connection without an end."""


class ScriptedServer:
    """The server, on a free port of 127.0.0.1 (or `port`), in a thread of its own, from `with` to the end of `with`."""

    def __init__(self, replies: Script, *, models: Sequence[str] = ("scripted",), port: int = 0) -> None:
        self._script = replies if callable(replies) else _in_order(replies)
        self._models = tuple(models)
        self._requests: list[dict[str, Any]] = []
        self._disconnects = 0
        self._socket = _listen(port)
        self._port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(self._app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="scripted-server", daemon=True)

    @property
    def base_url(self) -> str:
        """The address that a client of the OpenAI protocol is given; it ends in `/v1`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of the chat requests seen so far, in order of arrival."""
        return list(self._requests)

    @property
    def disconnects(self) -> int:
        """How many requests the client closed before their answer was complete."""
        return self._disconnects

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError(f"the scripted server did not start on port {self._port}")
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_TIMEOUT_S)
        self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def _app(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route("/health", _health)
        app.add_api_route("/v1/models", self._list_models)
        app.add_api_route("/v1/chat/completions", self._chat, methods=["POST"], response_model=None)
        return app

    async def _list_models(self) -> dict[str, Any]:
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "scripted"} for name in self._models]
        return {"object": "list", "data": rows}

    async def _chat(self, request: Request) -> JSONResponse | StreamingResponse:
        body = await request.json()
        self._requests.append(body)
        try:
            reply = self._script(body)
        except Exception as error:  # noqa: BLE001 - whatever a script raises, its author reads it in the answer
            return _refusal(500, f"the script failed: {error}")
        if reply.status != 200:
            await self._pause(request, reply.first_delay_s)
            return _refusal(reply.status, reply.error or f"scripted status {reply.status}")
        answer = _Answer(reply, body)
        if body.get("stream"):
            return StreamingResponse(self._stream(answer), media_type="text/event-stream")
        await self._pause(request, reply.first_delay_s + reply.chunk_delay_s * len(answer.pieces))
        return JSONResponse(answer.completion())

    async def _stream(self, answer: _Answer) -> AsyncIterator[str]:
        """Server-sent events. Raises `ConnectionCut` where the script says so."""
        reply = answer.reply
        try:
            await asyncio.sleep(reply.first_delay_s)
            for index, chunk in enumerate(answer.chunks()):
                if index == reply.drop_after:
                    raise ConnectionCut
                yield _event(chunk)
                await asyncio.sleep(reply.chunk_delay_s)
        except (asyncio.CancelledError, GeneratorExit):
            # This is how the web framework tells a stream that its reader went away.
            self._disconnects += 1
            raise
        if reply.error:
            yield _event(_error(500, reply.error))
        yield "data: [DONE]\n\n"

    async def _pause(self, request: Request, seconds: float) -> None:
        """Wait, but no longer than the client does; count it when it goes away."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if await request.is_disconnected():
                self._disconnects += 1
                return
            await asyncio.sleep(min(POLL_S, left))


class _Answer:
    """One reply in the protocol's two shapes: a stream of chunks, or one completion."""

    def __init__(self, reply: ScriptedReply, body: dict[str, Any]) -> None:
        self.reply = reply
        self._body = body
        self._id = f"chatcmpl-{uuid4().hex[:16]}"
        written = [("reasoning", word) for word in _words(reply.thinking)]
        written += [("content", word) for word in _words(reply.text)]
        limit = body.get("max_tokens") or len(written)
        self.pieces = written[:limit]
        self._finish_reason = "length" if len(written) > limit else "stop"

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The stream's chunks: one a word, then how it finished, then the usage when it was asked for."""
        for kind, word in self.pieces:
            yield self._chunk({kind: word}, None)
        if self.reply.error:
            return
        yield self._chunk({}, self._finish_reason)
        if (self._body.get("stream_options") or {}).get("include_usage"):
            yield {**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage()}

    def completion(self) -> dict[str, Any]:
        """The whole answer in one piece."""
        message = {"role": "assistant", "content": self._joined("content"), "reasoning": self._joined("reasoning")}
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason, "logprobs": self._logprobs()}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage()}

    def _head(self, kind: str) -> dict[str, Any]:
        model = self.reply.model or self._body.get("model")
        return {"id": self._id, "object": kind, "created": int(time.time()), "model": model}

    def _chunk(self, delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _joined(self, kind: str) -> str:
        return "".join(word for each, word in self.pieces if each == kind)

    def _logprobs(self) -> dict[str, Any] | None:
        """Made-up log-probabilities of the first word, so that replies that differ look different to a canary."""
        if not (self._body.get("logprobs") and self.pieces):
            return None
        first = {"token": self.pieces[0][1], "logprob": -0.1, "bytes": None}
        return {"content": [{**first, "top_logprobs": [first]}]}

    def _usage(self) -> dict[str, int]:
        prompt = sum(len(_words(str(message.get("content")))) for message in self._body.get("messages", []))
        return {
            "prompt_tokens": prompt,
            "completion_tokens": len(self.pieces),
            "total_tokens": prompt + len(self.pieces),
        }


async def _health() -> dict[str, str]:
    return {"status": "ok"}


def _in_order(replies: Sequence[ScriptedReply]) -> Callable[[dict[str, Any]], ScriptedReply]:
    """A script that gives one reply after the other and complains when none is left."""
    left = iter(tuple(replies))
    asked = 0

    def next_reply(_: dict[str, Any]) -> ScriptedReply:
        nonlocal asked
        asked += 1
        reply = next(left, None)
        if reply is None:
            raise LookupError(f"it holds {len(replies)} replies and this is request {asked}; give it more")
        return reply

    return next_reply


def _words(text: str) -> list[str]:
    """The words of a text with the space behind them; joined they are the text again."""
    return re.findall(r"\S+\s*|\s+", text)


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "scripted", "param": None, "code": status}}


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse(_error(status, message), status_code=status)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise OSError(f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another") from error
    return listener


def echo(body: dict[str, Any]) -> ScriptedReply:
    """A reply that repeats the last message, one word every 50 ms."""
    messages = body.get("messages") or [{"content": ""}]
    return ScriptedReply(f"You said: {messages[-1].get('content')}", chunk_delay_s=0.05)


def main() -> None:
    """Serve the echoing script until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.scripted", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8001, help="port on 127.0.0.1 (default: %(default)s)")
    port = parser.parse_args().port
    try:
        server = ScriptedServer(echo, port=port)
    except OSError as error:
        parser.error(str(error))
    with server, contextlib.suppress(KeyboardInterrupt):
        print(f"The scripted endpoint answers at {server.base_url}; Ctrl-C stops it.", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
