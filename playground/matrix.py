"""The tab where the config is under test: one prompt under several configs, asked of every arm, in one grid."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import gradio as gr

from playground import markup, wording
from playground.batch import Batches, is_judged
from playground.compare import AT_ONCE, STREAM, told
from playground.picker import Choices, Data, Picker, Updates
from playground.session import NotNow

FEWEST, MOST = 2, 8
"""Configs in a grid: one is no comparison, and more than eight nobody reads."""


class Matrix:
    """The tab. Made inside a `gr.Blocks`, it places and wires its components."""

    def __init__(self, batches: Batches, choices: Choices, picker: Picker) -> None:
        self.batches, self.choices, self.picker = batches, choices, picker
        with gr.Column(elem_id="matrix", elem_classes="grid-tab"):
            gr.HTML(markup.caption(wording.MATRIX_LEAD))
            self.prompt = gr.Textbox(
                label=wording.PROMPT, placeholder=wording.MATRIX_HINT, lines=1, max_lines=4, elem_id="matrix-prompt"
            )
            titles = [(config.title, config.id) for config in choices.configs.values()]
            mine = [(wording.MATRIX_MINE, wording.OWN_ID)] if choices.roles.might("edit") else []
            self.configs = gr.CheckboxGroup(
                [*mine, *titles],
                value=[config_id for _, config_id in titles[:MOST]],
                label=wording.MATRIX_CONFIGS.format(fewest=FEWEST, most=MOST),
                elem_id="matrix-configs",
            )
            with gr.Row(elem_classes="grid-buttons"):
                self.run = gr.Button(wording.GRID_RUN, variant="primary", elem_id="matrix-run", min_width=120)
                self.stop = gr.Button(wording.STOP, variant="stop", elem_id="matrix-stop", min_width=90)
            self.grid = gr.HTML(elem_id="matrix-grid")
        data = {*batches.inputs, self.prompt, self.configs, *picker.inputs}
        gr.on([self.run.click, self.prompt.submit], self.ask, data, [self.grid], **STREAM)
        self.stop.click(batches.stop, batches.inputs, None, **AT_ONCE)

    async def ask(self, data: Data, request: gr.Request | None = None) -> AsyncGenerator[Updates, None]:
        """The prompt under every chosen config, asked of every arm; the grid as it fills, until all is judged."""
        chosen = data[self.configs] or ()
        arms = list(self.batches.answering.arms.values())
        with told():
            if not FEWEST <= len(chosen) <= MOST:
                raise NotNow(wording.MATRIX_CONFIGS.format(fewest=FEWEST, most=MOST) + ".")
            configs = [self.choices.configs.get(each) or self.picker.own(data, request) for each in chosen]
            asked = [(data[self.prompt] or "", config) for config in configs]
            async with aclosing(self.batches.fill(asked, data, request)) as frames:
                async for turns in frames:
                    rows = [(turn.config.title, turn) for turn in turns]
                    table = markup.grid(rows, arms, self.choices.taxonomy)
                    yield {self.grid: table + (markup.findings_on_configs(turns, arms) if is_judged(turns) else "")}
