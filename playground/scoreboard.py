"""The tab with what the whole store adds up to: scores of the arms, over all and by config, their votes, the answers that went
wrong, and all of it to take along."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import gradio as gr

from evaluation.export import FORMATS, export
from evaluation.store_cases import Cases, read_cases
from evaluation.store_scores import read_store_scores
from playground import case_markup, markup, wording
from playground.compare import PRIVATE, Compare, told
from playground.picker import Data, Updates

FILES = [name for name, each in FORMATS.items() if each.suffix]
"""The formats that a visitor can download: not a folder."""


class Scoreboard:
    """The tab. Made inside a `gr.Tab`, it reads the store whenever that is opened, and when asked to.

    Only who may export can read in its lists, and take along, what everybody wrote.
    """

    def __init__(self, store: Path, compare: Compare, tab: gr.Tab) -> None:
        self.store, self.compare, self.roles = store, compare, compare.choices.roles
        choices = compare.choices
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
            if self.roles.might("export"):
                self._offer_export()
        gr.on([tab.select, self.refresh.click, self.configs.input], self.read, {self.configs}, [self.board], **PRIVATE)

    def _offer_export(self) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="playground-export-")
        with gr.Row():
            self.format = gr.Dropdown(FILES, value=FILES[0], label=wording.EXPORT_AS, elem_id="export-format")
            self.make = gr.Button(wording.EXPORT, size="sm", variant="secondary", elem_id="export-make")
            self.file = gr.DownloadButton(wording.DOWNLOAD, visible=False, size="sm", elem_id="export-file")
        self.made = gr.HTML(elem_id="export-made")
        self.make.click(self.take_along, {self.format}, [self.file, self.made], **PRIVATE)

    async def read(self, data: Data, request: gr.Request | None = None) -> Updates:
        """The tables, as the store stands now."""
        with told():
            chosen = data[self.configs] or ()
            found = await asyncio.to_thread(read_store_scores, self.store, configs=chosen)
            titles = {arm.id: arm.title for arm in self.compare.choices.profile.arms}
            board = markup.board(found, titles)
            if self.roles.may(request, "export") and found.scores:
                board += case_markup.case_lists(await self._cases(chosen), titles)
        return {self.board: board}

    async def _cases(self, configs: Sequence[str]) -> Cases:
        """The answers that went wrong, without those that would tell a visitor which arm is which before the vote."""
        blind = self.compare.sessions.blind_conversations()
        return await asyncio.to_thread(read_cases, self.store, configs=configs, without=blind)

    async def take_along(self, data: Data, request: gr.Request | None = None) -> Updates:
        """Write the store's votes in the chosen format, and offer the file; what had to be left out is told."""
        if not self.roles.may(request, "export"):
            raise gr.Error(wording.NO_EXPORT, title=wording.NOT_NOW, print_exception=False)
        name = data[self.format]
        if name not in FILES:
            raise gr.Error(wording.no_format(name), print_exception=False)
        folder = Path(self._files.name) / uuid4().hex
        path = folder / f"playground-{name}{FORMATS[name].suffix}"
        with told():
            found = await asyncio.to_thread(export, self.store, name, path)
        return {
            self.file: gr.DownloadButton(wording.DOWNLOAD, value=str(path), visible=True),
            self.made: markup.caption(wording.exported(found.rows, found.left_out)),
        }
