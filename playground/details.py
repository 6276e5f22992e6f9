"""What a voter may say beside the vote: who helps more, who keeps to the config, and flags on single answers.

The fields name answers by their place, never an arm, so that nothing in them depends on whether names are hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from evaluation.vote import Axis, Choice, Flag
from playground import details_wording, markup
from playground.picker import Data, Updates
from playground.session import NotNow


class Details:
    """The fields, folded away. Values come to handlers keyed by component."""

    def __init__(self, places: int) -> None:
        words = details_wording
        with gr.Accordion(words.TITLE, open=False, elem_id="details"):
            gr.HTML(markup.caption(words.LEAD))
            options = [
                *((str(place + 1), str(place)) for place in range(places)),
                (words.TIE, "tie"),
                (words.ALL_BAD, "all_bad"),
            ]
            with gr.Row():
                self.axes: dict[Axis, gr.Radio] = {
                    axis: gr.Radio(options, label=label, elem_id=f"axis-{axis}") for axis, label in words.AXES.items()
                }
            flags = [(label, flag) for flag, label in words.FLAGS.items()]
            with gr.Row():
                self.flags = [
                    gr.CheckboxGroup(flags, label=words.flags_of(place), elem_id=f"flags-{place + 1}")
                    for place in range(places)
                ]
            self.save = gr.Button(words.SAVE, size="sm", variant="secondary", elem_id="details-save")

    @property
    def inputs(self) -> set[Any]:
        """What `said` reads."""
        return {*self.axes.values(), *self.flags}

    @property
    def cleared(self) -> Updates:
        """The fields for the next answers."""
        return {**dict.fromkeys(self.axes.values()), **{group: [] for group in self.flags}}

    def said(self, data: Data, arms: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What stands there, as `axes` and `flags` of a vote on these arms, from left to right.

        Raises `NotNow` for an answer that is both good and bad.
        """
        axes = {axis: _choice(data[radio], arms) for axis, radio in self.axes.items() if data[radio]}
        flags: dict[str, frozenset[Flag]] = {}
        for arm_id, group in zip(arms, self.flags, strict=True):
            if found := frozenset(data[group] or ()):
                if {"up", "down"} <= found:
                    raise NotNow(details_wording.UP_AND_DOWN)
                flags[arm_id] = found
        return {"axes": axes, "flags": flags}


def _choice(value: str, arms: Sequence[str]) -> Choice:
    return Choice(value) if value in ("tie", "all_bad") else Choice("best", arms[int(value)])
