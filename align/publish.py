"""Put a finished base and its adapter where profiles find them: nothing but what is served, and each file whole.

A CPU server's cost of an adapter grows with its rank (align/tinyworld/LOG.md), and what training has learnt needs less of
it than the training itself did: the adapter may be published at the nearest one of a lower rank.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from presets.yaml_file import FieldError, require_text

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
    """`out` receives the folders `base` and `cosalign`; model cards that lie there stay.

    `rank` is the published adapter's, 0 to leave it as it was trained.
    """

    out: str
    rank: int = 0

    def __post_init__(self) -> None:
        require_text("out", self.out)
        if self.rank < 0:
            raise FieldError("rank", f"is {self.rank}; give a LoRA rank, or 0 to leave the adapter as it is")


def publish(recipe: PublishRecipe, *, base: Path | str, adapter: Path) -> int:
    """Copy the served files of both folders and return how many. The adapter names the published base as its own.

    A `base` that is no folder but a name on the hub stays there.

    Nothing is replaced before everything is copied, and then file by file: a kill between two of these moves leaves
    files of two models, which publishing again mends. Raises `FileNotFoundError` for a file that is not there.
    """
    if recipe.rank:
        with tempfile.TemporaryDirectory() as folder:
            return _copy(Path(recipe.out), base, lower_rank(base, adapter, recipe.rank, out=Path(folder)))
    return _copy(Path(recipe.out), base, adapter)


def lower_rank(base: Path | str, adapter: Path, rank: int, *, out: Path) -> Path:
    """Save to a folder in `out` the adapter of that rank whose change of the weights is nearest, and return the folder.

    Nearest by the singular value decomposition of each module's change (PEFT's `add_weighted_adapter`).
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter), adapter_name="trained")
    # Twice the half of it: of a single adapter PEFT keeps the rank.
    model.add_weighted_adapter(["trained"] * 2, [0.5] * 2, "lower", combination_type="svd", svd_rank=rank)
    model.save_pretrained(out, selected_adapters=["lower"])
    return out / "lower"


def _copy(out: Path, base: Path | str, adapter: Path) -> int:
    jobs = [] if isinstance(base, str) else [(base / name, out / "base" / name) for name in BASE_FILES]
    jobs += [(adapter / name, out / "cosalign" / name) for name in ADAPTER_FILES]
    for source, target in jobs:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, _partial(target))
    name = base if isinstance(base, str) else (out / "base").as_posix()
    _name_base(_partial(out / "cosalign" / "adapter_config.json"), name)
    for _, target in jobs:
        _partial(target).replace(target)
    return len(jobs)


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _name_base(config: Path, base: str) -> None:
    """Write into an adapter's config where its base is: training has written its own working folder there."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = base
    config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
