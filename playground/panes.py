"""The panes of the first tab: one per arm, in the order in which the conversation shows the arms, by name or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import gradio as gr

from playground import markup, wording
from playground.picker import Choices, Updates
from playground.session import Answer, Session
from presets.arm import Arm

RENDERED = 512
"""Exchanges whose HTML is kept: of every pane on show, those that do not change from one update to the next."""


@dataclass(frozen=True)
class Pane:
    """One column: whose it is, earlier turns, the turn on show, and the button that asks again. `place` counts from 0."""

    place: int
    head: gr.HTML
    past: gr.HTML
    now: gr.HTML
    retry: gr.Button

    @property
    def parts(self) -> list[gr.HTML]:
        """What a stream of answers writes."""
        return [self.head, self.past, self.now]


class Panes:
    """The row of panes. While a conversation hides the names it shows what the arms say and nothing that tells them apart."""

    def __init__(self, arms: Sequence[Arm], choices: Choices, *, hides_names: bool) -> None:
        self.arms = {arm.id: arm for arm in arms}
        self._choices = choices
        self._exchange = lru_cache(maxsize=RENDERED)(self._rendered)
        self.all = [self._build(place, hides_names=hides_names) for place in range(len(arms))]

    def _build(self, place: int, *, hides_names: bool) -> Pane:
        number = place + 1
        with gr.Column(elem_id=f"pane-{number}", elem_classes=["pane", f"hue-{number % 4}"], min_width=250):
            head = gr.HTML(
                markup.hidden_head(place) if hides_names else markup.arm_head(list(self.arms.values())[place])
            )
            with gr.Column(elem_classes="talk"), gr.Column():
                past = gr.HTML(elem_classes="past")
                now = gr.HTML(markup.idle(), elem_classes="now")
            # Shown by the style, beside an answer that may be asked for again.
            retry = gr.Button(
                wording.RETRY, size="sm", variant="secondary", elem_id=f"retry-{number}", elem_classes="retry"
            )
        return Pane(place, head, past, now, retry)

    @property
    def outputs(self) -> list[Any]:
        """What `updates` writes."""
        return [part for pane in self.all for part in pane.parts]

    def names(self, session: Session) -> list[str]:
        """What the panes are called, from left to right."""
        if session.hides_names:
            return [wording.hidden_name(pane.place) for pane in self.all]
        return [self.arm(session, pane).title for pane in self.all]

    def arm(self, session: Session, pane: Pane) -> Arm:
        """Whose pane it is in this conversation."""
        order = tuple(session.turn.answers) if session.turn is not None else tuple(self.arms)
        return self.arms[order[pane.place]]

    def updates(self, session: Session) -> Updates:
        """All panes, the unchanged ones too: naming a text that stands there already costs next to nothing."""
        return {
            **{pane.head: self._head(session, pane) for pane in self.all},
            **{pane.past: self._past(session, pane) for pane in self.all},
            **{pane.now: self.now(session, pane) for pane in self.all},
        }

    def _past(self, session: Session, pane: Pane) -> str:
        """The pane's turns before the one on show."""
        arm = self.arm(session, pane)
        return "".join(self._said(session, turn.prompt, turn.answers[arm.id], arm) for turn in session.turns[:-1])

    def now(self, session: Session, pane: Pane) -> str:
        """The pane's turn on show."""
        turn, arm = session.turn, self.arm(session, pane)
        if turn is None:
            return markup.idle()
        answers = turn.at_one_pace() if session.hides_names else turn.answers
        return self._said(session, turn.prompt, answers[arm.id], arm)

    def _head(self, session: Session, pane: Pane) -> str:
        return markup.hidden_head(pane.place) if session.hides_names else markup.arm_head(self.arm(session, pane))

    def _said(self, session: Session, prompt: str, answer: Answer, arm: Arm) -> str:
        if session.hides_names:  # A verdict that comes must not make what is on show another text.
            answer = replace(answer, judgement=None)
        return self._exchange(prompt, answer, arm, session.hides_names)

    def _rendered(self, prompt: str, answer: Answer, arm: Arm, hidden: bool) -> str:
        if hidden:
            return markup.hidden_exchange(prompt, answer)
        return markup.exchange(prompt, answer, arm, self._choices.taxonomy, self._choices.profile)
