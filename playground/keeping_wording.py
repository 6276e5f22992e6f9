"""Every word about what is kept, taken along and deleted. Pure, as `wording` is."""

from __future__ import annotations

STORED = (
    "Prompts, answers, verdicts and votes are kept in an SQLite file on the machine that runs this page. You can take yours "
    "along and delete them on the tab History."
)
UNKEPT = "Do not keep my words"
KEPT = (
    "What you write, the answers, the verdicts and your votes are kept by whoever runs this page. Ticked, their words are "
    "deleted when you start another conversation or have closed the page; ratings and votes stay as numbers."
)

LEAD = "Yours to take along, or to delete: the words of conversations that were begun in this browser."
TAKE = "Take all of mine along"
DOWNLOAD = "Download (JSON)"
ERASE_ONE, ERASE_ALL = "Delete the chosen one", "Delete all of mine"
CONFIRM, CANCEL = "Delete for good", "Keep"
CHOOSE_FIRST = "Choose a conversation in the list first."
NOTHING = "This browser remembers no conversation that can be deleted."
NOT_BEGUN_HERE = (
    "This conversation was begun elsewhere, or before conversations could be deleted. Ask whoever runs this page."
)


def really(count: int) -> str:
    """Asked before words are deleted."""
    what = "this conversation" if count == 1 else f"{count} conversations"
    return f"Delete the words of {what}: prompts, answers, and what was said of them? Nothing brings them back."


def erased(count: int) -> str:
    """Said when words were deleted."""
    return (
        "The words of one conversation were deleted."
        if count == 1
        else f"The words of {count} conversations were deleted."
    )


def taken(count: int) -> str:
    """Said when conversations are ready to be taken along."""
    return "One conversation." if count == 1 else f"{count} conversations."
