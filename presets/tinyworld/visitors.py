"""The visitors: prompts and safety configs written as people would type them, by a hand that never saw how tinyworld's text
is made. A frozen test set: training leaves out every prompt of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from presets import yaml_file
from presets.normalisation import normalised
from presets.safety_config import SafetyConfig
from presets.tinyworld import WORDS
from presets.yaml_file import FieldError

PATH = WORDS / "heldout" / "visitors.yaml"
PromptKind = Literal["request", "greeting", "identity", "capabilities", "outside"]


@dataclass(frozen=True)
class VisitorPrompt:
    """What a visitor typed, and the risk categories that it touches.

    `categories` and `about` are in the order of the prompt. `about` has one list of words or beginnings of words for each
    subject of a request: an answer that is on topic contains one of them.
    """

    text: str
    kind: PromptKind
    categories: frozenset[str]
    about: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(PromptKind):
            raise FieldError("kind", f"is {self.kind!r}; it must be one of {', '.join(get_args(PromptKind))}")
        if (self.kind == "request") != bool(self.about):
            raise FieldError("about", f"is {self.about!r}; requests need it, and nothing else has it")
        if len(self.categories) == 2 and len(self.about) != 2:
            raise FieldError(
                "about", f"is {self.about!r}; two categories need two lists, in the order of the categories"
            )


@dataclass(frozen=True)
class Visitors:
    """The whole set."""

    configs: tuple[SafetyConfig, ...]
    prompts: tuple[VisitorPrompt, ...]


@cache
def load_visitors() -> Visitors:
    """Return the visitors' set. Raises `PresetError`."""
    data = yaml_file.read(PATH)
    configs = ({"taxonomy": "tinyworld", "source": "the visitors' set", **row} for row in data["configs"])
    return Visitors(
        configs=tuple(yaml_file.build(SafetyConfig, row, PATH, where="configs.") for row in configs),
        prompts=tuple(yaml_file.build(VisitorPrompt, _row(row), PATH, where="prompts.") for row in data["prompts"]),
    )


@cache
def held_out_prompts() -> frozenset[str]:
    """The visitors' prompts, `normalised`."""
    return frozenset(normalised(prompt.text) for prompt in load_visitors().prompts)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    about = row.get("about", [])
    subjects = about if about and isinstance(about[0], list) else [about] if about else []
    return {
        **row,
        "categories": frozenset(row["categories"]),
        "about": tuple(tuple(map(str, words)) for words in subjects),
    }
