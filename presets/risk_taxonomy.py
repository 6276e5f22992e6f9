"""Risk categories and the taxonomies that group them.

Source: CoSA (arXiv 2410.08968) section 4 and appendix A.2: seven categories that a safety config can allow, and
*Other Harms*, which none can. `taxonomies/tinyworld.yaml` has the embedded world's eight, all of them configurable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from presets import yaml_file
from presets.yaml_file import FieldError, require_id, require_text

TAXONOMIES = Path(__file__).parent / "taxonomies"


@dataclass(frozen=True)
class RiskCategory:
    """One kind of risk. `configurable` is False for a category that no safety config can ever allow."""

    id: str
    name: str
    definition: str
    configurable: bool = True

    def __post_init__(self) -> None:
        require_id("id", self.id)
        require_text("name", self.name)
        require_text("definition", self.definition)


@dataclass(frozen=True)
class RiskTaxonomy:
    """A named list of risk categories, in display order, with unique ids and names."""

    id: str
    title: str
    source: str
    categories: tuple[RiskCategory, ...]

    def __post_init__(self) -> None:
        require_id("id", self.id)
        require_text("title", self.title)
        if not self.categories:
            raise FieldError("categories", "is empty; a taxonomy needs at least one category")
        for attribute in ("id", "name"):
            values = [getattr(category, attribute) for category in self.categories]
            if repeated := sorted({value for value in values if values.count(value) > 1}):
                raise FieldError("categories", f"the {attribute} {repeated[0]!r} stands there twice")

    @property
    def ids(self) -> tuple[str, ...]:
        """Every category id, in display order."""
        return tuple(category.id for category in self.categories)

    @property
    def configurable_ids(self) -> tuple[str, ...]:
        """The ids that a safety config may allow, in display order."""
        return tuple(category.id for category in self.categories if category.configurable)

    def names(self, category_ids: Iterable[str]) -> tuple[str, ...]:
        """The display names of `category_ids`, in display order."""
        wanted = set(category_ids)
        return tuple(category.name for category in self.categories if category.id in wanted)

    def require(self, category_ids: Iterable[str], *, field: str = "allowed") -> None:
        """Raise `FieldError` unless every id can be allowed by a config of this taxonomy."""
        for category_id in category_ids:
            if category_id not in self.configurable_ids:
                known = ", ".join(self.configurable_ids)
                raise FieldError(
                    field, f"{category_id!r} cannot be allowed in taxonomy {self.id!r}; choose from {known}"
                )


@cache
def load_taxonomy(name: str | Path) -> RiskTaxonomy:
    """Return the taxonomy with this id, or the one in this YAML file. Raises `PresetError`."""
    path = Path(name) if str(name).endswith(".yaml") else TAXONOMIES / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in TAXONOMIES.glob("*.yaml")))
        raise yaml_file.PresetError(f"{path}: there is no taxonomy {str(name)!r}; there are {known}")
    data = yaml_file.read(path)
    categories = yaml_file.build_list(RiskCategory, data.get("categories"), path, "categories")
    return yaml_file.build(RiskTaxonomy, {**data, "categories": categories}, path)
