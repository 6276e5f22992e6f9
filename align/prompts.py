"""Collect the prompts to train on: from files and datasets of the hub, each once, none of a test set, labelled by a judge.

CoSA section 4 labels every prompt with the risk categories that an answer would likely contain; configs are then made for
it around those (`align.configs`). Labels are written down one by one, so that a stopped step asks only for the rest.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from evaluation.benchmarks import benchmark_names, load_benchmark
from evaluation.json_lines import cut_torn_line, read_json_lines
from evaluation.overlap import read_prompts, training_prompts
from evaluation.provenance import judge_facts
from evaluation.serving import Serving
from evaluation.workers import patiently, work_off
from presets.normalisation import normalised
from presets.profile import Profile, load_profile
from presets.risk_taxonomy import load_taxonomy
from presets.yaml_file import FieldError


@dataclass(frozen=True)
class PromptsRecipe:
    """Where prompts come from, and which are kept.

    `sources` are .jsonl files with the field `prompt` (and perhaps `categories`, the judge's place taken) or datasets of
    `presets/hub_datasets.yaml`. `held_out` names benchmarks, .jsonl files and datasets whose prompts are never trained on.
    `profile` names whose judge labels what has no categories yet. `limit` keeps so many, 0 all.
    """

    sources: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    profile: str = ""
    min_words: int = 2
    max_words: int = 64
    limit: int = 0

    def __post_init__(self) -> None:
        for name in ("sources", "held_out"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not 1 <= self.min_words <= self.max_words:
            raise FieldError("min_words", f"is {self.min_words}; it lies between 1 and max_words, {self.max_words}")


def collect(recipe: PromptsRecipe, dropped: Counter[str]) -> Iterator[dict[str, Any]]:
    """Rows of `prompt`, `source` and `categories` (None: not labelled yet); why others are not there goes to `dropped`.

    Raises `BenchmarkError` for a source that cannot be read, `FieldError` for a category that is none.
    """
    held_out = held_out_prompts(recipe.held_out)
    known = load_taxonomy(load_profile(recipe.profile).taxonomy).ids if recipe.profile else None
    mine: set[str] = set()
    for source in recipe.sources:
        for prompt, row in read_prompts(source):
            key, words = normalised(prompt), len(prompt.split())
            if key in mine:
                dropped["repeated"] += 1
            elif key in held_out:
                dropped["in a held-out set"] += 1
            elif not recipe.min_words <= words <= recipe.max_words:
                dropped["too short" if words < recipe.min_words else "too long"] += 1
            elif row.get("adversarial"):  # WildGuardMix marks attacks; the paper leaves them out (CoSA section 4)
                dropped["adversarial"] += 1
            else:
                mine.add(key)
                yield {"prompt": prompt, "source": source, "categories": _categories(row, known, source)}
                if len(mine) == recipe.limit:
                    return


def held_out_prompts(names: Sequence[str]) -> frozenset[str]:
    """The normalised prompts of benchmarks, files and datasets."""
    found: set[str] = set()
    for name in names:
        if name in benchmark_names():
            found.update(normalised(item.prompt) for item in load_benchmark(name))
        else:
            found |= training_prompts(name)
    return frozenset(found)


def label(rows: Sequence[Mapping[str, Any]], recipe: PromptsRecipe, folder: Path) -> list[dict[str, Any]]:
    """The rows with categories from the judge of `recipe.profile`; None where it could not tell.

    What that judge has labelled before stands in `folder` and is not asked again. Raises `FieldError` where a label is
    missing and no profile is named, `EndpointError` where the judge does not answer.
    """
    unlabelled = [row["prompt"] for row in rows if row["categories"] is None]
    if not unlabelled:
        return [dict(row) for row in rows]
    if not recipe.profile:
        what = f"is not given, but {len(unlabelled)} prompts have no categories; name the profile whose judge labels"
        raise FieldError("prompts.profile", what)
    from evaluation.measuring import judging_servers, only_judging  # seconds to import, and only for this step

    profile = only_judging(load_profile(recipe.profile))
    journal = folder / f"labels-{_hash(judge_facts(profile))}.jsonl"
    with journal.open("a+b") as file:
        cut_torn_line(file)
        labels = _read_labels(journal)
        if todo := [prompt for prompt in unlabelled if normalised(prompt) not in labels]:
            with judging_servers(profile, folder / "logs") as serving:
                labels |= asyncio.run(_ask(profile, serving, todo, file))
    return [
        {**row, "categories": labels[normalised(row["prompt"])] if row["categories"] is None else row["categories"]}
        for row in rows
    ]


async def _ask(
    profile: Profile, serving: Serving, prompts: Sequence[str], file: BinaryIO
) -> dict[str, list[str] | None]:
    """The labels by normalised prompt; each is written to `file` as it comes."""
    from tqdm import tqdm

    from evaluation.judge import open_judge

    found: dict[str, list[str] | None] = {}
    async with open_judge(profile, serving, strict=True) as judge:

        async def label_one(prompt: str) -> None:
            categories = await patiently(lambda: judge.prompt_categories(prompt))
            found[normalised(prompt)] = None if categories is None else sorted(categories)
            row = {"prompt": prompt, "categories": found[normalised(prompt)]}
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            file.flush()

        await work_off(tqdm(prompts, desc="prompts labelled", mininterval=2), label_one)
    return found


def _read_labels(journal: Path) -> dict[str, list[str] | None]:
    """What an earlier run has labelled, by normalised prompt."""
    return {normalised(row["prompt"]): row["categories"] for _, row in read_json_lines(journal)}


def _hash(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _categories(row: Mapping[str, Any], known: Sequence[str] | None, source: str) -> list[str] | None:
    given = row.get("categories")
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise FieldError("categories", f"is {given!r} in {source}; a list of category ids is needed")
    if known is not None and (unknown := sorted(set(given) - set(known))):
        raise FieldError("categories", f"{source} has {unknown[0]!r}; the profile's taxonomy has {', '.join(known)}")
    return sorted(given)
