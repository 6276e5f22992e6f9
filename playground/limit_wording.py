"""What a visitor is told who has asked for more than one may. Pure, as `wording` is."""

from __future__ import annotations


def too_many_answers(limit: int, seconds: int) -> str:
    """Said when the minute's answers are used up."""
    return (
        f"One visitor may ask for {limit} answers a minute here, so that all are served. Try again in {_wait(seconds)}."
    )


def too_many_tokens(limit: int, seconds: int) -> str:
    """Said when the hour's tokens are used up."""
    return f"The models have written {limit:,} tokens for you in this hour, as many as one may have. Go on in {_wait(seconds)}."


def too_many_streams(limit: int) -> str:
    """Said when too many answers grow at once."""
    return f"At most {limit} answers may be written for one visitor at once. Wait for the others, or press Stop there."


def _wait(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{round(seconds / 60)} minutes"
