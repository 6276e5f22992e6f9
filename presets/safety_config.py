"""Safety configs, and the one rendering of a config to a system prompt.

A safety config is a natural-language description of the safety behaviour that somebody wants (CoSA section 3).
Training, evaluation and the page all call `render_system_prompt`: a model must be served the wording it was trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from presets import yaml_file
from presets.chat_markers import defuse
from presets.risk_taxonomy import load_taxonomy
from presets.yaml_file import FieldError, PresetError, require_id, require_text

SAFETY_CONFIGS = Path(__file__).parent / "safety_configs"
MAX_TEXT = 8_000
"""Characters in a config's text. The paper's longest is 467 words; more than this crowds out the conversation."""

SYSTEM_PROMPT = "Follow this safety config in every answer.\n\n{text}"
SYSTEM_PROMPT_VERSION = "1"
"""Stored with every response; raise it when `SYSTEM_PROMPT` changes, since a change asks for a new adapter."""


@dataclass(frozen=True)
class SafetyConfig:
    """What somebody allows, in plain language. `allowed` is None when only the text decides (free text)."""

    id: str
    title: str
    text: str
    taxonomy: str
    allowed: frozenset[str] | None
    language: str = "en"
    source: str = "visitor"

    def __post_init__(self) -> None:
        require_id("id", self.id)
        require_text("title", self.title)
        require_text("text", self.text)
        require_text("language", self.language)
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            raise FieldError("text", f"has half a character at {error.start}; paste it again") from error
        if len(self.text) > MAX_TEXT:
            raise FieldError("text", f"has {len(self.text)} characters; at most {MAX_TEXT} fit a system prompt")
        taxonomy = load_taxonomy(self.taxonomy)
        if self.allowed is None:
            return
        allowed = tuple(self.allowed) if isinstance(self.allowed, Iterable) else (self.allowed,)
        if isinstance(self.allowed, str) or not all(isinstance(category, str) for category in allowed):
            raise FieldError("allowed", f"is {self.allowed!r}; a list of category ids or null is needed")
        object.__setattr__(self, "allowed", frozenset(allowed))
        taxonomy.require(self.allowed)

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of what decides behaviour and judgement: text, language, taxonomy, allowed. Not id or title."""
        allowed = None if self.allowed is None else sorted(self.allowed)
        content = [self.text, self.language, self.taxonomy, allowed]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def render_system_prompt(config: SafetyConfig) -> str:
    """The system message that shows `config` to a model."""
    return system_prompt_text(config.text)


def system_prompt_text(text: str) -> str:
    """The system message that shows a config's text, its chat markers defused. Braces in the text stay as they are."""
    return SYSTEM_PROMPT.replace("{text}", defuse(text.strip()), 1)


def load_safety_config(path: Path) -> SafetyConfig:
    """Return the config in a YAML file. Raises `PresetError`."""
    return yaml_file.build(SafetyConfig, yaml_file.read(path), path)


def load_safety_configs(taxonomy: str, folder: Path = SAFETY_CONFIGS) -> dict[str, SafetyConfig]:
    """Return the ready-made configs of a taxonomy by id, in order of id. Raises `PresetError`."""
    configs = {}
    for path in sorted((folder / taxonomy).glob("*.yaml")):
        config = load_safety_config(path)
        if config.id != path.stem:
            raise PresetError(f"{path}: id: is {config.id!r}; it must equal the file's name, {path.stem!r}")
        configs[config.id] = config
    return configs


def find_safety_config(name: str, taxonomy: str) -> SafetyConfig:
    """Return the ready-made config with this id, or the one in this file (`.yaml`, or `.txt` with the text alone).

    Raises `PresetError` naming the ids there are.
    """
    path = Path(name)
    if path.suffix == ".yaml":
        return load_safety_config(path)
    if path.suffix == ".txt":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PresetError(f"{path}: cannot be read as UTF-8 text ({error})") from error
        data = {"id": "from-file", "title": path.stem, "text": text, "allowed": None}
        return yaml_file.build(SafetyConfig, {**data, "taxonomy": taxonomy}, path)
    configs = load_safety_configs(taxonomy)
    if name not in configs:
        raise PresetError(
            f"there is no safety config {name!r} for taxonomy {taxonomy!r}; there are {', '.join(configs)}"
        )
    return configs[name]


Situation = Literal["allowed", "partial", "disallowed"]


def situation(risks: frozenset[str], allowed: frozenset[str]) -> Situation:
    """How a prompt with these risk categories stands to a config (CoSA section 5): subset, overlap or disjoint.

    A prompt without risk is `allowed` under every config.
    """
    if risks <= allowed:
        return "allowed"
    return "partial" if risks & allowed else "disallowed"
