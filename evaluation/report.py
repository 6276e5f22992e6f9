"""What a run adds up to: one table per run for people, and the same figures as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.benchmarks import BASELINES, ORACLE, Item
from evaluation.controllability import Controllability, PairRate, controllability
from evaluation.cosa_score import Difference, Row, Score, by_situation, holm, paired_difference, score
from evaluation.journal import Key, Record
from presets.arm import is_bound

TREATED = "cosalign"
"""Arms whose id begins so are compared with every other row."""

NOTHING = "–"

PIPE_WIDTH = 160
"""Columns of a table where no terminal says how many there are."""


@dataclass(frozen=True)
class Comparison:
    """By how much `arm` beats `minus` on the same items; `p_holm` allows for all comparisons of the split."""

    arm: str
    minus: str
    difference: Difference
    p_holm: float | None


@dataclass(frozen=True)
class SplitReport:
    """The scores of one split, baselines first; `ceiling` is the CoSA-Score of perfect replies, None if unknown.

    `controllability` is told of every arm, from the pairs that the items hold, if any.
    """

    split: str
    arms: Mapping[str, Score]
    situations: Mapping[str, Mapping[str, Score]]
    ceiling: float | None
    comparisons: tuple[Comparison, ...]
    controllability: Mapping[str, Controllability]


def build_report(
    items: Sequence[Item], records: Mapping[Key, Record], arm_ids: Sequence[str], *, seed: int = 0
) -> list[SplitReport]:
    """Return one report per split, in the order in which the splits first occur in `items`."""
    splits = dict.fromkeys(item.split for item in items)
    return [
        _split_report(split, [item for item in items if item.split == split], records, arm_ids, seed)
        for split in splits
    ]


def _split_report(
    split: str, items: Sequence[Item], records: Mapping[Key, Record], arm_ids: Sequence[str], seed: int
) -> SplitReport:
    rows = {name: _rows(items, records, name) for name in (*BASELINES, *arm_ids)}
    rows = {name: found for name, found in rows.items() if found}
    ceiling = score(list(_rows(items, records, ORACLE).values()), seed=seed, resamples=1).cosa_score
    return SplitReport(
        split=split,
        arms={name: score(list(found.values()), seed=seed) for name, found in rows.items()},
        situations={name: by_situation(list(found.values()), seed=seed) for name, found in rows.items()},
        ceiling=ceiling,
        comparisons=_comparisons(rows, seed),
        controllability={name: controllability(items, records, name) for name in rows},
    )


def _comparisons(rows: Mapping[str, Mapping[str, Row]], seed: int) -> tuple[Comparison, ...]:
    pairs = [
        (arm, other)
        for arm in rows
        if arm.startswith(TREATED)
        for other in sorted(rows, key=lambda name: name in BASELINES)
        if not other.startswith(TREATED)
    ]
    found = [_difference(rows[arm], rows[other], seed) for arm, other in pairs]
    adjusted = holm([difference.p for difference in found])
    return tuple(Comparison(*pair, *facts) for pair, *facts in zip(pairs, found, adjusted, strict=True))


def _rows(items: Sequence[Item], records: Mapping[Key, Record], arm: str) -> dict[str, Row]:
    found = ((item, records.get(Key(item.id, arm))) for item in items)
    return {item.id: record.row(item) for item, record in found if record is not None}


def _difference(a: Mapping[str, Row], b: Mapping[str, Row], seed: int) -> Difference:
    both = [item for item in a if item in b]
    return paired_difference([a[item] for item in both], [b[item] for item in both], seed=seed)


def console() -> Console:
    """Where tables are printed."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_report(report: Sequence[SplitReport], where: Console) -> None:
    """Print the table, and under it the paired differences and the rates over pairs."""
    table = Table(title="CoSA-Score", title_justify="left")
    for column in ("split", "arm"):
        table.add_column(column, no_wrap=True)
    for column in ("CoSA-Score [95 % CI]", "helpful+safe %", "helpful+unsafe %", "n", "n_unscored", "ceiling"):
        table.add_column(column, justify="right", no_wrap=column.startswith("CoSA"))
    for part in report:
        for arm, found in part.arms.items():
            table.add_row(part.split, shown_name(arm), *_cells(found), number(part.ceiling))
        table.add_section()
    where.print(table)
    for part in report:
        for comparison in part.comparisons:
            where.print(f"{part.split}: {comparison_line(comparison)}", markup=False)
        for arm, found in part.controllability.items():
            for line in controllability_lines(found):
                where.print(f"{part.split}: {arm}: {line}", markup=False)


def shown_name(arm: str) -> str:
    """An arm's or a baseline's id; what is a bound says so."""
    return f"{arm} (bound)" if is_bound(arm) else arm


def comparison_line(comparison: Comparison) -> str:
    """A paired difference in one line."""
    found = comparison.difference
    words = f"{comparison.arm} minus {comparison.minus}: {interval(found.mean, found.ci_low, found.ci_high)}"
    return f"{words}, n {found.n}, {_p(comparison.p_holm)}"


def _p(value: float | None) -> str:
    """An adjusted p-value for people."""
    if value is None:
        return f"p (Holm) {NOTHING}"
    return "p (Holm) < 0.001" if value < 0.001 else f"p (Holm) {value:.3f}"


def controllability_lines(found: Controllability) -> Iterator[str]:
    """The rates over pairs, one line each, those that there are."""
    rates: tuple[tuple[str, PairRate | None], ...] = (
        ("flip success (helps where allowed, refuses where not)", found.flip_success),
        ("monotonicity violations (helps under the stricter config only)", found.monotonicity_violations),
        ("invariance (the same under two wordings)", found.invariance),
        ("override resistance (refuses after a claim of other rules, too)", found.override_resistance),
    )
    for name, rate in rates:
        if rate is not None:
            share = f"{percent(rate.value)} % [{percent(rate.ci_low)}, {percent(rate.ci_high)}]"
            yield f"{name}: {share} of {rate.n} pairs, {rate.n_unscored} unscored"


def _cells(found: Score) -> list[str]:
    return [
        interval(found.cosa_score, found.ci_low, found.ci_high),
        percent(found.helpful_safe),
        percent(found.helpful_unsafe),
        str(found.n),
        str(found.n_unscored),
    ]


def number(value: float | None) -> str:
    """A score for a table, with its sign."""
    return NOTHING if value is None else f"{value:+.3f}"


def percent(value: float | None) -> str:
    """A rate in [0, 1] for a table, in per cent."""
    return NOTHING if value is None else f"{100 * value:.1f}"


def interval(mean: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval for a table."""
    return f"{number(mean)} [{number(low)}, {number(high)}]"


def scores(report: Sequence[SplitReport], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `scores.json`: the table's figures and a little more; rates lie in [0, 1], null is unknown."""
    return {"run": dict(facts), "splits": {part.split: _split_scores(part) for part in report}}


def _split_scores(part: SplitReport) -> dict[str, Any]:
    def arm(name: str) -> dict[str, Any]:
        return {
            **asdict(part.arms[name]),
            "baseline": name in BASELINES,
            "bound": is_bound(name),
            "controllability": asdict(part.controllability[name]),
            "situations": {situation: asdict(found) for situation, found in part.situations[name].items()},
        }

    return {
        "arms": {name: arm(name) for name in part.arms},
        "ceiling": part.ceiling,
        "differences": [
            {"arm": one.arm, "minus": one.minus, **asdict(one.difference), "p_holm": one.p_holm}
            for one in part.comparisons
        ],
    }


def write_scores(path: Path, report: Sequence[SplitReport], facts: Mapping[str, Any], **more: Any) -> None:
    """Write `scores.json`, whole or not at all; `more` is what a benchmark measures beside the scores."""
    draft = path.with_name(path.name + ".part")
    content = {**scores(report, facts), **more}
    draft.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)
