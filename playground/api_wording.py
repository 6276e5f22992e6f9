"""What a program is told that asks for what cannot be. Pure, as `wording` is."""

from __future__ import annotations

from collections.abc import Sequence

MAX_JUDGED = 20_000
"""Characters of a text that is to be judged."""

NO_CALLS = "Programs may not ask here with this account. Log in as an author, a reviewer or an admin."
TITLE = "A program's config"
ONE_CONFIG = "Give `config` (the id of a ready-made one) or `config_text` (your own), not both."


ALLOWED_NEEDED = (
    "This page's judge cannot read rules, so `config_text` needs `allowed`, the list of categories that it allows."
)


ROWS = "Give `rows`, a list of objects, one for each judged response."


def no_texts(names: str) -> str:
    """Said of arguments that hold something else than texts."""
    return f"Give texts (and lists of texts) for {names}."


def no_config(config_id: str, known: Sequence[str]) -> str:
    """Said when no config, or one that there is not, was given."""
    return f"There is no config {config_id!r}. Give `config`, one of {', '.join(known)}; or `config_text`."


def prompts(most: int) -> str:
    """Said of a conversation without prompts, or with too many."""
    return f"Give `prompts`, a list of 1 to {most} texts."


def too_long(length: int) -> str:
    """Said of a text that is too long to be judged."""
    return f"A text has {length:,} characters; at most {MAX_JUDGED:,} can be judged."


def too_many_rows(count: int, most: int) -> str:
    """Said when more rows are to be scored than one call may have scored."""
    return f"There are {count:,} rows; at most {most:,} are scored in one call. Use `python -m evaluation score` for a file."
