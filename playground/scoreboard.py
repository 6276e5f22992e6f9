"""The tab with what the whole store adds up to: scores of the arms, over all and by config, and their votes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import gradio as gr

from evaluation.store_scores import read_store_scores
from playground import markup, wording
from playground.compare import PRIVATE, told
from playground.picker import Choices, Data, Updates


class Scoreboard:
    """The tab. Made inside a `gr.Tab`, it reads the store whenever that is opened, and when asked to."""

    def __init__(self, store: Path, choices: Choices, tab: gr.Tab) -> None:
        self.store, self.choices = store, choices
        by_hash = [(config.title, config.content_hash) for config in choices.configs.values()]
        with gr.Column(elem_id="scoreboard"):
            gr.HTML(markup.caption(wording.BOARD_LEAD))
            with gr.Row():
                self.configs = gr.Dropdown(
                    by_hash,
                    value=[],
                    multiselect=True,
                    label=wording.SCORES_FOR,
                    info=wording.ALL_CONFIGS,
                    elem_id="board-configs",
                )
                self.refresh = gr.Button(wording.REFRESH, size="sm", variant="secondary", elem_id="board-refresh")
            self.board = gr.HTML(elem_id="board")
        gr.on([tab.select, self.refresh.click, self.configs.input], self.read, {self.configs}, [self.board], **PRIVATE)

    async def read(self, data: Data) -> Updates:
        """The tables, as the store stands now."""
        with told():
            found = await asyncio.to_thread(read_store_scores, self.store, configs=data[self.configs] or ())
        titles = {arm.id: arm.title for arm in self.choices.profile.arms}
        return {self.board: markup.board(found, titles)}
