"""Snapshots of a store: made at intervals and at exit, restored where there is no store, in a folder and on a hub."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from huggingface_hub import constants
from playwright.sync_api import Browser, expect

from evaluation import snapshot_place, snapshots
from evaluation.schema import StoreError
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.snapshot_place import Folder, HubRepository, find_place
from evaluation.snapshots import KEEP, Snapshots, restore_newest
from evaluation.store import Store
from evaluation.vllm_process import free_port
from playground import operating_markup
from presets.profile import ROOT
from tests.hub_stand_in import TOKEN, Hub, running_hub
from tests.stage import visit
from tests.test_app import PROFILE

PATIENCE_S = 30.0


def say(store: Store, prompt: str) -> None:
    """Write something that can be looked for."""
    store.begin_conversation(session_id=prompt, profile="tinyworld")


def said(database: Path) -> list[str]:
    with sqlite3.connect(database) as db:
        return [row[0] for row in db.execute("SELECT session_id FROM conversations ORDER BY created_at")]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub on this machine, and a token for it."""
    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.mark.parametrize(
    ("text", "kind"),
    [("./data/copies", Folder), ("/mnt/copies", Folder), ("~/copies", Folder), ("me/playground-store", HubRepository)],
)
def test_a_folder_and_a_repository_are_told_apart(text: str, kind: type) -> None:
    assert isinstance(find_place(text), kind)


@pytest.mark.parametrize("text", ["copies", "a/b/c", "", "https://example.org/x"])
def test_what_could_be_neither_is_explained(text: str) -> None:
    with pytest.raises(StoreError, match=r"write owner/name .* or a folder that begins with \./ or /"):
        find_place(text)


@pytest.mark.parametrize("kind", ["folder", "hub"])
def test_a_restore_drill_brings_all_back(tmp_path: Path, hub: Hub, kind: str) -> None:
    place = Folder(tmp_path / "copies") if kind == "folder" else HubRepository("somebody/store")
    database = tmp_path / "live" / "p.sqlite3"
    assert restore_newest(place, database) is None
    with Store(database) as store:
        keeping = Snapshots(database, place)
        assert keeping.last_good is None
        say(store, "first")
        assert keeping.attempt()
        say(store, "second")
        assert keeping.attempt()
        assert (datetime.now(UTC) - keeping.last_good).total_seconds() < PATIENCE_S
    for file in database.parent.iterdir():
        file.unlink()
    assert re.fullmatch(r"store-000002-\d{8}T\d{6}Z\.sqlite3", restore_newest(place, database) or "")
    assert [file.name for file in database.parent.iterdir()] == [database.name]
    assert said(database) == ["first", "second"]
    with Store(database) as store:
        say(store, "third")
        again = Snapshots(database, place)
        assert again.attempt()
    assert [snapshot_place.number(name) for name in place.names()] == [1, 2, 3]


def test_nothing_is_copied_while_nothing_was_written(tmp_path: Path) -> None:
    place = Folder(tmp_path / "copies")
    with Store(tmp_path / "p.sqlite3") as store:
        keeping = Snapshots(tmp_path / "p.sqlite3", place)
        keeping.attempt()
        first = keeping.last_good
        keeping.attempt()
        assert len(place.names()) == 1
        assert keeping.last_good > first
        say(store, "more")
        keeping.attempt()
        assert len(place.names()) == 2


@pytest.mark.parametrize("kind", ["folder", "hub"])
def test_the_oldest_go_when_there_are_enough(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(snapshots, "KEEP", 3)
    monkeypatch.setattr(snapshot_place, "SQUASH_EVERY", 4)
    place = Folder(tmp_path / "copies") if kind == "folder" else HubRepository("somebody/store")
    with Store(tmp_path / "p.sqlite3") as store:
        keeping = Snapshots(tmp_path / "p.sqlite3", place)
        for number in range(5):
            say(store, str(number))
            assert keeping.attempt(), keeping.problem
    assert [snapshot_place.number(name) for name in place.names()] == [3, 4, 5]
    assert hub.squashed == (1 if kind == "hub" else 0)
    assert KEEP > 3


def test_the_number_decides_and_not_the_clock(tmp_path: Path) -> None:
    for name in ("store-000009-20260101T000000Z.sqlite3", "store-000010-20250101T000000Z.sqlite3", "letter.txt"):
        (tmp_path / name).touch()
    assert [snapshot_place.number(name) for name in Folder(tmp_path).names()] == [9, 10]


def filled(tmp_path: Path) -> tuple[Folder, Path]:
    """A folder with two snapshots, and a place for a database that is not there."""
    place = Folder(tmp_path / "copies")
    with Store(tmp_path / "p.sqlite3") as store:
        keeping = Snapshots(tmp_path / "p.sqlite3", place)
        for word in ("first", "second"):
            say(store, word)
            keeping.attempt()
    return place, tmp_path / "new" / "p.sqlite3"


def spoil(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:20_000])


def test_a_damaged_snapshot_is_passed_over_and_when_all_are_nothing_begins_anew(tmp_path: Path) -> None:
    place, database = filled(tmp_path)
    older, newest = (tmp_path / "copies" / name for name in place.names())
    spoil(newest)
    assert restore_newest(place, database) == older.name
    assert said(database) == ["first"]
    database.unlink()
    spoil(older)
    with pytest.raises(StoreError, match="none of its 2 snapshots is sound"):
        restore_newest(place, database)
    assert not database.exists()


def test_a_snapshot_of_a_newer_program_is_not_passed_over(tmp_path: Path) -> None:
    place, database = filled(tmp_path)
    with sqlite3.connect(tmp_path / "copies" / place.names()[-1]) as db:
        db.execute("UPDATE _sqlite_migrations SET name = 'm999_later' WHERE name = 'm001_base'")
    with pytest.raises(StoreError, match="newer version of this program"):
        restore_newest(place, database)
    assert not database.exists()


def test_a_public_repository_is_refused(tmp_path: Path, hub: Hub) -> None:
    hub.files["somebody/store"] = {}
    hub.public.add("somebody/store")
    with Store(tmp_path / "p.sqlite3"):
        keeping = Snapshots(tmp_path / "p.sqlite3", HubRepository("somebody/store"))
        assert not keeping.attempt()
    assert "is public, and snapshots hold what everybody wrote" in keeping.problem
    assert hub.files["somebody/store"] == {}


def test_a_new_repository_is_private(tmp_path: Path, hub: Hub) -> None:
    assert HubRepository("somebody/store").names() == []
    assert hub.public == set()


def without_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")


def without_a_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.parametrize("fault", [without_a_token, without_a_hub])
def test_a_hub_that_cannot_be_written_to_is_told_and_tried_again(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Callable
) -> None:
    with Store(tmp_path / "p.sqlite3"):
        keeping = Snapshots(tmp_path / "p.sqlite3", HubRepository("somebody/store"))
        with monkeypatch.context() as broken:
            fault(hub, broken)
            assert not keeping.attempt()
            assert "check its name, and that HF_TOKEN holds a token that may write to it" in keeping.problem
            assert "hf_wrong" not in keeping.problem + caplog.text
            with pytest.raises(StoreError, match="cannot be reached"):
                restore_newest(HubRepository("somebody/store"), tmp_path / "new.sqlite3")
        assert keeping.attempt()
        assert keeping.problem == ""
    assert len(hub.files["somebody/store"]) == 1


def test_copies_are_made_at_intervals_and_at_the_end(tmp_path: Path) -> None:
    place = Folder(tmp_path / "copies")
    with Store(tmp_path / "p.sqlite3") as store:
        keeping = Snapshots(tmp_path / "p.sqlite3", place, every_s=0.1)
        keeping.start()
        say(store, "first")
        deadline = time.monotonic() + PATIENCE_S
        while not place.names() or said(tmp_path / "copies" / place.names()[-1]) != ["first"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        keeping.stop()
        say(store, "second")
        keeping.stop()
    assert said(tmp_path / "copies" / place.names()[-1]) == ["first", "second"]


def test_the_page_says_when_and_warns_when_the_latest_try_failed() -> None:
    when = datetime(2026, 11, 27, 16, 50, tzinfo=UTC)
    assert "27 November 2026 at 16:50 UTC" in operating_markup.copies(when, failed=False)
    assert "bad" not in operating_markup.copies(when, failed=False)
    assert "would be lost" in operating_markup.copies(when, failed=True)
    assert "No copy" in operating_markup.copies(None, failed=False)


@contextmanager
def program(folder: Path, model: ScriptedServer, place: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`app.py` with snapshots at this place, once it answers, and its address."""
    (folder / "profile.yaml").write_text(PROFILE.format(address=model.base_url))
    port = free_port()
    command = [sys.executable, "app.py", "--profile", str(folder / "profile.yaml"), "--port", str(port)]
    command += ["--db", str(folder / "live" / "p.sqlite3"), "--snapshots", place]
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "The playground:" not in (folder / "out").read_text():
            assert time.monotonic() < deadline
            assert process.poll() is None, (folder / "out").read_text()
            time.sleep(0.1)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


@pytest.mark.browser
def test_a_machine_that_is_lost_loses_nothing_that_was_copied(tmp_path: Path, browser: Browser) -> None:
    place = str(tmp_path / "copies")
    with ScriptedServer(lambda _: ScriptedReply("Poker is a card game."), models=("scripted",)) as model:
        with program(tmp_path, model, place) as (process, address):
            with visit(browser, address) as page:
                page.locator("#prompt textarea").fill("How do I play poker?")
                page.locator("#send").click()
                expect(page.locator(".exchange.complete")).to_have_count(1)
            stop(process)
        for file in (tmp_path / "live").glob("p.sqlite3*"):
            file.unlink()
        with program(tmp_path, model, place) as (process, address):
            assert re.search(r"The store was restored from store-00000\d-\S+ of ", (tmp_path / "out").read_text())
            with visit(browser, address) as page:
                expect(
                    page.get_by_text(re.compile(r"Last copied to another place on \d\d \w+ 20\d\d at"))
                ).to_be_visible()
            numbers = httpx.get(f"{address}/metrics").text
            assert time.time() - float(re.search(r"^cosa_last_good_backup_\S+ (\S+)$", numbers, re.M)[1]) < PATIENCE_S
            stop(process)
    with sqlite3.connect(tmp_path / "live" / "p.sqlite3") as db:
        kept = db.execute("SELECT t.prompt, r.text, r.status FROM responses AS r JOIN turns AS t ON t.id = r.turn_id")
        assert kept.fetchall() == [("How do I play poker?", "Poker is a card game.", "complete")]


def test_a_place_that_cannot_be_one_is_explained_before_anything_starts(tmp_path: Path) -> None:
    command = [sys.executable, "app.py", "--db", str(tmp_path / "p.sqlite3"), "--snapshots", "nowhere"]
    command += ["--port", str(free_port())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Cannot start: 'nowhere' names no place for snapshots" in done.stderr
    assert not (tmp_path / "p.sqlite3").exists()
