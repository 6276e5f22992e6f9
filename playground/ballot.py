"""The vote on a turn: one button per arm, tie, all bad, an optional reason, and the confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from evaluation.vote import Outcome
from playground import markup, wording
from playground.details import Details
from playground.picker import Updates
from playground.session import Turn

MAX_REASON = 2_000
"""Characters in a reason."""


class Ballot:
    """The components of the vote. The keys 1, 2, 3 ..., = and 0 click its buttons (see keys.js).

    A button for an arm is one for a place among the panes, from 0: which arm stands there is the turn's affair.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.buttons: dict[gr.Button, tuple[Outcome, int | None]] = {}
        gr.HTML(markup.heading(wording.VOTE))
        with gr.Row(elem_id="vote-buttons"):
            for place, name in enumerate(names):
                self._add(wording.vote_for(place, name), f"vote-{place + 1}", "best", place)
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
        self.details = Details(len(names))
        self.state = gr.HTML(markup.notice(wording.VOTE_WAITS), elem_id="voted")

    @property
    def outputs(self) -> list[Any]:
        """What `updates` writes."""
        return [self.state, *self.buttons]

    def closed(self) -> Updates:
        """What stands while arms are answering."""
        buttons = {button: gr.update(interactive=False, variant="secondary") for button in self.buttons}
        return {self.state: markup.notice(wording.VOTE_WAITS), **buttons}

    def updates(self, turn: Turn | None, names: Sequence[str]) -> Updates:
        """The buttons and the line under them, as they stand for this turn and what its panes are called."""
        updates: Updates = {self.state: self._line(turn, names)}
        for button, (outcome, place) in self.buttons.items():
            best = None if turn is None or place is None else tuple(turn.answers)[place]
            updates[button] = gr.update(
                interactive=self._is_open(turn, best),
                variant="primary" if self._is_chosen(turn, outcome, best) else "secondary",
                **({} if place is None else {"value": wording.vote_for(place, names[place])}),
            )
        return updates

    def _line(self, turn: Turn | None, names: Sequence[str]) -> str:
        if turn is None or not turn.is_over:
            return markup.notice(wording.VOTE_WAITS)
        if turn.vote is None:
            return markup.notice(wording.VOTE_OPEN)
        return markup.notice(wording.vote_saved(turn.vote, names), kind="good")

    def _is_open(self, turn: Turn | None, best: str | None) -> bool:
        return turn is not None and turn.is_over and (best is None or bool(turn.answers[best].response.text))

    def _is_chosen(self, turn: Turn | None, outcome: Outcome, best: str | None) -> bool:
        return turn is not None and turn.vote is not None and (turn.vote.outcome, turn.vote.best) == (outcome, best)

    def _add(self, words: str, elem_id: str, outcome: Outcome, place: int | None) -> None:
        button = gr.Button(words, interactive=False, variant="secondary", elem_id=elem_id, min_width=80)
        self.buttons[button] = (outcome, place)
