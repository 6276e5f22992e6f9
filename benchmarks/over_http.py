"""The way through the page's server without a browser: a turn as the page's script asks for it, read as it arrives."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial, reduce
from html import escape
from typing import Any

import httpx

from benchmarks.spread import MeasurementError
from benchmarks.ways import LOOK_S, SETTLE_TIMEOUT_S, Stopwatch, Timing
from evaluation.judge import open_judge
from evaluation.serving import Serving
from evaluation.store import Store
from playground import wording

API = "gradio_api"
PATIENCE_S = 120.0
DATA = "data: "
"""What stands before each message of a server-sent stream."""

TOKENS = re.compile(r'class="measures">[^<]*?(\d+) tokens?')
FAILED = re.compile(r'class="exchange (?:error|stopped|abandoned)\b')


class OverHttp:
    """The page's server, asked by a fresh visitor for each prompt, at the profile's default config."""

    name = "page over HTTP"

    def __init__(self, http: httpx.AsyncClient, config: Mapping[str, Any]) -> None:
        """`config` is what the page tells its own script: its components, and which events they bring about."""
        self._http = http
        self._values = {part["id"]: part["props"].get("value") for part in config["components"]}
        self._prompt, self._button = (_part(config, elem_id) for elem_id in ("prompt", "send"))
        events = config["dependencies"]
        self._load = next(event for event in events if any(kind == "load" for _, kind in event["targets"]))
        self._send = next(event for event in events if [self._button, "click"] in event["targets"])
        settled = next(event for event in events if _follows(event, self._send))
        self._turn = [self._send, settled, next(event for event in events if _follows(event, settled))]
        classes = {part["id"]: part["props"].get("elem_classes") or () for part in config["components"]}
        self._panes = [part for part, names in classes.items() if "now" in names]
        buttons = [_part(config, f"vote-{place + 1}") for place in range(len(self._panes))]
        self._votes = [next(event for event in events if [button, "click"] in event["targets"]) for button in buttons]

    async def ask(self, prompt: str) -> Timing:
        """See `Way.ask`. Counts from the request to the messages that bring what a pane shows."""
        try:
            visitor = await self.arrive()
            return await self._ask(visitor, prompt)
        except httpx.HTTPError as error:
            raise MeasurementError(f"the page's server did not finish a turn: {error!r}") from error

    async def arrive(self) -> str:
        """A new visitor, who has opened the page and found the arms ready for a prompt."""
        visitor, deadline = secrets.token_hex(8), time.monotonic() + SETTLE_TIMEOUT_S
        while not await self._may_send(visitor):
            if time.monotonic() > deadline:
                raise MeasurementError(f"the page took no prompt after {SETTLE_TIMEOUT_S:g} s; see the logs")
            await asyncio.sleep(LOOK_S)
        return visitor

    async def _may_send(self, visitor: str) -> bool:
        answer = await self._post("run/predict", visitor, self._load, {})
        return answer["data"][self._load["outputs"].index(self._button)]["interactive"]

    async def _ask(self, visitor: str, prompt: str) -> Timing:
        watch, panes = Stopwatch(time.perf_counter()), []
        async for panes in self.turn(visitor, prompt):
            look(watch, panes)
        return watch.timing(sum(int(tokens) for pane in panes for tokens in TOKENS.findall(pane)))

    async def turn(self, visitor: str, prompt: str) -> AsyncIterator[list[str]]:
        """The HTML of the panes' turn on show after each message, from Send to the last verdict."""
        shown = dict.fromkeys(self._panes, "")
        for event in self._turn:
            async for panes in self._shown(visitor, event, {self._prompt: prompt}):
                # An update that leaves a pane alone names it without a value.
                shown |= {part: new for part, new in panes.items() if isinstance(new, str)}
                yield list(shown.values())

    async def vote(self, visitor: str, place: int) -> None:
        """Vote for the arm at a place, from 0, and return when the page says that the vote is stored."""
        await self._post("queue/join", visitor, self._votes[place], {})
        async with self._http.stream("GET", f"{API}/queue/data", params={"session_hash": visitor}) as answer:
            async for _ in messages(answer.aiter_lines()):
                pass

    async def _shown(
        self, visitor: str, event: Mapping[str, Any], values: Mapping[int, Any]
    ) -> AsyncIterator[dict[int, Any]]:
        """Bring about the event; what stands in its panes after each of its messages, until it is over."""
        places = {event["outputs"].index(part): part for part in self._panes}
        await self._post("queue/join", visitor, event, values)
        outputs: list[Any] = []
        async with self._http.stream("GET", f"{API}/queue/data", params={"session_hash": visitor}) as answer:
            async for message in messages(answer.aiter_lines()):
                outputs = updated(outputs, [message["output"]["data"][place] for place in places])
                yield dict(zip(places.values(), outputs, strict=True))

    async def _post(
        self, route: str, visitor: str, event: Mapping[str, Any], values: Mapping[int, Any]
    ) -> dict[str, Any]:
        """Bring about the event, with these values and what stood in its other inputs when the page was opened."""
        data = [values.get(part, self._values[part]) for part in event["inputs"]]
        body = {"fn_index": event["id"], "data": data, "session_hash": visitor, "trigger_id": event["targets"][0][0]}
        answer = await self._http.post(f"{API}/{route}", json=body)
        answer.raise_for_status()
        return answer.json()


def _follows(event: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True for the event that the page's script brings about when the other one has ended well."""
    return event["trigger_after"] == other["id"] and not event["trigger_only_on_failure"]


def _part(config: Mapping[str, Any], elem_id: str) -> int:
    return next(part["id"] for part in config["components"] if part["props"].get("elem_id") == elem_id)


async def messages(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """What a stream says of its events' outputs, as it comes. Raises `MeasurementError` when one of them fails."""
    async for line in lines:
        message = json.loads(line.removeprefix(DATA)) if line.startswith(DATA) else {}
        if not message.get("success", True):
            raise MeasurementError(f"the page refused a prompt: {message.get('output', message)}")
        if message.get("msg") == "process_generating":
            yield message


def updated(outputs: list[Any], new: list[Any]) -> list[Any]:
    """Outputs that are text after a message: the first brings them whole, the others what to put in or after each."""
    return [reduce(_edited, edits, old) for old, edits in zip(outputs, new, strict=True)] if outputs else new


def _edited(old: Any, edit: tuple[str, list[Any], Any]) -> Any:
    action, _, text = edit
    return old + text if action == "append" else text


def look(watch: Stopwatch, panes: Sequence[str]) -> None:
    """Note what these panes' HTML shows for the first time. Raises `MeasurementError` when an arm has failed."""
    if failed := [pane for pane in panes if FAILED.search(pane)]:
        raise MeasurementError(f"an arm failed through the page: {failed[0]}")
    text = any('class="said"' in pane for pane in panes)
    watch.mark("token", text or any('class="thinking"' in pane for pane in panes))
    watch.mark("text", text)
    watch.mark("complete", all('class="exchange complete"' in pane for pane in panes))
    watch.mark("judged", all(_is_judged(pane) for pane in panes))


def _is_judged(pane: str) -> bool:
    return 'class="verdict"' in pane or ('class="badge unscored"' in pane and escape(wording.JUDGING) not in pane)


@asynccontextmanager
async def open_over_http(address: str) -> AsyncIterator[OverHttp]:
    """The page at this address, by one connected client."""
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S, trust_env=False) as http:
        yield OverHttp(http, (await http.get("config")).raise_for_status().json())


@asynccontextmanager
async def served_page(serving: Serving, store: Store) -> AsyncIterator[str]:
    """The address of the real page on a free port. It checks its arms by itself, in the untimed round."""
    # gradio takes seconds to import, and only the ways through the page need it.
    from playground.page import build_page

    page = build_page(serving.profile, serving, partial(open_judge, serving.profile, serving), store)
    _, address, _ = page.blocks.launch(server_name="127.0.0.1", prevent_thread_lock=True, **page.launch_options)
    try:
        yield address
    finally:
        # The server waits for its connections to be closed, which this loop must be free to do.
        await asyncio.to_thread(page.blocks.close, verbose=False)
