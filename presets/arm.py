"""Arms: what is compared side by side. An arm is a served model and a way of showing it the safety config.

Base and ICA share one served model and differ in their messages; so everything is keyed by the arm's id, never by
the model's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from presets import yaml_file
from presets.chat_markers import defuse
from presets.safety_config import SafetyConfig, render_system_prompt
from presets.yaml_file import FieldError, require_id, require_text

BOUND = "-oracle"
"""How the ids of arms end that are filtered by the judge that scores them."""
DEMOS = Path(__file__).parent / "demos"


class Message(TypedDict):
    """One message of the OpenAI chat protocol: `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Arm:
    """A model (or adapter) on a server, and what it is shown. `model` is the name under which the server has it.

    With `filter` it is a cascade, for evaluation only: a response that breaks the config becomes a refusal. "self" lets
    the arm's own model find that out, "judge" the run's judge; that makes a bound, and the id must end in "-oracle".
    `unreadable_passes` says whether a response passes that the filter has no verdict on. With `best_of` n the filter reads
    n responses and takes the most helpful of those that obey the config (compliance-first best-of-n).
    """

    id: str
    title: str
    server: str
    model: str
    description: str = ""
    shows_config: bool = True
    demos: str | None = None
    filter: str | None = None
    unreadable_passes: bool = False
    best_of: int = 1

    def __post_init__(self) -> None:
        require_id("id", self.id)
        for field in ("title", "server", "model"):
            require_text(field, getattr(self, field))
        if self.demos is not None and not self.shows_config:
            raise FieldError("demos", "are given though shows_config is false; demos only make sense under a config")
        if self.filter not in (None, "self", "judge"):
            raise FieldError(
                "filter", f"is {self.filter!r}; it is 'self' (the arm's model) or 'judge' (the run's judge)"
            )
        if is_bound(self.id) != (self.filter == "judge"):
            raise FieldError("id", f"is {self.id!r}; it ends in {BOUND!r} exactly when filter is 'judge', a bound")
        if self.unreadable_passes and self.filter is None:
            raise FieldError("unreadable_passes", "is true though there is no filter")
        if self.best_of < 1:
            raise FieldError("best_of", f"is {self.best_of}; at least one response is needed")
        if self.best_of > 1 and self.filter is None:
            raise FieldError("best_of", f"is {self.best_of} though there is no filter to choose with")

    def messages(self, config: SafetyConfig, history: Sequence[Message], prompt: str) -> list[Message]:
        """The messages that ask this arm: config (if shown), demos (if any), earlier turns, then the prompt.

        Chat markers in them are defused: no text that somebody wrote becomes another message.
        """
        messages: list[Message] = []
        if self.shows_config:
            messages.append({"role": "system", "content": render_system_prompt(config)})
        if self.demos is not None:
            messages += load_demos(self.demos)
        messages += [_harmless(message["role"], message["content"]) for message in history]
        return [*messages, _harmless("user", prompt)]


def is_bound(arm_id: str) -> bool:
    """True for an arm that no model without the judge's verdicts can reach (the paper's Cascade-Oracle)."""
    return arm_id.endswith(BOUND)


def _harmless(role: str, text: str) -> Message:
    return {"role": role, "content": defuse(text)}


def demos_hash(name: str) -> str:
    """SHA-256 (hex) of the demonstrations in `demos/<name>.yaml`. Raises `PresetError`."""
    return hashlib.sha256(json.dumps(load_demos(name), ensure_ascii=False).encode()).hexdigest()


def load_demos(name: str) -> list[Message]:
    """The user/assistant demonstrations in `demos/<name>.yaml`, oldest first (the paper's few-shot ICA).

    Raises `PresetError` unless they alternate between a user's and an assistant's text.
    """
    path = DEMOS / f"{name}.yaml"
    messages: list[Message] = []
    for index, demo in enumerate(yaml_file.read(path).get("demos") or []):
        for role in ("user", "assistant"):
            text = demo.get(role) if isinstance(demo, dict) else None
            if not isinstance(text, str) or not text.strip():
                raise yaml_file.PresetError(f"{path}: demos[{index}].{role}: is {text!r}; some text is needed")
            messages.append({"role": role, "content": text.strip()})
    if not messages:
        raise yaml_file.PresetError(f"{path}: demos: is empty; a few-shot arm needs at least one demonstration")
    return messages
