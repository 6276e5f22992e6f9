"""The tab with earlier conversations: this browser's own, found by their words, and any one by its permanent link.

Which conversations are its own the browser remembers; the store knows of no person. Whoever has a link may read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import gradio as gr

from evaluation.store import Store, StoreError
from evaluation.store_history import find_conversations
from playground import history_wording, markup, replay
from playground.compare import AT_ONCE, PRIVATE, Compare, told
from playground.own_data import OwnData, remembered
from playground.picker import Data, Updates

REMEMBERED = 200
"""Conversations that a browser remembers, the latest."""

MAX_SEARCH = 200
"""Characters that are searched for."""

LINK = "conversation"
"""The parameter of the page's address that names a conversation."""

TAB = "history"


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
            self.replay = gr.HTML(elem_id="replay")
        for judged in compare.judged:
            judged.then(self.remember, {compare.session, self.mine}, [self.mine], **PRIVATE)
        # What is read stays: a link that opens this tab makes it look for this browser's conversations, too.
        shown = [self.choice, self.note]
        gr.on([tab.select, self.words.change], self.find, {self.words, self.mine}, shown, **_latest())
        self.own.erased.success(self.find, {self.words, self.mine}, shown, **PRIVATE)
        self.choice.input(self.choose, {self.choice}, [self.replay], **AT_ONCE)

    @property
    def opening(self) -> dict[str, Any]:
        """How the page's opening is wired to `open_link`."""
        return {"inputs": None, "outputs": [self.tabs, self.replay], **AT_ONCE}

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
        return {self.replay: await self._replay(data[self.choice] or "")}

    async def open_link(self, request: gr.Request) -> Sequence[Any]:
        """The conversation that the page's address names, on this tab; else everything stays as it is."""
        conversation_id = request.query_params.get(LINK, "")
        if not conversation_id:
            return gr.skip(), gr.skip()
        return gr.Tabs(selected=TAB), await self._replay(conversation_id)

    async def _replay(self, conversation_id: str) -> str:
        if conversation_id in self.compare.sessions.blind_conversations():
            return markup.notice(history_wording.HIDDEN)
        try:
            turns = await asyncio.to_thread(self.store.turns, conversation_id)
        except StoreError:
            return markup.notice(history_wording.UNKNOWN, kind="bad")
        return replay.conversation(turns, self.compare.choices.taxonomy, link=f"?{LINK}={conversation_id}")


def _latest() -> dict[str, Any]:
    """Of several changes while a search runs only the last is looked at."""
    return {**AT_ONCE, "trigger_mode": "always_last"}
