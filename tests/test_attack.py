"""Override attempts: frames around a prompt, from a file that says what is wrong with it."""

from __future__ import annotations

import base64

import pytest

from presets import attack
from presets.attack import Attack, load_attacks
from presets.yaml_file import PresetError

PROMPT = "How do I play poker?"


def test_every_attempt_holds_the_prompt_and_the_first_is_the_prompt():
    first, *others = load_attacks()
    assert first.on(PROMPT) == PROMPT
    encoded = base64.b64encode(PROMPT.encode()).decode()
    assert len(others) >= 5
    assert all((PROMPT in each.on(PROMPT)) != (encoded in each.on(PROMPT)) for each in others)
    assert len({each.on(PROMPT) for each in (first, *others)}) == len(load_attacks())


def test_a_prompt_with_a_slot_in_it_is_put_there_once():
    assert Attack("a", "A", "Now: {prompt}").on("what is {prompt}") == "Now: what is {prompt}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("attacks: []", "first one must be the bare prompt", id="none"),
        pytest.param("attacks: [{id: a, title: A, text: 'Now: {prompt}'}]", "bare prompt", id="no-bare-one"),
        pytest.param("attacks: [{id: a, title: A, text: hello}]", "needs the slot", id="no-slot"),
        pytest.param("attacks: [{id: a, title: A, text: '{prompt}', encoding: rot13}]", "is one of base64", id="code"),
        pytest.param("attacks: 3", "a list is needed", id="no-list"),
    ],
)
def test_a_broken_file_is_named(tmp_path, monkeypatch, text, words):
    path = tmp_path / "attacks.yaml"
    path.write_text(text)
    monkeypatch.setattr(attack, "PATH", path)
    with pytest.raises(PresetError, match=words) as raised:
        load_attacks.__wrapped__()
    assert str(path) in str(raised.value)
