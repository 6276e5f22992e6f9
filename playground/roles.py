"""Who may do what on the page. Handlers ask at the moment of the deed; what a page shows or hides decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import gradio as gr

from evaluation.accounts import Role

Action = Literal["edit", "export", "call"]
"""Use a safety config of one's own; take along, and read in lists, what everybody wrote; ask by program."""

ACTIONS: Mapping[Role, frozenset[Action]] = {
    "visitor": frozenset(),
    "author": frozenset({"edit", "call"}),
    "reviewer": frozenset({"edit", "call", "export"}),
    "admin": frozenset({"edit", "call", "export"}),
}
"""What each role may do beside choosing a ready-made config, asking, voting, and reading what is one's own or linked."""


class Roles:
    """The rule of one page: what is `granted` to everybody, and more to those whom an account gives a role.

    `role_of` gives the role of who has logged in, at this moment: an account that was disabled a minute ago has none.
    """

    def __init__(self, granted: frozenset[Action], role_of: Callable[[str], Role | None] | None = None) -> None:
        self._granted, self._role_of = granted, role_of

    def may(self, request: gr.Request | None, action: Action) -> bool:
        """True when whoever asks may do this. A call without a request comes from the page's own process."""
        if action in self._granted:
            return True
        name = getattr(request, "username", None)
        if self._role_of is None or not name:
            return False
        return action in ACTIONS.get(self._role_of(name) or "visitor", frozenset())

    def might(self, action: Action) -> bool:
        """True when somebody may do this, so that the page must offer it."""
        return action in self._granted or self._role_of is not None


ALONE = Roles(frozenset(get_args(Action)))
"""One person at a machine of their own may do everything."""
