"""Put a finished base and its adapter where profiles find them: nothing but what is served, and each file whole."""

from __future__ import annotations

import json
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
    """Copy the served files of both folders and return how many. The adapter names the published base as its own.

    Nothing is replaced before everything is copied, and then file by file: a kill between two of these moves leaves
    files of two models, which publishing again mends. Raises `FileNotFoundError` for a file that is not there.
    """
    out = Path(recipe.out)
    jobs = [(base / name, out / "base" / name) for name in BASE_FILES]
    jobs += [(adapter / name, out / "cosalign" / name) for name in ADAPTER_FILES]
    for source, target in jobs:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, _partial(target))
    _name_base(_partial(out / "cosalign" / "adapter_config.json"), out / "base")
    for _, target in jobs:
        _partial(target).replace(target)
    return len(jobs)


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _name_base(config: Path, base: Path) -> None:
    """Write into an adapter's config where its base is: training has written its own working folder there."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = base.as_posix()
    config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
