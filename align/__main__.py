"""python -m align STEP --recipe FILE.yaml: run one step, or `all` that are missing, from nothing to an adapter.
python -m align pairs --candidates FILE.jsonl --out FILE.jsonl: the pairs of candidates of one's own, without a recipe.
python -m align votes --db FILE --recipe FILE.yaml: the votes in a playground's store as the run's pairs, for the step `dpo`.

Steps: base (pre-train the embedded model), candidates, pairs, sft, dpo, publish; for a model of one's own, in the place of
base and candidates: prompts, configs, responses (asked and judged), label. All work goes on in the recipe's `work`
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
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from align import prompts as prompting
from align.candidate_rows import read_candidates
from align.configs import configured
from align.jsonl import RowError, read_rows, write_rows
from align.judged_candidates import judged_candidates
from align.manifest import is_done, provenance, start_or_go_on, write_manifest
from align.pairs import PairsRecipe, target
from align.recipe import STEPS, Recipe, load_recipe
from align.responses import respond
from align.selection import selected
from align.tinyworld.candidates import candidates
from align.tinyworld.documents import KINDS_OF_DOCUMENT, Writer
from evaluation.benchmarks import load_benchmark
from evaluation.endpoint import EndpointError
from evaluation.export import export
from evaluation.hub_files import is_here, source_facts
from evaluation.journal import JUDGEMENTS, finished_run
from evaluation.run import RunError
from evaluation.schema import StoreError
from evaluation.serving import ServingError
from presets.hub_dataset import load_hub_datasets
from presets.profile import model_folder
from presets.tinyworld import WORDS, load_words, load_world
from presets.tinyworld.compose import held_out_sets
from presets.tinyworld.free_form import REQUESTS

log = logging.getLogger("align")

RESUMABLE = ("base", "responses", "sft", "dpo")
"""Steps that keep in their output folder what they go on from."""
FAULTS = (EndpointError, ServingError, RunError, StoreError, FileNotFoundError, ValueError, FloatingPointError)
"""What may go wrong in ways that a person can mend."""
SAMPLED_DOCUMENTS, SAMPLED_CANDIDATES = 300, 100
"""How much is drawn to see whether the code still writes the same; it takes a second."""


def main(argv: list[str] | None = None) -> int:
    """Run the steps that the command line asks for; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for noisy in ("httpx", "openai", "datasets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    parser = _parser()
    options = parser.parse_args(argv)
    if fault := _usage_fault(options):
        parser.error(fault)
    try:
        if options.candidates is not None:
            return pair_file(options)
        recipe = load_recipe(options.recipe, smoke=options.smoke, overrides=options.override)
        if options.step == "votes":
            return votes(options.db, Steps(recipe))
        for step in recipe.steps if options.step == "all" else [options.step]:
            Steps(recipe, force=options.force).run(step)
    except FAULTS as error:
        print(f"align: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("align: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def pair_file(options: argparse.Namespace) -> int:
    """Write the paper's pairs of a candidates file, and say how many, and what was left out and why. Returns the exit code."""
    recipe = PairsRecipe(**{field.name: getattr(options, field.name) for field in fields(PairsRecipe)})
    seen: Counter[str] = Counter()

    def found() -> Iterator[dict[str, Any]]:
        yield from selected(lambda: read_candidates(options.candidates), recipe, seen)
        if not seen["rows"]:  # said before an empty file takes the place of an older one
            raise RowError(f"{options.candidates}: holds no rows; there is nothing to pair")

    count = write_rows(options.out, found())
    print(f"{options.out}: {count} pairs of {seen.pop('rows')} rows")
    for reason, left_out in seen.items():
        print(f"left out: {left_out} {reason}")
    return 0


def votes(database: Path, steps: Steps) -> int:
    """Write the votes in a store as the run's pairs, and say how many, and what was left out. Returns the exit code.

    What a model thought stands before what it said, as it wrote it.
    """
    found = export(database, "trl-preference", steps.pairs, with_thinking=True)
    print(f"{steps.pairs}: {found.rows} pairs; `python -m align dpo` trains on them")
    for reason, count in sorted(found.left_out.items()):
        print(f"left out: {count} {reason}")
    return 0 if found.rows else 1


class Steps:
    """The steps of one recipe, and where each reads and writes."""

    def __init__(self, recipe: Recipe, *, force: bool = False) -> None:
        self.recipe, self.force = recipe, force
        self.work = Path(recipe.work)
        self.published = Path(recipe.publish.out)
        self.base: Path | str = self.work / "base"
        self.sft, self.dpo, self.responses = self.work / "sft", self.work / "dpo", self.work / "responses"
        self.start = Path(recipe.start.adapter) if recipe.start.adapter else None
        if recipe.start.base:
            self.base = model_folder(recipe.start.base, root=Path()) or recipe.start.base
        self.prompts, self.configs, self.candidates, self.pairs = (
            self.work / f"{name}.jsonl" for name in ("prompts", "configs", "candidates", "pairs")
        )

    @property
    def adapter(self) -> Path:
        """The adapter that DPO goes on from: what SFT made here, or else the one to start from."""
        return self.sft if self.start is None or self.sft.exists() else self.start

    def run(self, step: str) -> None:
        """Run a step unless its output stands already. Raises `FileNotFoundError` when its input does not."""
        if step == "base" and self.recipe.start.base:
            raise ValueError(
                f"the recipe starts from the base in {self.base}; take start.base out to pre-train another"
            )
        output, inputs = self.plan(step)
        inputs = [path for path in inputs if isinstance(path, Path)]
        if missing := [path for path in inputs if not path.exists()]:
            raise FileNotFoundError(f"step {step!r} needs {missing[0]}, which is not there; run the step before it")
        parameters = asdict(getattr(self.recipe, step))
        if isinstance(self.base, str):
            parameters["start.base"] = self.base
        made_by = provenance(parameters, inputs, **self.samples(step))
        if not self.force and is_done(output, made_by):
            log.info("%-10s is done: %s", step, output)
            return
        if step in RESUMABLE:
            start_or_go_on(output, made_by, force=self.force)
        counts = getattr(self, f"do_{step}")()
        write_manifest(output, made_by, counts)
        log.info("%-10s wrote %s (%s)", step, output, ", ".join(f"{key} {value}" for key, value in counts.items()))

    def plan(self, step: str) -> tuple[Path, list[Path | str]]:
        """What a step writes, and what it reads; a base on the hub is read, too, but is no path."""
        start = [] if self.start is None else [self.start]
        # The held-out words, too: training leaves their prompts out.
        words = [WORDS, WORDS / "topics", REQUESTS, WORDS / "heldout", *sorted((WORDS / "train").iterdir())]
        return {
            "base": (self.base, words),
            "candidates": (self.candidates, words),
            "prompts": (self.prompts, self.files_of_prompts()),
            "configs": (self.configs, [self.prompts]),
            "responses": (self.responses, [self.configs]),
            "label": (self.candidates, [self.configs, self.responses / JUDGEMENTS]),
            "pairs": (self.pairs, [self.candidates]),
            "sft": (self.sft, [self.base, self.candidates, *start]),
            "dpo": (self.dpo, [self.base, self.adapter, self.pairs]),
            "publish": (self.published, [self.base, self.dpo]),
        }[step]

    def samples(self, step: str) -> dict[str, Iterable[Any]]:
        """The beginning of what a step draws by code rather than reads from a file, as plain values."""
        if step == "base":
            return {"documents": _sampled_documents()}
        if step == "prompts":
            known = load_hub_datasets()
            named = [known[name] for name in self.named_sources() if name in known]
            return {each.id: [source_facts(each)] for each in named if is_here(each)}
        if step == "candidates":
            return {"candidates": itertools.islice(candidates(self.recipe.candidates), SAMPLED_CANDIDATES)}
        return {}

    def do_base(self) -> dict[str, int]:
        from align.tinyworld.pretrain import pretrain

        return {"steps": pretrain(self.recipe.base, out=self.base)}

    def do_candidates(self) -> dict[str, int]:
        return {"prompts": write_rows(self.candidates, candidates(self.recipe.candidates))}

    def named_sources(self) -> tuple[str, ...]:
        """The files, datasets and benchmarks that prompts come from or must not come from."""
        return (*self.recipe.prompts.sources, *self.recipe.prompts.held_out)

    def files_of_prompts(self) -> list[Path | str]:
        """The files among those."""
        return [Path(name) for name in self.named_sources() if name.endswith(".jsonl")]

    def do_prompts(self) -> dict[str, int]:
        dropped: Counter[str] = Counter()
        self.work.mkdir(parents=True, exist_ok=True)
        rows = list(prompting.collect(self.recipe.prompts, dropped))
        rows = prompting.label(rows, self.recipe.prompts, self.work)
        return {"prompts": write_rows(self.prompts, rows), **dropped}

    def do_configs(self) -> dict[str, int]:
        dropped: Counter[str] = Counter()
        rows = read_rows(self.prompts, needed=("prompt", "categories"))
        return {"rows": write_rows(self.configs, configured(rows, self.recipe.configs, dropped)), **dropped}

    def do_responses(self) -> dict[str, int]:
        respond(self.recipe.responses, self.configs, self.responses)
        with finished_run(self.responses) as journal:
            return {"responses": len(journal.records)}

    def do_label(self) -> dict[str, int]:
        dropped: Counter[str] = Counter()
        items = load_benchmark(str(self.configs), taxonomy=self.recipe.configs.taxonomy)
        with finished_run(self.responses) as journal:
            found = judged_candidates(items, journal.records, self.recipe.label, dropped)
            return {"rows": write_rows(self.candidates, found), **+dropped}

    def do_pairs(self) -> dict[str, int]:
        told: Counter[str] = Counter()
        found = selected(lambda: read_candidates(self.candidates), self.recipe.pairs, told)
        return {"pairs": write_rows(self.pairs, found), **+told}

    def do_sft(self) -> dict[str, int]:
        from align.sft import train_sft

        rng = random.Random(self.recipe.pairs.seed)
        targets = [target(row, self.recipe.pairs, rng) for row in read_candidates(self.candidates)]
        rows = [row for row in targets if row is not None]
        train_sft(self.recipe.sft, model=self.base, rows=rows, out=self.sft, start=self.start)
        return {"rows": len(rows)}

    def do_dpo(self) -> dict[str, int]:
        from align.dpo import train_dpo

        rows = list(read_rows(self.pairs, needed=("prompt", "chosen", "rejected")))
        return {"pairs": train_dpo(self.recipe.dpo, model=self.base, adapter=self.adapter, rows=rows, out=self.dpo)}

    def do_publish(self) -> dict[str, int]:
        from align.publish import publish

        return {"files": publish(self.recipe.publish, base=self.base, adapter=self.dpo)}


def _sampled_documents() -> Iterator[list[tuple[str, bool]]]:
    """Documents of every kind in equal shares, whatever the recipe's mix: that one is a parameter already."""
    world = load_world()
    writer = Writer(world, load_words("train"), 0, held_out_sets(world.risks))
    for document in itertools.islice(writer.documents(dict.fromkeys(KINDS_OF_DOCUMENT, 1.0)), SAMPLED_DOCUMENTS):
        yield [(segment.text, segment.trained) for segment in document]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m align", description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=[*STEPS, "all", "votes"], help="one step, or all that are missing")
    parser.add_argument("--recipe", type=Path, help="a YAML file such as align/recipes/tinyworld.yaml")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="such as sft.epochs=2")
    parser.add_argument("--smoke", action="store_true", help="the recipe's smoke section: the whole way, small")
    parser.add_argument("--force", action="store_true", help="run even what is done")
    parser.add_argument("--db", type=Path, metavar="FILE", help="a playground's store, for `votes`")
    alone = parser.add_argument_group("pairs without a recipe")
    alone.add_argument("--candidates", type=Path, metavar="FILE.jsonl", help="labelled responses to prompts")
    alone.add_argument("--out", type=Path, metavar="FILE.jsonl", help="where the pairs go")
    for field in fields(PairsRecipe):
        kind = {"action": "store_true"} if isinstance(field.default, bool) else {"type": type(field.default)}
        alone.add_argument(f"--{field.name}", default=field.default, help="default: %(default)s", **kind)
    return parser


def _usage_fault(options: argparse.Namespace) -> str:
    """What is wrong with the options together; empty when nothing is."""
    if (options.step == "votes") != (options.db is not None):
        return "--db FILE goes with `votes`"
    if options.candidates is None:
        return "" if options.recipe is not None and options.out is None else "give --recipe FILE.yaml"
    if options.step != "pairs" or options.recipe is not None or options.out is None:
        return "--candidates goes with `pairs` and --out, and without --recipe"
    return ""


if __name__ == "__main__":
    sys.exit(main())
