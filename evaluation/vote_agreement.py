"""Does the judge agree with the people who voted?

    python -m evaluation.vote_agreement --db data/playground.sqlite3

A judgement's value is h * s as in the CoSA-Score: the rating over 5, negative where the response breaks its config. Every vote
for a best arm says that its response beats each of the others: the judge agrees (concordant) where its value is higher,
disagrees where it is lower, and has no say where both are equal. The judge's own choice on a turn is the arm with the highest
value, if that is positive and no other arm shares it; else a tie, or all bad where no value is positive.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.agreement import cohens_kappa
from evaluation.cosa_score import INTERVAL, RESAMPLES, signed_help
from evaluation.flag_agreement import FlagAgreement, flag_agreement
from evaluation.report import console, percent
from evaluation.schema import StoreError, open_to_read, plain_words

TIE, ALL_BAD = "tie", "all bad"
SEVERAL = "several judges"
"""Stands for the judge of a vote whose responses were not all judged by one."""


class NoVotesError(ValueError):
    """A store in which there is nothing to compare. The message says what is missing."""


@dataclass(frozen=True)
class Ballot:
    """One current vote. `choice` is an arm's id, `tie` or `all bad`; `values` are the judge's, in [-1, 1], None where unscored."""

    turn: str
    session: str
    choice: str
    judge: str
    values: Mapping[str, float | None]

    @property
    def is_judged(self) -> bool:
        """True when every response has a value."""
        return None not in self.values.values()

    @property
    def judges_choice(self) -> str:
        """What the judge would have voted."""
        found = {arm: value for arm, value in self.values.items() if value is not None}
        top = max(found.values())
        if top <= 0:
            return ALL_BAD
        best = [arm for arm, value in found.items() if value == top]
        return best[0] if len(best) == 1 else TIE


@dataclass(frozen=True)
class VoteAgreement:
    """What a judge's values and the votes on the same responses add up to.

    `concordant_share` is of the pairs with a say, in [0, 1], with a 95 % interval from a bootstrap over sessions; `tau` is
    (concordant - discordant) / all pairs, in [-1, 1]. `same_choice` and `kappa` (Cohen's) compare whole choices, counted in
    `choices` as (judge's, person's). Rates are None where there is nothing to count.
    """

    votes: int
    unjudged: int
    concordant: int
    discordant: int
    no_say: int
    concordant_share: float | None
    ci_low: float | None
    ci_high: float | None
    tau: float | None
    same_choice: float | None
    kappa: float | None
    choices: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class PeopleAgreement:
    """How often two people who voted on the same turn chose the same; `share` in [0, 1], None where no two did."""

    pairs: int
    share: float | None


def read_ballots(path: Path) -> list[Ballot]:
    """The current votes of a store, each with the judge's values of the responses that it was on. Raises `StoreError`."""
    sql = """SELECT vote_id, turn_id, vote_session_id, outcome, best, arm_id, judge, rating, safe FROM comparisons
             WHERE vote_id IS NOT NULL"""
    with plain_words(path), open_to_read(path) as db:
        rows = list(db.query(sql))
    by_vote: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_vote[row["vote_id"]].append(row)
    return [_ballot(found) for found in by_vote.values()]


def _ballot(rows: Sequence[Mapping[str, Any]]) -> Ballot:
    first = rows[0]
    judges = {row["judge"] for row in rows if row["judge"] is not None}
    return Ballot(
        turn=first["turn_id"],
        session=first["vote_session_id"],
        choice={"best": first["best"], "tie": TIE, "all_bad": ALL_BAD}[first["outcome"]],
        judge=next(iter(judges), "no judge") if len(judges) <= 1 else SEVERAL,
        values={row["arm_id"]: signed_help(row["rating"], row["safe"]) for row in rows},
    )


def vote_agreement(ballots: Sequence[Ballot], *, seed: int = 0) -> VoteAgreement:
    """Compare the judge's values with the votes. Raises `NoVotesError` when no vote is on judged responses."""
    judged = [ballot for ballot in ballots if ballot.is_judged]
    if not judged:
        raise NoVotesError("no vote is on responses that are all judged; there is nothing to compare")
    signs = [(ballot.session, sign) for ballot in judged for sign in _signs(ballot)]
    count = Counter(sign for _, sign in signs)
    decided = count[1] + count[-1]
    low, high = _interval([(session, sign) for session, sign in signs if sign], seed)
    choices = Counter((ballot.judges_choice, ballot.choice) for ballot in judged)
    return VoteAgreement(
        votes=len(ballots),
        unjudged=len(ballots) - len(judged),
        concordant=count[1],
        discordant=count[-1],
        no_say=count[0],
        concordant_share=count[1] / decided if decided else None,
        ci_low=low,
        ci_high=high,
        tau=(count[1] - count[-1]) / len(signs) if signs else None,
        same_choice=sum(n for (judge, person), n in choices.items() if judge == person) / len(judged),
        kappa=cohens_kappa(choices),
        choices=choices,
    )


def _signs(ballot: Ballot) -> Iterator[int]:
    """For each arm that lost to the best one: 1 where the judge agrees, -1 where it disagrees, 0 where it has no say."""
    best = ballot.values.get(ballot.choice)
    if best is not None:
        yield from (int(np.sign(best - value)) for arm, value in ballot.values.items() if arm != ballot.choice)


def _interval(signs: Sequence[tuple[str, int]], seed: int) -> tuple[float | None, float | None]:
    """The interval of the concordant share: whole sessions are drawn, since one person's votes are not independent."""
    sessions = list(dict.fromkeys(session for session, _ in signs))
    if not sessions:
        return None, None
    place = {session: number for number, session in enumerate(sessions)}
    counts = np.zeros((len(sessions), 2))
    for session, sign in signs:
        counts[place[session], int(sign > 0)] += 1
    weights = np.random.default_rng(seed).multinomial(
        len(sessions), [1 / len(sessions)] * len(sessions), size=RESAMPLES
    )
    discordant, concordant = (weights @ counts).T
    low, high = np.percentile(concordant / (concordant + discordant), INTERVAL).tolist()
    return low, high


def people_agreement(ballots: Iterable[Ballot]) -> PeopleAgreement:
    """How far the people agree among themselves, judged or not: no judge can be asked to agree more with them."""
    by_turn: defaultdict[str, list[str]] = defaultdict(list)
    for ballot in ballots:
        by_turn[ballot.turn].append(ballot.choice)
    pairs = [pair for choices in by_turn.values() for pair in itertools.combinations(choices, 2)]
    return PeopleAgreement(len(pairs), sum(a == b for a, b in pairs) / len(pairs) if pairs else None)


def as_json(
    found: Mapping[str, VoteAgreement], people: PeopleAgreement, flags: Mapping[str, FlagAgreement]
) -> dict[str, Any]:
    """The same as plain values; null is unknown."""
    judges = {}
    for judge, each in found.items():
        choices = [{"judge": mine, "person": theirs, "n": n} for (mine, theirs), n in sorted(each.choices.items())]
        judges[judge] = {**asdict(each), "choices": choices}
    said = {flag: {"n": each.n, "same": each.same, "kappa": each.kappa} for flag, each in flags.items()}
    return {"judges": judges, "people": asdict(people), "flags": said}


def print_agreement(
    found: Mapping[str, VoteAgreement], people: PeopleAgreement, flags: Mapping[str, FlagAgreement], where: Console
) -> None:
    """Print a row per judge, the choices of each, how far the people agree, and what they flagged."""
    table = Table(title="Judges and votes", title_justify="left")
    for column in (
        "judge",
        "votes",
        "unjudged",
        "agrees / differs / no say",
        "agrees % [95 % CI]",
        "tau",
        "same choice %",
        "kappa",
    ):
        table.add_column(column, justify="left" if column == "judge" else "right")
    for judge, each in found.items():
        share = f"{percent(each.concordant_share)} [{percent(each.ci_low)}, {percent(each.ci_high)}]"
        pairs = f"{each.concordant} / {each.discordant} / {each.no_say}"
        counts = (str(each.votes), str(each.unjudged), pairs, share)
        table.add_row(judge, *counts, _shown(each.tau), percent(each.same_choice), _shown(each.kappa))
    where.print(table)
    for judge, each in found.items():
        for (mine, theirs), n in sorted(each.choices.items(), key=lambda item: (-item[1], item[0])):
            where.print(f"{judge}: judge {mine}, person {theirs}: {n}", markup=False)
    told = f"{percent(people.share)} % of {people.pairs}" if people.pairs else "there are none"
    where.print(f"Two people on the same turn, same choice: {told}", markup=False)
    for flag, each in flags.items():
        if each.n:
            same = f"{percent(each.same)} % of {each.n} answers, kappa {_shown(each.kappa)}"
            where.print(f"Judge and people on {flag!r}: the same on {same}", markup=False)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Compare a store's judgements with its votes; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.vote_agreement", description="Do judge and people agree?"
    )
    parser.add_argument("--db", type=Path, default=os.environ.get("COSA_DB"), help="the store (default: $COSA_DB)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    if options.db is None:
        parser.error("which store? give --db FILE or set COSA_DB")
    try:
        ballots = read_ballots(options.db)
        if not ballots:
            raise NoVotesError(f"{options.db}: nobody has voted yet; vote on the page first")
        by_judge: defaultdict[str, list[Ballot]] = defaultdict(list)
        for ballot in ballots:
            by_judge[ballot.judge].append(ballot)
        judged = {judge: mine for judge, mine in by_judge.items() if any(ballot.is_judged for ballot in mine)}
        if not judged:
            raise NoVotesError(f"{options.db}: none of its {len(ballots)} votes is on responses that are all judged")
        flags = flag_agreement(options.db)
        found = {judge: vote_agreement(mine, seed=options.seed) for judge, mine in judged.items()}
    except (StoreError, NoVotesError) as error:
        print(f"evaluation.vote_agreement: {error}", file=sys.stderr)
        return 2
    people = people_agreement(ballots)
    if options.json:
        print(json.dumps(as_json(found, people, flags), ensure_ascii=False, allow_nan=False))
    else:
        print_agreement(found, people, flags, console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
