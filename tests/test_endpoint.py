"""The client, against a server that does what it is told, faults included."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from evaluation.endpoint import MAX_DETAIL, Endpoint, EndpointError
from evaluation.response import Response
from evaluation.scripted import ScriptedReply, ScriptedServer
from presets.profile import Sampling

MESSAGES = [{"role": "user", "content": "Hello there"}]


def use(base_url: str, act: Callable[[Endpoint], Awaitable[Any]], **options: Any) -> Any:
    """What `act` returns of an endpoint, in an event loop of its own."""

    async def main() -> Any:
        async with Endpoint(base_url, **options) as endpoint:
            return await act(endpoint)

    return asyncio.run(main())


async def stream(endpoint: Endpoint, **sampling: Any) -> list[Response]:
    return [snapshot async for snapshot in endpoint.stream("m", MESSAGES, Sampling(**sampling))]


async def complete(endpoint: Endpoint) -> Response:
    return await endpoint.complete("m", MESSAGES, Sampling())


async def snapshots_until_error(endpoint: Endpoint) -> tuple[list[Response], EndpointError]:
    seen: list[Response] = []
    try:
        async for snapshot in endpoint.stream("m", MESSAGES, Sampling()):
            seen.append(snapshot)
    except EndpointError as error:
        return seen, error
    raise AssertionError("the stream came to an end without an error")


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_stream_grows_and_only_its_last_snapshot_is_finished():
    with ScriptedServer([ScriptedReply("Good day to you", thinking="be kind")]) as server:
        seen = use(server.base_url, stream)
    assert [snapshot.thinking for snapshot in seen[:2]] == ["be ", "be kind"]
    assert [snapshot.text for snapshot in seen[2:6]] == ["Good ", "Good day ", "Good day to ", "Good day to you"]
    assert [snapshot.finish_reason for snapshot in seen] == [None] * 6 + ["stop"]


def test_the_last_snapshot_carries_provenance_counts_and_times():
    with ScriptedServer([ScriptedReply("one two", first_delay_s=0.1, chunk_delay_s=0.1, model="m-1")]) as server:
        last = use(server.base_url, stream)[-1]
    assert last.model == "m-1"
    assert last.request_id.startswith("chatcmpl-")
    assert (last.prompt_tokens, last.completion_tokens) == (2, 2)
    assert 0.1 <= last.ttft_s < last.duration_s - 0.1


def test_the_request_says_what_was_asked_for():
    sampling = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 7, "seed": 3}
    with ScriptedServer([ScriptedReply("fine")]) as server:
        use(server.base_url, lambda endpoint: stream(endpoint, **sampling))
        (body,) = server.requests
    options = {"stream": True, "stream_options": {"include_usage": True}}
    assert body == {"model": "m", "messages": MESSAGES, **sampling, **options}


def test_an_empty_answer_still_finishes():
    with ScriptedServer([ScriptedReply("")]) as server:
        (last,) = use(server.base_url, stream)
    assert (last.text, last.finish_reason, last.ttft_s) == ("", "stop", None)


def test_an_answer_cut_by_max_tokens_says_length():
    with ScriptedServer([ScriptedReply("one two three")]) as server:
        last = use(server.base_url, lambda endpoint: stream(endpoint, max_tokens=2))[-1]
    assert (last.text, last.finish_reason) == ("one two ", "length")


def test_complete_returns_the_same_response_at_once():
    with ScriptedServer([ScriptedReply("Good day", thinking="be kind")]) as server:
        response = use(server.base_url, complete)
        assert "stream" not in server.requests[0]
    assert (response.text, response.thinking, response.finish_reason) == ("Good day", "be kind", "stop")
    assert (response.prompt_tokens, response.completion_tokens, response.ttft_s) == (2, 4, None)


def test_complete_sends_a_json_schema():
    schema = {"type": "object", "properties": {"rating": {"type": "integer"}}}

    async def judged(endpoint: Endpoint) -> Response:
        return await endpoint.complete("m", MESSAGES, Sampling(), json_schema=schema)

    with ScriptedServer([ScriptedReply('{"rating": 3}')]) as server:
        assert use(server.base_url, judged).text == '{"rating": 3}'
        (body,) = server.requests
    assert body["response_format"]["json_schema"]["schema"] == schema


def test_first_token_gives_logprobs_or_nothing():
    async def first(endpoint: Endpoint) -> dict[str, float]:
        return await endpoint.first_token("m", MESSAGES)

    with ScriptedServer([ScriptedReply("Good day"), ScriptedReply("")]) as server:
        assert use(server.base_url, first) == {"Good ": pytest.approx(-0.1)}
        assert use(server.base_url, first) == {}


@pytest.mark.parametrize(
    ("status", "error", "words", "retryable"),
    [
        (400, "max_tokens must be positive", "refused the request .* max_tokens must be positive", False),
        (
            400,
            "This model's maximum context length is 1024 tokens.",
            "too long for 'm'; .* or the safety config",
            False,
        ),
        (401, "Incorrect API key provided: sk-secret", "refuses the API key", False),
        (403, "forbidden", "refuses the API key", False),
        (404, "The model `m` does not exist.", "has no model 'm'", False),
        (429, "slow down", "too busy or a quota is used up: slow down", True),
        (500, "out of luck", "failed .HTTP 500.: out of luck", True),
        (503, "loading", "failed .HTTP 503.: loading", True),
    ],
)
@pytest.mark.parametrize("ask", [stream, complete])
def test_a_refusal_is_told_in_plain_words(ask: Any, status: int, error: str, words: str, retryable: bool):
    with ScriptedServer([ScriptedReply("", status=status, error=error)]) as server:
        with pytest.raises(EndpointError, match=words) as raised:
            use(server.base_url, ask)
        assert len(server.requests) == 1
    assert raised.value.retryable is retryable
    assert "sk-secret" not in str(raised.value)


def test_a_long_error_is_shortened_and_on_one_line():
    with (
        ScriptedServer([ScriptedReply("", status=500, error="trace\n" * 500)]) as server,
        pytest.raises(EndpointError) as raised,
    ):
        use(server.base_url, complete)
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ask", [stream, complete])
@pytest.mark.parametrize("status", [400, 404, 429, 500])
@pytest.mark.parametrize("secret", ["sk-secret", "p@ss", "p%40ss", "me:p%40ss"])
def test_a_refusal_that_quotes_our_secrets_is_passed_on_without_them(ask: Any, status: int, secret: str):
    words = "x" * (MAX_DETAIL - 20) + f" key {secret} is used up"
    with ScriptedServer([ScriptedReply("", status=status, error=words)]) as server:
        address = server.base_url.replace("http://", "http://me:p%40ss@")
        with pytest.raises(EndpointError) as raised:
            use(address, ask, api_key="sk-secret")
    assert "key [hidden] " in str(raised.value)
    assert secret[:4] not in str(raised.value)


@pytest.mark.parametrize("ask", [stream, complete])
def test_an_address_is_shown_as_its_host_and_port(ask: Any):
    port = unused_port()
    with pytest.raises(EndpointError, match=f"Nothing answers at 127.0.0.1:{port}: ") as raised:
        use(f"http://me:hush@127.0.0.1:{port}/v1", ask)
    assert "hush" not in str(raised.value)


def test_the_key_that_stands_for_none_is_no_secret():
    with (
        ScriptedServer([ScriptedReply("", status=400, error="messages are EMPTY")]) as server,
        pytest.raises(EndpointError, match="messages are EMPTY"),
    ):
        use(server.base_url, complete)


@pytest.mark.parametrize("ask", [stream, complete])
def test_a_server_that_is_not_there_is_said_so(ask: Any):
    with pytest.raises(EndpointError, match="Nothing answers at") as raised:
        use(f"http://127.0.0.1:{unused_port()}/v1", ask)
    assert raised.value.retryable


@pytest.mark.parametrize("ask", [stream, complete])
def test_a_server_that_hangs_is_given_up(ask: Any):
    started = time.monotonic()
    with (
        ScriptedServer([ScriptedReply("late", first_delay_s=30)]) as server,
        pytest.raises(EndpointError, match="sent nothing for 0.3 s") as raised,
    ):
        use(server.base_url, ask, timeout_s=0.3)
    assert raised.value.retryable
    assert time.monotonic() - started < 5


def test_a_stream_that_stalls_keeps_what_came():
    with ScriptedServer([ScriptedReply("one two", chunk_delay_s=30)]) as server:
        seen, error = use(server.base_url, snapshots_until_error, timeout_s=0.3)
    assert [snapshot.text for snapshot in seen] == ["one "]
    assert "sent nothing for 0.3 s" in str(error)


@pytest.mark.parametrize("drop_after", [0, 2])
def test_a_cut_stream_is_an_error_that_keeps_what_came(drop_after: int):
    with ScriptedServer([ScriptedReply("one two three", drop_after=drop_after)]) as server:
        seen, error = use(server.base_url, snapshots_until_error)
    assert len(seen) == drop_after
    assert "broke off before the answer was complete" in str(error)
    assert error.retryable


def test_an_error_inside_a_stream_is_passed_on():
    with ScriptedServer([ScriptedReply("one two", error="the engine died")]) as server:
        seen, error = use(server.base_url, snapshots_until_error)
    assert seen[-1].text == "one two"
    assert "failed while it answered: the engine died" in str(error)


def test_the_model_that_really_answered_is_reported():
    with ScriptedServer([ScriptedReply("fine", model="another")]) as server:
        assert use(server.base_url, complete).model == "another"


def test_closing_a_stream_early_closes_it_on_the_server():
    async def read_one(endpoint: Endpoint) -> str:
        async with contextlib.aclosing(endpoint.stream("m", MESSAGES, Sampling())) as snapshots:
            async for snapshot in snapshots:
                return snapshot.text
        raise AssertionError("nothing came")

    with ScriptedServer([ScriptedReply("one two", chunk_delay_s=30)]) as server:
        assert use(server.base_url, read_one) == "one "
        wait_for_disconnect(server)


def test_cancelling_a_task_closes_its_stream_on_the_server():
    async def cancel_soon(endpoint: Endpoint) -> None:
        task = asyncio.create_task(stream(endpoint))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ScriptedServer([ScriptedReply("one two", chunk_delay_s=30)]) as server:
        use(server.base_url, cancel_soon)
        wait_for_disconnect(server)


def wait_for_disconnect(server: ScriptedServer) -> None:
    deadline = time.monotonic() + 5
    while not server.disconnects and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.disconnects == 1


def test_streams_of_one_endpoint_run_at_once():
    async def three(endpoint: Endpoint) -> list[list[Response]]:
        return await asyncio.gather(*(stream(endpoint) for _ in range(3)))

    with ScriptedServer(lambda _: ScriptedReply("one two three", chunk_delay_s=0.2)) as server:
        started = time.monotonic()
        answers = use(server.base_url, three)
    assert [snapshots[-1].text for snapshots in answers] == ["one two three"] * 3
    assert time.monotonic() - started < 2.5


@contextlib.contextmanager
def web_page(body: bytes, kind: str) -> Iterator[str]:
    """A server that is no model: it answers everything with this body."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("ask", [stream, complete])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Welcome</html>", "text/html"),
        (b"{broken", "application/json"),
        (b'{"hello": 1}', "application/json"),
        (b"data: {broken\n\n", "text/event-stream"),
    ],
    ids=["page", "broken-json", "other-json", "broken-stream"],
)
def test_an_address_that_is_no_model_is_an_endpoint_error(ask: Any, body: bytes, kind: str):
    with web_page(body, kind) as base_url, pytest.raises(EndpointError):
        use(base_url, ask)


def test_a_proxy_in_the_environment_does_not_stand_before_our_own_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with ScriptedServer([ScriptedReply("direct")]) as server:
        assert use(server.base_url, complete).text == "direct"
