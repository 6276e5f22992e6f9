"""The store's comparisons as data that others read: preferences for TRL, the arena's columns, flat tables.

    python -m evaluation.store export --db FILE --format FORMAT --out PATH

- `trl-preference`: JSON lines of `prompt`, `chosen`, `rejected` (message lists): a vote for the best response, against each other
  one. https://huggingface.co/docs/trl/dataset_formats
- `trl-kto`: `prompt`, `completion`, `label`: the best response true, the others false; all of them false when all are bad.
- `lmarena`: each two responses of a vote in the columns of lmarena-ai/arena-human-preference-140k, as far as we have them.
- `csv`, `parquet`: the view `comparisons`, one row per response and current vote.
- `hub`: a folder that is a dataset for the model hub: that Parquet file, and a dataset card with what is in it.

`evaluation/store_import.py` reads each of them back.

The system message of `prompt` is the config, whether an arm was shown it or not: what is to be learnt is to follow it. Only
complete responses go into pairs. Who voted, and what people wrote as their reason, is left out unless asked for.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.dataset_card import dataset_card
from evaluation.schema import StoreError, open_to_read, plain_words
from evaluation.store_records import read_comparison
from presets.arm import Message
from presets.safety_config import system_prompt_text

PERSONAL = ("session_id", "vote_session_id", "vote_reason")
"""Columns that tell of a person; exports have them only on demand."""

HUB_DATA = "data/train.parquet"
"""Where a dataset folder for the model hub has its rows."""

ORIGIN = (
    *("profile", "conversation_id", "turn_id", "turn_index", "created_at"),
    *("config_id", "config_title", "config_text", "config_hash", "language", "taxonomy", "allowed"),
    *("vote_id", "outcome", "best", "presented", "vote_blind", "voted_at", "vote_person", "vote_revision"),
    *("vote_axes", "vote_flags"),
    *("vote_session_id", "vote_reason"),
)
"""What every pair and label tells of where it comes from; with it, votes can be made again from them."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Filters:
    """What goes out: the ids of configs, arms, profiles and of the sessions that voted; empty for all.

    `blind`: True for the votes that stand as they were cast without names, False for the others, None for all.
    """

    configs: frozenset[str] = frozenset()
    arms: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()
    annotators: frozenset[str] = frozenset()
    blind: bool | None = None

    def reads(self, row: Mapping[str, Any]) -> bool:
        """True when a row of `comparisons` is looked at. Whoever voted: an earlier turn without a vote is history."""
        columns = ((self.configs, "config_id"), (self.arms, "arm_id"), (self.profiles, "profile"))
        return all(not wanted or row[name] in wanted for wanted, name in columns)

    def writes(self, row: Mapping[str, Any]) -> bool:
        """True when a row that was made goes out."""
        is_theirs = not self.annotators or row["vote_session_id"] in self.annotators
        return is_theirs and (self.blind is None or row["vote_blind"] == self.blind)


@dataclass(frozen=True)
class Ballot:
    """One current vote: the prompt's messages under the config as each arm had them, and the complete responses voted on."""

    rows: Sequence[Row]
    prompts: Mapping[str, list[Message]]
    outcome: str
    best: str | None


@dataclass
class Exported:
    """How many rows were written, and what was left out and why."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def export(
    database: Path,
    format_name: str,
    out: Path,
    *,
    filters: Filters | None = None,
    with_personal: bool = False,
    with_thinking: bool = False,
) -> Exported:
    """Write the store's comparisons to `out` in one of FORMATS; an older file stays until the new one is whole.

    `with_thinking` puts what a model wrote before its last answer in front of that, between think markers.

    Raises `StoreError` for a store that cannot be read and a file that cannot be written.
    """
    found = Exported()
    filters = filters or Filters()
    rows = _comparisons(database, filters)
    if with_thinking:
        rows = map(_thought, rows)
    made = (row for row in FORMATS[format_name].rows(rows, found) if filters.writes(row))
    kept = made if with_personal else ({name: row[name] for name in row if name not in PERSONAL} for row in made)
    draft = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        found.rows = FORMATS[format_name].write(draft, kept)
        if draft.is_dir():
            _replace_folder(draft, out)
        else:
            draft.replace(out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error}); choose another file with --out") from error
    return found


def _replace_folder(draft: Path, out: Path) -> None:
    """Put the files of a written folder into `out`, each whole; what else lies there, such as .git, stays."""
    for file in [file for file in draft.rglob("*") if file.is_file()]:
        place = out / file.relative_to(draft)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    shutil.rmtree(draft)


def _comparisons(database: Path, filters: Filters) -> Iterator[Row]:
    with open_to_read(database) as db, plain_words(database):
        for row in db.query("SELECT * FROM comparisons"):
            if filters.reads(row):
                yield read_comparison(row)


def ballots(rows: Iterable[Row], found: Exported) -> Iterator[Ballot]:
    """The votes in rows of `comparisons`, in their order; what cannot be used is counted in `found`.

    What an arm said before is what the page sends it: the turns in which it said something.
    """
    for _, conversation in itertools.groupby(rows, key=lambda row: row["conversation_id"]):
        said: defaultdict[str, list[Message]] = defaultdict(list)
        for _, turn in itertools.groupby(conversation, key=lambda row: row["turn_index"]):
            of_turn = list(turn)
            yield from _ballots_of_turn(of_turn, said, found)
            for row in of_turn:
                if row["is_current"] and row["text"] and row["vote_id"] == _first_vote(of_turn, row):
                    said[row["arm_id"]] += [
                        Message(role="user", content=row["prompt"]),
                        Message(role="assistant", content=row["text"]),
                    ]


def _first_vote(rows: Sequence[Row], response: Row) -> str | None:
    """Of a response that stands in several rows, one per vote, the first row's vote."""
    return next(row["vote_id"] for row in rows if row["response_id"] == response["response_id"])


def _ballots_of_turn(rows: Sequence[Row], said: Mapping[str, list[Message]], found: Exported) -> Iterator[Ballot]:
    by_vote: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["vote_id"] is not None:
            by_vote[row["vote_id"]].append(row)
    for voted in by_vote.values():
        complete = [row for row in voted if row["status"] == "complete" and row["text"]]
        found.left_out["responses that are empty or did not end by themselves"] += len(voted) - len(complete)
        prompts = {row["arm_id"]: _prompt(row, said.get(row["arm_id"], [])) for row in complete}
        yield Ballot(complete, prompts, voted[0]["outcome"], voted[0]["best"])


def _prompt(row: Row, history: Sequence[Message]) -> list[Message]:
    system = Message(role="system", content=system_prompt_text(row["config_text"]))
    return [system, *history, Message(role="user", content=row["prompt"])]


def _preferences(rows: Iterable[Row], found: Exported) -> Iterator[Row]:
    for ballot in ballots(rows, found):
        if ballot.outcome != "best":
            found.left_out["votes for no response (tie, all bad)"] += 1
            continue
        for best, other in itertools.product(ballot.rows, ballot.rows):
            if best["arm_id"] != ballot.best or other is best:
                continue
            if ballot.prompts[best["arm_id"]] != ballot.prompts[other["arm_id"]]:
                found.left_out["pairs after different conversations"] += 1
            elif best["text"] == other["text"]:
                found.left_out["pairs of equal responses"] += 1
            else:
                yield {
                    "prompt": ballot.prompts[best["arm_id"]],
                    "chosen": _reply(best),
                    "rejected": _reply(other),
                    **_origin(best),
                    "chosen_arm": best["arm_id"],
                    "rejected_arm": other["arm_id"],
                }


def _kto(rows: Iterable[Row], found: Exported) -> Iterator[Row]:
    for ballot in ballots(rows, found):
        if ballot.outcome == "tie":
            found.left_out["votes for no response (tie)"] += 1
            continue
        for row in ballot.rows:
            yield {
                "prompt": ballot.prompts[row["arm_id"]],
                "completion": _reply(row),
                "label": row["arm_id"] == ballot.best,
                **_origin(row),
                "arm": row["arm_id"],
            }


def _arena(rows: Iterable[Row], found: Exported) -> Iterator[Row]:
    for ballot in ballots(rows, found):
        for a, b in itertools.combinations(ballot.rows, 2):
            winner = {a["arm_id"]: "model_a", b["arm_id"]: "model_b"}.get(ballot.best or "")
            if ballot.outcome == "best" and winner is None:
                found.left_out["pairs of which a third response was better"] += 1
                continue
            yield {
                "id": f"{a['vote_id']}-{a['arm_id']}-{b['arm_id']}",
                "model_a": a["arm_id"],
                "model_b": b["arm_id"],
                "winner": winner or {"tie": "tie", "all_bad": "both_bad"}[ballot.outcome],
                "evaluation_session_id": a["conversation_id"],
                "evaluation_order": a["turn_index"] + 1,
                "conversation_a": [*ballot.prompts[a["arm_id"]], *_reply(a)],
                "conversation_b": [*ballot.prompts[b["arm_id"]], *_reply(b)],
                "timestamp": a["created_at"],
                **_origin(a),
            }


def _thought(row: Row) -> Row:
    """The row with what a reply is to say: the thinking first. What was said in earlier turns stays without."""
    thinking = f"<think>{row['thinking']}</think>" if row["thinking"] else ""
    return {**row, "said": thinking + row["text"]}


def _reply(row: Row) -> list[Message]:
    return [Message(role="assistant", content=row.get("said", row["text"]))]


def _origin(row: Row) -> Row:
    return {name: row[name] for name in ORIGIN}


def _flat(rows: Iterable[Row], found: Exported) -> Iterator[Row]:
    yield from rows


def _write_json_lines(path: Path, rows: Iterable[Row]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _plain(row: Row) -> Row:
    """Lists and mappings as JSON, which one cell of a table can hold."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
        for name, value in row.items()
    }


def _write_csv(path: Path, rows: Iterable[Row]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for row in map(_plain, rows):
            if writer is None:
                writer = csv.DictWriter(file, fieldnames=list(row))
                writer.writeheader()
            writer.writerow(row)
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterable[Row]) -> int:
    from datasets import Dataset

    plain = list(map(_plain, rows))
    Dataset.from_list(plain).to_parquet(path)
    return len(plain)


def _write_hub(folder: Path, rows: Iterable[Row]) -> int:
    all_rows = list(rows)
    (folder / HUB_DATA).parent.mkdir(parents=True, exist_ok=True)
    count = _write_parquet(folder / HUB_DATA, all_rows)
    (folder / "README.md").write_text(dataset_card(all_rows, HUB_DATA), encoding="utf-8")
    return count


@dataclass(frozen=True)
class Format:
    """How rows of `comparisons` become rows of a format, and how those are written; `write` returns how many.

    `suffix` is the usual end of such a file's name; empty for a folder.
    """

    rows: Callable[[Iterable[Row], Exported], Iterator[Row]]
    write: Callable[[Path, Iterable[Row]], int]
    suffix: str


FORMATS: Mapping[str, Format] = {
    "trl-preference": Format(_preferences, _write_json_lines, ".jsonl"),
    "trl-kto": Format(_kto, _write_json_lines, ".jsonl"),
    "lmarena": Format(_arena, _write_json_lines, ".jsonl"),
    "csv": Format(_flat, _write_csv, ".csv"),
    "parquet": Format(_flat, _write_parquet, ".parquet"),
    "hub": Format(_flat, _write_hub, ""),
}
