"""Chat markers in somebody's text: the words with which templates, tokenizers and servers tell who is speaking.

They are read wherever they stand, even inside a message, so a visitor could open a system message or forge a model's
thinking with them. Those of the chat models in use are known here by their shape (`<|end|>`, `<turn|>`) or by name.
"""

from __future__ import annotations

import re

WORD_JOINER = "\u2060"
"""An invisible character, which no normalisation takes away."""

ANGLE_NAMES = (
    r"think(?:ing)?",
    r"thought",
    r"reasoning",
    r"tools?",
    r"tool_\w+",
    r"(?:start|end)_of_\w+",
    r"s",
    r"bos",
    r"eos",
    r"sop",
    r"eop",
    r"pad",
    r"unk",
    r"mask",
    r"image",
    r"fim_\w+",
    r"unused\d+",
    r"[A-Z]+_TOKEN",
    r"SYS",
)
"""What stands between `<` or `</` and `>`; other tags are HTML or code."""

SQUARE_NAMES = (
    r"INST",
    r"THINK",
    r"SYSTEM_PROMPT",
    r"AVAILABLE_TOOLS",
    r"TOOL_\w+",
    r"IMG\w*",
    r"BOS",
    r"EOS",
    r"PAD",
    r"UNK",
    r"CLS",
    r"SEP",
    r"g?MASK",
)
"""What stands between `[` or `[/` and `]`; other words in brackets are notes."""

CHAT_MARKER = re.compile(
    r"<(?=[|｜][^\s<>\u2060]+>"
    r"|[^\s<>|｜\u2060]+[|｜]>"
    rf"|/?(?:{'|'.join(ANGLE_NAMES)})>)"
    r"|\[(?=\|[^\s\[\]]+\|\]"
    rf"|/?(?:{'|'.join(SQUARE_NAMES)})\])"
)


def defuse(text: str) -> str:
    """Return `text` with an invisible word joiner in each chat marker: as readable as before, and no marker any more."""
    return CHAT_MARKER.sub(lambda match: match[0] + WORD_JOINER, text)
