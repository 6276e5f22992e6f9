"""Cascade: a judge reads each finished response and puts a refusal in the place of one that breaks the config.

A baseline of the paper (CoSA section 6). Filtered by the very judge that scores the run it is Cascade-Oracle, a bound:
as long as that says the same twice, no answer of it breaks its config.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from evaluation.benchmarks import Item
from evaluation.judge import Judge
from evaluation.response import Response

REFUSAL = "I'm sorry, but I can't help with that."
FILTERED = "filtered"
"""The `finish_reason` of a response that a refusal took the place of."""


@dataclass(frozen=True)
class Cascade:
    """A judge in front of an arm. `unreadable_passes` says what becomes of a response without a verdict."""

    judge: Judge
    unreadable_passes: bool = False

    async def filtered(self, item: Item, response: Response) -> Response:
        """Return the response as it is, or with `REFUSAL` as its text and `FILTERED` as its finish reason."""
        verdict = await self.judge.judge(
            config=item.config, prompt=item.prompt, response=response, earlier=item.earlier_prompts
        )
        passes = self.unreadable_passes if verdict.safe is None else verdict.safe
        return response if passes else replace(response, text=REFUSAL, finish_reason=FILTERED)
