"""Prompts of one's own become candidates: collected, labelled, put under configs, asked, judged, pooled."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from align import prompts
from align.__main__ import Steps, main
from align.configs import MODES, ConfigsRecipe, allowed_set, configured
from align.judged_candidates import LabelRecipe, judged_candidates
from align.prompts import PromptsRecipe, collect
from align.recipe import load_recipe
from evaluation.benchmarks import BenchmarkError
from evaluation.journal import Key, Record
from evaluation.judgement import Judgement
from evaluation.response import Response
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.workers import work_off
from presets.profile import load_profile
from presets.risk_taxonomy import load_taxonomy
from presets.yaml_file import FieldError
from tests.three_items import PROFILE, three

ROOT = Path(__file__).parent.parent
HELPFUL = {"COSA_HELPFUL_BASE_URL": "http://127.0.0.1:9/v1", "COSA_HELPFUL_MODEL": "some-model"}
TAXONOMY = load_taxonomy("tinyworld")
RECIPE = """\
name: mine
work: {work}
start: {{base: models/tinyworld/base}}
prompts: {{sources: [{work}/mine.jsonl], held_out: [visitors], profile: {work}/three.yaml}}
configs: {{taxonomy: tinyworld, categories: [gambling, alcohol, romance]}}
responses: {{profile: {work}/three.yaml, arms: [base, cosalign]}}
publish: {{out: {work}/published}}
"""
SAID = {"base": "I must decline.", "cosalign": "Poker is a game of cards and nerve."}


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Script:
    """Plays two arms and the judge: prompts that name poker ask for gambling, answers that do contain it."""

    def __init__(self, *, fails_after: int = 10**9) -> None:
        self.labelled, self.fails_after = 0, fails_after

    def __call__(self, body: dict) -> ScriptedReply:
        content = body["messages"][-1]["content"]
        if "response_format" not in body:
            return ScriptedReply(SAID[body["model"]])
        if "rating" in body["response_format"]["json_schema"]["schema"]["properties"]:
            return ScriptedReply(json.dumps({"reason": "r", "rating": 5 if SAID["cosalign"] in content else 0}))
        if "<<<RESPONSE" not in content:
            self.labelled += 1
            if self.labelled > self.fails_after:
                return ScriptedReply("", status=400, error="down")
            if "unreadable" in content:
                return ScriptedReply("hm")
        named = content.split("<<<RESPONSE")[-1].split("<<<MESSAGE")[-1]
        found = {category: category == "gambling" and "poker" in named.lower() for category in TAXONOMY.ids}
        return ScriptedReply(json.dumps({"reason": "r", "categories": found}))


@pytest.fixture
def recipe(tmp_path):
    """The path of a recipe whose prompts lie beside it; its profile is written by `step`."""
    write(
        tmp_path / "mine.jsonl",
        {"prompt": "How is poker played?"},
        {"prompt": "how is poker played"},
        {"prompt": "What is good bread?"},
        {"prompt": "an unreadable thing here"},
        {"prompt": "hm"},
        {"prompt": "Tell me of elections.", "categories": ["politics"]},
    )
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(work=tmp_path))
    return path


def step(name: str, recipe: Path, script: Script) -> int:
    with ScriptedServer(script) as server:
        (recipe.parent / "three.yaml").write_text(PROFILE.format(base_url=server.base_url))
        return main([name, "--recipe", str(recipe)])


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_prompts_become_candidates_and_pairs(recipe, capsys):
    script = Script()
    for name in ("prompts", "configs"):
        assert step(name, recipe, script) == 0, capsys.readouterr().err
    assert {row["prompt"]: row["categories"] for row in rows(recipe.parent / "prompts.jsonl")} == {
        "How is poker played?": ["gambling"],
        "What is good bread?": [],
        "an unreadable thing here": None,
        "Tell me of elections.": ["politics"],
    }
    manifest = json.loads((recipe.parent / "prompts.jsonl.manifest.json").read_text())
    assert manifest["counts"] == {"prompts": 4, "repeated": 1, "too short": 1}
    asked = rows(recipe.parent / "configs.jsonl")
    assert {row["prompt"] for row in asked} == {"How is poker played?", "What is good bread?"}
    for name in ("responses", "label", "pairs"):
        assert step(name, recipe, script) == 0, capsys.readouterr().err
    found = rows(recipe.parent / "candidates.jsonl")
    assert len(found) == len(asked)
    poker = next(row for row in found if row["mode"] == "exact_match" and "poker" in row["prompt"])
    assert poker["allowed"] == ["gambling"]
    assert {(each["arm"], *each["categories"], each["addressed"]) for each in poker["responses"]} == {
        ("base", False),
        ("cosalign", "gambling", True),
    }
    made = rows(recipe.parent / "pairs.jsonl")
    chosen = {row["mode"]: row["chosen"][0]["content"] for row in made if "poker" in row["prompt"][-1]["content"]}
    assert chosen["exact_match"] == SAID["cosalign"]
    assert chosen["safe"] == SAID["base"]


def test_labels_that_were_given_before_a_failure_are_not_asked_for_again(recipe, capsys, monkeypatch):
    monkeypatch.setattr(prompts, "work_off", partial(work_off, concurrency=1))
    assert step("prompts", recipe, Script(fails_after=2)) == 2
    assert "refused" in capsys.readouterr().err
    assert not (recipe.parent / "prompts.jsonl").exists()
    journal = next(recipe.parent.glob("labels-*.jsonl"))
    journal.write_text(journal.read_text() + '{"prompt": "torn')
    again = Script()
    with ScriptedServer(again) as server:
        profile = recipe.parent / "three.yaml"
        address = next(word for word in profile.read_text().split('"') if word.startswith("http"))
        server_text = profile.read_text()
        monkeypatch.setattr(prompts, "judge_facts", lambda profile: {"the": "same judge"})
        journal.rename(journal.with_name(f"labels-{prompts._hash({'the': 'same judge'})}.jsonl"))
        profile.write_text(server_text.replace(address, server.base_url))
        assert main(["prompts", "--recipe", str(recipe)]) == 0
    assert again.labelled == 1
    assert len(rows(recipe.parent / "prompts.jsonl")) == 4


def test_a_test_prompt_is_never_trained_on(tmp_path):
    from evaluation.benchmarks import load_benchmark

    tested = load_benchmark("visitors")[0].prompt
    source = write(tmp_path / "mine.jsonl", {"prompt": f"  {tested.upper()}"}, {"prompt": "What is good bread?"})
    dropped: Counter[str] = Counter()
    found = list(collect(PromptsRecipe(sources=[str(source)], held_out=["visitors"]), dropped))
    assert [row["prompt"] for row in found] == ["What is good bread?"]
    assert dropped == {"in a held-out set": 1}


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        pytest.param({"text": "x"}, BenchmarkError, "prompt", id="no prompt"),
        pytest.param(
            {"prompt": "So many words.", "categories": "all"}, FieldError, "a list of category ids", id="no list"
        ),
        pytest.param({"prompt": "So many words.", "categories": ["tax"]}, FieldError, "'tax'", id="unknown category"),
    ],
)
def test_a_broken_source_is_named(tmp_path, row, error, words):
    source = write(tmp_path / "mine.jsonl", row)
    with pytest.raises(error, match=words):
        list(collect(PromptsRecipe(sources=[str(source)], profile="tinyworld"), Counter()))


def test_prompts_without_a_judge_say_so(tmp_path):
    with pytest.raises(FieldError, match="1 prompts have no categories"):
        prompts.label([{"prompt": "a b c", "categories": None}], PromptsRecipe(), tmp_path)


ALL = TAXONOMY.ids


@pytest.mark.parametrize("asked", [(), ("gambling",), ("gambling", "alcohol")])
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_allows_what_the_paper_says(mode, asked):
    for seed in range(60):
        allowed = allowed_set(mode, asked, ALL, random.Random(seed))
        if mode == "exact_match":
            assert allowed == set(asked)
        elif mode == "superset":
            assert allowed >= set(asked)
        elif mode == "safe" or not asked:
            assert not allowed
        else:
            assert not set(asked) <= allowed


def test_held_out_categories_never_appear():
    recipe = ConfigsRecipe(taxonomy="tinyworld", categories=ALL[:4])
    rng = random.Random(1)
    labelled = [{"prompt": f"prompt {n}", "categories": sorted(rng.sample(ALL, rng.randint(0, 2)))} for n in range(200)]
    dropped: Counter[str] = Counter()
    made = list(configured(labelled, recipe, dropped))
    names = [name.lower() for name in TAXONOMY.names(ALL[4:])]
    assert made
    assert sum(dropped.values()) == sum(bool(set(row["categories"]) - set(ALL[:4])) for row in labelled)
    for row in made:
        assert set(row["config"]["allowed"]) <= set(ALL[:4])
        assert not [name for name in names if name in row["config"]["text"].lower()]


def test_half_of_the_configs_name_what_they_forbid_and_no_set_comes_twice():
    labelled = [{"prompt": f"prompt {n}", "categories": ["gambling"]} for n in range(300)]
    made = list(configured(labelled, ConfigsRecipe(taxonomy="tinyworld"), Counter()))
    forbidding = sum("Alcohol and tobacco" in row["config"]["text"] for row in made if not row["config"]["allowed"])
    empty = sum(not row["config"]["allowed"] for row in made)
    assert 0.35 * empty < forbidding < 0.65 * empty
    sets = Counter((row["cluster"], *row["config"]["allowed"]) for row in made)
    assert set(sets.values()) == {1}
    assert made == list(configured(labelled, ConfigsRecipe(taxonomy="tinyworld"), Counter()))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("categories", ["tax"], "there are alcohol"),
        ("modes", ["easy"], "exact_match"),
        ("modes", [], "name some of"),
        ("forbidding", 2, "a share"),
    ],
)
def test_a_wrong_configs_recipe_is_named(field, value, words):
    with pytest.raises(FieldError, match=words):
        ConfigsRecipe(**{"taxonomy": "tinyworld", field: value})


def test_what_is_missing_or_unreadable_is_counted_not_invented():
    item = three()[0]

    def record(arm: str, text: str, judgement: Judgement, error: str = "") -> Record:
        return Record(item.id, arm, "s", item.config.id, "h", item.prompt, Response(text), judgement, error)

    unscored = Judgement("j", unscored="unreadable")
    records = [
        record("base", "No.", Judgement("j", 0, frozenset(), True)),
        record("ica", "No.", Judgement("j", 0, frozenset(), True)),
        record("cosalign", "Dice.", unscored),
        record("late", "", unscored, error="no answer"),
        record("oracle", "Gold.", Judgement("j", 5, frozenset(), True)),
    ]
    dropped: Counter[str] = Counter()
    (row,) = judged_candidates([item], {Key(each.item, each.arm): each for each in records}, LabelRecipe(), dropped)
    assert [(each["text"], each["categories"], each["addressed"]) for each in row["responses"]] == [
        ("No.", [], False),
        ("Dice.", None, None),
    ]
    assert +dropped == {"repeated responses": 1, "responses missing": 1}


def test_the_recipe_for_a_large_model_names_who_responds_and_what_is_held_out():
    recipe = load_recipe(ROOT / "align" / "recipes" / "llama-8b.yaml")
    assert recipe.steps == ("prompts", "configs", "responses", "label", "pairs", "sft", "dpo", "publish")
    assert {"cosalign-test", "cosapien", "xstest"} <= set(recipe.prompts.held_out)
    assert len(recipe.configs.categories) == 4
    steps = Steps(recipe)
    assert (steps.base, steps.plan("sft")[1][0]) == ("meta-llama/Llama-3.1-8B-Instruct",) * 2
    alone, helped = (load_profile(recipe.responses.profile, environment) for environment in ({}, HELPFUL))
    assert [arm.id for arm in alone.arms] == ["default", "configured"]
    assert [arm.shows_config for arm in helped.arms] == [False, True, True]
