"""Recipes: one YAML file per run, one frozen dataclass per step. A new run is a new file, no new code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from align.configs import ConfigsRecipe
from align.dpo import DPORecipe
from align.judged_candidates import LabelRecipe
from align.pairs import PairsRecipe
from align.prompts import PromptsRecipe
from align.publish import PublishRecipe
from align.responses import ResponsesRecipe
from align.sft import SFTRecipe
from align.tinyworld.candidates import CandidatesRecipe
from align.tinyworld.pretrain import BaseRecipe
from presets import yaml_file
from presets.yaml_file import PresetError, require_text


@dataclass(frozen=True)
class StartRecipe:
    """What is there already: a base, in place of what the step `base` makes, and the folder of an adapter to go on from.

    The base is a folder, or a model's name on the hub.
    """

    base: str = ""
    adapter: str = ""


@dataclass(frozen=True)
class Recipe:
    """A whole run, from nothing (or from `start`) to a published adapter.

    `work` holds what lies between and may be deleted after. With `prompts.sources` the candidates are what the arms of a
    profile say to those, else what tinyworld's writer makes up.
    """

    name: str
    work: str
    start: StartRecipe
    base: BaseRecipe
    candidates: CandidatesRecipe
    prompts: PromptsRecipe
    configs: ConfigsRecipe
    responses: ResponsesRecipe
    label: LabelRecipe
    pairs: PairsRecipe
    sft: SFTRecipe
    dpo: DPORecipe
    publish: PublishRecipe

    def __post_init__(self) -> None:
        require_text("name", self.name)
        require_text("work", self.work)

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that lead to the adapter, in order."""
        made = ("prompts", "configs", "responses", "label") if self.prompts.sources else ("candidates",)
        return (*(() if self.start.base else ("base",)), *made, "pairs", "sft", "dpo", "publish")


STEPS = {
    "base": BaseRecipe,
    "candidates": CandidatesRecipe,
    "prompts": PromptsRecipe,
    "configs": ConfigsRecipe,
    "responses": ResponsesRecipe,
    "label": LabelRecipe,
    "pairs": PairsRecipe,
    "sft": SFTRecipe,
    "dpo": DPORecipe,
    "publish": PublishRecipe,
}


def load_recipe(path: Path, *, smoke: bool = False, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, with its `smoke` section and then `key=value` overrides laid over it.

    The file is itself laid over the one that its `extends` names, in the same folder, if it has one.
    Raises `PresetError` naming the file, the key and what is wrong with it.
    """
    data = yaml_file.read(path)
    if "extends" in data:
        data = _laid_over(_extended(path, data.pop("extends")), data)
    small = data.pop("smoke", {})
    if smoke:
        data = _laid_over(data, small)
    for override in overrides:
        data = _laid_over(data, _nested(override, path))
    parts = {"start": StartRecipe, **STEPS}
    steps = {name: yaml_file.build(cls, data.get(name, {}), path, where=f"{name}.") for name, cls in parts.items()}
    return yaml_file.build(Recipe, {**data, **steps}, path)


def _extended(path: Path, name: Any) -> dict[str, Any]:
    """The file that a recipe extends, as plain data."""
    below = path.parent / str(name)
    if not below.is_file():
        raise PresetError(f"{path}: extends {str(name)!r}, which is no file in {path.parent}")
    data = yaml_file.read(below)
    if "extends" in data:
        raise PresetError(f"{path}: extends {str(name)!r}, which extends another one; extend that one")
    return data


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged


def _nested(override: str, path: Path) -> dict[str, Any]:
    """`sft.epochs=2` as {"sft": {"epochs": 2}}."""
    dotted, separator, value = override.partition("=")
    if not separator or not dotted:
        raise PresetError(f"{path}: --override {override!r} is not of the form key=value, such as sft.epochs=2")
    nested: Any = yaml.safe_load(value)
    for key in reversed(dotted.split(".")):
        nested = {key: nested}
    return nested
