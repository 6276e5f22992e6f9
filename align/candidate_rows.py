"""Candidates rows: prompts under configs, and labelled responses to them, one JSON object a line.

    {"prompt": "…", "allowed": ["alcohol"], "system_prompt": "…",
     "responses": [{"text": "…", "categories": ["alcohol"], "addressed": true}]}

`allowed` names the categories that the config allows. A response's `categories` and `addressed` are null where its labels
could not be read. `history` (earlier messages) and `mode` (how the config was made for the prompt, CoSA section 5.2) may
be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from align.jsonl import read_rows

FIELDS = ("prompt", "allowed", "system_prompt", "responses")


def read_candidates(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, each checked. Raises `RowError`, which names the file, the line and the field."""
    return read_rows(path, needed=FIELDS, fault=_fault)


def _fault(row: dict[str, Any]) -> str:
    """What is wrong with a row, in words; empty when nothing is."""
    for field in ("prompt", "system_prompt"):
        if not isinstance(row[field], str):
            return f"{field}: is {row[field]!r}; a text is needed"
    if not _is_names(row["allowed"]):
        return f"allowed: is {row['allowed']!r}; a list of category names is needed"
    if not isinstance(row["responses"], list):
        return f"responses: is {row['responses']!r}; a list is needed"
    if not isinstance(row.get("mode"), str | None):
        return f"mode: is {row['mode']!r}; a text or null is needed"
    if not _is_messages(row.get("history") or []):
        return f"history: is {row['history']!r}; a list of messages with role and content is needed"
    faults = (
        f"responses[{place}].{fault}" for place, each in enumerate(row["responses"]) if (fault := _response_fault(each))
    )
    return next(faults, "")


def _response_fault(response: Any) -> str:
    if not isinstance(response, dict) or not isinstance(response.get("text"), str):
        return f"text: is {response!r}; an object with a text is needed"
    if not isinstance(response.get("addressed"), bool | None):
        return f"addressed: is {response['addressed']!r}; true, false or null is needed"
    categories = response.get("categories")
    if categories is not None and not _is_names(categories):
        return f"categories: is {categories!r}; a list of category names, or null, is needed"
    return ""


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and isinstance(each.get("role"), str) and isinstance(each.get("content"), str)
        for each in value
    )
