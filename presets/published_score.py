"""Published scores: what others measured, each with its judge and its source, so that it may stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from presets import yaml_file
from presets.yaml_file import FieldError, PresetError, require_text

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class PublishedScore:
    """One row of a published table. `cosa_score` lies in [-1, 1]; `helpful_safe` and `helpful_unsafe` are in per cent."""

    setup: str
    benchmark: str
    judge: str
    source: str
    cosa_score: float
    helpful_safe: float
    helpful_unsafe: float

    def __post_init__(self) -> None:
        for field in ("setup", "benchmark", "judge", "source"):
            require_text(field, getattr(self, field))
        if not -1 <= self.cosa_score <= 1:
            raise FieldError("cosa_score", f"is {self.cosa_score}; it lies between -1 and 1")


@cache
def load_published_scores() -> tuple[PublishedScore, ...]:
    """Return the rows of every file in `published/`. Raises `PresetError`."""
    return tuple(row for path in sorted(FOLDER.glob("*.yaml")) for row in _rows(path))


def _rows(path: Path) -> list[PublishedScore]:
    data = yaml_file.read(path)
    rows = data.get("rows")
    if not isinstance(rows, list):
        raise PresetError(f"{path}: rows: is {rows!r}; a list of scores is needed")
    source = data.get("source")
    return [
        yaml_file.build(PublishedScore, {**row, "source": source}, path, where=f"rows[{index}].")
        for index, row in enumerate(rows)
    ]
