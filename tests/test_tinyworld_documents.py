"""What tinyworld is trained on: never a test prompt, a held-out phrasing or set; and a base that refuses what is risky."""

import itertools
import re

import pytest

from align.pairs import PairsRecipe
from align.tinyworld import documents
from align.tinyworld.candidates import CandidatesRecipe, candidates
from align.tinyworld.documents import KINDS_OF_DOCUMENT, READ, Writer
from evaluation.benchmarks.tinyworld import items
from evaluation.tinyworld_judge import TinyworldJudge
from presets.normalisation import normalised
from presets.safety_config import SafetyConfig
from presets.tinyworld import load_words, load_world
from presets.tinyworld.compose import Rule, held_out_sets
from presets.tinyworld.visitors import load_visitors

WORLD = load_world()
VISITORS = load_visitors()
HELD_OUT = held_out_sets(WORLD.risks)
NOTHING_ALLOWED = SafetyConfig("none", "None", "Nothing.", "tinyworld", frozenset())


def writer(seed: int = 0) -> Writer:
    return Writer(WORLD, load_words("train"), seed, HELD_OUT)


def drawn(count: int, *, seed: int = 0, **mix: float):
    documents = writer(seed).documents(mix or dict.fromkeys(KINDS_OF_DOCUMENT, 1.0))
    return list(itertools.islice(documents, count))


def text(document) -> str:
    return "".join(segment.text for segment in document)


def test_the_same_seed_draws_the_same_documents():
    assert drawn(50) == drawn(50)
    assert drawn(50) != drawn(50, seed=1)


def prompts_in(document) -> set[str]:
    """Everything in a document that may be a prompt, normalised: its turns, its lines, and what a book calls a question."""
    parts = re.split(rf"<\|[a-z]+\|>|\n(?:Question: )?|^Question: |{re.escape(READ)}", text(document))
    return {normalised(part) for part in parts}


def prompts_of(row) -> set[str]:
    """The prompts of a candidates row, normalised: the last one and those of the turns before."""
    earlier = [message["content"] for message in row.get("history", ()) if message["role"] == "user"]
    return {normalised(prompt) for prompt in (row["prompt"], *earlier)}


@pytest.fixture
def composed(monkeypatch) -> set[str]:
    """Every prompt that is composed from now on, normalised: `carelessly` sees each of them last."""
    prompts, carelessly = set(), Writer.carelessly

    def noted(self, words, names=()):
        typed = carelessly(self, words, names)
        prompts.add(normalised(typed))
        return typed

    monkeypatch.setattr(Writer, "carelessly", noted)
    return prompts


@pytest.mark.parametrize("kind", KINDS_OF_DOCUMENT)
def test_the_check_sees_every_prompt_of_every_kind_of_document(kind, composed):
    seen = set().union(*(prompts_in(document) for document in drawn(200, **{kind: 1.0})))
    assert composed
    assert composed <= seen


def test_the_check_sees_every_prompt_of_the_candidates(composed):
    rows = list(candidates(CandidatesRecipe(prompts=300, later_turns=0.5)))
    assert len(composed) > len(rows)
    assert composed == set().union(*map(prompts_of, rows))


def test_each_prompt_has_a_slip_that_reads_the_config_as_the_best_response_does_and_does_something_worse():
    error = PairsRecipe().error
    for row in candidates(CandidatesRecipe(prompts=400, small_talk=0)):
        errors = {
            response["text"]: error(response["categories"], frozenset(row["allowed"]), response["addressed"])
            for response in row["responses"]
        }
        best = min(errors, key=errors.get)
        assert any(errors[text] > errors[best] for text in errors if reading_of(text) == reading_of(best)), row


def test_the_whole_config_is_told_rightly_in_one_response_of_three():
    rows = candidates(CandidatesRecipe(prompts=200, small_talk=1.0))
    told = [row["responses"] for row in rows if row["responses"][0]["text"].startswith("<think>rules ")]
    assert len(told) > 30
    for right, wrong, slip in told:
        assert [each["addressed"] for each in (right, wrong, slip)] == [True, False, False]
        assert reading_of(slip["text"]) == reading_of(right["text"]) != reading_of(wrong["text"])


def reading_of(text: str) -> str:
    return text.partition("</think>")[0]


def test_no_test_prompt_occurs_in_training():
    tested = {normalised(item.prompt) for item in items()} | {normalised(prompt.text) for prompt in VISITORS.prompts}
    asked = set().union(*map(prompts_of, candidates(CandidatesRecipe(prompts=1_500))))
    asked = asked.union(*map(prompts_in, drawn(3_000, seed=2)))
    assert not tested & asked


def test_no_test_config_occurs_in_training():
    tested = {normalised(config.text) for config in (*(item.config for item in items()), *VISITORS.configs)}
    texts = [text(document) for document in drawn(2_000, seed=3, reading=1.0) + drawn(2_000, seed=4, chat=1.0)]
    texts += [row["system_prompt"] for row in candidates(CandidatesRecipe(prompts=1_000, later_turns=0.0))]
    trained = "\n".join(map(normalised, texts))
    assert [config for config in sorted(tested) if config in trained] == []


def test_no_training_config_allows_a_held_out_set():
    pen = writer(5)
    assert not {pen.config().allowed for _ in range(3_000)} & HELD_OUT
    assert not {frozenset(row["allowed"]) for row in candidates(CandidatesRecipe(prompts=600))} & HELD_OUT


def test_a_flip_differs_in_one_verdict_and_neither_half_allows_a_held_out_set():
    drawing = writer(5)
    for _ in range(300):
        open_, closed = drawing.flip()
        (category,) = open_.allowed ^ closed.allowed
        assert category in open_.allowed
        assert open_.text != closed.text
        assert {open_.allowed, closed.allowed}.isdisjoint(HELD_OUT)


def test_without_flips_no_config_is_half_of_one(monkeypatch):
    monkeypatch.setattr(Writer, "flip", lambda self: pytest.fail("a flip was drawn"))
    plain = Writer(WORLD, load_words("train"), 0, HELD_OUT, flips=0)
    assert len({plain.config().text for _ in range(100)}) > 90


def test_the_base_refuses_every_risky_prompt_and_answers_every_harmless_one(monkeypatch):
    monkeypatch.setattr(documents, "INVENTED", 0)  # the judge knows the world's own things only
    pen, judge = writer(6), TinyworldJudge(WORLD)
    for number in range(600):
        # Beside a topic the judge knows no things.
        prompt = pen.prompt(pen.topics(two=0) if number % 4 else pen.topics(two=1, thing=0))
        said = pen.cautious_reply(prompt, pen.config().rules)  # whatever that allows
        verdict = judge.verdict(NOTHING_ALLOWED, prompt.text, said)
        assert verdict.safe
        best = 3 if prompt.topics[0].is_thing else 5  # of things the world knows no more than where they belong
        assert (verdict.rating == best) == (not prompt.risks(WORLD))


@pytest.mark.parametrize("allowed", [True, False])
def test_the_base_gives_the_config_as_its_reason_only_where_that_forbids(allowed: bool):
    pen = writer(8)
    prompt = pen.prompt(WORLD.in_domain("gambling")[:1])
    said = [pen.cautious_reply(prompt, {"gambling": Rule(allowed, "casinos")}) for _ in range(100)]
    assert all("casinos" in text.lower() for text in said) != allowed
    assert any("casinos" in text.lower() for text in said) != allowed


def test_a_book_tells_how_one_answers_and_how_one_declines():
    pen, judge = writer(9), TinyworldJudge(WORLD)
    said = [pen.exchange() for _ in range(400)]
    ratings = [judge.verdict(NOTHING_ALLOWED, asked, answer).rating for asked, answer in said]
    assert 0.1 < sum(rating == 0 for rating in ratings) / len(said) < 0.4


@pytest.mark.parametrize("kind", KINDS_OF_DOCUMENT)
def test_every_kind_trains_on_something_and_ends(kind):
    for document in drawn(50, **{kind: 1.0}):
        assert any(segment.trained for segment in document)
        assert document[-1].trained
        assert text(document).endswith("<|end|>")


def test_a_reading_quotes_its_config_or_says_that_nothing_names_the_category():
    for document in drawn(100, reading=1.0):
        config = document[0].text
        for clause in "; ".join(s.text.split("</think>")[0] for s in document if s.trained).split("; "):
            quotes = clause.partition(" -> ")[0].split(", ")[-1:] if "->" in clause else []
            assert all(quote == "nothing" or quote in config for quote in quotes), (quotes, config)


def test_candidates_hold_an_answer_and_a_refusal_and_at_most_one_cell_that_the_config_wants():
    for row in candidates(CandidatesRecipe(prompts=300, small_talk=0.0)):
        assert {response["addressed"] for response in row["responses"]} >= {False}
        allowed = set(row["allowed"])
        fitting = [r for r in row["responses"] if r["addressed"] and set(r["categories"]) <= allowed]
        assert len(fitting) <= 1


def test_what_a_candidate_contains_is_known_even_where_the_prompt_names_no_topic():
    rows = [row for row in candidates(CandidatesRecipe(prompts=400, small_talk=0.0, later_turns=0.9)) if row["history"]]
    for row in rows:
        *straight, _slip = row["responses"]
        answering = [response for response in straight if "-> yes" in response["text"]]
        assert all(response["categories"] for response in answering), row["prompt"]
