"""The scripts that the page's events run in the browser, beside the keys of `keys.js`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LEAVE_PROMPT = "(...values) => { document.querySelector('#prompt textarea')?.blur(); return values; }"
RETURN_TO_PROMPT = """(...values) => {
  const box = document.querySelector('#prompt textarea');
  if (box?.value) box.focus();
  return values;
}"""
"""Scripts that hand an event's inputs on. A prompt box with the focus would swallow the keys of the vote, so only one whose
prompt was not taken gets it back."""


def always(updates: Mapping[Any, Any]) -> str:
    """The script that brings these updates without asking the server."""
    return f"() => {json.dumps(list(updates.values()))}"


def filling(words: str) -> str:
    """The script that puts an example into the prompt box, where the visitor can still change it."""
    return f"() => {{ document.querySelector('#prompt textarea')?.focus(); return {json.dumps(words)}; }}"
