"""Words that were taken back are gone from the file itself; numbers stay, and nobody else's words go."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.judgement import Judgement
from evaluation.response import Response
from evaluation.store import Store, StoreError
from evaluation.store_backup import backup
from evaluation.store_check import check
from evaluation.store_erase import ERASED
from evaluation.store_history import find_conversations
from evaluation.store_scores import read_store_scores
from evaluation.vote import Vote
from tests.test_store import ARMS, CONFIG, ROOT, ask

READY_MADE = replace(CONFIG, source="ready-made")
OWN = replace(CONFIG, id="visitor", title="My quokka rules", text="Talk about the quokka.", source="visitor")
WORDS = ("quokka", "wombat", "bandicoot", "numbat", "bilby")
"""Of the config, the prompt, the answers, the judge and the voter."""


def talk(store: Store, *, key: str | None = "the key", kept: bool = True, prompt: str = "A wombat?", config=OWN) -> str:
    conversation = store.begin_conversation(session_id="s", profile="tinyworld", key=key, kept=kept)
    turn = ask(store, conversation, prompt=prompt, config=config)
    for arm in ARMS:
        response = turn.response_ids[arm.arm_id]
        store.start_response(response)
        store.finish_response(response, "complete", Response("A bandicoot.", "Thinking of a bandicoot"))
        store.save_judgement(response, Judgement("judge", 4, frozenset({"alcohol"}), True, "numbat", raw="numbat"))
    vote = Vote(f"vote {conversation}", turn.id, "s", "best", "ica", tuple(arm.arm_id for arm in ARMS), "A bilby.")
    store.save_vote(vote)
    return conversation


def bytes_of(path: Path) -> bytes:
    """All that lies in the store's files, without what SQLite would still show."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_the_words_are_gone_from_the_file_and_the_numbers_stay(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        conversation = talk(store)
        before = read_store_scores(path)
        assert all(word.encode() in bytes_of(path) for word in WORDS)
        assert store.erase({conversation: "the key"}) == 1
        assert store.erase({conversation: "the key"}) == 0
        after = read_store_scores(path)
        assert (after.scores, after.open_votes) == (before.scores, before.open_votes)
        assert list(after.configs.values()) == [ERASED]
        assert list(store.comparisons()) == []
        assert find_conversations(path, [conversation]) == []
        with pytest.raises(StoreError, match="erased"):
            store.turns(conversation)
    assert [word for word in WORDS if word.encode() in bytes_of(path)] == []
    assert check(path).problems == ()


@pytest.mark.parametrize("key", ["", "another key"])
def test_nobody_else_can_erase(tmp_path: Path, key: str) -> None:
    with Store(tmp_path / "store.db") as store:
        conversation, nobodys = talk(store), talk(store, key=None)
        assert store.erase({conversation: key, nobodys: key, "unknown": "the key"}) == 0
        assert len(store.turns(conversation)) == len(store.turns(nobodys)) == 1


def test_a_config_that_others_use_stays_and_an_erased_one_comes_back_with_its_next_use(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        first, second, ready_made = talk(store), talk(store), talk(store, config=READY_MADE)
        store.erase({first: "the key", ready_made: "the key"})
        assert store.turns(second)[0].config_text == OWN.text
        store.erase({second: "the key"})
        assert sorted(read_store_scores(path).configs.values()) == [ERASED, READY_MADE.title]
        again = talk(store)
        assert (store.turns(again)[0].config_title, store.turns(again)[0].config_text) == (OWN.title, OWN.text)


def test_a_conversation_that_is_being_answered_is_not_erased(tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        done = talk(store)
        busy = store.begin_conversation(session_id="s", profile="tinyworld", key="the key")
        ask(store, busy)
        with pytest.raises(StoreError, match="still being answered"):
            store.erase({done: "the key", busy: "the key"})
        assert store.turns(done)[0].prompt == "A wombat?"


def test_what_was_not_to_be_kept_goes_out_nowhere_and_is_gone_when_the_store_closes(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        talk(store, kept=False)
        kept = talk(store, prompt="An echidna?", config=READY_MADE)
        assert {row["conversation_id"] for row in store.comparisons()} == {kept}
        with Store(path):
            pass
        assert b"wombat" in bytes_of(path), "its own process still runs"
    assert b"wombat" not in bytes_of(path)
    assert b"echidna" in bytes_of(path)


def test_what_a_killed_process_was_not_to_keep_is_gone_after_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    script = (
        "from pathlib import Path; import sys, time; from evaluation.store import Store\n"
        "from tests.test_store_erase import talk\n"
        f"store = Store(Path({str(path)!r})); talk(store, kept=False); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGKILL)
    assert b"wombat" in bytes_of(path)
    Store(path).close()
    assert b"wombat" not in bytes_of(path)


def test_a_vote_loses_its_words_only_with_its_conversation(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        conversation = talk(store)
        for sql in ("UPDATE votes SET reason = ''", "UPDATE votes SET reason = 'forged'"):
            with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(sql)
        store.erase({conversation: "the key"})
        for sql in ("UPDATE votes SET reason = 'forged'", "UPDATE votes SET reason = '', outcome = 'tie', best = NULL"):
            with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(sql)


def test_a_backup_has_no_words_that_are_not_to_be_kept(tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        unkept = talk(store, kept=False)
        kept = talk(store, prompt="An echidna?", config=READY_MADE)
        backup(store.path, tmp_path / "copy.db")
        assert store.turns(unkept)[0].prompt == "A wombat?", "the conversation goes on here"
    assert b"wombat" not in bytes_of(tmp_path / "copy.db")
    with Store(tmp_path / "copy.db") as copy:
        assert copy.turns(kept)[0].prompt == "An echidna?"
    assert check(tmp_path / "copy.db").problems == ()
