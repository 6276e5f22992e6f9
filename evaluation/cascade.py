"""Cascade: a judge reads finished responses, and a refusal takes the place of one that breaks the config.

A baseline of the paper (CoSA section 6). Filtered by the very judge that scores the run it is Cascade-Oracle, a bound:
as long as that says the same twice, no answer of it breaks its config. With several responses to choose from it is
compliance-first best-of-n: those that obey come first, and among them the most helpful one.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    async def best(self, item: Item, responses: Sequence[Response]) -> Response:
        """Return the most helpful of the responses that pass, the first of equals.

        Where none passes, it is the first one with `REFUSAL` as its text and `FILTERED` as its finish reason. A response
        that passes without a verdict counts as rated 0. Raises `EndpointError` as the judge, which should be strict, does.
        """
        best, best_rating = replace(responses[0], text=REFUSAL, finish_reason=FILTERED), -1
        for response in responses:
            verdict = await self.judge.judge(
                config=item.config, prompt=item.prompt, response=response, earlier=item.earlier_prompts
            )
            passes = self.unreadable_passes if verdict.safe is None else verdict.safe
            if passes and (rating := verdict.rating or 0) > best_rating:
                best, best_rating = response, rating
        return best
