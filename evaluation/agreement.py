"""Do two judges agree, and what does a judge's error rate do to the rates that it measures?

One run's verdicts are held against those of a reference on the same responses: a better judge's, or people's. "Unsafe"
is the positive class.

    python -m evaluation rejudge --run runs/a --profile other-judge.yaml --out runs/a-again
    python -m evaluation.agreement --run runs/a --reference runs/a-again

Sources: Cohen's kappa (1960); Matthews' correlation (1975); Rogan and Gladen, American Journal of Epidemiology 107 (1978)
for the rate that a judge of known sensitivity and specificity would have found had it made no mistake.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.cosa_score import INTERVAL, RESAMPLES
from evaluation.journal import JournalError, Key, Record, finished_run


@dataclass(frozen=True)
class Confusion:
    """Responses by (this judge, reference): `both_unsafe`, `only_unsafe` (this judge alone), `only_safe`, `both_safe`."""

    both_unsafe: int
    only_unsafe: int
    only_safe: int
    both_safe: int

    @property
    def n(self) -> int:
        """Responses with two verdicts."""
        return self.both_unsafe + self.only_unsafe + self.only_safe + self.both_safe

    @property
    def agreement(self) -> float | None:
        """The share in [0, 1] with the same verdict."""
        return _ratio(self.both_unsafe + self.both_safe, self.n)

    @property
    def sensitivity(self) -> float | None:
        """Of what the reference finds unsafe, the share in [0, 1] that this judge finds unsafe, too."""
        return _ratio(self.both_unsafe, self.both_unsafe + self.only_safe)

    @property
    def specificity(self) -> float | None:
        """Of what the reference finds safe, the share in [0, 1] that this judge finds safe, too."""
        return _ratio(self.both_safe, self.both_safe + self.only_unsafe)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa in [-1, 1]; None where chance alone agrees on everything."""
        unsafe, safe = True, False
        counts = {
            (unsafe, unsafe): self.both_unsafe,
            (unsafe, safe): self.only_unsafe,
            (safe, unsafe): self.only_safe,
            (safe, safe): self.both_safe,
        }
        return cohens_kappa(counts) if self.n else None

    @property
    def mcc(self) -> float | None:
        """Matthews' correlation coefficient in [-1, 1]; None where a judge gives one verdict only."""
        margins = (
            (self.both_unsafe + self.only_unsafe)
            * (self.both_unsafe + self.only_safe)
            * (self.both_safe + self.only_unsafe)
            * (self.both_safe + self.only_safe)
        )
        if not margins:
            return None
        return (self.both_unsafe * self.both_safe - self.only_unsafe * self.only_safe) / math.sqrt(margins)


@dataclass(frozen=True)
class CorrectedRate:
    """An arm's share of unsafe responses, as measured and by Rogan and Gladen, all in [0, 1].

    The 95 % interval comes from a bootstrap over prompts, of the measured rate and of the error rates together. All but
    `measured` are None where sensitivity and specificity do not add up to more than 1: such a judge tells nothing.
    """

    measured: float
    corrected: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True)
class Agreement:
    """What two runs' verdicts on the same responses add up to; `unpaired` responses have no two verdicts to compare."""

    confusion: Confusion
    unpaired: int
    rates: Mapping[str, CorrectedRate]


def agreement(records: Mapping[Key, Record], reference: Mapping[Key, Record], *, seed: int = 0) -> Agreement:
    """Compare the verdicts of `records` with those of `reference`, which may hold some of the responses only.

    Raises `JournalError` when they share no response with two verdicts.
    """
    rows = [
        (key, record.judgement.safe, _reference_verdict(record, reference.get(key)))
        for key, record in records.items()
        if record.judgement.safe is not None
    ]
    prompts = {prompt: number for number, prompt in enumerate(dict.fromkeys(key.item for key, _, _ in rows))}
    prompt = np.array([prompts[key.item] for key, _, _ in rows], dtype=int)
    unsafe = np.array([not safe for _, safe, _ in rows], dtype=bool)
    judged_twice = np.array([other is not None for _, _, other in rows], dtype=bool)
    truly = np.array([other is False for _, _, other in rows], dtype=bool)
    if not judged_twice.any():
        raise JournalError("the two runs have no response with two verdicts in common; rejudge the first one")
    cells = np.stack([unsafe & truly, unsafe & ~truly, ~unsafe & truly, ~unsafe & ~truly]) & judged_twice
    weights = _resampled(len(prompts), seed)[:, prompt]
    arms = np.array([key.arm for key, _, _ in rows])
    return Agreement(
        confusion=Confusion(*(int(cell.sum()) for cell in cells)),
        unpaired=len(records.keys() | reference.keys()) - int(judged_twice.sum()),
        rates={arm: _corrected(unsafe, arms == arm, cells, weights) for arm in dict.fromkeys(arms.tolist())},
    )


def cohens_kappa(counts: Mapping[tuple[Hashable, Hashable], int]) -> float | None:
    """Cohen's kappa in [-1, 1] of two raters, by how often they said (one, the other); None where chance alone agrees always."""
    n = sum(counts.values())
    agreed = sum(count for (one, other), count in counts.items() if one == other) / n
    ones, others = Counter(), Counter()
    for (one, other), count in counts.items():
        ones[one] += count
        others[other] += count
    by_chance = sum(ones[said] * others[said] for said in ones) / n**2
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def rogan_gladen(measured: float, sensitivity: float | None, specificity: float | None) -> float | None:
    """The true rate in [0, 1] behind a measured one; None where the judge is no better than chance, or not known."""
    if sensitivity is None or specificity is None or sensitivity + specificity <= 1:
        return None
    return min(1.0, max(0.0, (measured + specificity - 1) / (sensitivity + specificity - 1)))


def _reference_verdict(record: Record, other: Record | None) -> bool | None:
    """The reference's verdict, if it is on the same words."""
    return None if other is None or other.response.text != record.response.text else other.judgement.safe


def _resampled(prompts: int, seed: int) -> np.ndarray:
    """How often each prompt is drawn, of shape (RESAMPLES, prompts)."""
    return np.random.default_rng(seed).multinomial(prompts, [1 / prompts] * prompts, size=RESAMPLES)


def _corrected(unsafe: np.ndarray, mine: np.ndarray, cells: np.ndarray, weights: np.ndarray) -> CorrectedRate:
    def rate(weight: np.ndarray) -> float | None:
        n = int(weight[mine].sum())
        found = Confusion(*(int(weight[cell].sum()) for cell in cells))
        measured = float(weight[mine & unsafe].sum()) / n if n else None
        return None if measured is None else rogan_gladen(measured, found.sensitivity, found.specificity)

    corrected = rate(np.ones(len(unsafe), dtype=int))
    drawn = [] if corrected is None else [value for weight in weights if (value := rate(weight)) is not None]
    low, high = np.percentile(drawn, INTERVAL).tolist() if drawn else (None, None)
    return CorrectedRate(float(unsafe[mine].mean()), corrected, low, high)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def as_json(found: Agreement) -> dict[str, object]:
    """The same as plain values; null is unknown."""
    names = ("n", "agreement", "kappa", "mcc", "sensitivity", "specificity")
    return {
        "confusion": asdict(found.confusion),
        **{name: getattr(found.confusion, name) for name in names},
        "unpaired": found.unpaired,
        "unsafe_rates": {arm: asdict(rate) for arm, rate in found.rates.items()},
    }


def print_agreement(found: Agreement, console: Console) -> None:
    """Print the confusion, what it comes to, and each arm's rate as measured and corrected."""
    counts = found.confusion
    table = Table(title="Verdicts", title_justify="left")
    for column in ("", "reference: unsafe", "reference: safe"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("this judge: unsafe", str(counts.both_unsafe), str(counts.only_unsafe))
    table.add_row("this judge: safe", str(counts.only_safe), str(counts.both_safe))
    console.print(table)
    words = [f"{name} {_shown(getattr(counts, name))}" for name in ("agreement", "kappa", "mcc")]
    words += [f"{name} {_shown(getattr(counts, name))}" for name in ("sensitivity", "specificity")]
    console.print(f"{', '.join(words)}; n {counts.n}, {found.unpaired} without two verdicts", markup=False)
    for arm, rate in found.rates.items():
        corrected = f"{_shown(rate.corrected)} [{_shown(rate.ci_low)}, {_shown(rate.ci_high)}]"
        console.print(f"{arm}: unsafe {_shown(rate.measured)}, corrected {corrected}", markup=False)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two runs; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.agreement", description="Do two judges agree?")
    parser.add_argument("--run", required=True, type=Path, help="the --out folder whose judge is in question")
    parser.add_argument("--reference", required=True, type=Path, help="the --out folder of the judge to be believed")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    try:
        read = []
        for folder in (options.run, options.reference):
            with finished_run(folder) as journal:
                read.append(journal.records)
        found = agreement(*read, seed=options.seed)
    except JournalError as error:
        print(f"evaluation.agreement: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(as_json(found), allow_nan=False))
    else:
        print_agreement(found, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
