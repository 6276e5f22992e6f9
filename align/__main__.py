"""python -m align STEP --recipe FILE.yaml: run one step, or `all` that are missing, from nothing to an adapter.

Steps: base (pre-train the embedded model), candidates, pairs, sft, dpo, publish. All work goes on in the recipe's `work`
folder; a manifest beside each output says how it was made, and a step whose parameters and inputs have not changed is
skipped. An interrupted step goes on where it was if it is started with the same ones; otherwise its folder is moved aside
and it begins anew. `publish` puts base and adapter where profiles find them.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from align.jsonl import RowError, read_rows, write_rows
from align.manifest import is_done, provenance, start_or_go_on, write_manifest
from align.recipe import STEPS, Recipe, load_recipe
from align.tinyworld.candidates import candidates
from align.tinyworld.documents import KINDS_OF_DOCUMENT, Writer
from presets.tinyworld import WORDS, load_words, load_world
from presets.tinyworld.compose import held_out_sets
from presets.tinyworld.free_form import REQUESTS
from presets.yaml_file import PresetError

log = logging.getLogger("align")

RESUMABLE = ("base", "sft", "dpo")
"""Steps that keep checkpoints in their output folder."""
SAMPLED_DOCUMENTS, SAMPLED_CANDIDATES = 300, 100
"""How much is drawn to see whether the code still writes the same; it takes a second."""


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
    except (PresetError, RowError, FileNotFoundError, ValueError, FloatingPointError) as error:
        print(f"align: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("align: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


class Steps:
    """The steps of one recipe, and where each reads and writes."""

    def __init__(self, recipe: Recipe, *, force: bool = False) -> None:
        self.recipe, self.force = recipe, force
        self.work = Path(recipe.work)
        self.published = Path(recipe.publish.out)
        self.base, self.sft, self.dpo = self.work / "base", self.work / "sft", self.work / "dpo"
        self.candidates, self.pairs, self.targets = (
            self.work / f"{name}.jsonl" for name in ("candidates", "pairs", "targets")
        )

    def run(self, step: str) -> None:
        """Run a step unless its output stands already. Raises `FileNotFoundError` when its input does not."""
        output, inputs = self.plan(step)
        if missing := [path for path in inputs if not path.exists()]:
            raise FileNotFoundError(f"step {step!r} needs {missing[0]}, which is not there; run the step before it")
        made_by = provenance(asdict(getattr(self.recipe, step)), inputs, **self.samples(step))
        if not self.force and is_done(output, made_by):
            log.info("%-10s is done: %s", step, output)
            return
        if step in RESUMABLE:
            start_or_go_on(output, made_by, force=self.force)
        counts = getattr(self, f"do_{step}")()
        write_manifest(output, made_by, counts)
        log.info("%-10s wrote %s (%s)", step, output, ", ".join(f"{key} {value}" for key, value in counts.items()))

    def plan(self, step: str) -> tuple[Path, list[Path]]:
        """What a step writes, and what it reads."""
        start = [Path(self.recipe.sft.start)] if self.recipe.sft.start else []
        # The held-out words, too: training leaves their prompts out.
        words = [WORDS, WORDS / "topics", REQUESTS, WORDS / "heldout", *sorted((WORDS / "train").iterdir())]
        return {
            "base": (self.base, words),
            "candidates": (self.candidates, words),
            "pairs": (self.pairs, [self.candidates]),
            "sft": (self.sft, [self.base, self.candidates, *start]),
            "dpo": (self.dpo, [self.base, self.sft, self.pairs]),
            "publish": (self.published, [self.base, self.dpo]),
        }[step]

    def samples(self, step: str) -> dict[str, Iterable[Any]]:
        """The beginning of what a step draws by code rather than reads from a file, as plain values."""
        if step == "base":
            return {"documents": _sampled_documents()}
        if step == "candidates":
            return {"candidates": itertools.islice(candidates(self.recipe.candidates), SAMPLED_CANDIDATES)}
        return {}

    def do_base(self) -> dict[str, int]:
        from align.tinyworld.pretrain import pretrain

        return {"steps": pretrain(self.recipe.base, out=self.base)}

    def do_candidates(self) -> dict[str, int]:
        return {"prompts": write_rows(self.candidates, candidates(self.recipe.candidates))}

    def do_pairs(self) -> dict[str, int]:
        from align.pairs import pairs

        rng = random.Random(self.recipe.pairs.seed)
        found = (pair for row in self._candidate_rows() for pair in pairs(row, self.recipe.pairs, rng))
        return {"pairs": write_rows(self.pairs, found)}

    def do_sft(self) -> dict[str, int]:
        from align.pairs import target
        from align.sft import train_sft

        rng = random.Random(self.recipe.pairs.seed)
        targets = [target(row, self.recipe.pairs, rng) for row in self._candidate_rows()]
        rows = [row for row in targets if row is not None]
        train_sft(self.recipe.sft, model=self.base, rows=rows, out=self.sft)
        return {"rows": len(rows)}

    def do_dpo(self) -> dict[str, int]:
        from align.dpo import train_dpo

        rows = list(read_rows(self.pairs, needed=("prompt", "chosen", "rejected")))
        return {"pairs": train_dpo(self.recipe.dpo, model=self.base, adapter=self.sft, rows=rows, out=self.dpo)}

    def do_publish(self) -> dict[str, int]:
        from align.publish import publish

        return {"files": publish(self.recipe.publish, base=self.base, adapter=self.dpo)}

    def _candidate_rows(self) -> Iterator[dict[str, Any]]:
        return read_rows(self.candidates, needed=("prompt", "allowed", "system_prompt", "responses"))


def _sampled_documents() -> Iterator[list[tuple[str, bool]]]:
    """Documents of every kind in equal shares, whatever the recipe's mix: that one is a parameter already."""
    world = load_world()
    writer = Writer(world, load_words("train"), 0, held_out_sets(world.risks))
    for document in itertools.islice(writer.documents(dict.fromkeys(KINDS_OF_DOCUMENT, 1.0)), SAMPLED_DOCUMENTS):
        yield [(segment.text, segment.trained) for segment in document]


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
