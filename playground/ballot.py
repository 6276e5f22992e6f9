"""The vote on a turn: one button per arm, tie, all bad, an optional reason, and the confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from evaluation.vote import Outcome
from playground import markup, wording
from playground.picker import Updates
from playground.session import Turn
from presets.arm import Arm

MAX_REASON = 2_000
"""Characters in a reason."""


class Ballot:
    """The components of the vote. The keys 1, 2, 3 ..., = and 0 click its buttons (see keys.js)."""

    def __init__(self, arms: Sequence[Arm]) -> None:
        self.arms = list(arms)
        self.buttons: dict[gr.Button, tuple[Outcome, str | None]] = {}
        gr.HTML(markup.heading(wording.VOTE))
        with gr.Row(elem_id="vote-buttons"):
            for index, arm in enumerate(self.arms, start=1):
                self._add(f"{index} · {arm.title}", f"vote-{index}", "best", arm.id)
            self._add(f"= · {wording.TIE}", "vote-tie", "tie", None)
            self._add(f"0 · {wording.ALL_BAD}", "vote-0", "all_bad", None)
        self.reason = gr.Textbox(
            label=wording.REASON,
            placeholder=wording.REASON_HINT,
            lines=1,
            max_lines=3,
            max_length=MAX_REASON,
            elem_id="vote-reason",
        )
        self.state = gr.HTML(markup.notice(wording.VOTE_WAITS), elem_id="voted")

    @property
    def outputs(self) -> list[Any]:
        """What `updates` writes."""
        return [self.state, *self.buttons]

    def updates(self, turn: Turn | None) -> Updates:
        """The buttons and the line under them, as they stand for this turn."""
        buttons = {
            button: gr.update(
                interactive=self._is_open(turn, best),
                variant="primary" if self._is_chosen(turn, outcome, best) else "secondary",
            )
            for button, (outcome, best) in self.buttons.items()
        }
        return {self.state: self._line(turn), **buttons}

    def _line(self, turn: Turn | None) -> str:
        if turn is None or not turn.is_over:
            return markup.notice(wording.VOTE_WAITS)
        if turn.vote is None:
            return markup.notice(wording.VOTE_OPEN)
        return markup.notice(wording.vote_saved(turn.vote, self.arms), kind="good")

    def _is_open(self, turn: Turn | None, best: str | None) -> bool:
        return turn is not None and turn.is_over and (best is None or bool(turn.answers[best].response.text))

    def _is_chosen(self, turn: Turn | None, outcome: Outcome, best: str | None) -> bool:
        return turn is not None and turn.vote is not None and (turn.vote.outcome, turn.vote.best) == (outcome, best)

    def _add(self, words: str, elem_id: str, outcome: Outcome, best: str | None) -> None:
        button = gr.Button(words, interactive=False, variant="secondary", elem_id=elem_id, min_width=80)
        self.buttons[button] = (outcome, best)
