"""What a visitor may do with their own words: take them along as a file, and have them erased.

A browser's conversations are those whose keys it holds (`Session.key`); the store knows only the keys' hashes.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr

from evaluation.store import Store, StoreError
from playground import keeping_wording, markup
from playground.compare import PRIVATE, Compare, told
from playground.picker import Data, Updates
from playground.session import NotNow


def remembered(entries: Iterable[Any]) -> dict[str, str]:
    """Conversations by id with their keys, out of what a browser remembers: `ID KEY` each, from earlier versions `ID`."""
    parts = (entry.partition(" ") for entry in entries if isinstance(entry, str))
    return {conversation: key for conversation, _, key in parts}


class OwnData:
    """The buttons. Made inside the History tab; `choice` holds the conversation that is chosen there."""

    def __init__(self, store: Store, compare: Compare, mine: gr.BrowserState, choice: gr.Radio) -> None:
        self.store, self.compare, self.mine, self.choice = store, compare, mine, choice
        self._files = tempfile.TemporaryDirectory(prefix="playground-mine-")
        self.doomed = gr.State([])
        with gr.Column(elem_id="own-data"):
            gr.HTML(markup.caption(keeping_wording.LEAD))
            with gr.Row():
                self.take = gr.Button(keeping_wording.TAKE, size="sm", variant="secondary", elem_id="own-take")
                self.file = gr.DownloadButton(keeping_wording.DOWNLOAD, visible=False, size="sm", elem_id="own-file")
                self.one = gr.Button(keeping_wording.ERASE_ONE, size="sm", variant="secondary", elem_id="own-erase-one")
                self.all = gr.Button(keeping_wording.ERASE_ALL, size="sm", variant="secondary", elem_id="own-erase-all")
            self.note = gr.HTML(elem_id="own-note")
            with gr.Row(visible=False, elem_id="own-really") as self.really:
                self.confirm = gr.Button(keeping_wording.CONFIRM, size="sm", variant="stop", elem_id="own-confirm")
                self.cancel = gr.Button(keeping_wording.CANCEL, size="sm", variant="secondary", elem_id="own-cancel")
        self.take.click(self.take_along, {mine}, [self.file, self.note], **PRIVATE)
        asked = [self.doomed, self.note, self.really]
        self.one.click(self.ask_one, {mine, choice}, asked, **PRIVATE)
        self.all.click(self.ask_all, {mine}, asked, **PRIVATE)
        self.cancel.click(self.spare, None, asked, **PRIVATE)
        self.erased = self.confirm.click(self.erase, {mine, self.doomed}, [mine, *asked, self.file], **PRIVATE)

    async def take_along(self, data: Data) -> Updates:
        """Write this browser's conversations into a file, and offer it."""
        mine = remembered(data[self.mine] or ())
        with told():
            found = await asyncio.to_thread(_conversations, self.store, list(mine))
        path = Path(self._files.name) / uuid4().hex / "my-conversations.json"
        path.parent.mkdir()
        path.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        return {
            self.file: gr.DownloadButton(keeping_wording.DOWNLOAD, value=str(path), visible=bool(found)),
            self.note: markup.caption(keeping_wording.taken(len(found))),
        }

    async def ask_one(self, data: Data) -> Updates:
        """Ask whether the chosen conversation is to be erased."""
        with told():
            if not data[self.choice]:
                raise NotNow(keeping_wording.CHOOSE_FIRST)
            if not remembered(data[self.mine] or ()).get(data[self.choice]):
                raise NotNow(keeping_wording.NOT_BEGUN_HERE)
        return self._ask([data[self.choice]])

    async def ask_all(self, data: Data) -> Updates:
        """Ask whether all of this browser's conversations are to be erased."""
        doomed = [conversation for conversation, key in remembered(data[self.mine] or ()).items() if key]
        with told():
            if not doomed:
                raise NotNow(keeping_wording.NOTHING)
        return self._ask(doomed)

    async def spare(self) -> Updates:
        """Erase nothing."""
        return {self.doomed: [], self.note: "", self.really: gr.update(visible=False)}

    async def erase(self, data: Data) -> Updates:
        """Erase what was asked about and confirmed; the browser forgets it, and pages that show it begin anew."""
        mine, doomed = remembered(data[self.mine] or ()), data[self.doomed] or []
        with told():
            self.compare.sessions.forget(doomed)
            keys = {conversation: mine[conversation] for conversation in doomed if conversation in mine}
            count = await asyncio.to_thread(self.store.erase, keys)
        left = [f"{conversation} {key}".rstrip() for conversation, key in mine.items() if conversation not in doomed]
        note = markup.notice(keeping_wording.erased(count), kind="good")
        return {self.mine: left, **await self.spare(), self.note: note, self.file: gr.update(visible=False)}

    def _ask(self, doomed: Sequence[str]) -> Updates:
        question = markup.notice(keeping_wording.really(len(doomed)), kind="bad")
        return {self.doomed: list(doomed), self.note: question, self.really: gr.update(visible=True)}


def _conversations(store: Store, ids: Iterable[str]) -> list[Mapping[str, Any]]:
    """Everything the store holds of these conversations, as JSON can hold it; what is not there is left out."""
    found = []
    for conversation in ids:
        try:
            turns = store.turns(conversation)
        except StoreError:
            continue
        found.append({"id": conversation, "turns": [_plain(asdict(turn)) for turn in turns]})
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value
