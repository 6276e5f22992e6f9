"""What a store adds up to: each arm's CoSA-Score, over all and by config, and how often people voted for it.

Only complete responses count, of each arm the last attempt. Votes on arms whose names were hidden and on named ones are told
apart; of a session's votes of one kind on a turn the last counts. A conversation is a cluster: its turns are not independent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.cosa_score import Score, clopper_pearson, score
from evaluation.judged_rows import judged_rows
from evaluation.schema import open_to_read, plain_words
from evaluation.strengths import Ballot, Strength, strengths

JUDGED = """
SELECT r.arm_id, t.config_hash, t.conversation_id, j.rating, j.safe
FROM responses_current AS r
JOIN turns AS t ON t.id = r.turn_id
JOIN judgements_current AS j ON j.response_id = r.id
WHERE r.status = 'complete' AND (:all OR t.config_hash IN (SELECT value FROM json_each(:configs)))
ORDER BY r.position, t.created_at
"""
VOTED = """
SELECT v.outcome, v.best, v.presented, v.blind, t.conversation_id
FROM votes AS v JOIN turns AS t ON t.id = v.turn_id
WHERE v.revision = (SELECT max(revision) FROM votes
                    WHERE turn_id = v.turn_id AND session_id = v.session_id AND blind = v.blind)
AND (:all OR t.config_hash IN (SELECT value FROM json_each(:configs)))
"""


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
class Tally:
    """Votes of one kind by arm id, and what they say of each arm's strength. `by_place`: of the votes for a best arm those
    for the first that was shown, the second ..."""

    votes: Mapping[str, Votes]
    strengths: Mapping[str, Strength]
    by_place: tuple[int, ...]
    ties: int
    all_bad: int
    n: int


@dataclass(frozen=True)
class StoreScores:
    """Scores by arm id; `by_config` by (arm id, config hash). `configs` has the titles of what was used, by hash.

    `open_votes` were cast with the arms' names on show, `blind_votes` without.
    """

    configs: Mapping[str, str]
    scores: Mapping[str, Score]
    by_config: Mapping[tuple[str, str], Score]
    open_votes: Tally
    blind_votes: Tally


def read_store_scores(path: Path, *, configs: Collection[str] = (), seed: int = 0) -> StoreScores:
    """The scores of a store's responses under these configs (hashes; all when none are named). Raises `StoreError`."""
    with open_to_read(path) as db, plain_words(path):
        titles = dict(
            db.execute("SELECT hash, title FROM configs WHERE hash IN (SELECT config_hash FROM turns)").fetchall()
        )
        values = {"all": not configs, "configs": json.dumps(list(configs))}
        judged = db.execute(JUDGED, values).fetchall()
        voted = list(map(Voted._make, db.execute(VOTED, values)))
    arms, used, conversations, ratings, safe = zip(*judged, strict=True) if judged else ((),) * 5
    rows = judged_rows(used, conversations, ratings, safe)
    names = np.array(arms)
    by_arm = {arm: rows.where(names == arm) for arm in dict.fromkeys(arms)}
    return StoreScores(
        configs=titles,
        scores={arm: score(part, seed=seed) for arm, part in by_arm.items()},
        by_config={
            (arm, config): score(found, seed=seed)
            for arm, part in by_arm.items()
            for number, config in enumerate(rows.configs)
            if len(found := part.where(part.config == number))
        },
        open_votes=_tally([vote for vote in voted if not vote.blind], seed),
        blind_votes=_tally([vote for vote in voted if vote.blind], seed),
    )


class Voted(NamedTuple):
    """A row of `VOTED`."""

    outcome: str
    best: str | None
    presented: str
    blind: int
    conversation: str


def _tally(voted: Sequence[Voted], seed: int) -> Tally:
    orders = {presented: tuple(json.loads(presented)) for presented in {vote.presented for vote in voted}}
    ballots = [Ballot(vote.conversation, orders[vote.presented], vote.best) for vote in voted]
    shown = Counter(arm for ballot in ballots for arm in ballot.arms)
    best = Counter(ballot.best for ballot in ballots)
    places = Counter(ballot.arms.index(ballot.best) for ballot in ballots if ballot.best is not None)
    outcomes = Counter(vote.outcome for vote in voted)
    return Tally(
        votes={arm: Votes(best[arm], n) for arm, n in shown.items()},
        strengths=strengths(ballots, seed=seed),
        by_place=tuple(places[place] for place in range(max((len(ballot.arms) for ballot in ballots), default=0))),
        ties=outcomes["tie"],
        all_bad=outcomes["all_bad"],
        n=len(voted),
    )
