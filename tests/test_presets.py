"""Every preset that we ship loads; a broken one names its file, its field and the reason; one rendering for all arms."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.tinyworld_judge import TinyworldJudge
from presets import safety_config
from presets.arm import DEMOS, Arm, demos_hash, load_demos
from presets.profile import PROFILES, JudgeChoice, Profile, Sampling, Server, load_profile, model_folder
from presets.risk_taxonomy import TAXONOMIES, load_taxonomy
from presets.safety_config import (
    MAX_TEXT,
    SafetyConfig,
    find_safety_config,
    load_safety_config,
    load_safety_configs,
    render_system_prompt,
    situation,
    system_prompt_text,
)
from presets.tinyworld import load_world
from presets.yaml_file import FieldError, PresetError

ENVIRONMENT = {"COSA_BASE_URL": "http://127.0.0.1:9/v1", "COSA_MODEL": "some-model"}
"""What the shipped profiles need from the environment at the least."""

TAXONOMY_IDS = sorted(file.stem for file in TAXONOMIES.glob("*.yaml"))
PROFILE_IDS = sorted(file.stem for file in PROFILES.glob("*.yaml"))


def a_config(**changes: object) -> SafetyConfig:
    fields = {"id": "a-bar", "title": "A bar", "text": "Talk about drinks.", "taxonomy": "tinyworld"}
    return SafetyConfig(**{**fields, "allowed": frozenset({"alcohol"}), **changes})  # type: ignore[arg-type]


# what we ship


def test_the_papers_taxonomy_has_seven_configurable_categories_and_other_harms() -> None:
    taxonomy = load_taxonomy("cosa")
    assert len(taxonomy.configurable_ids) == 7
    assert set(taxonomy.ids) - set(taxonomy.configurable_ids) == {"other"}
    assert taxonomy.names(["other"]) == ("Other Harms",)


def test_tinyworlds_taxonomy_has_eight_categories_that_a_config_may_allow() -> None:
    taxonomy = load_taxonomy("tinyworld")
    expected = {"alcohol", "gambling", "romance", "violence", "politics", "medical", "insults", "privacy"}
    assert set(taxonomy.configurable_ids) == set(taxonomy.ids) == expected


def test_names_come_in_display_order() -> None:
    taxonomy = load_taxonomy("cosa")
    assert taxonomy.names(["privacy", "violence"]) == ("Violence", "Privacy Violations")


def test_there_are_ten_configs_for_tinyworld_and_five_for_the_paper() -> None:
    tinyworld, cosa = load_safety_configs("tinyworld"), load_safety_configs("cosa")
    assert len(tinyworld) >= 10
    assert len(cosa) >= 5
    assert tinyworld["everything-allowed"].allowed == frozenset(load_taxonomy("tinyworld").ids)
    assert tinyworld["nothing-allowed"].allowed == frozenset()


@pytest.mark.parametrize("taxonomy", TAXONOMY_IDS)
def test_every_config_belongs_to_its_folder_and_differs_from_the_others(taxonomy: str) -> None:
    configs = load_safety_configs(taxonomy)
    assert {config.taxonomy for config in configs.values()} == {taxonomy}
    assert len({config.content_hash for config in configs.values()}) == len(configs)
    assert len({config.title for config in configs.values()}) == len(configs)


def test_the_four_profiles_are_there() -> None:
    assert PROFILE_IDS == ["llama-8b", "remote", "small-cpu", "tinyworld"]


@pytest.mark.parametrize("name", PROFILE_IDS)
def test_every_profile_loads_with_a_config_and_demos_that_exist(name: str) -> None:
    profile = load_profile(name, ENVIRONMENT)
    assert profile.id == name
    assert profile.default_config is not None
    config = find_safety_config(profile.default_config, profile.taxonomy)
    assert {"base", "ica", "ica-demos"} <= {arm.id for arm in profile.arms}
    for arm in profile.arms:
        assert arm.messages(config, [], "Hello")[-1] == {"role": "user", "content": "Hello"}


@pytest.mark.parametrize("name", sorted(file.stem for file in DEMOS.glob("*.yaml")))
def test_every_set_of_demos_has_five_pairs(name: str) -> None:
    roles = [message["role"] for message in load_demos(name)]
    assert roles == ["user", "assistant"] * 5


def test_tinyworlds_demos_use_the_worlds_own_words() -> None:
    world = load_world()
    known = {line for topic in world.topics for lines in topic.sentences.values() for line in lines}
    known |= set(world.replies["outside"])
    for kind in ("refusals", "partial"):
        known |= {
            line.replace("{subject}", subject) for line in world.replies[kind] for subject in world.subjects.values()
        }
    known |= {line.replace("{domain}", domain) for line in world.replies["offers"] for domain in world.safe_domains}
    for message in load_demos("tinyworld")[1::2]:
        rest = message["content"]
        for line in sorted(known, key=len, reverse=True):
            rest = rest.replace(line, "")
        assert rest.strip() == ""


def test_tinyworlds_demos_obey_the_config_that_they_speak_for() -> None:
    config, demos = a_config(), load_demos("tinyworld")
    judge = TinyworldJudge()
    verdicts = [judge.verdict(config, demos[i]["content"], demos[i + 1]["content"]) for i in range(0, 8, 2)]
    assert [verdict.safe for verdict in verdicts] == [True] * 4
    refused, partial, sensitive, everyday = (verdict.rating for verdict in verdicts)
    assert (refused, sensitive, everyday) == (0, 5, 5)
    assert 0 < partial < 5


# profiles and the environment


def test_tinyworld_serves_three_arms_from_one_server() -> None:
    profile = load_profile("tinyworld", {})
    assert profile.page_arms == ("base", "ica", "cosalign")
    assert {arm.server for arm in profile.arms} == {"main"}
    assert profile.arm("base").model == profile.arm("ica").model == profile.server("main").served_name
    assert profile.arm("cosalign").model in profile.server("main").adapters
    assert profile.judge == JudgeChoice(kind="tinyworld")


def test_small_cpu_shows_cosalign_as_soon_as_an_adapter_is_named() -> None:
    without, named = load_profile("small-cpu", {}), load_profile("small-cpu", {"COSA_ADAPTER": "me/adapter"})
    assert without.page_arms == ("base", "ica", "ica-demos")
    assert without.server("main").adapters == {}
    assert named.page_arms == ("base", "ica", "cosalign")
    assert named.server("main").adapters == {"cosalign": "me/adapter"}


def test_small_cpu_takes_another_model_and_revision() -> None:
    server = load_profile("small-cpu", {"COSA_MODEL": "me/model", "COSA_MODEL_REVISION": "abc"}).server("main")
    assert (server.model, server.revision) == ("me/model", "abc")
    assert load_profile("small-cpu", {}).server("main").revision == "main"


def test_remote_starts_no_server_and_leaves_out_the_arm_without_a_model() -> None:
    profile = load_profile("remote", ENVIRONMENT)
    assert not any(server.is_local for server in profile.servers)
    assert profile.page_arms == ("base", "ica", "ica-demos")
    with_cosalign = load_profile("remote", {**ENVIRONMENT, "COSA_COSALIGN_MODEL": "aligned"})
    assert with_cosalign.page_arms == ("base", "ica", "cosalign")


@pytest.mark.parametrize(("name", "model"), [("small-cpu", "base"), ("llama-8b", "base"), ("remote", "some-model")])
def test_the_model_judges_itself_until_another_judge_is_named(name: str, model: str) -> None:
    assert load_profile(name, ENVIRONMENT).judge == JudgeChoice(kind="llm", server="main", model=model)
    elsewhere = {"COSA_API_KEY": "sk-main", "COSA_JUDGE_BASE_URL": "http://127.0.0.1:8/v1", "COSA_JUDGE_MODEL": "wise"}
    profile = load_profile(name, {**ENVIRONMENT, **elsewhere})
    assert profile.judge == JudgeChoice(kind="llm", server="judge", model="wise")
    assert profile.server("judge").base_url == "http://127.0.0.1:8/v1"
    assert profile.server("judge").api_key == "EMPTY"


def test_an_api_key_is_used_and_never_shown() -> None:
    server = load_profile("remote", {**ENVIRONMENT, "COSA_API_KEY": "sk-secret"}).server("main")
    assert server.api_key == "sk-secret"
    assert "sk-secret" not in repr(server)


def test_a_variable_that_must_be_set_is_named() -> None:
    with pytest.raises(PresetError, match=r"remote\.yaml.*COSA_BASE_URL is not set; export COSA_BASE_URL="):
        load_profile("remote", {})


def test_the_environment_is_filled_in_as_a_shell_does(tmp_path: Path) -> None:
    text = "at ${PLACE} by ${WHO:-${PLACE}}${LOUD:+!} for ${NOTHING:-}$5 {braces}"
    path = tmp_path / "p.yaml"
    path.write_text((PROFILES / "tinyworld.yaml").read_text().replace("title: tinyworld", f"title: '{text}'"))
    assert load_profile(path, {"PLACE": "sea"}).title == "at sea by sea for $5 {braces}"
    assert load_profile(path, {"PLACE": "sea", "WHO": "${PLACE}", "LOUD": "1"}).title == (
        "at sea by ${PLACE}! for $5 {braces}"
    )


def test_an_arm_or_profile_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(PresetError, match="has no arm 'none'; it has base, ica"):
        load_profile("tinyworld", {}).arm("none")
    with pytest.raises(PresetError, match="no profile 'big'; there are llama-8b, remote"):
        load_profile("big")


@pytest.mark.parametrize(
    ("name", "is_folder"),
    [
        ("models/not-there", True),
        ("./here", True),
        ("../here", True),
        ("~/here", True),
        ("/abs/olute", True),
        ("presets", True),
        ("runs/mistyped/dpo", True),
        ("dpo/", True),
        ("Qwen/Qwen2.5-0.5B-Instruct", False),
        ("gpt2", False),
    ],
)
def test_a_model_name_is_a_folder_or_a_hub_id(name: str, is_folder: bool) -> None:
    assert (model_folder(name) is not None) == is_folder


def test_a_folder_is_found_from_the_repository_from_home_and_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert model_folder("models/mine") == PROFILES.parent.parent / "models" / "mine"
    assert model_folder("~/mine") == Path("/home/someone/mine")
    assert model_folder("/srv/mine") == Path("/srv/mine")


# configs


def test_the_system_prompt_holds_the_configs_text_as_it_stands() -> None:
    config = a_config(text="  Keep {text} and {braces}.\n")
    assert render_system_prompt(config) == "Follow this safety config in every answer.\n\nKeep {text} and {braces}."
    assert render_system_prompt(config) == system_prompt_text(config.text)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param({"id": "other"}, True, id="id"),
        pytest.param({"title": "Other"}, True, id="title"),
        pytest.param({"source": "other"}, True, id="source"),
        pytest.param({"text": "Talk about wine."}, False, id="text"),
        pytest.param({"language": "de"}, False, id="language"),
        pytest.param({"allowed": frozenset()}, False, id="allowed"),
        pytest.param({"allowed": None}, False, id="free-text"),
    ],
)
def test_the_content_hash_follows_what_decides_behaviour(change: dict, same: bool) -> None:
    assert (a_config(**change).content_hash == a_config().content_hash) == same


def test_the_content_hash_is_stable_between_processes_and_order() -> None:
    one = a_config(allowed=["alcohol", "gambling"])
    assert one.content_hash == a_config(allowed=["gambling", "alcohol"]).content_hash
    assert one.content_hash == "f01136ba4ddfb42246ebc25258da5e1d11f9e6215e58bc8c384fb2234561799a"


def test_a_config_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_config().text = "Anything goes."  # type: ignore[misc]


@pytest.mark.parametrize(
    ("risks", "allowed", "expected"),
    [
        ({"a"}, {"a", "b"}, "allowed"),
        (set(), set(), "allowed"),
        ({"a", "b"}, {"a"}, "partial"),
        ({"a"}, {"b"}, "disallowed"),
        ({"a"}, set(), "disallowed"),
    ],
)
def test_a_prompts_situation_is_subset_overlap_or_disjoint(risks: set, allowed: set, expected: str) -> None:
    assert situation(frozenset(risks), frozenset(allowed)) == expected


def test_a_config_is_found_by_id_by_yaml_file_and_by_text_file(tmp_path: Path) -> None:
    assert find_safety_config("harbour-bar", "tinyworld").title == "Harbour bar"
    ours = safety_config.SAFETY_CONFIGS / "tinyworld" / "casino.yaml"
    assert find_safety_config(str(ours), "tinyworld").id == "casino"
    (tmp_path / "note.txt").write_text("Only talk about tea.")
    config = find_safety_config(str(tmp_path / "note.txt"), "tinyworld")
    assert (config.text, config.allowed, config.taxonomy) == ("Only talk about tea.", None, "tinyworld")
    with pytest.raises(PresetError, match="no safety config 'pub'.*harbour-bar"):
        find_safety_config("pub", "tinyworld")


# arms


def test_an_arm_sends_config_demos_history_and_prompt_in_this_order() -> None:
    arm = Arm(id="ica-demos", title="ICA + demos", server="main", model="base", demos="tinyworld")
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    messages = arm.messages(a_config(), history, "What is poker?")  # type: ignore[arg-type]
    assert messages[0] == {"role": "system", "content": render_system_prompt(a_config())}
    assert messages[1:11] == load_demos("tinyworld")
    assert messages[11:13] == history
    assert messages[13:] == [{"role": "user", "content": "What is poker?"}]


def test_the_base_arm_never_sees_the_config() -> None:
    arm = Arm(id="base", title="Base", server="main", model="base", shows_config=False)
    assert arm.messages(a_config(), [], "Hi") == [{"role": "user", "content": "Hi"}]


# accidents: each row is a file that somebody broke, and the words that must name what is wrong with it

CONFIG = "id: a\ntitle: A\ntext: Some text.\ntaxonomy: tinyworld\nallowed: [alcohol]\n"
TAXONOMY = "id: a\ntitle: A\nsource: us\ncategories:\n  - {id: x, name: X, definition: An X.}\n"
PROFILE = """\
id: a
title: A
description: a test
taxonomy: tinyworld
servers:
  - {id: main, model: models/a}
arms:
  - {id: base, title: Base, server: main, model: base}
judge: {kind: tinyworld}
"""

ACCIDENTS = [
    pytest.param(load_safety_config, "", "holds a NoneType; a mapping", id="empty-file"),
    pytest.param(load_safety_config, "- a\n- b\n", "holds a list; a mapping", id="list"),
    pytest.param(load_safety_config, "a: [1\n", "is not valid YAML", id="not-yaml"),
    pytest.param(load_safety_config, b"text: \xff\xfe", "cannot be read", id="not-utf8"),
    pytest.param(load_safety_config, CONFIG + "allow: []\n", "allow: is not a field", id="config-unknown-field"),
    pytest.param(load_safety_config, CONFIG.replace("text: Some text.\n", ""), "text: is missing", id="config-no-text"),
    pytest.param(load_safety_config, CONFIG.replace("Some text.", "' '"), "text: is ' '; some text", id="config-blank"),
    pytest.param(load_safety_config, CONFIG.replace("Some", "x" * MAX_TEXT), "text: has 8006 char", id="config-long"),
    pytest.param(load_safety_config, CONFIG.replace("id: a", "id: A bar"), "id: is 'A bar'; an id has", id="config-id"),
    pytest.param(load_safety_config, CONFIG + "language: no\n", "language: is False; a value of", id="config-language"),
    pytest.param(
        load_safety_config, CONFIG.replace("[alcohol]", "alcohol"), "allowed: is 'alcohol'", id="config-string"
    ),
    pytest.param(
        load_safety_config, CONFIG.replace("alcohol", "beer"), "allowed: 'beer' cannot be al", id="config-beer"
    ),
    pytest.param(
        load_safety_config,
        CONFIG.replace("tinyworld", "cosa").replace("alcohol", "other"),
        "allowed: 'other' cannot be allowed",
        id="config-allows-other-harms",
    ),
    pytest.param(load_taxonomy, TAXONOMY.replace("id: x", "id: X"), "categories[0].id: is 'X'", id="taxonomy-id"),
    pytest.param(load_taxonomy, TAXONOMY.split("  -")[0], "categories: is empty", id="taxonomy-empty"),
    pytest.param(load_taxonomy, TAXONOMY + "  - {id: x, name: Y, definition: Y}\n", "the id 'x' stands", id="twice"),
    pytest.param(
        load_taxonomy, TAXONOMY.replace(", definition: An X.", ""), "[0].definition: is mis", id="no-definition"
    ),
    pytest.param(
        load_profile, PROFILE.replace("model: base}", "model: big}"), "model 'big'; server", id="unserved-model"
    ),
    pytest.param(load_profile, PROFILE.replace("server: main", "server: gpu"), "servers: 'gpu' is ask", id="no-server"),
    pytest.param(load_profile, PROFILE.replace("kind: tinyworld", "kind: me"), "judge.kind: is 'me'", id="judge-kind"),
    pytest.param(
        load_profile, PROFILE.replace("kind: tinyworld", "kind: llm"), "judge.model: is missing", id="judge-bare"
    ),
    pytest.param(load_profile, PROFILE + "sampling: {top_p: 0}\n", "sampling.top_p: is 0; it lies", id="sampling"),
    pytest.param(load_profile, PROFILE + "sampling: {temperature: hot}\n", "sampling.temperature: is 'hot'", id="hot"),
    pytest.param(load_profile, PROFILE + "examples: Hello\n", "examples: is 'Hello'", id="examples-string"),
    pytest.param(
        load_profile, PROFILE.replace("models/a", "m, adapters: [x]"), "servers[0].adapters: is", id="adapters"
    ),
    pytest.param(
        load_profile, PROFILE.replace("models/a", "m, max_model_len: big"), "max_model_len: is 'big'", id="len"
    ),
    pytest.param(load_profile, PROFILE.replace("arms:\n", "arms: 5\nexamples:\n"), "arms: is a int; a list", id="arms"),
    pytest.param(
        load_profile, PROFILE.replace("taxonomy: tinyworld", "taxonomy: no-such"), "there is no", id="p-taxon"
    ),
    pytest.param(load_safety_config, CONFIG.replace("tinyworld", "no-such"), "no taxonomy 'no-such'", id="c-taxonomy"),
    pytest.param(load_taxonomy, TAXONOMY.split("\n  -")[0] + " 5\n", "categories: is a int; a list", id="categories"),
    pytest.param(load_profile, PROFILE + "sampling: {topp: 1}\n", "sampling.topp: is not a field", id="sampling-field"),
    pytest.param(
        load_profile, PROFILE.replace("model: models/a", "port: 1"), "servers[0].port: is not a f", id="server-f"
    ),
    pytest.param(load_profile, PROFILE.replace(", model: models/a", ""), "at least one of them", id="server-bare"),
    pytest.param(load_profile, PROFILE.replace("model: base", "model: ''"), "arms: is empty", id="no-arm-left"),
    pytest.param(
        load_profile,
        PROFILE.replace("model: base}", "model: base, shows_config: false, demos: cosa}"),
        "arms[0].demos: are given though shows_config",
        id="demos-without-config",
    ),
]


ACCIDENTS += [
    pytest.param(load_profile, PROFILE + "page_arms: [base, ica]\n", "page_arms: 'ica' is no arm", id="page-arm"),
    pytest.param(load_profile, PROFILE + "page_arms: base\n", "page_arms: is 'base'; a value", id="page-arm-string"),
    pytest.param(
        load_profile, PROFILE.replace("model: base}", "model: base, filter: gpt}"), "arms[0].filter: is 'gpt'", id="f"
    ),
    pytest.param(
        load_profile,
        PROFILE.replace("model: base}", "model: base, filter: judge}"),
        "arms[0].id: is 'base'; it ends in '-oracle'",
        id="bound-without-its-mark",
    ),
    pytest.param(
        load_profile,
        PROFILE.replace("id: base,", "id: base-oracle,"),
        "arms[0].id: is 'base-oracle'; it ends in",
        id="mark-without-a-bound",
    ),
    pytest.param(
        load_profile,
        PROFILE.replace("model: base}", "model: base, unreadable_passes: true}"),
        "arms[0].unreadable_passes: is true though",
        id="unreadable-passes",
    ),
    pytest.param(
        load_profile,
        PROFILE.replace("model: base}", "model: base, best_of: 4}"),
        "arms[0].best_of: is 4 though there is no filter",
        id="best-of-without-a-filter",
    ),
    pytest.param(
        load_profile,
        PROFILE.replace("model: base}", "model: base, filter: self, best_of: 0}"),
        "arms[0].best_of: is 0; at least one response",
        id="best-of-none",
    ),
    pytest.param(
        load_profile,
        PROFILE.replace("model: base}", "model: base, filter: self}") + "page_arms: [base]\n",
        "page_arms: 'base' has a filter",
        id="filter-on-the-page",
    ),
    pytest.param(load_profile, PROFILE + "default_config: pub\n", "default_config: is 'pub'; there are", id="default"),
    pytest.param(
        load_profile, PROFILE.replace("model: base}", "model: base, demos: gone}"), "arms: 'base' has no demos", id="d"
    ),
]


@pytest.mark.parametrize(("load", "content", "words"), ACCIDENTS)
def test_a_broken_file_names_file_field_and_reason(
    tmp_path: Path, load: Callable[[Path], object], content: str | bytes, words: str
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PresetError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("demos: []", "demos: is empty", id="none"),
        pytest.param("demos: [{user: Hi}]", "demos[0].assistant: is None", id="no-answer"),
        pytest.param("demos: [Hi]", "demos[0].user: is None", id="no-mapping"),
    ],
)
def test_broken_demos_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: str) -> None:
    monkeypatch.setattr("presets.arm.DEMOS", tmp_path)
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(PresetError) as caught:
        load_demos("mine")
    assert str(tmp_path / "mine.yaml") in str(caught.value)
    assert words in str(caught.value)


def test_a_page_arm_that_the_environment_leaves_out_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    optional = '  - {id: ica, title: ICA, server: main, model: "${COSA_ICA:-}"}\njudge:'
    path.write_text(PROFILE.replace("judge:", optional) + "page_arms: [ica, base]\n")
    assert load_profile(path, {}).page_arms == ("base",)
    assert load_profile(path, {"COSA_ICA": "base"}).page_arms == ("ica", "base")


def test_other_demos_have_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert demos_hash("tinyworld") == demos_hash("tinyworld") != demos_hash("cosa")
    shipped = demos_hash("tinyworld")
    text = (DEMOS / "tinyworld.yaml").read_text()
    monkeypatch.setattr("presets.arm.DEMOS", tmp_path)
    (tmp_path / "tinyworld.yaml").write_text("# a remark changes nothing\n" + text)
    assert demos_hash("tinyworld") == shipped
    (tmp_path / "tinyworld.yaml").write_text(text + "  - {user: More, assistant: No more.}\n")
    assert demos_hash("tinyworld") != shipped


def test_a_config_file_must_be_called_as_its_id(tmp_path: Path) -> None:
    (tmp_path / "tinyworld").mkdir()
    (tmp_path / "tinyworld" / "bar.yaml").write_text(CONFIG)
    with pytest.raises(PresetError, match="id: is 'a'; it must equal the file's name, 'bar'"):
        load_safety_configs("tinyworld", tmp_path)


@pytest.mark.parametrize("changes", [{"temperature": -0.1}, {"temperature": 2.1}, {"top_p": 1.5}, {"max_tokens": 0}])
def test_sampling_outside_its_range_is_refused(changes: dict) -> None:
    with pytest.raises(FieldError, match=next(iter(changes))):
        Sampling(**changes)


def test_a_profile_keeps_ids_apart() -> None:
    arm = Arm(id="base", title="Base", server="main", model="base")
    with pytest.raises(FieldError, match="arms: an id stands there twice: base, base"):
        Profile("a", "A", "", "tinyworld", (Server(id="main", model="m"),), (arm, arm), JudgeChoice("tinyworld"))


def test_importing_presets_does_no_work() -> None:
    code = "import sys, presets; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
