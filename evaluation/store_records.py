"""The store's rows as frozen dataclasses: what goes in beside responses, judgements and votes, and what comes out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from evaluation.judgement import Judgement
from evaluation.response import Response, Status
from evaluation.vote import Choice, Vote
from presets.profile import Sampling
from presets.safety_config import SYSTEM_PROMPT_VERSION, SafetyConfig

Row = Mapping[str, Any]
"""A row as the database gives it: column name to value."""

PARSED = (
    "allowed",
    "categories",
    "presented",
    "library_versions",
    "judge_facts",
    "vote_responses",
    "vote_axes",
    "vote_flags",
)
FLAGS = ("is_current", "shows_config", "safe", "won", "vote_blind")
"""Columns of the view `comparisons` that are JSON, and those that are 0 or 1."""


@dataclass(frozen=True)
class ArmRecord:
    """What an arm was when it answered. None stands for what is not known, as with a remote server.

    The hashes are SHA-256 (hex): `model_hash` and `adapter_hash` of local folders (`fingerprint.folder_hash`),
    `demos_hash` of the demonstrations. `library_versions` maps package to version.
    """

    arm_id: str
    title: str
    server: str
    model: str
    model_path: str | None = None
    model_revision: str | None = None
    model_hash: str | None = None
    adapter_path: str | None = None
    adapter_hash: str | None = None
    shows_config: bool = True
    demos: str | None = None
    demos_hash: str | None = None
    prompt_template_version: str = SYSTEM_PROMPT_VERSION
    engine: str | None = None
    engine_version: str | None = None
    library_versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "library_versions", dict(self.library_versions))

    @property
    def version(self) -> str:
        """SHA-256 (hex) of the whole record: two responses with the same version came from the same arm."""
        return facts_hash(asdict(self))


@dataclass(frozen=True)
class Turn:
    """One prompt to all arms. `response_ids` maps each arm's id to its first, pending response."""

    id: str
    conversation_id: str
    response_ids: dict[str, str]


@dataclass(frozen=True)
class StoredResponse:
    """The last attempt of one arm at one turn; `error` says why it failed, `judgement` is the last one made of it."""

    id: str
    arm: ArmRecord
    attempt: int
    status: Status
    error: str
    response: Response
    judgement: Judgement | None


@dataclass(frozen=True)
class StoredTurn:
    """One turn as it stands now: `responses` in the order of the arms, `votes` one per session that voted."""

    id: str
    turn_index: int
    prompt: str
    config_hash: str
    config_title: str
    config_text: str
    system_prompt: str
    sampling: Sampling
    created_at: str
    responses: tuple[StoredResponse, ...]
    votes: tuple[Vote, ...]


def to_json(value: Any) -> str:
    """The one JSON text of a value: keys in order, letters as they are."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def facts_hash(facts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the facts, in whatever order their keys come."""
    return hashlib.sha256(to_json(facts).encode()).hexdigest()


def config_columns(config: SafetyConfig) -> dict[str, Any]:
    """The columns of a config: its hash is the key, its own id one of the columns."""
    columns = asdict(config)
    allowed = None if config.allowed is None else to_json(sorted(config.allowed))
    return columns | {"hash": config.content_hash, "config_id": columns.pop("id"), "allowed": allowed}


def read_config(row: Row) -> SafetyConfig:
    """The config in a row of `configs`."""
    allowed = None if row["allowed"] is None else frozenset(json.loads(row["allowed"]))
    return SafetyConfig(
        row["config_id"], **_pick(row, "title", "text", "taxonomy", "language", "source"), allowed=allowed
    )


def response_columns(response: Response) -> dict[str, Any]:
    """The columns of a response, by the names that its fields have; times in milliseconds."""
    columns = asdict(response)
    return columns | {
        "ttft_ms": _milliseconds(columns.pop("ttft_s")),
        "duration_ms": _milliseconds(columns.pop("duration_s")),
    }


def read_turn(row: Row, responses: Sequence[StoredResponse], votes: Sequence[Row]) -> StoredTurn:
    """The turn in a row of `turns` with its config's title and text."""
    same = ("id", "turn_index", "prompt", "config_hash", "config_title", "config_text", "system_prompt", "created_at")
    return StoredTurn(
        **_pick(row, *same),
        sampling=Sampling(**_pick(row, "temperature", "top_p", "max_tokens", "seed")),
        responses=tuple(responses),
        votes=tuple(read_vote(vote) for vote in votes),
    )


def read_arm(row: Row) -> ArmRecord:
    """The arm in a row of `arm_versions`."""
    names = [field.name for field in fields(ArmRecord)]
    same = {**_pick(row, *names), "library_versions": json.loads(row["library_versions"])}
    return ArmRecord(**same | {"shows_config": bool(row["shows_config"])})


def read_response(row: Row, arm: ArmRecord, judgement: Judgement | None) -> StoredResponse:
    """The response in a row of `responses`, by this arm."""
    same = ("text", "thinking", "request_id", "finish_reason", "prompt_tokens", "completion_tokens")
    response = Response(
        **_pick(row, *same),
        model=row["returned_model"],
        ttft_s=_seconds(row["ttft_ms"]),
        duration_s=_seconds(row["duration_ms"]),
    )
    return StoredResponse(
        **_pick(row, "id", "attempt", "status", "error"), arm=arm, response=response, judgement=judgement
    )


def read_judgement(row: Row) -> Judgement:
    """The judgement in a row of `judgements`."""
    return Judgement(
        **_pick(row, "judge", "rating", "reason", "rule", "raw", "unscored"),
        categories=None if row["categories"] is None else frozenset(json.loads(row["categories"])),
        safe=_bool(row["safe"]),
    )


def vote_columns(vote: Vote) -> dict[str, Any]:
    """A vote as columns of `votes`; what was not said leaves no trace in `axes` and `flags`."""
    flags = {arm_id: sorted(found) for arm_id, found in vote.flags.items() if found}
    axes = {name: asdict(choice) for name, choice in vote.axes.items()}
    whole = {"presented": to_json(vote.presented), "axes": to_json(axes), "flags": to_json(flags)}
    return {**_pick(vars(vote), "id", "turn_id", "session_id", "outcome", "best", "reason", "blind"), **whole}


def read_vote(row: Row) -> Vote:
    """The vote in a row of `votes`."""
    same = _pick(row, "id", "turn_id", "session_id", "outcome", "best", "reason")
    axes = {name: Choice(**choice) for name, choice in json.loads(row["axes"]).items()}
    flags = {arm_id: frozenset(found) for arm_id, found in json.loads(row["flags"]).items()}
    presented = tuple(json.loads(row["presented"]))
    return Vote(**same, presented=presented, blind=bool(row["blind"]), axes=axes, flags=flags)


def read_comparison(row: Row) -> dict[str, Any]:
    """A row of the view `comparisons` with lists, mappings and booleans in place of JSON and 0/1."""
    values = {name: row[name] and json.loads(row[name]) for name in PARSED}
    flags = {name: _bool(row[name]) for name in FLAGS}
    return {**row, **values, **flags}


def _pick(row: Row, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _bool(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def storable(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with text that SQLite can hold: half of a surrogate pair (a cut emoji) becomes U+FFFD."""
    return {
        name: value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
        for name, value in row.items()
    }
