"""The HTML of the Scores tab's lists of single answers. What models and visitors wrote is text there, never HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from evaluation.store_cases import Case, Cases
from playground import case_wording, markup


def case_lists(found: Cases, titles: Mapping[str, str]) -> str:
    """Both lists, each under its heading; `titles` of arms by id."""
    return _list(case_wording.REFUSED, found.refused, case_wording.REFUSED_NOTE, titles) + _list(
        case_wording.ANSWERED, found.answered, case_wording.ANSWERED_NOTE, titles
    )


def _list(title: str, cases: Sequence[Case], note: str, titles: Mapping[str, str]) -> str:
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in case_wording.HEADS)
    rows = "".join(f"<tr>{_cells(case, titles)}</tr>" for case in cases)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if cases else ""
    caption = f'<p class="caption">{escape(case_wording.latest(len(cases), note))}</p>'
    return f'{markup.heading(title)}<div class="scores" tabindex="0">{table}{caption}</div>'


def _cells(case: Case, titles: Mapping[str, str]) -> str:
    arm = titles.get(case.arm, case.arm)
    cells = (case_wording.shortened(case.prompt), case.config, arm, case_wording.shortened(case.text))
    return "".join(f'<td dir="auto">{escape(cell)}</td>' for cell in cells)
