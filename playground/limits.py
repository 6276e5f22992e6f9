"""How much one visitor may ask, so that nobody takes the models from the others. Kept in memory, by the `limits` package.

A visitor is an account, or without accounts an address; see `visitor_of`. Nothing of this is stored.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import gradio as gr
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from playground import limit_wording
from playground.session import NotNow


@dataclass(frozen=True)
class Allowance:
    """What one visitor may ask: answers begun a minute, tokens an hour, and answers that grow at once. 0 sets no limit."""

    answers: int = 0
    tokens: int = 0
    streams: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 0:
                raise ValueError(f"--max-{name} is {value}; give a number of at least 1, or 0 for no limit")


NO_LIMITS = Allowance()
PUBLIC = Allowance(answers=240, tokens=200_000, streams=72)
"""Where others reach the page: twenty turns of three arms with a grid of 48 answers between them, each minute."""


def visitor_of(request: gr.Request | None) -> str:
    """Who asks: the account's name, or the address from which the page is read; empty when a program calls.

    Behind a proxy the address is what `X-Forwarded-For` says, if uvicorn trusts the proxy (FORWARDED_ALLOW_IPS).
    """
    if request is None:
        return ""
    return getattr(request, "username", None) or (request.client.host if request.client else "")


class Limits:
    """Counts what each visitor has asked for. For one event loop."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self._windows = FixedWindowRateLimiter(MemoryStorage())
        self._answers = RateLimitItemPerMinute(allowance.answers) if allowance.answers else None
        self._tokens = RateLimitItemPerHour(allowance.tokens) if allowance.tokens else None
        self._growing: dict[str, str] = {}

    def check(self, visitor: str, count: int) -> None:
        """Raise `NotNow` when so many new answers are more than the visitor may ask for now."""
        growing = sum(each == visitor for each in self._growing.values())
        if self.allowance.streams and growing + count > self.allowance.streams:
            raise NotNow(limit_wording.too_many_streams(self.allowance.streams))
        if self._tokens is not None and not self._windows.test(self._tokens, visitor):
            raise NotNow(limit_wording.too_many_tokens(self.allowance.tokens, self._seconds(self._tokens, visitor)))
        if self._answers is not None and not self._windows.test(self._answers, visitor, cost=count):
            raise NotNow(limit_wording.too_many_answers(self.allowance.answers, self._seconds(self._answers, visitor)))

    def admit(self, visitor: str, count: int) -> None:
        """Count so many new answers. Raises `NotNow`, having counted none; see `check`."""
        self.check(visitor, count)
        if self._answers is not None:
            self._windows.hit(self._answers, visitor, cost=count)

    def begun(self, visitor: str, response_ids: Iterable[str]) -> None:
        """These answers may grow from now on."""
        self._growing.update(dict.fromkeys(response_ids, visitor))

    def ended(self, response_id: str, tokens: int | None) -> None:
        """An answer has ended, with so many tokens of output; None when the server did not say."""
        visitor = self._growing.pop(response_id, None)
        if visitor is not None and self._tokens is not None and tokens:
            self._windows.hit(self._tokens, visitor, cost=tokens)

    def _seconds(self, item: RateLimitItem, visitor: str) -> int:
        """Seconds until the window of this limit ends, at least 1."""
        return max(1, round(self._windows.get_window_stats(item, visitor).reset_time - time.time()))
