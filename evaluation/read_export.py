"""Files that `evaluation/export.py` wrote, as rows of the view `comparisons` again.

The tables (`csv`, `parquet`, `hub`) hold those rows as they are. The formats of pairs and labels (`trl-preference`, `trl-kto`,
`lmarena`) hold the votes, the texts that were voted on and what was said before; of all else there is nothing in them.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.export import HUB_DATA, ORIGIN, PERSONAL, Row
from evaluation.schema import StoreError
from evaluation.store_records import FLAGS, PARSED

INTEGERS = frozenset(
    (
        "turn_index",
        "attempt",
        "max_tokens",
        "seed",
        "prompt_tokens",
        "completion_tokens",
        "rating",
        "vote_revision",
        "vote_person",
    )
)
REALS = frozenset(("temperature", "top_p", "ttft_ms", "duration_ms"))
NEEDED = (
    "conversation_id",
    "turn_id",
    "turn_index",
    "prompt",
    "config_hash",
    "response_id",
    "arm_id",
    "status",
    "vote_id",
)
"""Columns without which a table is none of our exports."""


def read_rows(format_name: str, path: Path) -> Iterator[Row]:
    """The rows of a file (for `hub`: a folder) in one of READERS; `response_id` is None where the format has no ids.

    Raises `StoreError` for a file that cannot be read, and for one that is no export in this format.
    """
    read = 0
    try:
        for row in READERS[format_name](path):
            yield row
            read += 1
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, csv.Error) as error:
        raise StoreError(
            f"{path}: is no {format_name} file as `export` writes it (after {read} rows: {type(error).__name__}: "
            f"{error}); name its format with --format"
        ) from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error}); name another file with --in") from error


def _read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # an answer may be longer than the module's 131,072 characters
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if reader.fieldnames:
            _require_columns(reader.fieldnames)
        for row in reader:
            yield {name: _value(name, text) for name, text in row.items()}


def _value(name: str, text: str) -> Any:
    """A cell of a CSV file as the view has it; an empty one is None."""
    if text == "":
        return None
    if name in PARSED:
        return json.loads(text)
    if name in FLAGS:
        return {"True": True, "False": False}[text]
    if name in INTEGERS:
        return int(text)
    return float(text) if name in REALS else text


def _read_parquet(path: Path) -> Iterator[Row]:
    from datasets import Dataset
    from datasets.exceptions import DatasetGenerationError

    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    with tempfile.TemporaryDirectory(prefix="import-") as cache:
        try:
            rows = Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
        except DatasetGenerationError as error:
            raise ValueError("it is no Parquet") from error
    if len(rows):
        _require_columns(rows.column_names)
    for row in rows:
        yield {**row, **{name: row[name] and json.loads(row[name]) for name in PARSED if name in row}}


def _require_columns(names: Iterable[str]) -> None:
    if lacking := sorted(set(NEEDED) - set(names)):
        raise ValueError(f"it lacks the columns {', '.join(lacking)}")


OPTIONAL = (*PERSONAL, "vote_axes", "vote_flags")
"""What a vote may lack: who voted is left out unless asked for, and earlier exports had no axes and flags."""

Said = tuple[str, Sequence[Mapping[str, str]], str]
"""An arm's id, the prompt's messages as it had them, and its reply."""


def _in_preference(row: Row) -> tuple[Said, ...]:
    return (
        (row["chosen_arm"], row["prompt"], row["chosen"][0]["content"]),
        (row["rejected_arm"], row["prompt"], row["rejected"][0]["content"]),
    )


def _in_kto(row: Row) -> tuple[Said, ...]:
    return ((row["arm"], row["prompt"], row["completion"][0]["content"]),)


def _in_arena(row: Row) -> tuple[Said, ...]:
    a, b = row["conversation_a"], row["conversation_b"]
    return (row["model_a"], a[:-1], a[-1]["content"]), (row["model_b"], b[:-1], b[-1]["content"])


def _read_votes(path: Path, said_in: Callable[[Row], tuple[Said, ...]]) -> Iterator[Row]:
    """Rows of the votes in a file of JSON lines, each conversation in the order of its turns."""
    conversations: defaultdict[str, dict[str, _Voted]] = defaultdict(dict)
    with path.open(encoding="utf-8") as file:
        for line in filter(str.strip, file):
            row = json.loads(line)
            origin = {name: row.get(name) if name in OPTIONAL else row[name] for name in ORIGIN}
            votes = conversations[row["conversation_id"]]
            votes.setdefault(row["vote_id"], _Voted(origin)).add(said_in(row))
    for votes in conversations.values():
        prompts: dict[int, str] = {}
        for vote in sorted(votes.values(), key=lambda vote: vote.origin["turn_index"]):
            yield from vote.earlier(prompts)
            yield from vote.rows(prompts)


class _Voted:
    """One vote of a file of pairs or labels: where it comes from, and what each arm had been told and said."""

    def __init__(self, origin: Row) -> None:
        self.origin = origin
        self._arms: list[str] = []
        self._told: dict[str, Sequence[Mapping[str, str]]] = {}
        self._reply: dict[str, str] = {}

    def add(self, said: Sequence[Said]) -> None:
        """Add what a row tells. Its arms stand in the order of the turn: the former of a pair before the latter."""
        for index, (arm, told, reply) in enumerate(said):
            if arm not in self._arms:
                later = [self._arms.index(other) for other, *_ in said[index + 1 :] if other in self._arms]
                self._arms.insert(min(later, default=len(self._arms)), arm)
            self._told[arm], self._reply[arm] = told, reply

    def rows(self, prompts: dict[int, str]) -> Iterator[Row]:
        """The responses that were voted on; `prompts` of the conversation's turns learns this one's."""
        for arm in self._arms:
            prompt = prompts[self.origin["turn_index"]] = self._told[arm][-1]["content"]
            yield {**self.origin, **_response(arm, self._reply[arm]), "prompt": prompt}

    def earlier(self, prompts: dict[int, str]) -> Iterator[Row]:
        """What was said before. An arm that was silent in a turn lacks it, so its words go to the turns they answer."""
        said = {arm: _exchanges(told) for arm, told in self._told.items()}
        for arm in sorted(self._arms, key=lambda arm: -len(said[arm])):
            index = 0
            for prompt, reply in said[arm]:
                while prompts.get(index, prompt) != prompt:
                    index += 1
                prompts[index] = prompt
                yield {**self.origin, **NO_VOTE, **_response(arm, reply), **self._turn(index), "prompt": prompt}
                index += 1
            if index > self.origin["turn_index"]:
                raise ValueError(f"vote {self.origin['vote_id']}: more was said before it than there are turns")

    def _turn(self, index: int) -> Row:
        name = f"{self.origin['conversation_id']}/{index}"
        return {"turn_index": index, "turn_id": str(uuid.uuid5(uuid.NAMESPACE_OID, name))}


NO_VOTE: Row = dict.fromkeys(("vote_id", "outcome", "best", "presented"))


def _exchanges(told: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """The earlier prompts with their replies: what stands between the system message and the last prompt."""
    earlier = [message["content"] for message in told[1:-1]]
    return list(zip(earlier[::2], earlier[1::2], strict=True))


def _response(arm: str, text: str) -> Row:
    return {"response_id": None, "arm_id": arm, "text": text, "status": "complete"}


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "trl-preference": lambda path: _read_votes(path, _in_preference),
    "trl-kto": lambda path: _read_votes(path, _in_kto),
    "lmarena": lambda path: _read_votes(path, _in_arena),
    "csv": _read_csv,
    "parquet": _read_parquet,
    "hub": lambda folder: _read_parquet(folder / HUB_DATA),
}
