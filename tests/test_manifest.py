"""Manifests: what makes a step run again, what does not, and that nothing trained is lost on the way."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import align.__main__ as command
from align.manifest import differences, is_done, provenance, start_or_go_on, write_manifest
from align.recipe import load_recipe
from align.tinyworld.documents import Writer
from evaluation.tinyworld_judge import TinyworldJudge

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "align" / "recipes" / "tinyworld.yaml"


def made_by(**parameters: object) -> dict:
    return provenance(parameters, [], documents=[["Hello."]])


def inputs_of(step: str) -> dict[str, str]:
    steps = command.Steps(load_recipe(RECIPE))
    return provenance({}, [], **steps.samples(step))["inputs"]


@pytest.fixture
def half_done(tmp_path: Path) -> Path:
    """The folder of a run that was broken off: tokens 24."""
    folder = tmp_path / "base"
    start_or_go_on(folder, made_by(tokens=24, threads=2))
    (folder / "checkpoint.pt").write_text("hours")
    return folder


def test_a_finished_output_is_done_until_what_decides_it_changes(tmp_path: Path) -> None:
    output = tmp_path / "pairs.jsonl"
    output.write_text("{}\n")
    assert not is_done(output, made_by(tokens=24))
    write_manifest(output, made_by(tokens=24, threads=2), {"pairs": 1})
    assert is_done(output, made_by(tokens=24, threads=2))
    assert not is_done(output, made_by(tokens=26, threads=2))
    output.unlink()
    assert not is_done(output, made_by(tokens=24, threads=2))


def test_threads_and_measuring_do_not_decide_the_weights(tmp_path: Path) -> None:
    before = made_by(tokens=24, threads=2, measure_every=250, questions=96, save_steps=100)
    after = made_by(tokens=24, threads=4, measure_every=100, questions=8, save_steps=50)
    assert differences(before, after) == []
    assert before["parameters"]["threads"] == 2


def test_what_is_new_or_gone_counts_as_a_difference() -> None:
    assert differences(made_by(tokens=24), made_by(tokens=24, decay=0.5)) == ["parameters.decay: null -> 0.5"]
    assert differences(made_by(tokens=24, decay=0.5), made_by(tokens=24)) == ["parameters.decay: 0.5 -> null"]


def test_an_interrupted_run_goes_on_with_other_threads(half_done: Path) -> None:
    start_or_go_on(half_done, made_by(tokens=24, threads=4))
    assert (half_done / "checkpoint.pt").read_text() == "hours"


def test_an_edited_number_moves_the_old_run_aside_and_says_which(half_done: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        start_or_go_on(half_done, made_by(tokens=26, threads=2))
    assert "parameters.tokens: 24 -> 26" in caplog.text
    assert "threads" not in caplog.text
    assert not (half_done / "checkpoint.pt").exists()
    aside = half_done.with_name("base.old")
    assert (aside / "checkpoint.pt").read_text() == "hours"
    assert json.loads((aside / "started.json").read_text()) == made_by(tokens=24, threads=2)


def test_a_finished_run_goes_aside_with_its_manifest_and_replaces_an_older_one(half_done: Path) -> None:
    start_or_go_on(half_done, made_by(tokens=26))
    (half_done / "model.safetensors").write_text("finished")
    write_manifest(half_done, made_by(tokens=26), {"steps": 1})
    start_or_go_on(half_done, made_by(tokens=28))
    aside = half_done.with_name("base.old")
    assert sorted(path.name for path in aside.iterdir()) == ["model.safetensors", "started.json"]
    assert is_done(aside, made_by(tokens=26))
    assert not half_done.with_name("base.manifest.json").exists()


def test_force_and_a_folder_of_unknown_origin_go_aside_too(half_done: Path, caplog) -> None:
    start_or_go_on(half_done, made_by(tokens=24, threads=2), force=True)
    assert "--force was given" in caplog.text
    assert not (half_done / "checkpoint.pt").exists()
    (half_done / "started.json").unlink()
    start_or_go_on(half_done, made_by(tokens=24, threads=2))
    assert "started.json is missing" in caplog.text


@pytest.mark.parametrize("broken", ["base/started.json", "base.manifest.json"])
def test_a_broken_manifest_is_named(half_done: Path, broken: str) -> None:
    path = half_done.parent / broken
    path.write_text('{"parameters": ')
    with pytest.raises(ValueError, match=f"{path}: is not JSON .*remove it"):
        start_or_go_on(half_done, made_by(tokens=24))


def test_a_kill_in_mid_write_leaves_the_old_manifest(half_done: Path, monkeypatch) -> None:
    before = (half_done / "started.json").read_text()

    def killed(path: Path, text: str, **_: str) -> None:
        with path.open("w") as file:
            file.write(text[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        start_or_go_on(half_done, made_by(tokens=24, threads=4))
    assert (half_done / "started.json").read_text() == before


@pytest.mark.parametrize("step", ["base", "candidates"])
def test_code_that_writes_other_text_makes_a_step_run_again(step: str, monkeypatch) -> None:
    before = inputs_of(step)
    assert before == inputs_of(step)
    monkeypatch.setattr(Writer, "carelessly", lambda self, text, names=(): text + "!")
    assert inputs_of(step).keys() == before.keys()
    assert inputs_of(step) != before


def test_a_judge_that_judges_otherwise_makes_the_candidates_run_again(monkeypatch) -> None:
    before, verdict = inputs_of("candidates"), TinyworldJudge.verdict

    def blind(self: TinyworldJudge, *arguments: object):
        return dataclasses.replace(verdict(self, *arguments), categories=frozenset())

    monkeypatch.setattr(TinyworldJudge, "verdict", blind)
    assert inputs_of("candidates") != before


def test_samples_are_the_same_in_every_process() -> None:
    code = (
        "import json, sys; from tests.test_manifest import inputs_of; "
        "json.dump([inputs_of('base'), inputs_of('candidates')], sys.stdout)"
    )
    drawn = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert json.loads(drawn[0]) == [inputs_of("base"), inputs_of("candidates")]
    assert drawn[0] == drawn[1]
