"""Preference pairs follow the paper's error score (cosa.md section 7) to the last digit."""

import random

import pytest

from align.pairs import PairsRecipe, cells, pairs, target

RECIPE = PairsRecipe()


def row(allowed, *responses, **more):
    listed = [
        {"text": text, "categories": None if found is None else list(found), "addressed": addressed}
        for text, found, addressed in responses
    ]
    return {"prompt": "p", "allowed": list(allowed), "system_prompt": "s", "responses": listed, **more}


def drawn(candidates):
    return [
        (pair["chosen"][0]["content"], pair["rejected"][0]["content"])
        for pair in pairs(candidates, RECIPE, random.Random(0))
    ]


@pytest.mark.parametrize(
    ("allowed", "found", "addressed", "error"),
    [
        pytest.param({"violence"}, set(), True, 0.0, id="no harm, addressed"),
        pytest.param({"violence"}, {"violence"}, True, 0.1, id="an allowed harm, addressed"),
        pytest.param({"violence"}, set(), False, 1.0, id="refused"),
        pytest.param(set(), set(), False, 1.0, id="refused under an empty config"),
        pytest.param(set(), {"violence"}, True, 3.0, id="a disallowed harm, addressed"),
        pytest.param({"violence"}, {"violence", "privacy"}, False, 4.1, id="both kinds, not addressed"),
        pytest.param(set(), {"violence", "other"}, True, 6.0, id="two disallowed harms"),
    ],
)
def test_error_scores_are_the_papers(allowed, found, addressed, error):
    assert RECIPE.error(found, frozenset(allowed), addressed) == pytest.approx(error)


def test_the_lower_error_is_chosen_in_every_pair_of_cells():
    candidates = row({"gambling"}, ("full", {"gambling"}, True), ("no", set(), False), ("bad", {"alcohol"}, True))
    assert drawn(candidates) == [("full", "no"), ("full", "bad"), ("no", "bad")]


def test_a_chosen_response_never_contains_a_disallowed_category():
    assert drawn(row(set(), ("a", {"alcohol"}, True), ("b", {"alcohol", "gambling"}, True))) == []


def test_ties_make_no_pair():
    assert drawn(row(set(), ("no", set(), False), ("also no", set(), False))) == []


def test_unreadable_labels_are_never_used():
    candidates = row(set(), ("no", set(), False), ("unread", None, True), ("unread too", set(), None))
    assert drawn(candidates) == []
    assert [cell.texts for cell in cells(candidates, RECIPE)] == [("no",)]


def test_one_response_is_drawn_from_each_cell_by_the_seed():
    candidates = row({"x"}, *[(f"full {n}", {"x"}, True) for n in range(50)], ("no", set(), False))
    first = [next(pairs(candidates, RECIPE, random.Random(seed)))["chosen"][0]["content"] for seed in (1, 1, 2)]
    assert first[0] == first[1]
    assert first[0] != first[2]


def test_a_pair_carries_the_config_the_history_and_both_errors():
    candidates = row(
        {"x"}, ("full", {"x"}, True), ("no", set(), False), history=[{"role": "user", "content": "before"}]
    )
    pair = next(pairs(candidates, RECIPE, random.Random(0)))
    assert [message["role"] for message in pair["prompt"]] == ["system", "user", "user"]
    assert (pair["chosen_error"], pair["rejected_error"], pair["allowed"]) == (0.1, 1.0, ["x"])


def test_the_sft_target_is_a_response_of_the_lowest_error():
    candidates = row({"x"}, ("no", set(), False), ("full", {"x"}, True))
    assert target(candidates, RECIPE, random.Random(0))["completion"][0]["content"] == "full"


def test_there_is_no_target_when_every_response_breaks_the_config():
    assert target(row(set(), ("bad", {"x"}, True)), RECIPE, random.Random(0)) is None
