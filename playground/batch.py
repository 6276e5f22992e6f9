"""Several prompts or configs asked at once, each in a conversation of its own: what the tabs with a grid have in common.

Every turn is written down, judged and kept (or not) as on the first tab. One page fills one grid at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import gradio as gr

from playground import wording
from playground.compare import Compare
from playground.limits import visitor_of
from playground.picker import Data
from playground.session import NotNow, Session, Turn
from presets.safety_config import SafetyConfig

FRAME_S = 0.25
"""Seconds between two looks at the answers."""


class Batches:
    """The grids that are being filled, by the session's id."""

    def __init__(self, compare: Compare) -> None:
        self.answering = compare.answering
        self._session, self._unkept = compare.session, compare.unkept
        self._running: dict[str, list[Turn]] = {}

    @property
    def inputs(self) -> set[gr.components.Component]:
        """What `fill` and `stop` read of the page."""
        return {self._session, self._unkept}

    async def fill(
        self, asked: Sequence[tuple[str, SafetyConfig]], data: Data, request: gr.Request | None
    ) -> AsyncGenerator[list[Turn], None]:
        """The turns so far, a few times a second, until every arm's answer to each prompt under its config is judged.

        Closing the generator leaves the unfinished answers abandoned. Raises `NotNow` and `StoreError`.
        """
        name = data[self._session] or Session().id
        if name in self._running:
            raise NotNow(wording.GRID_BUSY)
        visitor = visitor_of(request)
        self.answering.limits.check(visitor, len(asked) * len(self.answering.arms))
        turns = self._running[name] = []
        sessions: list[Session] = []
        try:
            for prompt, config in asked:
                session = Session(id=name, visitor=visitor)
                turns.append(await self.answering.begin(session, prompt, config, keeps=not data[self._unkept]))
                sessions.append(session)
                self.answering.ask(session, turns[-1])
            while not is_judged(turns):
                yield turns
                await asyncio.sleep(FRAME_S)
            yield turns
        finally:
            del self._running[name]
            for session in sessions:
                self.answering.abandon(session)

    async def stop(self, data: Data) -> None:
        """Stop every answer of the grid that this page is filling, on the servers too."""
        for turn in self._running.get(data[self._session] or "", ()):
            self.answering.stop(turn)


def is_judged(turns: Sequence[Turn]) -> bool:
    """True when every answer is final, and has its verdict if it is to have one."""
    answers = [answer for turn in turns for answer in turn.answers.values()]
    return all(answer.is_final and not answer.awaits_judgement for answer in answers)
