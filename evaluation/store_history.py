"""Conversations in a store, found again by their words."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from evaluation.schema import StoreError, open_to_read, plain_words
from evaluation.store_records import read_config
from presets.safety_config import SafetyConfig

FIND = """
SELECT c.id, c.created_at, t.prompt, g.title AS config_title,
  (SELECT count(*) FROM turns WHERE conversation_id = c.id) AS turns
FROM conversations AS c
JOIN turns AS t ON t.conversation_id = c.id AND t.turn_index = 0
JOIN configs AS g ON g.hash = t.config_hash
WHERE c.id IN (SELECT value FROM json_each(:ids)) AND c.erased_at IS NULL AND NOT EXISTS (
  SELECT 1 FROM json_each(:words) AS word WHERE NOT EXISTS (
    SELECT 1 FROM turns AS u
    JOIN configs AS h ON h.hash = u.config_hash
    LEFT JOIN responses_current AS r ON r.turn_id = u.id
    WHERE u.conversation_id = c.id
      AND instr(lower(u.prompt || ' ' || h.title || ' ' || h.text || ' ' || coalesce(r.text, '')), word.value)))
ORDER BY c.created_at DESC LIMIT :limit
"""
"""A conversation is found when each word stands somewhere in its prompts, configs or current answers."""


@dataclass(frozen=True)
class Found:
    """A conversation in a list: when it began (ISO 8601, UTC), under which config, with which prompt, and its turns."""

    id: str
    created_at: str
    prompt: str
    config_title: str
    turns: int


def find_conversations(path: Path, ids: Collection[str], *, words: str = "", limit: int = 50) -> list[Found]:
    """Of these conversations those in which every one of the words occurs, the newest first. Raises `StoreError`."""
    wanted = {"ids": json.dumps(list(ids)), "words": json.dumps(words.lower().split()), "limit": limit}
    with open_to_read(path) as db, plain_words(path):
        return [Found(**row) for row in db.query(FIND, wanted)]


def config_of(path: Path, turn_id: str) -> SafetyConfig:
    """The config that was in force at a turn. Raises `StoreError`, also for a turn that there is not."""
    with open_to_read(path) as db, plain_words(path):
        rows = list(
            db.query("SELECT g.* FROM configs AS g JOIN turns AS t ON t.config_hash = g.hash WHERE t.id = ?", [turn_id])
        )
    if not rows:
        raise StoreError(f"there is no turn {turn_id!r} in {path}")
    return read_config(rows[0])
