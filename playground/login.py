"""The door of a page with accounts: who has the right password may come in, and nobody may guess for long."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from evaluation.accounts import is_right
from evaluation.schema import StoreError

TRIES = RateLimitItemPerMinute(10, 5)
"""Wrong passwords for one name in five minutes; then none is right until they are over."""

MESSAGE = "Log in with the account that you were given."

log = logging.getLogger(__name__)


class Login:
    """Asks the store. Gradio keeps who came in: a random token in a cookie that scripts cannot read, forgotten at each start."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._wrong = FixedWindowRateLimiter(MemoryStorage())

    async def check(self, name: str, password: str) -> bool:
        """True when this name may come in with this password."""
        if not self._wrong.test(TRIES, name):
            log.warning("too many wrong passwords for %r; none is looked at for some minutes", name)
            return False
        try:
            right = await asyncio.to_thread(is_right, self._store, name, password)
        except StoreError:
            log.exception("nobody can log in")
            return False
        if not right:
            self._wrong.hit(TRIES, name)
        return right
