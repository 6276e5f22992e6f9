"""Ask the arms of a profile every prompt under its configs, and let the profile's judge label what they say.

That is a run of `python -m evaluation run`: bounded, retried, resumable, its cost shown, its answers and verdicts in
`judgements.jsonl`. The arms are the responders of CoSA section 5.2: an aligned model, a helpful-only one (an endpoint that
the user brings), the model itself; an arm that does not show the config gives the default response.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from presets.profile import load_profile
from presets.yaml_file import FieldError


@dataclass(frozen=True)
class ResponsesRecipe:
    """`profile` is a profile's id or YAML file; `arms` are those of its arms that respond, all where none is named."""

    profile: str = ""
    arms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", tuple(self.arms))


def respond(recipe: ResponsesRecipe, configured: Path, out: Path) -> None:
    """Ask and judge the rows of `configured`, into `out`. Raises `FieldError` without a profile, `ValueError` for gaps."""
    from evaluation.measuring import run_benchmark  # seconds to import, and only for this step
    from evaluation.run import narrow

    if not recipe.profile:
        raise FieldError("profile", "is not given; name the profile whose arms respond")
    profile = load_profile(recipe.profile)
    if recipe.arms:
        profile = narrow(profile, recipe.arms)
    if run_benchmark(profile, str(configured), out, command="python -m align responses"):
        raise ValueError(f"responses are missing in {out} (see above); run the step again to ask for them")
