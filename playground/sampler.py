"""How answers are drawn: the profile's way, or the visitor's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from playground import sampler_wording
from playground.picker import Data
from playground.session import NotNow
from presets.profile import Profile, Sampling

SHARE_OF_CONTEXT = 2
"""An answer may take at most one part in so many of a model's context, or no room is left for what it answers."""

LOWEST_TOP_P = 0.05
MAX_SEED = 2**31 - 1


def ranges(profile: Profile) -> dict[str, tuple[float, float]]:
    """The lowest and the highest value of each field of a `Sampling` that a visitor may set."""
    contexts = [server.max_model_len for server in profile.servers]
    longest = max(profile.sampling.max_tokens, min(contexts) // SHARE_OF_CONTEXT)
    return {"temperature": (0, 2), "top_p": (LOWEST_TOP_P, 1), "max_tokens": (1, longest), "seed": (0, MAX_SEED)}


def checked_sampling(profile: Profile, values: Mapping[str, Any]) -> Sampling:
    """The profile's sampling with these fields instead. Raises `NotNow` naming one that cannot be used."""
    for name, value in values.items():
        if name not in ranges(profile):
            raise NotNow(sampler_wording.unknown(name))
        low, high = ranges(profile)[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise NotNow(sampler_wording.out_of_range(name, low, high))
    whole = {name: int(values[name]) for name in ("max_tokens", "seed") if name in values}
    return replace(profile.sampling, **{**values, **whole})


class Sampler:
    """The fields. Values come to handlers keyed by component."""

    def __init__(self, profile: Profile) -> None:
        words, first = sampler_wording, profile.sampling
        self._profile = profile
        with gr.Accordion(words.SAMPLING, open=False, elem_id="sampling"):
            with gr.Row():
                temperature = gr.Slider(
                    0, 2, first.temperature, step=0.05, label=words.TEMPERATURE, info=words.TEMPERATURE_HINT
                )
                top_p = gr.Slider(LOWEST_TOP_P, 1, first.top_p, step=0.05, label=words.TOP_P)
            with gr.Row():
                longest = ranges(profile)["max_tokens"][1]
                max_tokens = gr.Slider(1, longest, first.max_tokens, step=1, label=words.MAX_TOKENS)
                seed = gr.Number(first.seed, precision=0, label=words.SEED, info=words.SEED_HINT, elem_id="seed")
        self.fields = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}

    @property
    def inputs(self) -> set[Any]:
        """What `sampling` reads."""
        return set(self.fields.values())

    def sampling(self, data: Data) -> Sampling:
        """What stands there now. Raises `NotNow` naming a field that cannot be used."""
        return checked_sampling(self._profile, {name: data[field] for name, field in self.fields.items()})
