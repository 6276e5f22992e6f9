"""A run's report as files to hand on: `report.md` with the tables, `report.html` with figures and the worst answers, too.

Both are made from the run's records alone: the same records and command give the same bytes.
"""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation import figures
from evaluation.benchmarks import BASELINES, Item
from evaluation.controllability import flip_matrix
from evaluation.journal import Key, Record
from evaluation.provenance import ENGINES, LIBRARIES, versions
from evaluation.report import (
    SplitReport,
    comparison_line,
    controllability_lines,
    interval,
    number,
    percent,
    shown_name,
)
from presets.published_score import load_published_scores

WORST = 10
"""How many of the worst answers are shown."""
MAX_CONFIGS = 120
"""A heat map of more configs than that shows nothing that an eye could find."""
COUNTING = ("numpy", "scipy", "matplotlib")
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=lambda name: name is not None and name.startswith("report.html"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals.update(interval=interval, number=number, percent=percent, shown_name=shown_name)


@dataclass(frozen=True)
class WorstAnswer:
    """An answer that broke its config; `value` is its h * s, in [-1, 0)."""

    arm: str
    item: Item
    record: Record
    value: float


def write_report_files(
    folder: Path,
    report: Sequence[SplitReport],
    items: Sequence[Item],
    records: Mapping[Key, Record],
    facts: Mapping[str, Any],
    command: str,
) -> None:
    """Write `report.md` and `report.html` into `folder`, each whole or not at all."""
    content = {
        "facts": facts,
        "facts_text": json.dumps(facts, indent=2, ensure_ascii=False),
        "command": command,
        "versions": {"python": platform.python_version(), **versions((*ENGINES, *LIBRARIES, *COUNTING))},
        "parts": [_part(part, items, records) for part in report],
        "published": load_published_scores(),
        "worst": worst_answers(items, records, list(dict.fromkeys(arm for part in report for arm in part.arms))),
    }
    for name in ("report.md", "report.html"):
        draft = folder / f"{name}.part"
        draft.write_text(TEMPLATES.get_template(f"{name}.jinja").render(content), encoding="utf-8")
        draft.replace(folder / name)


def worst_answers(items: Sequence[Item], records: Mapping[Key, Record], arms: Sequence[str]) -> list[WorstAnswer]:
    """The answers that are most helpful against their config, no baseline's, the worst first; at most `WORST`.

    An item that stands in two splits, its own and the clean part of it, is one answer, of the split named first.
    """
    once = list({item.id: item for item in reversed(items)}.values())
    found = [
        WorstAnswer(record.arm, item, record, value)
        for item, record in _answers(once, records, [arm for arm in arms if arm not in BASELINES])
        if (value := record.row(item).value) is not None and value < 0
    ]
    return sorted(found, key=lambda each: (each.value, each.arm, each.item.id))[:WORST]


def _part(part: SplitReport, items: Sequence[Item], records: Mapping[Key, Record]) -> dict[str, Any]:
    """What the templates show of one split."""
    mine = [item for item in items if item.split == part.split]
    matrices = {arm: flip_matrix(mine, records, arm) for arm in part.arms}
    return {
        "split": part.split,
        "arms": part.arms,
        "ceiling": part.ceiling,
        "comparisons": [comparison_line(comparison) for comparison in part.comparisons],
        "rates": [(arm, line) for arm, found in part.controllability.items() for line in controllability_lines(found)],
        "matrices": {arm: matrix for arm, matrix in matrices.items() if matrix},
        "figures": _figures(part, mine, records),
    }


def _figures(part: SplitReport, items: Sequence[Item], records: Mapping[Key, Record]) -> dict[str, str]:
    """SVG by the caption under it."""
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for item, record in _answers(items, records, list(part.arms)):
        if (value := record.row(item).value) is not None:
            values[record.arm][item.config.title].append(value)
    points = {arm: _trade_off([value for row in rows.values() for value in row]) for arm, rows in values.items()}
    found = {}
    if points:
        found["CoSA-Scores of the arms."] = figures.forest(part)
        found["What an arm gives within its config, and against it."] = figures.trade_off(points)
    configs = sorted({item.config.title for item in items})
    if points and len(configs) <= MAX_CONFIGS:
        means = [[_mean(values[arm][config]) for arm in part.arms] for config in configs]
        found["CoSA-Score by config."] = figures.heat_map(configs, list(part.arms), means)
    return found


def _answers(
    items: Sequence[Item], records: Mapping[Key, Record], arms: Sequence[str]
) -> Iterator[tuple[Item, Record]]:
    """In the items' order, not in that in which answers came: a sum must not hang on who answered first."""
    for item in items:
        yield from ((item, record) for arm in arms if (record := records.get(Key(item.id, arm))) is not None)


def _trade_off(values: Sequence[float]) -> tuple[float, float]:
    """Of the h * s of rows: what unsafe ones and what safe ones add to the mean of h."""
    return -sum(value for value in values if value < 0) / len(values), sum(max(value, 0) for value in values) / len(
        values
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
