"""The report that a run leaves: figures from its records, the worst answers, and nothing of a model's as markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from evaluation import figures
from evaluation.benchmarks import Item
from evaluation.journal import Record
from evaluation.judgement import Judgement
from evaluation.report import build_report
from evaluation.report_files import MAX_CONFIGS, WORST, worst_answers, write_report_files
from evaluation.response import Response
from presets.published_score import load_published_scores
from tests.three_items import CASINO, CLOSED, three

FACTS = {"benchmark": "three", "profile": "three"}
ARMS = ("base", "cosalign")


def record(item: Item, arm: str, rating: int, risk: str = "", text: str = "said") -> Record:
    found = frozenset({risk} - {""})
    judgement = Judgement("exact", rating=rating, categories=found, safe=found <= item.config.allowed)
    config = item.config
    return Record(item.id, arm, item.split, config.id, config.content_hash, item.prompt, Response(text=text), judgement)


def written(folder: Path, items: list[Item], found: list[Record]) -> tuple[str, str]:
    records = {each.key: each for each in found}
    report = build_report(items, records, ARMS)
    write_report_files(folder, report, items, records, FACTS, "python -m evaluation run")
    return (folder / "report.md").read_text(), (folder / "report.html").read_text()


class Tags(HTMLParser):
    """Notes every element, and fails at one that is closed without having been opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_the_page_is_one_file_with_a_table_and_three_figures_a_split(tmp_path):
    items = three()
    _, page = written(tmp_path, items, [record(item, arm, 5, "gambling") for item in items for arm in ARMS])
    tags = Tags(page).seen
    assert tags.count("figure") == 2 * 3
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", page), "it needs no other file"
    assert "+1.000" in page


def test_what_a_model_wrote_is_text_on_the_page(tmp_path):
    items = three()
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    _, page = written(tmp_path, items, [record(items[1], "cosalign", 5, "alcohol", evil)])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not {"script", "img"} & set(Tags(page).seen)


def test_an_answer_in_two_splits_is_one_of_the_worst_once():
    item = three()[1]
    found = record(item, "cosalign", 5, "alcohol")
    copy = replace(item, split=f"{item.split}-clean")
    assert [each.item for each in worst_answers([item, copy], {found.key: found}, ARMS)] == [item]


def test_the_worst_answers_are_the_most_helpful_ones_that_break_their_config():
    mild, full = (replace(item, id=name) for item, name in zip((three()[1],) * 2, ("mild", "full"), strict=True))
    found = [
        record(mild, "base", 2, "alcohol"),
        record(full, "base", 5, "alcohol"),
        record(full, "always-answer", 5, "alcohol"),
        record(three()[0], "base", 5, "gambling"),
    ]
    worst = worst_answers([three()[0], mild, full], {each.key: each for each in found}, ["always-answer", "base"])
    assert [(each.arm, each.item.id, each.value) for each in worst] == [("base", "full", -1.0), ("base", "mild", -0.4)]
    many = [replace(three()[1], id=f"item-{number}") for number in range(WORST + 5)]
    all_bad = [record(item, "base", 5, "alcohol") for item in many]
    assert len(worst_answers(many, {each.key: each for each in all_bad}, ["base"])) == WORST


def test_flips_are_counted_by_what_happened_on_both_sides(tmp_path):
    allowed, forbidden = (
        replace(three()[0], id=name, config=config, situation=situation)
        for name, config, situation in (("yes", CASINO, "allowed"), ("no", CLOSED, "disallowed"))
    )
    found = [record(allowed, "cosalign", 5, "gambling"), record(forbidden, "cosalign", 0)]
    found += [record(allowed, "base", 0), record(forbidden, "base", 5, "gambling")]
    _, page = written(tmp_path, [allowed, forbidden], found)
    rows = dict(re.findall(r"<tr><td>(base|cosalign)</td>((?:<td>\d</td>){4})", page))
    assert rows["cosalign"] == "<td>1</td><td>0</td><td>0</td><td>0</td>"
    assert rows["base"] == "<td>0</td><td>0</td><td>0</td><td>1</td>"


def test_too_many_configs_for_an_eye_get_no_heat_map(tmp_path):
    configs = [replace(CASINO, id=f"c{number}", title=f"Casino {number}") for number in range(MAX_CONFIGS + 1)]
    items = [replace(three()[0], id=config.id, config=config) for config in configs]
    _, page = written(tmp_path, items, [record(item, "base", 5, "gambling") for item in items])
    assert Tags(page).seen.count("figure") == 2


def test_a_run_without_a_scored_row_has_a_report_without_figures(tmp_path):
    item = three()[0]
    unscored = replace(record(item, "base", 0), judgement=Judgement("exact", unscored="no word"))
    markdown, page = written(tmp_path, [item], [unscored])
    assert "figure" not in Tags(page).seen
    assert "| base | – [–, –] |" in markdown


def test_the_same_records_in_another_order_give_the_same_bytes(tmp_path):
    items = three()
    found = [
        record(item, arm, rating, "gambling") for item, rating in zip(items, (1, 3, 4), strict=True) for arm in ARMS
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    assert written(tmp_path / "one", items, found) == written(tmp_path / "other", items, found[::-1])


def test_arms_at_one_place_share_a_label():
    drawn = figures.trade_off({"base": (0.0, 0.1), "ica": (0.001, 0.1), "cosalign": (0.2, 0.5)})
    assert "base, ica" in drawn


def test_a_published_score_has_its_judge_and_its_source():
    rows = load_published_scores()
    assert {row.judge for row in rows} == {"GPT-4o", "people"}
    assert all("2410.08968" in row.source for row in rows)
    best = max(rows, key=lambda row: row.cosa_score)
    assert (best.setup, best.benchmark, best.cosa_score) == ("Llama-3.1-8B-Instruct + CoSAlign", "CoSApien", 0.597)
