"""The tab that tries a config out before it is used: one ordinary question on each category, asked of every arm under it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import gradio as gr

from playground import markup, wording
from playground.batch import Batches, is_judged
from playground.compare import AT_ONCE, STREAM, told
from playground.picker import Choices, Data, Picker, Updates
from playground.session import NotNow
from presets.probe_prompts import load_probe_prompts


class Check:
    """The tab. Made inside a `gr.Blocks`; the config is the one that stands in `picker`, finished or a draft."""

    def __init__(self, batches: Batches, choices: Choices, picker: Picker) -> None:
        self.batches, self.choices, self.picker = batches, choices, picker
        self.probes = load_probe_prompts(choices.taxonomy)
        with gr.Column(elem_id="check", elem_classes="grid-tab"):
            gr.HTML(markup.caption(wording.CHECK_LEAD))
            with gr.Row(elem_classes="grid-buttons"):
                self.run = gr.Button(wording.CHECK_RUN, variant="primary", elem_id="check-run", min_width=120)
                self.stop = gr.Button(wording.STOP, variant="stop", elem_id="check-stop", min_width=90)
            self.grid = gr.HTML(elem_id="check-grid")
        self.run.click(self.ask, {*batches.inputs, *picker.inputs}, [self.grid], **STREAM)
        self.stop.click(batches.stop, batches.inputs, None, **AT_ONCE)

    async def ask(self, data: Data, request: gr.Request | None = None) -> AsyncGenerator[Updates, None]:
        """Every probe under the config, asked of every arm; the grid as it fills, until all is judged."""
        arms = list(self.batches.answering.arms.values())
        with told():
            config = self.picker.config(data, request)
            if not self.probes:
                raise NotNow(wording.NO_PROBES)
            asked = [(prompt, config) for prompt in self.probes.values()]
            length = markup.notice(wording.long_text(config, self.choices.profile), kind="bad")
            notes = [wording.probe(prompt, category, config) for category, prompt in self.probes.items()]
            async with aclosing(self.batches.fill(asked, data, request)) as frames:
                async for turns in frames:
                    by_category = dict(zip(self.probes, turns, strict=False))
                    rows = [(self._name(category), turn) for category, turn in by_category.items()]
                    table = markup.grid(rows, arms, self.choices.taxonomy, notes=notes)
                    found = (
                        markup.findings_on_check(by_category, arms, self.choices.taxonomy) if is_judged(turns) else ""
                    )
                    yield {self.grid: length + table + found}

    def _name(self, category: str) -> str:
        return self.choices.taxonomy.names([category])[0]
