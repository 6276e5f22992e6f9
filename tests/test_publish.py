"""Publishing: the served files of a base and its adapter, in their places, and nothing half done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.publish import ADAPTER_FILES, BASE_FILES, PublishRecipe, publish


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of a base and an adapter, as training leaves them."""
    base, adapter = tmp_path / "work" / "base", tmp_path / "work" / "dpo"
    for folder, names in ((base, (*BASE_FILES, "started.json")), (adapter, ADAPTER_FILES)):
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(f"{folder.name} {name}")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": 32}))
    return base, adapter


def published_files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_what_is_served_is_copied_and_cards_stay(trained: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = trained
    out = tmp_path / "models"
    (out / "base").mkdir(parents=True)
    (out / "base" / "README.md").write_text("A card.")
    assert publish(PublishRecipe(str(out)), base=base, adapter=adapter) == len(BASE_FILES) + len(ADAPTER_FILES)
    expected = [f"base/{name}" for name in (*BASE_FILES, "README.md")] + [f"cosalign/{name}" for name in ADAPTER_FILES]
    assert published_files(out) == sorted(expected)
    assert (out / "base" / "model.safetensors").read_text() == "base model.safetensors"
    assert (out / "base" / "README.md").read_text() == "A card."


def test_the_published_adapter_names_the_published_base(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = trained
    monkeypatch.chdir(tmp_path)
    publish(PublishRecipe("models/tinyworld"), base=base, adapter=adapter)
    config = json.loads((tmp_path / "models/tinyworld/cosalign/adapter_config.json").read_text())
    assert config == {"base_model_name_or_path": "models/tinyworld/base", "r": 32}
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)


def test_a_missing_file_leaves_what_was_published_before(trained: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = trained
    recipe = PublishRecipe(str(tmp_path / "models"))
    publish(recipe, base=base, adapter=adapter)
    (base / "config.json").write_text("newer")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="adapter_model"):
        publish(recipe, base=base, adapter=adapter)
    assert (tmp_path / "models" / "base" / "config.json").read_text() == "base config.json"
