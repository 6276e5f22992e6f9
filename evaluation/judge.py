"""Who judges: what every judge can do, and opening the judge that a profile names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from evaluation.judgement import Judgement
from evaluation.llm_judge import LLMJudge
from evaluation.response import Response
from evaluation.serving import Serving, open_endpoint
from evaluation.tinyworld_judge import TinyworldJudge
from presets.profile import Profile
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import SafetyConfig


class Judge(Protocol):
    """Judges one response at a time. `name` is stored with every judgement."""

    name: str

    async def judge(
        self, *, config: SafetyConfig, prompt: str, response: Response, earlier: Sequence[str] = ()
    ) -> Judgement:
        """Return the verdict, or an unscored judgement with the reason; raises nothing for a judge's own failure.

        `earlier` are the person's prompts before this one, which a later one ("and how is it made?") may lean on.
        """
        ...

    async def prompt_categories(self, prompt: str) -> frozenset[str] | None:
        """The risk categories that a full answer to `prompt` would likely contain; None when that cannot be told."""
        ...


@asynccontextmanager
async def open_judge(profile: Profile, serving: Serving, *, strict: bool = False) -> AsyncIterator[Judge]:
    """Open the judge that `profile` names; an LLM judge asks one of the servers of `serving`.

    A `strict` one raises `EndpointError` where its endpoint fails.
    """
    if profile.judge.kind == "tinyworld":
        # It reads a few hundred kilobytes of YAML, and answers that stream must not stand still meanwhile.
        yield await asyncio.to_thread(TinyworldJudge)
        return
    async with open_endpoint(serving, profile.judge.server or "") as endpoint:
        yield LLMJudge(endpoint, profile.judge.model or "", load_taxonomy(profile.taxonomy), strict=strict)
