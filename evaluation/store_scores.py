"""What a store adds up to: each arm's CoSA-Score, over all and by config, and how often people voted for it.

Only complete responses count, of each arm the last attempt; of each session's votes on a turn the last. A conversation is a
cluster: its turns are not independent.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.cosa_score import Score, clopper_pearson, score
from evaluation.judged_rows import Collector
from evaluation.schema import open_read_only, plain_words

JUDGED = """
SELECT r.arm_id, t.config_hash, t.conversation_id, j.rating, j.safe
FROM responses_current AS r
JOIN turns AS t ON t.id = r.turn_id
JOIN judgements_current AS j ON j.response_id = r.id
WHERE r.status = 'complete'
ORDER BY r.position, t.created_at
"""
VOTED = (
    "SELECT v.outcome, v.best, v.presented, t.config_hash FROM votes_current AS v JOIN turns AS t ON t.id = v.turn_id"
)


@dataclass(frozen=True)
class Votes:
    """How often an arm was voted best, of the `n` votes on turns in which it answered; the share in [0, 1] with its interval."""

    best: int
    n: int

    @property
    def share(self) -> float | None:
        """The share of votes for this arm; None without votes."""
        return self.best / self.n if self.n else None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The exact (Clopper-Pearson) 95 % interval of the share."""
        return clopper_pearson(self.best, self.n)


@dataclass(frozen=True)
class StoreScores:
    """Scores and votes by arm id; `by_config` by (arm id, config hash). `configs` has the titles of what was used, by hash."""

    configs: Mapping[str, str]
    scores: Mapping[str, Score]
    by_config: Mapping[tuple[str, str], Score]
    votes: Mapping[str, Votes]
    ties: int
    all_bad: int
    n_votes: int


def read_store_scores(path: Path, *, configs: Collection[str] = (), seed: int = 0) -> StoreScores:
    """The scores of a store's responses under these configs (hashes; all when none are named). Raises `StoreError`."""
    with open_read_only(path) as db, plain_words(path):
        titles = dict(
            db.execute("SELECT hash, title FROM configs WHERE hash IN (SELECT config_hash FROM turns)").fetchall()
        )
        chosen = set(configs) or set(titles)
        judged = [row for row in db.execute(JUDGED) if row[1] in chosen]
        voted = [row for row in db.execute(VOTED) if row[3] in chosen]
    arms: defaultdict[str, Collector] = defaultdict(Collector)
    cells: defaultdict[tuple[str, str], Collector] = defaultdict(Collector)
    for arm, config, conversation, rating, safe in judged:
        for collected in (arms[arm], cells[arm, config]):
            verdict = None if safe is None else bool(safe)
            collected.add(config=config, cluster=conversation, rating=rating, safe=verdict)
    outcomes = Counter(outcome for outcome, *_ in voted)
    return StoreScores(
        configs=titles,
        scores={arm: score(collected.rows(), seed=seed) for arm, collected in arms.items()},
        by_config={place: score(collected.rows(), seed=seed) for place, collected in cells.items()},
        votes=_votes(voted),
        ties=outcomes["tie"],
        all_bad=outcomes["all_bad"],
        n_votes=len(voted),
    )


def _votes(voted: Sequence[tuple[str, str | None, str, str]]) -> dict[str, Votes]:
    shown = Counter(arm for _, _, presented, _ in voted for arm in json.loads(presented))
    best = Counter(chosen for _, chosen, *_ in voted if chosen is not None)
    return {arm: Votes(best[arm], n) for arm, n in shown.items()}
