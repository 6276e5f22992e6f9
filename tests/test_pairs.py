"""Preference pairs follow the paper's error score (cosa.md section 7) to the last digit."""

import json
import random

import pytest

from align.__main__ import main
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


def write(path, *rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def pair_up(folder, *options):
    return main(
        ["pairs", "--candidates", str(folder / "candidates.jsonl"), "--out", str(folder / "pairs.jsonl"), *options]
    )


def test_the_command_writes_all_pairs_of_a_file_and_says_what_it_left_out(tmp_path, capsys):
    full = row(
        {"x"}, ("full", {"x"}, True), ("no", set(), False), ("bad", {"y"}, True), ("?", None, True), mode="superset"
    )
    write(tmp_path / "candidates.jsonl", full, row({"x"}, ("no", set(), False)))
    assert pair_up(tmp_path) == 0
    said = capsys.readouterr().out
    assert "3 pairs of 2 rows" in said
    assert "1 responses with unreadable labels" in said
    assert "1 rows without a pair" in said
    first, *_ = found = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [(each["chosen_error"], each["rejected_error"]) for each in found] == [(0.1, 1.0), (0.1, 3.0), (1.0, 3.0)]
    assert first == {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}],
        "chosen": [{"role": "assistant", "content": "full"}],
        "rejected": [{"role": "assistant", "content": "no"}],
        "chosen_error": 0.1,
        "rejected_error": 1.0,
        "mode": "superset",
        "allowed": ["x"],
    }


def test_the_weights_are_the_commands(tmp_path):
    write(tmp_path / "candidates.jsonl", row({"x"}, ("full", {"x"}, True), ("no", set(), False)))
    assert pair_up(tmp_path, "--alpha", "2", "--gamma", "0.5") == 0
    (pair,) = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert (pair["chosen"][0]["content"], pair["chosen_error"], pair["rejected_error"]) == ("no", 0.5, 2.0)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        pytest.param("", "holds no rows", id="empty"),
        pytest.param('{"prompt": "p"}', "line 1: allowed: is missing", id="missing"),
        pytest.param("[1]", "line 1: is a list", id="no-object"),
        pytest.param("{nonsense", "line 1: is not JSON", id="no-json"),
        pytest.param(json.dumps({**row(set()), "allowed": "x"}), "line 1: allowed: is 'x'", id="allowed"),
        pytest.param(json.dumps({**row(set()), "prompt": 3}), "line 1: prompt: is 3", id="prompt"),
        pytest.param(json.dumps({**row(set()), "responses": {}}), "responses: is {}", id="responses"),
        pytest.param(json.dumps({**row(set()), "mode": 1}), "mode: is 1", id="mode"),
        pytest.param(json.dumps({**row(set()), "history": ["hi"]}), "history: is ['hi']", id="history"),
        pytest.param(json.dumps(row(set(), ("a", {"x"}, 1))), "responses[0].addressed: is 1", id="addressed"),
        pytest.param(json.dumps(row(set(), (None, {"x"}, True))), "responses[0].text", id="text"),
    ],
)
def test_a_broken_row_is_named_and_the_pairs_of_before_stay(tmp_path, capsys, broken, words):
    (tmp_path / "candidates.jsonl").write_text(broken + "\n")
    (tmp_path / "pairs.jsonl").write_text("those of before\n")
    assert pair_up(tmp_path) == 2
    assert words in capsys.readouterr().err
    assert (tmp_path / "pairs.jsonl").read_text() == "those of before\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["sft", "--candidates", "a.jsonl", "--out", "b.jsonl"],
        ["pairs", "--candidates", "a.jsonl"],
        ["pairs", "--out", "b.jsonl"],
        ["pairs"],
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "--candidates goes with" in (said := capsys.readouterr().err) or "give --recipe" in said


# Beyond the paper


def written(tmp_path, rows, *options):
    """What the command writes of these candidates."""
    (tmp_path / "candidates.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    out = tmp_path / "pairs.jsonl"
    assert main(["pairs", "--candidates", str(tmp_path / "candidates.jsonl"), "--out", str(out), *options]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def said(made):
    return made["chosen"][0]["content"], made["rejected"][0]["content"]


def flipped(prompt="p", **more):
    """One prompt under a config that allows gambling and one that does not, with the same responses."""
    responses = [("full", {"gambling"}, True), ("no", set(), False), ("both", {"gambling", "alcohol"}, True)]
    return [row(allowed, *responses, **{"prompt": prompt, **more}) for allowed in ({"gambling"}, set())]


def test_a_counterfactual_pair_is_preferred_the_other_way_round_under_the_other_config(tmp_path):
    rows = [*flipped(), *flipped("q")]
    paper = written(tmp_path, rows)
    more = written(tmp_path, rows, "--counterfactual")
    assert [each for each in more if "kind" not in each] == paper
    added = [each for each in more if each.get("kind") == "counterfactual"]
    assert [(each["allowed"], said(each)) for each in added] == 2 * [
        (["gambling"], ("full", "no")),
        ([], ("no", "full")),
    ]
    assert all(each["chosen_error"] < min(each["rejected_error"], 3) for each in added)


def test_without_a_text_that_both_configs_have_there_is_no_counterfactual_pair(tmp_path):
    one, other = flipped()
    other["responses"][0]["text"] = "full, in other words"
    assert not [each for each in written(tmp_path, [one, other], "--counterfactual") if "kind" in each]


def test_a_prompt_after_other_turns_is_another_prompt(tmp_path):
    one, other = flipped()
    other["history"] = [{"role": "user", "content": "before"}]
    assert not [each for each in written(tmp_path, [one, other], "--counterfactual") if "kind" in each]


def test_a_cap_draws_so_many_of_a_rows_pairs(tmp_path, capsys):
    rows = [row({"x"}, ("full", {"x"}, True), ("no", set(), False), ("bad", {"y"}, True)) for _ in range(60)]
    made = written(tmp_path, rows, "--cap", "1")
    assert len(made) == 60
    assert {said(each) for each in made} == {("full", "no"), ("full", "bad"), ("no", "bad")}
    assert "left out: 120 pairs over the cap" in capsys.readouterr().out


def test_balanced_modes_have_as_many_pairs_as_the_rarest_and_keep_their_order(tmp_path, capsys):
    rows = [
        row({"x"}, (f"full {n}", {"x"}, True), ("no", set(), False), mode="rare" if n % 10 == 0 else "common")
        for n in range(200)
    ]
    made = written(tmp_path, rows, "--balance")
    assert [each["mode"] for each in made].count("rare") == 20
    assert [each["mode"] for each in made].count("common") == 20
    places = [int(said(each)[0].split()[1]) for each in made]
    assert places == sorted(places)
    assert max(place for place in places if place % 10) > 100, "drawn from the whole file, not from its beginning"
    assert "left out: 160 pairs of modes that have more" in capsys.readouterr().out


def test_the_margin_is_how_far_apart_the_errors_are(tmp_path):
    made = written(tmp_path, flipped(), "--margin")
    assert made
    assert all(each["margin"] == pytest.approx(each["rejected_error"] - each["chosen_error"]) for each in made)


@pytest.mark.parametrize(("option", "words"), [(["--cap", "-1"], "cap"), (["--beta", "-1"], "beta")])
def test_an_option_that_cannot_be_names_itself(tmp_path, capsys, option, words):
    (tmp_path / "c.jsonl").write_text(json.dumps(flipped()[0]) + "\n")
    assert main(["pairs", "--candidates", str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "o"), *option]) == 2
    assert words in capsys.readouterr().err
