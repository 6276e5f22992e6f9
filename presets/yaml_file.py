"""Read one YAML file into one frozen dataclass, and name file, field and reason when that cannot be done."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

T = TypeVar("T")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader where PyYAML was built with it: ten times as fast, and the tinyworld judge waits for it."""

SIMPLE = (str, int, (int, float), type(None), Mapping)
"""The types that `build` checks by itself; any other is its class's business."""


class PresetError(ValueError):
    """A preset that cannot be used. The message names the file, the field and what to change."""


class FieldError(ValueError):
    """A field with a value that its type refuses; `build` adds the file's name and raises `PresetError`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")


def read(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds. Raises `PresetError` when there is none."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except FileNotFoundError as error:
        raise PresetError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PresetError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise PresetError(f"{path}: is not valid YAML ({error})") from error
    if not isinstance(data, dict):
        raise PresetError(f"{path}: holds a {type(data).__name__}; a mapping of field: value is needed")
    return data


def build(cls: type[T], data: Any, path: Path, *, where: str = "") -> T:
    """Return `cls(**data)`. Raises `PresetError` for unknown, missing, mistyped or refused fields."""
    place = f"{path}: {where}"
    if not isinstance(data, dict):
        raise PresetError(f"{place.rstrip('.: ')}: is a {type(data).__name__}; a mapping of field: value is needed")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(str(key) for key in data if key not in fields):
        raise PresetError(f"{place}{unknown[0]}: is not a field; the fields are {', '.join(fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise PresetError(f"{place}{name}: is missing")
    hints = get_type_hints(cls)
    for name, value in data.items():
        if not _fits(value, hints[name]):
            raise PresetError(f"{place}{name}: is {value!r}; a value of type {fields[name].type} is needed")
    try:
        return cls(**data)
    except (FieldError, PresetError) as error:
        raise PresetError(f"{place}{error}") from error


def build_list(cls: type[T], rows: Any, path: Path, field: str) -> tuple[T, ...]:
    """Return one `cls` per mapping in the list `rows`; nothing for None. Raises `PresetError`."""
    if not isinstance(rows, list | None):
        raise PresetError(f"{path}: {field}: is a {type(rows).__name__}; a list is needed")
    return tuple(build(cls, row, path, where=f"{field}[{index}].") for index, row in enumerate(rows or []))


def _fits(value: Any, hint: Any) -> bool:
    """True when a value from YAML can become a field of type `hint`: a list for a tuple or set, an int for a float."""
    origin = get_origin(hint)
    if origin is UnionType:
        return any(_fits(value, choice) for choice in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    if origin in (tuple, frozenset):
        items = get_args(hint)[0]
        is_list = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
        return is_list and all(_fits(item, items) for item in value)
    kind = (int, float) if hint is float else origin or hint
    return kind not in SIMPLE or isinstance(value, kind)


def require_text(field: str, value: Any) -> None:
    """Raise `FieldError` unless `value` is a string with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise FieldError(field, f"is {value!r}; some text is needed")


def require_id(field: str, value: Any) -> None:
    """Raise `FieldError` unless `value` is an id: lower-case letters, digits, `-`, `_` and `.`."""
    require_text(field, value)
    if not all(c.isascii() and (c.islower() or c.isdigit() or c in "-_.") for c in value):
        raise FieldError(field, f"is {value!r}; an id has only a-z, 0-9, '-', '_' and '.'")
