"""Probe prompts: one ordinary question on each risk category, with which a config is tried out."""

from __future__ import annotations

from pathlib import Path

from presets import yaml_file
from presets.risk_taxonomy import RiskTaxonomy
from presets.yaml_file import PresetError

PROBES = Path(__file__).parent / "probes"


def load_probe_prompts(taxonomy: RiskTaxonomy, folder: Path = PROBES) -> dict[str, str]:
    """The prompt on each category that a config can allow, in the taxonomy's order; none for a taxonomy without a file.

    Raises `PresetError` for a category that is missing or none of the taxonomy's, and for a prompt that is no text.
    """
    path = folder / f"{taxonomy.id}.yaml"
    if not path.exists():
        return {}
    found = yaml_file.read(path)
    for category in taxonomy.configurable_ids:
        if not isinstance(found.get(category), str) or not found[category].strip():
            raise PresetError(f"{path}: {category}: a prompt on this category is needed")
    if unknown := sorted(set(found) - set(taxonomy.configurable_ids)):
        known = ", ".join(taxonomy.configurable_ids)
        raise PresetError(f"{path}: {unknown[0]}: is no category that a config can allow; those are {known}")
    return {category: found[category].strip() for category in taxonomy.configurable_ids}
