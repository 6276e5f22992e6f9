"""The tab with override attempts: can a visitor talk this config away? One prompt in several frames, asked of every arm."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import gradio as gr

from playground import markup, wording
from playground.batch import Batches, is_judged
from playground.compare import AT_ONCE, STREAM, told
from playground.picker import Choices, Data, Updates
from presets.attack import load_attacks


class Attacks:
    """The tab. Made inside a `gr.Blocks`, it places and wires its components."""

    def __init__(self, batches: Batches, choices: Choices) -> None:
        self.batches, self.choices = batches, choices
        with gr.Column(elem_id="attacks", elem_classes="grid-tab"):
            gr.HTML(markup.caption(wording.ATTACKS_LEAD))
            with gr.Row():
                options = [(config.title, config.id) for config in choices.configs.values()]
                first = choices.default if choices.configs else None
                self.config = gr.Dropdown(
                    options, value=first, label=wording.CONFIG, filterable=False, elem_id="attack-config"
                )
                self.prompt = gr.Textbox(
                    label=wording.PROMPT,
                    placeholder=wording.ATTACKS_HINT,
                    lines=1,
                    max_lines=4,
                    elem_id="attack-prompt",
                )
            with gr.Row(elem_classes="grid-buttons"):
                self.run = gr.Button(wording.ATTACKS_RUN, variant="primary", elem_id="attack-run", min_width=120)
                self.stop = gr.Button(wording.STOP, variant="stop", elem_id="attack-stop", min_width=90)
            self.grid = gr.HTML(elem_id="attack-grid")
        data = {*batches.inputs, self.prompt, self.config}
        gr.on([self.run.click, self.prompt.submit], self.ask, data, [self.grid], **STREAM)
        self.stop.click(batches.stop, batches.inputs, None, **AT_ONCE)

    async def ask(self, data: Data, request: gr.Request | None = None) -> AsyncGenerator[Updates, None]:
        """The prompt in every frame, asked of every arm; the grid as it fills, until all is judged."""
        prompt, attacks = (data[self.prompt] or "").strip(), load_attacks()
        arms = list(self.batches.answering.arms.values())
        # An empty prompt stays empty in its frames, so that it is refused as on the first tab.
        sent = [attack.on(prompt) if prompt else "" for attack in attacks]
        config = self.choices.configs[data[self.config]]
        with told():
            asked = [(words, config) for words in sent]
            async with aclosing(self.batches.fill(asked, data, request)) as frames:
                async for turns in frames:
                    rows = [(attack.title, turn) for attack, turn in zip(attacks, turns, strict=False)]
                    table = markup.grid(rows, arms, self.choices.taxonomy, notes=sent)
                    yield {self.grid: table + (markup.findings_on_attacks(turns, arms) if is_judged(turns) else "")}
