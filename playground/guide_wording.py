"""Every word of the page's guide. Pure, as `wording` is."""

from __future__ import annotations

from collections.abc import Sequence

TITLE = "What am I looking at? A tour of two minutes"

EXPLAINED: Sequence[tuple[str, str]] = (
    (
        "Config",
        "Plain words that say who is speaking to whom and what may be talked about. It stands on the left; the system prompt "
        "that is really sent stands below it.",
    ),
    (
        "Arms",
        "The same prompt goes to a model that is not shown the config, to the same model with the config in its context (ICA), "
        "and to one that was trained to follow configs (CoSAlign).",
    ),
    (
        "Judge",
        "Reads each answer against the config: helpful from 0 to 5, which risks it contains, and whether the config allows "
        "them. “why?” opens its reason.",
    ),
    (
        "Score",
        "The CoSA-Score: helpfulness from 0 to 1, negative where an answer breaks its config, and its mean over answers. Refusing "
        "adds nothing, whether it was right or not.",
    ),
)

STEPS = "Three steps. Each fills in the config and the prompt; you press Send."


def step_allowed(config: str, category: str) -> str:
    """The first step's button."""
    return f"1 · {config}: {category} is allowed"


def step_forbidden(config: str) -> str:
    """The second step's button."""
    return f"2 · The same prompt, {config}: it is not"


STEP_OWN = "3 · Change the words yourself"
WHAT_TO_SEE = (
    "After the first, see who helps. After the second, see who goes on helping: that answer breaks the config. For the third, "
    "write into the config that it may be talked about (or may not), tick what you allow, and send again: a model that follows "
    "configs changes its answer with your words, without being trained again."
)
