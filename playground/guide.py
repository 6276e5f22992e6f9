"""The guide at the head of the first tab: what config, arm, judge and score are, and three steps that show it, live."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from playground import guide_wording, markup
from playground.compare import AT_ONCE, Compare
from playground.picker import Choices, Data, Updates
from presets.probe_prompts import load_probe_prompts
from presets.safety_config import SafetyConfig


class Guide:
    """Folded away until somebody opens it. Its steps fill in a config and a prompt; they send nothing."""

    def __init__(self, choices: Choices) -> None:
        words = guide_wording
        facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in words.EXPLAINED)
        self._example = example(choices)
        with gr.Accordion(words.TITLE, open=False, elem_id="guide"):
            gr.HTML(f'<dl class="guide">{facts}</dl>')
            if self._example is None:
                return
            category, _, (allows, forbids) = self._example
            name = choices.taxonomy.names([category])[0]
            gr.HTML(markup.caption(words.STEPS))
            with gr.Row():
                self.allowed = gr.Button(words.step_allowed(allows.title, name), size="sm", elem_id="guide-1")
                self.forbidden = gr.Button(words.step_forbidden(forbids.title), size="sm", elem_id="guide-2")
                self.own = gr.Button(words.STEP_OWN, size="sm", visible=choices.roles.might("edit"), elem_id="guide-3")
            gr.HTML(markup.caption(words.WHAT_TO_SEE))

    def wire(self, compare: Compare) -> None:
        """Let the steps act on the first tab, once that is built."""
        if self._example is None:
            return
        _, prompt, (allows, forbids) = self._example
        data = {compare.session, compare.hide_names, *compare.picker.inputs}
        shown: list[Any] = list(dict.fromkeys([compare.prompt, *compare.picker.outputs, *compare.turn_outputs]))
        for button, config in ((self.allowed, allows), (self.forbidden, forbids)):
            button.click(partial(self.show, compare, config, prompt), data, shown, **AT_ONCE)
        self.own.click(partial(self.edit, compare, forbids, prompt), data, shown, **AT_ONCE)

    async def show(self, compare: Compare, config: SafetyConfig, prompt: str, data: Data) -> Updates:
        """This config and this prompt, on an empty page."""
        return {compare.prompt: prompt, **await compare.start_over(data), **compare.picker.put(config)}

    async def edit(self, compare: Compare, config: SafetyConfig, prompt: str, data: Data) -> Updates:
        """A copy of this config in the editor, and this prompt."""
        copy = compare.picker.edit_copy({**data, compare.picker.choice: config.id})
        return {compare.prompt: prompt, **await compare.start_over(data), **copy}


def example(choices: Choices) -> tuple[str, str, tuple[SafetyConfig, SafetyConfig]] | None:
    """A category, the probe prompt on it, and two ready-made configs: one that allows it and one that does not.

    The one that allows it is the default, where that allows anything; None where no two configs part.
    """
    configs = sorted(choices.configs.values(), key=lambda config: config.id != choices.default)
    for category, prompt in load_probe_prompts(choices.taxonomy).items():
        listed = [config for config in configs if config.allowed is not None]
        allows = next((config for config in listed if category in config.allowed), None)
        forbids = next((config for config in listed if category not in config.allowed), None)
        if allows is not None and forbids is not None:
            return category, prompt, (allows, forbids)
    return None
