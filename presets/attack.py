"""Override attempts: ways in which a visitor may try to talk a config away, as frames around a prompt."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from presets import yaml_file
from presets.yaml_file import FieldError, PresetError, require_id, require_text

PATH = Path(__file__).parent / "attacks.yaml"
SLOT = "{prompt}"
ENCODINGS = ("base64",)


@dataclass(frozen=True)
class Attack:
    """One attempt. `text` has the prompt's slot; with `encoding` the prompt is written in that before it gets there."""

    id: str
    title: str
    text: str
    encoding: str | None = None

    def __post_init__(self) -> None:
        require_id("id", self.id)
        require_text("title", self.title)
        if self.text.count(SLOT) != 1:
            raise FieldError("text", f"is {self.text!r}; it needs the slot {SLOT} just once")
        if self.encoding not in (None, *ENCODINGS):
            raise FieldError("encoding", f"is {self.encoding!r}; it is one of {', '.join(ENCODINGS)}, or left out")

    def on(self, prompt: str) -> str:
        """What the visitor sends."""
        inside = base64.b64encode(prompt.encode()).decode() if self.encoding == "base64" else prompt
        return self.text.replace(SLOT, inside).strip()


@cache
def load_attacks() -> tuple[Attack, ...]:
    """Return the attempts, the prompt without any first. Raises `PresetError`."""
    attacks = yaml_file.build_list(Attack, yaml_file.read(PATH).get("attacks"), PATH, "attacks")
    if not attacks or attacks[0].text != SLOT:
        raise PresetError(
            f"{PATH}: attacks: the first one must be the bare prompt ({SLOT}), which the others are held against"
        )
    return attacks
