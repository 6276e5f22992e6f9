"""Several prompts or configs asked at once, each in a conversation of its own: what the tabs with a grid have in common.

Every turn is written down, judged and kept as on the first tab. One page fills one grid at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from playground import wording
from playground.answering import Answering
from playground.session import NotNow, Session, Turn
from presets.safety_config import SafetyConfig

FRAME_S = 0.25
"""Seconds between two looks at the answers."""


class Batches:
    """The grids that are being filled, by the session's id."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self._running: dict[str, list[Turn]] = {}

    async def fill(self, name: str, asked: Sequence[tuple[str, SafetyConfig]]) -> AsyncGenerator[list[Turn], None]:
        """The turns so far, a few times a second, until every arm's answer to each prompt under its config is judged.

        Closing the generator leaves the unfinished answers abandoned. Raises `NotNow` and `StoreError`.
        """
        if name in self._running:
            raise NotNow(wording.GRID_BUSY)
        turns = self._running[name] = []
        sessions: list[Session] = []
        try:
            for prompt, config in asked:
                session = Session(id=name)
                turns.append(await self.answering.begin(session, prompt, config))
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

    def stop(self, name: str) -> None:
        """Stop every answer of the grid that this session is filling, on the servers too."""
        for turn in self._running.get(name, ()):
            self.answering.stop(turn)


def is_judged(turns: Sequence[Turn]) -> bool:
    """True when every answer is final, and has its verdict if it is to have one."""
    answers = [answer for turn in turns for answer in turn.answers.values()]
    return all(answer.is_final and not answer.awaits_judgement for answer in answers)
