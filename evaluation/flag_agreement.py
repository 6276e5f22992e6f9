"""Do people who flagged single answers see what the judge saw? Used by `python -m evaluation.vote_agreement`.

Only votes in which something was said beside (an axis or a flag) count: there an answer without a flag was looked at, and not
found wanting. Compared are "breaks the config" with the judge's verdict, and "refused without need" with a rating of 0.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.agreement import cohens_kappa
from evaluation.schema import open_to_read, plain_words

SAID = """
SELECT arm_id, rating, safe, vote_flags FROM comparisons
WHERE (vote_flags <> '{}' OR vote_axes <> '{}') AND rating IS NOT NULL
"""


@dataclass(frozen=True)
class FlagAgreement:
    """Counts of answers as (judge says so, person says so), and Cohen's kappa; None where there is nothing to compute it from."""

    counts: Mapping[tuple[bool, bool], int]
    kappa: float | None

    @property
    def n(self) -> int:
        """The answers compared."""
        return sum(self.counts.values())

    @property
    def same(self) -> float | None:
        """The share of answers of which both say the same, in [0, 1]; None without any."""
        return sum(n for (judge, person), n in self.counts.items() if judge == person) / self.n if self.n else None


def flag_agreement(path: Path) -> dict[str, FlagAgreement]:
    """By flag (`breaks`, `refused`) how judge and people agree over the current votes of a store. Raises `StoreError`."""
    with plain_words(path), open_to_read(path) as db:
        rows = db.execute(SAID).fetchall()
    counts: dict[str, Counter[tuple[bool, bool]]] = {"breaks": Counter(), "refused": Counter()}
    for arm_id, rating, safe, flags in rows:
        said = json.loads(flags).get(arm_id, ())
        counts["breaks"][not safe, "breaks" in said] += 1
        counts["refused"][rating == 0, "refused" in said] += 1
    return {flag: FlagAgreement(found, cohens_kappa(found) if found else None) for flag, found in counts.items()}
