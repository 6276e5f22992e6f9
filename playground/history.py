"""The tab with earlier conversations: this browser's own, found by their words, and any one by its permanent link.

Which conversations are its own the browser remembers; the store knows of no person. Whoever has a link may read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import gradio as gr

from evaluation.store import Store, StoreError
from evaluation.store_history import config_of, find_conversations
from playground import history_wording, markup, replay
from playground.compare import AT_ONCE, PRIVATE, Compare, told
from playground.going_on import turns_of
from playground.own_data import OwnData, remembered
from playground.picker import Data, Updates
from playground.session import NotNow, Turn
from presets.safety_config import SafetyConfig

REMEMBERED = 200
"""Conversations that a browser remembers, the latest."""

MAX_SEARCH = 200
"""Characters that are searched for."""

LINK = "conversation"
"""The parameter of the page's address that names a conversation."""

TAB, FIRST_TAB = "history", "compare"


def browser_state() -> gr.BrowserState:
    """Where a browser remembers its conversations. Made outside the tab: what a closed tab holds is not kept.

    With gradio's own random secret the browser would forget at each start of the program.
    """
    return gr.BrowserState([], storage_key="cosa-conversations", secret="ids of conversations, no secret")


class History:
    """The tab. Made inside a `gr.Tab`; `tabs` shows it when the page was opened by a link."""

    def __init__(self, store: Store, compare: Compare, mine: gr.BrowserState, tabs: gr.Tabs, tab: gr.Tab) -> None:
        self.store, self.compare, self.mine, self.tabs = store, compare, mine, tabs
        with gr.Column(elem_id="history"):
            gr.HTML(markup.caption(history_wording.LEAD))
            self.words = gr.Textbox(
                label=history_wording.SEARCH,
                placeholder=history_wording.HINT,
                lines=1,
                max_length=MAX_SEARCH,
                elem_id="history-words",
            )
            self.choice = gr.Radio([], label=history_wording.FOUND, elem_id="history-choice", visible=False)
            self.note = gr.HTML(markup.notice(history_wording.EMPTY), elem_id="history-note")
            self.own = OwnData(store, compare, mine, self.choice)
            self.shown = gr.State("")
            self.further = gr.Button(
                history_wording.GO_ON, size="sm", variant="secondary", visible=False, elem_id="history-go-on"
            )
            self.replay = gr.HTML(elem_id="replay")
        for judged in compare.judged:
            judged.then(self.remember, {compare.session, self.mine}, [self.mine], **PRIVATE)
        # What is read stays: a link that opens this tab makes it look for this browser's conversations, too.
        shown = [self.choice, self.note]
        gr.on([tab.select, self.words.change], self.find, {self.words, self.mine}, shown, **_latest())
        self.own.erased.success(self.find, {self.words, self.mine}, shown, **PRIVATE)
        self.choice.input(self.choose, {self.choice}, self._replayed, **AT_ONCE)
        data = {self.shown, compare.session}
        # Two steps: an event that writes on a tab that is not on show never returns.
        leaving = self.further.click(self.leave, data, [tabs], **PRIVATE)
        leaving.success(
            self.go_on, data, list(dict.fromkeys([*compare.turn_outputs, *compare.picker.outputs])), **PRIVATE
        )

    @property
    def opening(self) -> dict[str, Any]:
        """How the page's opening is wired to `open_link`."""
        return {"inputs": None, "outputs": [self.tabs, *self._replayed], **AT_ONCE}

    @property
    def _replayed(self) -> list[Any]:
        """What shows a conversation."""
        return [self.shown, self.further, self.replay]

    async def remember(self, data: Data) -> Updates:
        """The browser's own conversations, with the one that a prompt was just sent in, if that is kept; see `remembered`."""
        session = self.compare.sessions.open(data[self.compare.session])
        mine = list(data[self.mine] or ())
        if session.conversation_id is None or not session.keeps:
            return {self.mine: mine}
        current = f"{session.conversation_id} {session.key}"
        return {self.mine: [*(each for each in mine if each != current), current][-REMEMBERED:]}

    async def find(self, data: Data) -> Updates:
        """This browser's conversations in which all the words occur."""
        mine = list(remembered(data[self.mine] or ()))[-REMEMBERED:]
        with told():
            words = data[self.words] or ""
            found = await asyncio.to_thread(find_conversations, self.store.path, mine, words=words)
        choices = [(history_wording.conversation(each), each.id) for each in found]
        if not choices:
            nothing = history_wording.NOTHING if mine else history_wording.EMPTY
            return {self.choice: gr.update(choices=[], value=None, visible=False), self.note: markup.notice(nothing)}
        return {self.choice: gr.update(choices=choices, value=None, visible=True), self.note: ""}

    async def choose(self, data: Data) -> Updates:
        """The chosen conversation."""
        return dict(zip(self._replayed, await self._replay(data[self.choice] or ""), strict=True))

    async def open_link(self, request: gr.Request) -> Sequence[Any]:
        """The conversation that the page's address names, on this tab; else everything stays as it is."""
        conversation_id = request.query_params.get(LINK, "")
        if not conversation_id:
            return tuple(gr.skip() for _ in range(4))
        return gr.Tabs(selected=TAB), *await self._replay(conversation_id)

    async def _replay(self, conversation_id: str) -> tuple[str, Any, str]:
        """What `_replayed` then hold: nothing to go on from where the conversation is not shown."""
        hidden = gr.update(visible=False)
        if conversation_id in self.compare.sessions.blind_conversations():
            return "", hidden, markup.notice(history_wording.HIDDEN)
        try:
            turns = await asyncio.to_thread(self.store.turns, conversation_id)
        except StoreError:
            return "", hidden, markup.notice(history_wording.UNKNOWN, kind="bad")
        shown = replay.conversation(turns, self.compare.choices.taxonomy, link=f"?{LINK}={conversation_id}")
        return conversation_id, gr.update(visible=bool(turns)), shown

    async def leave(self, data: Data, request: gr.Request | None = None) -> Updates:
        """The first tab, if the conversation on show can go on there."""
        with told():
            await self._further(data, request)
        return {self.tabs: gr.Tabs(selected=FIRST_TAB)}

    async def go_on(self, data: Data, request: gr.Request | None = None) -> Updates:
        """The conversation on the first tab, under its config, ready for the next prompt."""
        compare = self.compare
        session = compare.sessions.open(data[compare.session])
        with told():
            turns, config = await self._further(data, request)
            if not session.is_busy:
                await compare.answering.leave(session)
            session.go_on(data[self.shown], turns, config)
        for forgotten in compare.sessions.keep(session):
            compare.answering.abandon(forgotten)
        return {**compare.turn_updates(session), **compare.picker.put(config)}

    async def _further(self, data: Data, request: gr.Request | None) -> tuple[list[Turn], SafetyConfig]:
        """The turns of the conversation on show, and their config. Raises `NotNow` where this page cannot go on from them."""
        choices, conversation_id = self.compare.choices, data[self.shown] or ""
        if conversation_id in self.compare.sessions.blind_conversations():
            raise NotNow(history_wording.HIDDEN)
        stored = await asyncio.to_thread(self.store.turns, conversation_id)
        config = await asyncio.to_thread(config_of, self.store.path, stored[-1].id)
        arms = {said.arm.arm_id for turn in stored for said in turn.responses}
        if arms != set(self.compare.answering.arms) or config.taxonomy != choices.taxonomy.id:
            raise NotNow(history_wording.OTHER_ARMS)
        if config.content_hash not in {each.content_hash for each in choices.configs.values()}:
            choices.require_edit(request)
        return turns_of(stored, config), config


def _latest() -> dict[str, Any]:
    """Of several changes while a search runs only the last is looked at."""
    return {**AT_ONCE, "trigger_mode": "always_last"}
