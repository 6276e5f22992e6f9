"""Put a finished base and its adapter where profiles find them: whole or not at all, and nothing but what is served."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from presets.yaml_file import require_text

BASE_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "binding.jsonl",
)
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class PublishRecipe:
    """`out` receives the folders `base` and `cosalign`; model cards that lie there stay."""

    out: str

    def __post_init__(self) -> None:
        require_text("out", self.out)


def publish(recipe: PublishRecipe, *, base: Path, adapter: Path) -> int:
    """Copy the served files of both folders and return how many. Each file is replaced in one move."""
    out = Path(recipe.out)
    jobs = [(base / name, out / "base" / name) for name in BASE_FILES]
    jobs += [(adapter / name, out / "cosalign" / name) for name in ADAPTER_FILES]
    for source, target in jobs:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target.with_name(target.name + ".partial"))
    for _, target in jobs:
        target.with_name(target.name + ".partial").replace(target)
    return len(jobs)
