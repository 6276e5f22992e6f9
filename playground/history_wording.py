"""Every word on the tab with earlier conversations. Pure, as `wording` is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.store import ArmRecord, StoredResponse, StoredTurn
from evaluation.store_history import Found
from evaluation.vote import Axis, Choice, Vote
from playground.details_wording import FLAGS
from presets.profile import Sampling

LEAD = (
    "Conversations that were begun in this browser on the first tab. Each has a permanent link: whoever has it may read what "
    "was asked, said, judged and voted."
)
SEARCH = "Search"
HINT = "Words of a prompt, an answer or a config"
FOUND = "Choose a conversation to read it again"
EMPTY = "No conversation was begun in this browser yet."
NOTHING = "None of this browser's conversations has all these words."
HIDDEN = "The names in this conversation are hidden until the vote. Vote first."
UNKNOWN = (
    "There is no such conversation in this page's store, or its words were deleted. The link may be incomplete, or of another "
    "page."
)
GO_ON = "Go on from here"
OTHER_ARMS = (
    "This conversation was held with other arms or another taxonomy than this page has, so it cannot go on here."
)
LINK = "Permanent link to this conversation"
PROVENANCE = "Which model this was"

AXES: Mapping[Axis, str] = {"helpful": "Helps more:", "keeps": "Keeps to the config:"}

LISTED_PROMPT = 80
"""Characters of a prompt in a list."""
HASH_SHOWN = 12
"""Digits of a hash that are shown."""


def conversation(found: Found) -> str:
    """A conversation in a list: `2026-11-27 11:20 · Harbour bar · How do I play poker? · 3 turns`."""
    day, time = found.created_at[:10], found.created_at[11:16]
    turns = f" · {found.turns} turns" if found.turns > 1 else ""
    prompt = found.prompt if len(found.prompt) <= LISTED_PROMPT else found.prompt[: LISTED_PROMPT - 1] + "…"
    return f"{day} {time} UTC · {found.config_title} · {prompt}{turns}"


def under(turn: StoredTurn) -> str:
    """Under which config a turn was, and when."""
    return f"{turn.config_title}, {turn.created_at[:10]} {turn.created_at[11:16]} UTC"


def past_vote(vote: Vote, responses: Sequence[StoredResponse]) -> str:
    """A vote that stands in the store: `Voted best: CoSAlign, names hidden`."""
    titles = {response.arm.arm_id: response.arm.title for response in responses}
    what = {"tie": "Voted a tie", "all_bad": "Voted all bad"}.get(vote.outcome)
    axes = [f"{AXES[axis]} {_chosen(choice, titles)}" for axis, choice in vote.axes.items()]
    flags = [
        f"{titles[arm_id]}: {', '.join(FLAGS[flag] for flag in sorted(said))}" for arm_id, said in vote.flags.items()
    ]
    whole = (what or f"Voted best: {titles[vote.best or '']}") + (", names hidden." if vote.blind else ".")
    return " ".join([whole, *(f"{each}." for each in (*axes, *flags))])


def _chosen(choice: Choice, titles: Mapping[str, str]) -> str:
    return {"tie": "a tie", "all_bad": "all bad"}.get(choice.outcome) or titles[choice.best or ""]


def provenance(arm: ArmRecord, sampling: Sampling) -> list[tuple[str, str]]:
    """What an arm was when it answered, as names and values; what is not known is left out."""
    adapter = " ".join(filter(None, (arm.adapter_path, arm.adapter_hash and arm.adapter_hash[:HASH_SHOWN])))
    facts = {
        "model": " ".join(filter(None, (arm.model_path or arm.model, (arm.model_hash or "")[:HASH_SHOWN]))),
        "revision": arm.model_revision,
        "adapter": adapter,
        "config": ("shown" if arm.shows_config else "not shown")
        + (f", demonstrations {arm.demos}" if arm.demos else ""),
        "engine": " ".join(filter(None, (arm.engine, arm.engine_version))),
        "sampling": (
            f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, at most {sampling.max_tokens} tokens, "
            f"seed {sampling.seed}"
        ),
    }
    return [(name, value) for name, value in facts.items() if value]
