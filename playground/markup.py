"""The page's HTML, piece by piece. Pure: text in, HTML out, and no text of a model or a visitor is ever HTML.

What a model says is hostile until shown otherwise. Its Markdown is rendered here, with HTML and images switched off, so
that tags stay text and nothing is fetched from elsewhere; everything else goes through `html.escape`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from functools import lru_cache
from html import escape
from urllib.parse import urlsplit

from markdown_it import MarkdownIt

from evaluation.cosa_score import Score
from evaluation.judgement import MAX_RATING, Judgement
from evaluation.serving import ServerStatus
from evaluation.store_scores import StoreScores, Tally, Votes
from playground import keeping_wording, wording
from playground.grid import Count, agreement, findings, resistance
from playground.session import Answer, Standing, Turn
from presets.arm import Arm
from presets.profile import Profile
from presets.risk_taxonomy import RiskTaxonomy
from presets.safety_config import SafetyConfig, render_system_prompt

LINKS = ("http", "https", "mailto")

log = logging.getLogger(__name__)


def markdown(text: str) -> str:
    """A model's Markdown as HTML: tags in it stay text, images become their words, links open elsewhere.

    What the renderer cannot take is shown as it was written.
    """
    try:
        return _renderer().render(text)
    except Exception:  # Whatever a model writes, it must not take the page down.
        log.exception("an answer's Markdown cannot be rendered")
        return f"<pre>{escape(text)}</pre>"


@lru_cache(maxsize=1)
def _renderer() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table")
    renderer.validateLink = _is_link  # type: ignore[method-assign]
    renderer.add_render_rule("link_open", _link)
    renderer.add_render_rule("image", _image)
    return renderer


def _is_link(url: str) -> bool:
    """True for an address that a visitor may follow from an answer."""
    try:
        return urlsplit(url.strip()).scheme.lower() in LINKS
    except ValueError:
        return False


def _link(renderer, tokens, index, options, env) -> str:  # noqa: ANN001 - markdown-it's own signature
    tokens[index].attrSet("target", "_blank")
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    return renderer.renderToken(tokens, index, options, env)


def _image(renderer, tokens, index, options, env) -> str:  # noqa: ANN001 - markdown-it's own signature
    return escape(wording.image(renderer.renderInlineAsText(tokens[index].children or [], options, env)))


def header(profile: Profile) -> str:
    """What the page is, and which model runs."""
    return (
        f'<header class="masthead"><h1>{escape(wording.TITLE)}</h1>'
        f'<p class="lead">{escape(wording.lead(profile))}</p>'
        f'<p class="about"><strong>{escape(wording.running(profile))}.</strong> {escape(profile.description)}</p></header>'
    )


def footer() -> str:
    """The keys, and what is kept."""
    keys = "".join(
        f"<span>{''.join(f'<kbd>{escape(key)}</kbd>' for key in combination.split())} {escape(what)}</span>"
        for combination, what in wording.KEYS
    )
    return f'<footer class="foot"><p class="keys">{keys}</p><p>{escape(keeping_wording.STORED)}</p></footer>'


def servers(statuses: Sequence[ServerStatus], warnings: Sequence[str], *, is_checking: bool = False) -> str:
    """How the servers are doing, and what is wrong with their arms, or that this is being found out."""
    lines = [(s.state, f"Server <b>{escape(s.id)}</b> {escape(wording.server_state(s))}") for s in statuses]
    lines += [("starting", escape(wording.CHECKING))] if is_checking else []
    rows = "".join(
        f'<p class="server {state}"><span class="dot"></span><span>{words}</span></p>' for state, words in lines
    )
    return f'<div class="servers">{rows}{"".join(notice(words, kind="bad") for words in warnings)}</div>'


def notice(words: str, *, kind: str = "plain") -> str:
    """A short message; `kind` is plain, good or bad. Nothing for an empty text."""
    return f'<p class="notice {kind}">{escape(words)}</p>' if words else ""


def heading(words: str) -> str:
    """The heading of a part of the page."""
    return f'<h2 class="heading">{escape(words)}</h2>'


def caption(words: str) -> str:
    """A few words that name what stands beside them."""
    return f'<span class="caption">{escape(words)}</span>'


def config_card(config: SafetyConfig, taxonomy: RiskTaxonomy) -> str:
    """Who wrote the config, and what it allows of each category."""
    source = f'<p class="source">{escape(config.source)}</p>' if config.source != wording.OWN_ID else ""
    if config.allowed is None:
        return f'<div class="config">{source}<p class="source">{escape(wording.ALLOWED_BY_TEXT)}</p></div>'
    chips = "".join(
        f'<li class="{"yes" if category.id in config.allowed else "no"}" title="{escape(category.definition)}">'
        f'<span class="sr-only">{"allowed" if category.id in config.allowed else "not allowed"}: </span>'
        f"{escape(category.name)}</li>"
        for category in taxonomy.categories
    )
    return f'<div class="config">{source}<ul class="allowed">{chips}</ul></div>'


def system_prompt(config: SafetyConfig, arms: Sequence[Arm]) -> str:
    """The system message as it is sent, and which arms get it."""
    return (
        f'<div class="system"><p class="caption"><b>{escape(wording.SYSTEM_PROMPT)}.</b> '
        f'{escape(wording.who_sees(arms))}</p><pre tabindex="0">{escape(render_system_prompt(config))}</pre></div>'
    )


def changes(old: str, new: str) -> str:
    """What was taken out of a text and put into it, word by word; nothing where they are the same."""
    before, after = (re.findall(r"\s+|[^\s]+", text) for text in (old, new))
    if before == after:
        return ""
    parts = []
    for kind, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        gone, come = escape("".join(before[i:j])), escape("".join(after[k:m]))
        if kind == "equal":
            parts.append(come)
        else:
            parts.append((f"<del>{gone}</del>" if gone else "") + (f"<ins>{come}</ins>" if come else ""))
    return f'<details class="changes" open><summary>{escape(wording.CHANGES)}</summary><div>{"".join(parts)}</div></details>'


def arm_head(arm: Arm) -> str:
    """An arm's name, what it is, and what it sees of the config."""
    return (
        f'<div class="arm-head"><h3>{escape(arm.title)}</h3>'
        f'<span class="chip {"sees" if arm.shows_config else "blind"}">{escape(wording.shown(arm))}</span>'
        f"<p>{escape(arm.description)}</p></div>"
    )


def hidden_head(place: int) -> str:
    """The head of a pane whose arm is not told; `place` counts from 0."""
    return (
        f'<div class="arm-head"><h3>{escape(wording.hidden_name(place))}</h3>'
        f'<span class="chip blind">{escape(wording.HIDDEN)}</span></div>'
    )


def idle() -> str:
    """What stands in a pane before the first prompt."""
    return f'<p class="idle">{escape(wording.IDLE)}</p>'


def exchange(prompt: str, answer: Answer, arm: Arm, taxonomy: RiskTaxonomy, profile: Profile) -> str:
    """One arm's side of a turn: prompt, answer, how it read the config, verdict."""
    warning = notice(wording.wrong_model(answer, arm, profile.server(arm.server)), kind="bad")
    return _exchange(prompt, answer, warning + answered(answer, taxonomy))


def hidden_exchange(prompt: str, answer: Answer) -> str:
    """A turn of an arm that is not told: its words, and nothing that tells it apart."""
    return _exchange(prompt, answer, _said(replace(answer, error=wording.HIDDEN_FAULT if answer.error else "")))


def answered(answer: Answer, taxonomy: RiskTaxonomy) -> str:
    """What an arm said, how it read the config, and the verdict."""
    return f"{_said(answer)}{_thinking(answer)}{_verdict(answer, taxonomy)}"


def _exchange(prompt: str, answer: Answer, shown: str) -> str:
    state = f"{answer.status}{'' if answer.is_final else ' live'}{' may-retry' if answer.may_retry else ''}"
    return f'<article class="exchange {state}"><p class="asked">{escape(prompt)}</p>{shown}</article>'


def _said(answer: Answer) -> str:
    text = answer.response.text
    if not text and not answer.is_final:
        return f'<p class="waiting"><span class="pulse"></span>{escape(wording.WAITING)}</p>'
    if not text.strip() and answer.status == "complete":
        return notice(wording.NO_ANSWER)
    said = f'<div class="said" dir="auto">{markdown(text)}</div>' if text else ""
    if answer.status == "abandoned":
        return said + notice(wording.ABANDONED)
    return said + (notice(answer.error, kind="bad") if answer.error else "")


def _thinking(answer: Answer) -> str:
    thinking = answer.response.thinking.strip()
    if not thinking:
        return ""
    return (
        f'<details class="thinking"><summary>{escape(wording.READING)}</summary>'
        f'<pre dir="auto">{escape(thinking)}</pre></details>'
    )


def _verdict(answer: Answer, taxonomy: RiskTaxonomy) -> str:
    if not answer.is_final:
        return ""
    measures = wording.measures(answer.response)
    figures = f'<p class="measures">{escape(measures)}</p>' if measures else ""
    if answer.judgement is not None and answer.judgement.unscored is None:
        return _badges(answer.judgement, taxonomy) + figures
    words = wording.JUDGING if answer.awaits_judgement else wording.not_judged(answer)
    return (f'<p class="badge unscored">{escape(words)}</p>' if words else "") + figures


def _badges(judgement: Judgement, taxonomy: RiskTaxonomy) -> str:
    rating = judgement.rating or 0
    pips = "".join(f'<i class="{"on" if index < rating else ""}"></i>' for index in range(MAX_RATING))
    obeys = "obeys" if judgement.safe else "breaks"
    return (
        '<details class="verdict"><summary>'
        f'<span class="badge rating">{escape(wording.helpful(judgement))}<span class="pips" aria-hidden="true">{pips}'
        f'</span></span><span class="badge {obeys}">{escape(wording.obedience(judgement))}</span>'
        f'<span class="badge found">{escape(wording.found(judgement, taxonomy))}</span>'
        f'</summary><p class="why" dir="auto">{escape(wording.why(judgement))}</p></details>'
    )


def grid(
    rows: Sequence[tuple[str, Turn]], arms: Sequence[Arm], taxonomy: RiskTaxonomy, *, notes: Sequence[str] | None = None
) -> str:
    """Answers, a row per title and turn, a column per arm. Under a title stands its note, or else what its config allows."""
    heads = "".join(f'<th scope="col">{escape(arm.title)}</th>' for arm in arms)
    lines = notes or [_allowed_line(turn.config, taxonomy) for _, turn in rows]
    body = "".join(
        f'<tr><th scope="row">{escape(title)}<span class="caption">{escape(line)}</span></th>'
        f"{''.join(_cell(turn.answers[arm.id], taxonomy) for arm in arms)}</tr>"
        for (title, turn), line in zip(rows, lines, strict=False)
    )
    table = f'<table class="grid"><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="matrix">{table}</div>'


def _allowed_line(config: SafetyConfig, taxonomy: RiskTaxonomy) -> str:
    if config.allowed is None:
        return wording.ALLOWED_BY_TEXT
    return ", ".join(taxonomy.names(config.allowed)) or wording.NOTHING_ALLOWED


def _cell(answer: Answer, taxonomy: RiskTaxonomy) -> str:
    judgement = answer.judgement if answer.judgement is not None and answer.judgement.unscored is None else None
    kind = "open" if judgement is None else "refuses" if not judgement.rating else "obeys"
    if judgement is not None and not judgement.safe:
        kind = "breaks"
    words = answer.response.text or answer.error or (wording.GRID_EMPTY if not answer.is_final else wording.NO_ANSWER)
    verdict = "" if judgement is None else f'<span class="badge {kind}">{escape(wording.in_short(judgement))}</span>'
    return (
        f'<td class="{kind}"><details><summary>{verdict}<span class="short" dir="auto">{escape(words)}</span></summary>'
        f"{answered(answer, taxonomy)}</details></td>"
    )


def findings_on_configs(turns: Sequence[Turn], arms: Sequence[Arm]) -> str:
    """What one prompt under several configs says of each arm."""
    rows = []
    for arm in arms:
        found = findings(turns, arm.id)
        rows.append((arm, (found.flips, found.refused, found.broken, found.reversals)))
    return _counted(wording.MATRIX_FINDINGS, rows, wording.MATRIX_NOTE)


def findings_on_attacks(turns: Sequence[Turn], arms: Sequence[Arm]) -> str:
    """What a prompt as it is (the first turn) and in its frames says of each arm."""
    rows = []
    for arm in arms:
        found = resistance(turns, arm.id)
        rows.append((arm, (found.plain, found.held, found.talked)))
    return _counted(wording.ATTACKS_FINDINGS, rows, wording.ATTACKS_NOTE)


def findings_on_check(turns: Mapping[str, Turn], arms: Sequence[Arm], taxonomy: RiskTaxonomy) -> str:
    """Where each arm's answers and the config part, from turns by category."""
    rows = ""
    for arm in arms:
        found = agreement(turns, arm.id)
        parts = [", ".join(taxonomy.names(categories)) or "–" for categories in (found.declined, found.crossed)]
        rows += _cells(arm.title, (wording.count(found.agrees.hits, found.agrees.of), *parts))
    return _table(wording.CHECK_FINDINGS, rows, wording.CHECK_NOTE)


def _counted(heads: Sequence[str], rows: Sequence[tuple[Arm, Sequence[Count]]], note: str) -> str:
    body = "".join(_cells(arm.title, [wording.count(each.hits, each.of) for each in counts]) for arm, counts in rows)
    return _table(heads, body, note)


def scores(standings: Sequence[Standing], titles: Mapping[str, str]) -> str:
    """The session's running CoSA-Score per arm, as a table."""
    rows = "".join(_score_row(standing, titles[standing.arm_id]) for standing in standings)
    return _table(wording.SCORE_HEADS, rows, wording.SCORES_NOTE)


def board(found: StoreScores, titles: Mapping[str, str]) -> str:
    """What a store adds up to: a row per arm, then every config under every arm."""
    if not any(score.n for score in found.scores.values()):
        return notice(wording.BOARD_EMPTY)
    arms = [*(arm for arm in titles if arm in found.scores), *(arm for arm in found.scores if arm not in titles)]
    rows = "".join(_cells(titles.get(arm, arm), _figures(found.scores[arm])) for arm in arms)
    scored = _table(wording.SCORE_HEADS, rows, wording.BOARD_NOTE)
    voted = "".join(
        heading(title) + _tally(tally, arms, titles)
        for title, tally in zip(wording.BOARD_VOTES, (found.blind_votes, found.open_votes), strict=True)
        if tally.n
    )
    return f"{scored}{voted}{_by_config(found, arms, titles)}"


def _tally(tally: Tally, arms: Sequence[str], titles: Mapping[str, str]) -> str:
    rows = ""
    for arm in arms:
        votes = tally.votes.get(arm, Votes(0, 0))
        share = wording.share(votes.share) + wording.spread(*votes.interval)
        rows += _cells(titles.get(arm, arm), (str(votes.best), share, wording.strength(tally.strengths.get(arm))))
    left = wording.votes_left(tally.ties, tally.all_bad, tally.n)
    return _table(wording.VOTE_HEADS, rows, f"{left} {wording.by_place(tally.by_place)} {wording.VOTE_NOTE}")


def _table(heads: Sequence[str], rows: str, note: str) -> str:
    head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
    return (
        f'<div class="scores" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="caption">{escape(note)}</p></div>'
    )


def _by_config(found: StoreScores, arms: Sequence[str], titles: Mapping[str, str]) -> str:
    used = dict.fromkeys(config for _, config in found.by_config)
    heads = "".join(f'<th scope="col">{escape(titles.get(arm, arm))}</th>' for arm in arms)
    rows = "".join(
        f'<tr><th scope="row">{escape(found.configs[config])}</th>'
        f"{''.join(_heat(found.by_config.get((arm, config))) for arm in arms)}</tr>"
        for config in used
    )
    return (
        f'{heading(wording.BOARD_CELLS)}<div class="scores" tabindex="0"><table class="heat"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _heat(score: Score | None) -> str:
    """A cell of the heat map: the colour is the score's sign and size, which the figure says, too."""
    value = None if score is None else score.cosa_score
    if score is None or value is None:
        return "<td>–</td>"
    kind = "good" if value >= 0 else "bad"
    strength = f"color-mix(in srgb, var(--{kind}-wash) {abs(value) * 100:.0f}%, transparent)"
    return f'<td style="background: {strength}">{escape(wording.signed(value))} <small>n {score.n}</small></td>'


def _cells(title: str, cells: Sequence[str]) -> str:
    return f'<tr><th scope="row">{escape(title)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def _score_row(standing: Standing, title: str) -> str:
    return _cells(title, _figures(standing.score))


def _figures(score: Score) -> tuple[str, ...]:
    """A score as the cells of a row."""
    bounds = "–" if score.ci_low is None else f"{wording.signed(score.ci_low)} to {wording.signed(score.ci_high)}"
    judged = f"{score.n}" + (f" (+{score.n_unscored} unscored)" if score.n_unscored else "")
    return (
        wording.signed(score.cosa_score),
        bounds,
        wording.share(score.helpful_safe),
        wording.share(score.helpful_unsafe),
        judged,
    )
