"""Words taken out of a store: what was written in a conversation is gone, and what was counted stays.

Ratings, verdicts and votes remain, as numbers without words, so that scores do not change after the fact. A visitor's own
config goes, too, unless another conversation used it. Backups that were made before hold what they hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from evaluation.process import is_alive
from evaluation.schema import StoreError
from presets.safety_config import SafetyConfig

ERASED = "(erased)"
"""Stands for the title of a config whose words were erased; a title may not be empty."""

TURNS = "SELECT id FROM turns WHERE conversation_id IN (SELECT value FROM json_each(:ids))"
STATEMENTS = (
    "UPDATE conversations SET session_id = '', erased_at = :now WHERE id IN (SELECT value FROM json_each(:ids))",
    f"UPDATE responses SET text = '', thinking = '', error = '' WHERE turn_id IN ({TURNS})",
    f"""UPDATE judgements SET reason = '', raw = ''
        WHERE response_id IN (SELECT id FROM responses WHERE turn_id IN ({TURNS}))""",
    f"UPDATE votes SET reason = '' WHERE reason <> '' AND turn_id IN ({TURNS})",
    f"""UPDATE configs SET title = :erased, text = ''
        WHERE source = 'visitor' AND hash IN (SELECT config_hash FROM turns WHERE id IN ({TURNS}))
        AND hash NOT IN (SELECT t.config_hash FROM turns AS t JOIN conversations AS c ON c.id = t.conversation_id
                         WHERE c.erased_at IS NULL)""",
    f"UPDATE turns SET prompt = '', system_prompt = '' WHERE id IN ({TURNS})",
)
OWNED = """
SELECT c.id, EXISTS (SELECT 1 FROM turns AS t JOIN responses AS r ON r.turn_id = t.id
                     WHERE t.conversation_id = c.id AND r.finished_at IS NULL)
FROM conversations AS c JOIN json_each(?) AS given ON given.key = c.id AND given.value = c.owner
WHERE c.erased_at IS NULL
"""
LEFT_OVER = """
SELECT c.id AS conversation, p.*, max(r.created_at) FROM conversations AS c
JOIN turns AS t ON t.conversation_id = c.id
JOIN responses AS r ON r.turn_id = t.id
JOIN processes AS p ON p.id = r.process_id
WHERE NOT c.kept AND c.erased_at IS NULL GROUP BY c.id
"""
"""Of columns beside a `max` SQLite gives those of the row that has it: here the last response's process."""


def key_hash(key: str) -> str:
    """What a store keeps of the key to a conversation: its SHA-256 (hex)."""
    return hashlib.sha256(key.encode()).hexdigest()


def owned(db: Any, keys: Mapping[str, str]) -> list[str]:
    """The conversations that stand here with the very key that they were begun with, and are not erased yet.

    Raises `StoreError` while one of them is still being answered.
    """
    owners = json.dumps({conversation: key_hash(key) for conversation, key in keys.items()})
    found = db.execute(OWNED, [owners]).fetchall()
    if any(is_busy for _, is_busy in found):
        raise StoreError("a conversation is still being answered; wait for the arms or stop them, then erase it")
    return [conversation for conversation, _ in found]


def left_over(db: Any) -> list[str]:
    """The conversations that were not to be kept and whose last process did not live to erase them."""
    return [row["conversation"] for row in list(db.query(LEFT_OVER)) if not is_alive(row)]


def unkept(db: Any) -> list[str]:
    """The conversations whose words are not to be kept and still stand here; none in a store of an earlier version."""
    if "kept" not in {column[1] for column in db.execute("PRAGMA table_info(conversations)")}:
        return []
    return [row[0] for row in db.execute("SELECT id FROM conversations WHERE NOT kept AND erased_at IS NULL")]


def erase(db: Any, conversation_ids: Collection[str]) -> None:
    """Take the words out of these conversations, inside a transaction of an open store."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    values = {"ids": json.dumps(list(conversation_ids)), "now": now, "erased": ERASED}
    for statement in STATEMENTS:
        db.execute(statement, {name: value for name, value in values.items() if f":{name}" in statement})


def write_again(db: Any, config: SafetyConfig) -> None:
    """Give an erased config its words back, now that somebody uses it once more."""
    erased = "UPDATE configs SET title = ?, text = ? WHERE hash = ? AND text = ''"
    db.execute(erased, [config.title, config.text, config.content_hash])
