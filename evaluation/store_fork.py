"""A conversation that goes on from an earlier one: what was said there is copied, so that each conversation is whole.

Copies have no judgements and no votes, which belong to the turn that was seen first, and say what they are copies of
(`turns.copied_from`); so nothing is counted twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

TURN = """
INSERT INTO turns({columns}, id, conversation_id, turn_index, copied_from)
SELECT {columns}, :new, :conversation, :place, coalesce(copied_from, id) FROM turns WHERE id = :old
"""
RESPONSE = """
INSERT INTO responses({columns}, id, turn_id, attempt)
SELECT {columns}, :new, :turn, 1 FROM responses WHERE id = :old
"""
OWN_TO_TURN = ("id", "conversation_id", "turn_index", "copied_from")
OWN_TO_RESPONSE = ("id", "turn_id", "attempt")


def copy_turns(db: Any, conversation_id: str, turn_ids: Sequence[str]) -> None:
    """Copy these turns with the last attempt of each arm, in this order, into a conversation that has none yet.

    Inside a transaction of an open store.
    """
    if not turn_ids:
        return
    turn_columns, response_columns = _columns(db, "turns", OWN_TO_TURN), _columns(db, "responses", OWN_TO_RESPONSE)
    for place, turn_id in enumerate(turn_ids):
        new = {"new": str(uuid.uuid4()), "conversation": conversation_id, "place": place, "old": turn_id}
        db.execute(TURN.format(columns=turn_columns), new)
        said = db.execute("SELECT id FROM responses_current WHERE turn_id = ? ORDER BY position", [turn_id]).fetchall()
        for (response_id,) in said:
            copy = {"new": str(uuid.uuid4()), "turn": new["new"], "old": response_id}
            db.execute(RESPONSE.format(columns=response_columns), copy)


def _columns(db: Any, table: str, without: Sequence[str]) -> str:
    return ", ".join(column.name for column in db.table(table).columns if column.name not in without)
