"""Every reader of what people bring takes anything: it reads it, or says what is wrong in its own error and no other."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from align.candidate_rows import read_candidates
from align.jsonl import RowError
from align.pairs import PairsRecipe
from align.recipe import load_recipe
from align.selection import selected
from evaluation.benchmark_file import read_items
from evaluation.benchmarks import BenchmarkError
from evaluation.judged_rows import RowsError, read_judged_rows
from evaluation.llm_judge import UnreadableError, compliance_schema, helpfulness_schema, read_verdict
from playground import markup
from presets.chat_markers import CHAT_MARKER, defuse
from presets.profile import load_profile
from presets.safety_config import load_safety_config
from presets.yaml_file import PresetError

ROOT = Path(__file__).parent.parent
QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""The same examples on every machine and day: a suite that fails by chance is no suite."""

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in nested lists and mappings."""
    found = [at] if at else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, each in inner for place in places(each, (*at, key))]


def spoiled(draw: Callable[[st.SearchStrategy], Any], whole: Any) -> Any:
    """A copy in which one thing is gone or something else."""
    made = copy.deepcopy(whole)
    *way, last = draw(st.sampled_from(places(made)))
    holder = made
    for step in way:
        holder = holder[step]
    if draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = draw(JUNK)
    return made


def refusal(read: Callable[[], Any], error_type: type[Exception]) -> str | None:
    """What a reader says is wrong, in its own error; None when it can read what it was given."""
    try:
        read()
    except error_type as error:
        return str(error)
    return None


READERS = {
    "config": (ROOT / "presets/safety_configs/tinyworld/casino.yaml", load_safety_config),
    "profile": (ROOT / "presets/profiles/tinyworld.yaml", load_profile),
    "recipe": (ROOT / "align/recipes/tinyworld.yaml", load_recipe),
}


@pytest.mark.parametrize("kind", READERS)
@QUICK
@given(data=st.data())
def test_a_preset_with_anything_in_any_place_is_read_or_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path, read = READERS[kind]
    broken = tmp_path / path.name
    broken.write_text(yaml.safe_dump(spoiled(data.draw, yaml.safe_load(path.read_text())), allow_unicode=True))
    assert path.name in (refusal(lambda: read(broken), PresetError) or path.name)


ROW = {
    "prompt": "A beer?",
    "allowed": ["alcohol"],
    "system_prompt": "Beer is fine.",
    "mode": "safe",
    "history": [{"role": "user", "content": "Hi"}],
    "responses": [
        {"text": "A lager.", "categories": ["alcohol"], "addressed": True},
        {"text": "No.", "categories": [], "addressed": False},
    ],
}
JUDGED = {
    "config": "bar",
    "allowed": ["alcohol"],
    "categories": ["gambling"],
    "rating": 4,
    "complies": None,
    "cluster": "p17",
    "situation": "disallowed",
    "refused": False,
}
ITEM = {
    "prompt": "And to drink?",
    "config": {"id": "cafe", "text": "No alcohol, please.", "allowed": ["romance"]},
    "history": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}],
    "situation": "disallowed",
    "split": "mine",
    "cluster": "drinks",
}
FILES: dict[str, tuple[dict[str, Any], Callable[[Path], Any], type[Exception]]] = {
    "candidates": (ROW, lambda path: list(selected(lambda: read_candidates(path), PairsRecipe(), Counter())), RowError),
    "judged rows": (JUDGED, read_judged_rows, RowsError),
    "benchmark": (ITEM, lambda path: read_items(path, "tinyworld"), BenchmarkError),
}


@pytest.mark.parametrize("kind", FILES)
@QUICK
@given(data=st.data())
def test_a_row_with_anything_in_any_place_is_read_or_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    row, read, error_type = FILES[kind]
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row), json.dumps(spoiled(data.draw, row))]
    path.write_text("\n".join(lines) + data.draw(st.sampled_from(["\n", "", "\n{", "\n[]\n", "\n\n"])))
    assert "line" in (refusal(lambda: read(path), error_type) or "line")


@QUICK
@given(before=st.text(max_size=40), verdict=JUNK, after=st.text(max_size=40))
def test_a_judges_reply_is_a_verdict_or_unreadable(before: str, verdict: Any, after: str) -> None:
    for schema in (helpfulness_schema(), compliance_schema()):
        try:
            found = read_verdict(before + json.dumps(verdict) + after, schema)
        except UnreadableError:
            continue
        assert found.keys() >= set(schema["required"])


@QUICK
@given(st.text(alphabet="<>|/[]system end_INST＜｜▁\u2060\n", max_size=60))
def test_no_text_keeps_a_chat_marker_and_none_is_changed_twice(text: str) -> None:
    safe = defuse(text)
    assert CHAT_MARKER.search(safe) is None
    assert defuse(safe) == safe
    assert safe.replace("\u2060", "") == text.replace("\u2060", "")


@QUICK
@given(st.text(max_size=200))
def test_any_text_can_be_shown(text: str) -> None:
    assert "<script" not in markup.markdown(text).lower()
    markup.changes(text, text[::-1])
