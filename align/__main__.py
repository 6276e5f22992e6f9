"""python -m align STEP --recipe FILE.yaml: run one step, or `all` that are missing, from nothing to an adapter.

Steps: base (pre-train the embedded model), candidates, pairs, sft, dpo, card. Each writes its output whole or not at all,
with a manifest beside it; a step whose parameters and inputs have not changed is skipped.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from align.jsonl import RowError, is_done, manifest_path, read_rows, write_manifest, write_rows
from align.recipe import STEPS, Recipe, load_recipe
from presets.yaml_file import PresetError

log = logging.getLogger("align")


def main(argv: list[str] | None = None) -> int:
    """Run the steps that the command line asks for; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for noisy in ("httpx", "datasets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    options = _parser().parse_args(argv)
    try:
        recipe = load_recipe(options.recipe, smoke=options.smoke, overrides=options.override)
        steps = list(STEPS) if options.step == "all" else [options.step]
        for step in steps:
            Steps(recipe, force=options.force).run(step)
    except (PresetError, RowError, FileNotFoundError) as error:
        print(f"align: {error}", file=sys.stderr)
        return 2
    return 0


class Steps:
    """The steps of one recipe, and where each reads and writes."""

    def __init__(self, recipe: Recipe, *, force: bool = False) -> None:
        self.recipe, self.force = recipe, force
        work = Path(recipe.work)
        self.base = Path(recipe.base.out)
        self.candidates_file = work / "candidates.jsonl"
        self.pairs_file, self.targets_file = work / "pairs.jsonl", work / "targets.jsonl"
        self.sft_folder, self.dpo_folder = work / "sft", work / "dpo"
        self.adapter = Path(recipe.adapter)

    def run(self, step: str) -> None:
        """Run a step unless its output stands already."""
        output, inputs = self.plan(step)
        parameters = asdict(getattr(self.recipe, step))
        if not self.force and is_done(output, parameters=parameters, inputs=inputs):
            log.info("%-10s is done: %s", step, output)
            return
        for path in inputs:
            if not path.exists():
                raise FileNotFoundError(f"step {step!r} needs {path}, which is not there; run the step before it")
        counts = getattr(self, f"do_{step}")()
        write_manifest(output, parameters=parameters, inputs=inputs, counts=counts)
        log.info("%-10s wrote %s (%s)", step, output, ", ".join(f"{key} {value}" for key, value in counts.items()))

    def plan(self, step: str) -> tuple[Path, list[Path]]:
        """What a step writes, and what it reads."""
        return {
            "base": (self.base, []),
            "candidates": (self.candidates_file, []),
            "pairs": (self.pairs_file, [self.candidates_file]),
            "sft": (self.sft_folder, [self.base, self.targets_file]),
            "dpo": (self.dpo_folder, [self.base, self.sft_folder, self.pairs_file]),
        }[step]

    def do_base(self) -> dict[str, int]:
        from align.tinyworld.pretrain import pretrain

        pretrain(self.recipe.base)
        return {"steps": self.recipe.base.steps}

    def do_candidates(self) -> dict[str, int]:
        from align.tinyworld.candidates import candidates

        return {"prompts": write_rows(self.candidates_file, candidates(self.recipe.candidates))}

    def do_pairs(self) -> dict[str, int]:
        from align.pairs import CANDIDATE_FIELDS, write_pairs_and_targets

        rows = read_rows(self.candidates_file, needed=CANDIDATE_FIELDS)
        return write_pairs_and_targets(
            rows, self.recipe.pairs, pairs_file=self.pairs_file, targets_file=self.targets_file
        )

    def do_sft(self) -> dict[str, int]:
        from align.sft import train_sft

        rows = list(read_rows(self.targets_file))
        self._fresh(self.sft_folder)
        train_sft(self.recipe.sft, model=self.base, rows=rows, out=self.sft_folder)
        return {"rows": len(rows)}

    def do_dpo(self) -> dict[str, int]:
        from align.dpo import train_dpo

        rows = list(read_rows(self.pairs_file))
        self._fresh(self.dpo_folder)
        train_dpo(self.recipe.dpo, model=self.base, adapter=self.sft_folder, rows=rows, out=self.dpo_folder)
        self._publish()
        return {"pairs": len(rows)}

    def _fresh(self, folder: Path) -> None:
        """Drop what a finished run with other parameters left behind; an interrupted run is gone on with."""
        if manifest_path(folder).exists():
            shutil.rmtree(folder, ignore_errors=True)
            manifest_path(folder).unlink()

    def _publish(self) -> None:
        """Copy the adapter, and only that, to where profiles find it."""
        self.adapter.mkdir(parents=True, exist_ok=True)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            shutil.copyfile(self.dpo_folder / name, self.adapter / name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m align", description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=[*STEPS, "all"], help="one step, or all that are missing")
    parser.add_argument("--recipe", type=Path, required=True, help="a YAML file such as align/recipes/tinyworld.yaml")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="such as sft.epochs=2")
    parser.add_argument("--smoke", action="store_true", help="the recipe's smoke section: the whole way, small")
    parser.add_argument("--force", action="store_true", help="run even what is done")
    return parser


if __name__ == "__main__":
    sys.exit(main())
