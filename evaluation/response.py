"""A model's response to one prompt under one safety config, as far as it has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["pending", "streaming", "complete", "stopped", "error", "abandoned"]
"""A response's life in the store. The last four are final; `abandoned` means that its process or its reader went away."""

FINAL: tuple[Status, ...] = ("complete", "stopped", "error", "abandoned")


@dataclass(frozen=True)
class Response:
    """The text so far, and how it came about. Times are seconds since the request was sent.

    `thinking` is what the model wrote before its answer (tinyworld's reading of the config); no judge ever sees it.
    `finish_reason` is None while it streams, then the server's word (stop, length), or `filtered` by a cascade.
    Token counts are the server's own and None where it gives none.
    """

    text: str = ""
    thinking: str = ""
    model: str = ""
    request_id: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ttft_s: float | None = None
    duration_s: float | None = None
