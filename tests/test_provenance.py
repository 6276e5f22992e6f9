"""What is written down of arms and judges: which weights, demonstrations and words, by their hashes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation import provenance
from evaluation.fingerprint import folder_hash
from evaluation.provenance import Provenance, arm_records, judge_facts, weights
from presets.arm import demos_hash
from presets.profile import JudgeChoice, Profile, Server, load_profile


def make_weights(folder: Path) -> str:
    """The folder, with weights in it."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    return str(folder)


def profile_with(**fields: object) -> Profile:
    """tinyworld's profile with these fields in its server."""
    profile = load_profile("tinyworld", {})
    return replace(profile, servers=(replace(profile.servers[0], **fields),))


def judged_by(choice: JudgeChoice, server: Server) -> Profile:
    return replace(load_profile("tinyworld", {}), servers=(server,), judge=choice)


def test_a_record_says_which_adapter_and_revision_an_arm_had(tmp_path: Path) -> None:
    adapter = make_weights(tmp_path / "adapter")
    records = arm_records(profile_with(adapters={"cosalign": adapter}, revision="main"))
    assert (records["cosalign"].adapter_path, records["cosalign"].adapter_hash) == (adapter, folder_hash(Path(adapter)))
    assert (records["base"].adapter_path, records["base"].adapter_hash) == (None, None)
    assert records["ica"].model_revision == "main"
    assert records["base"].library_versions["torch"]


def test_a_record_says_which_weights_and_demos_an_arm_had(tmp_path: Path) -> None:
    model = make_weights(tmp_path / "model")
    profile = profile_with(model=model)
    arms = tuple(replace(arm, demos="tinyworld" if arm.id == "ica" else None) for arm in profile.arms)
    records = arm_records(replace(profile, arms=arms))
    assert records["base"].model_hash == folder_hash(Path(model))
    assert (records["ica"].demos_hash, records["base"].demos_hash) == (demos_hash("tinyworld"), None)


def test_a_record_and_a_runs_facts_tell_the_same_weights(tmp_path: Path) -> None:
    profile = profile_with(
        model=make_weights(tmp_path / "model"), adapters={"cosalign": make_weights(tmp_path / "adapter")}
    )
    record = arm_records(profile)["cosalign"]
    told = {"model": record.model_hash, "adapter": record.adapter_hash}
    assert weights(profile.servers[0], "cosalign") == told


def test_weights_that_are_not_there_have_no_hash(tmp_path: Path) -> None:
    profile = profile_with(model=str(tmp_path / "nothing"))
    assert arm_records(profile)["base"].model_hash is None
    assert weights(profile.servers[0], "base") == {}


def test_new_weights_in_an_adapter_folder_are_noticed(tmp_path: Path) -> None:
    server = Server("main", model=str(tmp_path / "base"), adapters={"cosalign": str(tmp_path / "lora")})
    for name in ("base", "lora"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    before = weights(server, "cosalign")
    assert weights(server, "cosalign") == before
    (tmp_path / "lora" / "model.safetensors").write_bytes(b"better weights")
    after = weights(server, "cosalign")
    assert (after["model"], after["adapter"] == before["adapter"]) == (before["model"], False)


def test_weights_of_the_hub_go_by_name_and_revision() -> None:
    server = Server("main", model="somebody/model", revision="abc", adapters={"cosalign": "somebody/adapter"})
    assert weights(server, "cosalign") == {"model": "somebody/model@abc", "adapter": "somebody/adapter"}
    assert weights(server, "base") == {"model": "somebody/model@abc"}


def test_two_models_that_judge_under_one_name_are_two_judges(tmp_path: Path) -> None:
    choice = JudgeChoice("llm", model="base", server="main")
    one, other = (
        judge_facts(judged_by(choice, Server("main", model=name, adapters={"cosalign": "a/b"})))
        for name in (make_weights(tmp_path / "one"), "somebody/model")
    )
    assert one["weights"] == {"model": folder_hash(tmp_path / "one")}
    assert other["weights"] == {"model": "somebody/model"}
    assert {name for name in one if one[name] != other[name]} == {"weights"}


def test_a_judges_facts_can_be_written_as_json_and_hold_no_key() -> None:
    choice = JudgeChoice("llm", model="base", server="main")
    server = Server("main", base_url="https://me:sk-secret@judge.example/v1", api_key="sk-secret")
    written = json.dumps(judge_facts(judged_by(choice, server)))
    assert json.loads(written)["weights"] == {"remote": "base"}
    assert "sk-secret" not in written


def test_nothing_is_read_before_it_is_asked_for_and_then_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(provenance, "folder_hash", lambda folder: read.append(folder) or "a" * 64)
    found = Provenance(profile_with(model=make_weights(tmp_path / "model"), adapters={"cosalign": "a/b"}))
    assert read == []
    assert found.arms["base"].model_hash == "a" * 64
    count = len(read)
    assert found.arms["cosalign"].model_hash == "a" * 64
    assert len(read) == count > 0
