"""Every word about how answers are drawn, and about taking a prompt back. Pure, as `wording` is."""

from __future__ import annotations

SAMPLING = "How answers are drawn"
TEMPERATURE, TOP_P, MAX_TOKENS, SEED = "Temperature", "Top-p", "Longest answer, in tokens", "Seed"
TEMPERATURE_HINT = "0 always takes the likeliest word; above 0 each arm can be asked again."
SEED_HINT = "The same seed draws the same answer; asking again takes the next one."
LABELS = {"temperature": TEMPERATURE, "top_p": TOP_P, "max_tokens": MAX_TOKENS, "seed": SEED}

TAKE_BACK = "Take back"
TAKEN_BACK = "The last prompt was taken back. Change it and send it again, or write another one."


def out_of_range(name: str, low: float, high: float) -> str:
    """Said of a field whose value cannot be used."""
    return f"{LABELS[name]} must be a number from {low:g} to {high:g}."


def unknown(name: str) -> str:
    """Said of a field that there is not."""
    return f"There is no {name!r} to set; there are {', '.join(LABELS)}."
