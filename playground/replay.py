"""A conversation out of the store as HTML: what was asked, said and judged, and what each arm was."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from evaluation.store import StoredResponse, StoredTurn
from playground import history_wording, markup
from playground.session import Answer
from presets.profile import Sampling
from presets.risk_taxonomy import RiskTaxonomy


def conversation(turns: Sequence[StoredTurn], taxonomy: RiskTaxonomy, *, link: str) -> str:
    """All turns, oldest first, under the conversation's permanent link."""
    head = f'<p class="caption"><a href="{escape(link)}">{escape(history_wording.LINK)}</a></p>'
    return head + "".join(_turn(turn, taxonomy) for turn in turns)


def _turn(turn: StoredTurn, taxonomy: RiskTaxonomy) -> str:
    votes = "".join(markup.notice(history_wording.past_vote(vote, turn.responses), kind="good") for vote in turn.votes)
    columns = "".join(_response(response, turn.sampling, taxonomy) for response in turn.responses)
    return (
        f'<section class="replayed"><h3>{escape(turn.prompt)}</h3>'
        f'<details class="system"><summary>{escape(history_wording.under(turn))}</summary>'
        f'<pre tabindex="0">{escape(turn.system_prompt)}</pre></details>'
        f'<div class="columns">{columns}</div>{votes}</section>'
    )


def _response(stored: StoredResponse, sampling: Sampling, taxonomy: RiskTaxonomy) -> str:
    answer = Answer(
        stored.arm.arm_id, stored.id, stored.status, stored.response, stored.error, judgement=stored.judgement
    )
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in history_wording.provenance(stored.arm, sampling)
    )
    return (
        f'<article class="exchange {stored.status}"><h4>{escape(stored.arm.title)}</h4>'
        f"{markup.answered(answer, taxonomy)}"
        f'<details class="provenance"><summary>{escape(history_wording.PROVENANCE)}</summary><dl>{facts}</dl></details></article>'
    )
