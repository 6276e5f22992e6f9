"""The tab where the config is under test: one prompt under several configs, asked of every arm, in one grid.

Each config is a conversation of its own in the store, with one turn: the grid adds up what those say, and keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import gradio as gr

from playground import markup, wording
from playground.answering import Answering
from playground.compare import AT_ONCE, STREAM, told
from playground.picker import Choices, Data, Updates
from playground.session import NotNow, Session, Turn

FEWEST, MOST = 2, 8
"""Configs in a grid: one is no comparison, and more than eight nobody reads."""
FRAME_S = 0.25
"""Seconds between two updates of the grid."""


class Matrix:
    """The tab. Made inside a `gr.Blocks`, it places and wires its components; `session` holds the open page's id."""

    def __init__(self, answering: Answering, choices: Choices, session: gr.State) -> None:
        self.answering, self.choices, self.session = answering, choices, session
        self._running: dict[str, list[Turn]] = {}
        with gr.Column(elem_id="matrix"):
            gr.HTML(markup.caption(wording.MATRIX_LEAD))
            self.prompt = gr.Textbox(
                label=wording.PROMPT, placeholder=wording.MATRIX_HINT, lines=1, max_lines=4, elem_id="matrix-prompt"
            )
            titles = [(config.title, config.id) for config in choices.configs.values()]
            self.configs = gr.CheckboxGroup(
                titles,
                value=[config_id for _, config_id in titles[:MOST]],
                label=wording.MATRIX_CONFIGS.format(fewest=FEWEST, most=MOST),
                elem_id="matrix-configs",
            )
            with gr.Row(elem_id="matrix-buttons"):
                self.run = gr.Button(wording.MATRIX_RUN, variant="primary", elem_id="matrix-run", min_width=120)
                self.stop = gr.Button(wording.STOP, variant="stop", elem_id="matrix-stop", min_width=90)
            self.grid = gr.HTML(elem_id="matrix-grid")
        data = {self.session, self.prompt, self.configs}
        gr.on([self.run.click, self.prompt.submit], self.ask, data, [self.grid], **STREAM)
        self.stop.click(self.stop_all, {self.session}, None, **AT_ONCE)

    async def ask(self, data: Data) -> AsyncGenerator[Updates, None]:
        """The prompt under every chosen config, asked of every arm; the grid as it fills, until all is judged."""
        name = data[self.session] or Session().id
        chosen = [self.choices.configs[config_id] for config_id in data[self.configs] or ()]
        sessions: list[Session] = []
        with told():
            if name in self._running:
                raise NotNow(wording.MATRIX_BUSY)
            if not FEWEST <= len(chosen) <= MOST:
                raise NotNow(wording.MATRIX_CONFIGS.format(fewest=FEWEST, most=MOST) + ".")
            turns = self._running[name] = []
        try:
            for config in chosen:
                session = Session(id=name)
                with told():
                    turn = await self.answering.begin(session, data[self.prompt] or "", config)
                sessions.append(session)
                turns.append(turn)
                self.answering.ask(session, turn)
            while not _is_judged(turns):
                yield {self.grid: self._shown(turns)}
                await asyncio.sleep(FRAME_S)
            yield {self.grid: self._shown(turns)}
        finally:
            del self._running[name]
            for session in sessions:
                self.answering.abandon(session)

    async def stop_all(self, data: Data) -> None:
        """Stop every answer of the grid that this page is filling, on the servers too."""
        for turn in self._running.get(data[self.session] or "", ()):
            self.answering.stop(turn)

    def _shown(self, turns: Sequence[Turn]) -> str:
        arms: list[Any] = list(self.answering.arms.values())
        return markup.grid(turns, arms, self.choices.taxonomy, is_done=_is_judged(turns))


def _is_judged(turns: Sequence[Turn]) -> bool:
    answers = [answer for turn in turns for answer in turn.answers.values()]
    return all(answer.is_final and not answer.awaits_judgement for answer in answers)
