"""What a store of 100,000 judged and voted comparisons costs: to draw the Scores tab of it, and to take it along."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.report import OnStep, Report, cell
from benchmarks.spread import ratios, spread
from benchmarks.store import ARMS, FINAL, JUDGEMENT, PROMPT, SAMPLING
from evaluation.export import export
from evaluation.store import Store
from evaluation.store_cases import read_cases
from evaluation.store_scores import read_store_scores
from evaluation.vote import Vote
from presets.safety_config import SafetyConfig, render_system_prompt

COMPARISONS = 100_000
TURNS_IN_A_CONVERSATION = 3
CONFIGS = tuple(
    SafetyConfig(f"config-{number}", f"Config {number}", f"Rule {number}.", "tinyworld", frozenset({"alcohol"}))
    for number in range(12)
)
OUTCOMES = ("best", "best", "tie", "all_bad", None)
"""Of each five turns: what was voted, None for no vote."""

BARE, READ, CASES, CSV = "the rows, by bare sqlite3", "scores", "answers that went wrong", "csv export"
ROWS = """
SELECT r.arm_id, t.config_hash, t.conversation_id, j.rating, j.safe
FROM responses AS r JOIN turns AS t ON t.id = r.turn_id JOIN judgements AS j ON j.response_id = r.id
"""
"""What the scores are made of, without asking which attempt and judgement count."""


def measure(folder: Path, *, repeats: int, on_step: OnStep, comparisons: int = COMPARISONS) -> Report:
    """The report on a new file in `folder`."""
    path = folder / "large.sqlite3"
    fill(path, comparisons)
    ways: Mapping[str, Callable[[], object]] = {
        BARE: lambda: bare_rows(path),
        READ: lambda: read_store_scores(path),
        CASES: lambda: read_cases(path),
        CSV: lambda: export(path, "csv", folder / "large.csv"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, do in ways.items():
            started = time.perf_counter()
            do()
            seconds[name].append(time.perf_counter() - started)
        on_step(repeat + 1, repeats)
    return report(seconds, comparisons)


def bare_rows(path: Path) -> list[tuple[Any, ...]]:
    """The rows that scores are made of, read by sqlite3 alone."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(ROWS).fetchall()


def fill(path: Path, comparisons: int) -> None:
    """Make a store of so many responses, each judged, most of them voted on: a turn by `Store`, and copies of its rows.

    Copies have ids, a config, ratings, verdicts and votes of their own (seeded). Through `Store` they would take minutes.
    """
    with Store(path) as store:
        hashes = [store.save_config(config) for config in CONFIGS]
        conversation = store.begin_conversation(session_id="session", profile="tinyworld")
        prompt = {"prompt": PROMPT, "config": CONFIGS[0], "system_prompt": render_system_prompt(CONFIGS[0])}
        turn = store.begin_turn(conversation, **prompt, sampling=SAMPLING, arms=ARMS)
        for response_id in turn.response_ids.values():
            store.start_response(response_id)
            store.finish_response(response_id, "complete", FINAL)
            store.save_judgement(response_id, JUDGEMENT)
        store.save_vote(Vote("vote", turn.id, "session", "tie", None, tuple(turn.response_ids)))
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        copies = _Copies(db, hashes)
        for number in range(1, comparisons // len(ARMS)):
            copies.add_turn(number)


class _Copies:
    """Writes copies of a store's first turn."""

    def __init__(self, db: sqlite3.Connection, config_hashes: Sequence[str]) -> None:
        self._db, self._hashes, self._draw = db, config_hashes, random.Random(0)
        db.row_factory = sqlite3.Row
        tables = ("conversations", "turns", "responses", "judgements", "votes")
        self._first = {table: list(map(dict, db.execute(f"SELECT * FROM {table}"))) for table in tables}

    def add_turn(self, number: int) -> None:
        """A turn with its responses, judgements and, for most, a vote; every so often it begins a conversation."""
        conversation = f"conversation-{number // TURNS_IN_A_CONVERSATION}"
        turn = {"id": f"turn-{number}", "conversation_id": conversation, "turn_index": number % TURNS_IN_A_CONVERSATION}
        if turn["turn_index"] == 0 or number == 1:
            self._insert("conversations", {**self._first["conversations"][0], "id": conversation})
        self._insert("turns", {**self._first["turns"][0], **turn, "config_hash": self._draw.choice(self._hashes)})
        responses = []
        for place, response in enumerate(self._first["responses"]):
            responses.append(f"response-{number}-{place}")
            self._insert("responses", {**response, "id": responses[-1], "turn_id": turn["id"]})
            verdict = {"rating": self._draw.randrange(6), "safe": int(self._draw.random() < 0.8), "sequence": None}
            judgement = {"id": f"judgement-{number}-{place}", "response_id": responses[-1], **verdict}
            self._insert("judgements", {**self._first["judgements"][place], **judgement})
        if outcome := self._draw.choice(OUTCOMES):
            arms = [arm.arm_id for arm in ARMS]
            vote = {"id": f"vote-{number}", "turn_id": turn["id"], "responses": json.dumps(responses)}
            vote |= {"outcome": outcome, "best": self._draw.choice(arms) if outcome == "best" else None}
            self._insert("votes", {**self._first["votes"][0], **vote})

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        marks = ", ".join(f":{name}" for name in row)
        self._db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", row)


def report(seconds: Mapping[str, list[float]], comparisons: int) -> Report:
    """The table of seconds, and how many times longer each takes than the bare rows."""
    times = {name: spread(found) for name, found in seconds.items()}
    ratio = {name: spread(ratios(found, seconds[BARE])) for name, found in seconds.items()}
    return Report(
        name="large-store",
        title=f"A store of {comparisons:,} comparisons",
        columns=("way", "seconds", "time, ratio"),
        rows=tuple((name, cell(times[name], 2), cell(ratio[name], 1)) for name in seconds),
        notes=("Medians [quartiles]. The tab draws its scores and lists; an export is what somebody takes along.",),
        data={
            "ways": {name: {"seconds": asdict(times[name]), "ratio": asdict(ratio[name])} for name in seconds},
            "comparisons": comparisons,
            "samples": {"seconds": dict(seconds)},
        },
    )
