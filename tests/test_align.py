"""The whole way from nothing to an adapter, small: `python -m align all --smoke`, and what it must have done."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from align.__main__ import Steps, main
from align.recipe import load_recipe
from align.tinyworld.documents import Writer
from evaluation.response import Response
from evaluation.store import Store
from evaluation.vote import Vote
from presets.tinyworld import load_words, load_world
from presets.yaml_file import PresetError
from tests.test_store import ARMS, ask

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "align" / "recipes" / "tinyworld.yaml"
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "align", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """One smoke run in its own folder; the arguments that repeat it, and what it printed."""
    folder = tmp_path_factory.mktemp("smoke")
    places = ["--override", f"work={folder}/work", "--override", f"publish.out={folder}"]
    arguments = ["--recipe", str(RECIPE), "--smoke", *places]
    finished = run("all", *arguments)
    assert finished.returncode == 0, finished.stderr
    return folder, arguments, finished


def test_smoke_makes_a_base_a_tokenizer_and_an_adapter(smoke):
    folder, _, _ = smoke
    for name in (
        "base/model.safetensors",
        "base/tokenizer.json",
        "base/chat_template.jinja",
        "cosalign/adapter_config.json",
    ):
        assert (folder / name).is_file(), name


def test_publishing_again_leaves_the_model_cards_alone(smoke):
    folder, arguments, _ = smoke
    card = folder / "base" / "README.md"
    card.write_text("A card.")
    assert run("publish", *arguments, "--force").returncode == 0
    assert card.read_text() == "A card."


def test_sft_and_dpo_each_moved_the_adapter(smoke):
    from safetensors.torch import load_file

    folder, _, _ = smoke
    sft = load_file(folder / "work" / "sft" / "adapter_model.safetensors")
    dpo = load_file(folder / "work" / "dpo" / "adapter_model.safetensors")
    assert sft.keys() == dpo.keys()
    b_matrices = [key for key in sft if "lora_B" in key]
    assert all(sft[key].abs().sum() > 0 for key in b_matrices)
    assert any((sft[key] - dpo[key]).abs().max() > 0 for key in b_matrices)


def test_the_published_adapter_is_the_nearest_of_the_recipes_rank(smoke):
    import torch
    from safetensors.torch import load_file

    folder, _, _ = smoke
    trained, published = (
        load_file(place / "adapter_model.safetensors") for place in (folder / "work" / "dpo", folder / "cosalign")
    )
    config = json.loads((folder / "cosalign" / "adapter_config.json").read_text())
    assert config["r"] == 4
    for key in (key for key in trained if "lora_A" in key):
        pair = key.replace("lora_A", "lora_B")
        change = 64 / 8 * trained[pair] @ trained[key]  # alpha over rank, as the smoke recipe trains it
        left = (change - config["lora_alpha"] / 4 * published[pair] @ published[key]).norm()
        least = torch.linalg.svdvals(change)[4:].norm().item()  # no matrix of rank 4 is nearer (Eckart and Young)
        assert left.item() == pytest.approx(least, rel=1e-3), key
        assert published[key].shape[0] == 4


def test_sft_can_go_on_from_an_adapter(smoke, tmp_path, capsys):
    """With a learning rate of nothing what comes out is what it began with."""
    from safetensors.torch import load_file

    folder, arguments, _ = smoke
    work = tmp_path / "work"
    shutil.copytree(folder / "work" / "base", work / "base")
    shutil.copy(folder / "work" / "candidates.jsonl", work)
    before = folder / "work" / "sft"
    options = ["sft", *arguments, "--override", f"work={work}", "--override", "sft.learning_rate=0.0"]
    assert run(*options, "--override", f"start.adapter={before}").returncode == 0
    old, new = (load_file(place / "adapter_model.safetensors") for place in (before, work / "sft"))
    assert old.keys() == new.keys()
    assert all((old[key] == new[key]).all() for key in old)
    assert main([*options, "--override", f"start.adapter={tmp_path}/nowhere"]) == 2
    assert f"{tmp_path}/nowhere" in capsys.readouterr().err


def test_votes_become_pairs_on_which_dpo_goes_on(smoke, tmp_path, capsys):
    folder, arguments, _ = smoke
    with Store(tmp_path / "votes.db") as store:
        for number in range(4):
            conversation = store.begin_conversation(session_id="s", profile="tinyworld")
            turn = ask(store, conversation, prompt=f"Beer number {number}?")
            for arm, text in zip(ARMS, ("No.", "A lager.", "A stout."), strict=True):
                response = turn.response_ids[arm.arm_id]
                store.start_response(response)
                store.finish_response(response, "complete", Response(text, thinking="what beer: alcohol"))
            store.save_vote(Vote(f"v{number}", turn.id, "s", "best", "cosalign", ("base", "ica", "cosalign")))
    starts = {"work": tmp_path / "work", "start.base": folder / "base", "start.adapter": folder / "cosalign"}
    options = [*arguments, *(word for key, value in starts.items() for word in ("--override", f"{key}={value}"))]
    assert main(["votes", "--db", str(tmp_path / "votes.db"), *options]) == 0
    assert "8 pairs" in capsys.readouterr().out
    first = json.loads((tmp_path / "work" / "pairs.jsonl").read_text().splitlines()[0])
    assert first["chosen"][0]["content"] == "<think>what beer: alcohol</think>A stout."
    trained = run("dpo", *options, "--override", "dpo.pairs=0")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "work" / "dpo" / "adapter_model.safetensors").is_file()
    assert main(["base", *options]) == 2
    assert "take start.base out" in capsys.readouterr().err


def test_votes_of_no_store_are_none(tmp_path, capsys):
    options = ["--recipe", str(RECIPE), "--override", f"work={tmp_path}"]
    assert main(["votes", "--db", str(tmp_path / "none.db"), *options]) == 2
    assert "there is no database" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["votes", *options])


def test_binding_is_measured_on_seen_and_unseen_configs(smoke):
    folder, _, _ = smoke
    points = [json.loads(line) for line in (folder / "base" / "binding.jsonl").read_text().splitlines()]
    assert {"step", "tokens", "loss", "seen", "unseen"} <= points[-1].keys()
    assert points[-1]["unseen"].keys() == {"balanced", "flips", "category", "exact", "n"}


def test_a_second_run_finds_everything_done(smoke):
    folder, arguments, _ = smoke
    before = (folder / "cosalign" / "adapter_model.safetensors").stat().st_mtime_ns
    again = run("all", *arguments)
    assert again.returncode == 0
    assert again.stderr.count("is done") == 6
    assert (folder / "cosalign" / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_the_chat_template_writes_what_pretraining_wrote(smoke):
    from transformers import AutoTokenizer

    folder, _, _ = smoke
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    writer = Writer(load_world(), load_words("train"), 1)
    text = "".join(segment.text for segment in writer.reading())
    system, rest = text.removeprefix("<|system|> ").split("<|end|>", 1)
    user, rest = rest.removeprefix("<|user|> ").split("<|end|>", 1)
    assistant = rest.removeprefix("<|assistant|>").removesuffix("<|end|>")
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    asked = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    answered = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": assistant}], tokenize=False)
    assert answered == text
    assert answered.startswith(asked)


def test_interrupted_pretraining_goes_on_where_it_was(tmp_path):
    places = ["--override", f"work={tmp_path}", "--override", "base.measure_every=5"]
    command = [sys.executable, "-m", "align", "base", "--recipe", str(RECIPE), "--smoke", *places]
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "base" / "checkpoint.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "base" / "model.safetensors").exists()
    finished = run("base", "--recipe", str(RECIPE), "--smoke", *places)
    assert finished.returncode == 0, finished.stderr
    steps = [json.loads(line)["step"] for line in (tmp_path / "base" / "binding.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "a step was measured twice: the run began again instead of going on"
    assert (tmp_path / "base" / "model.safetensors").exists()
    assert not checkpoint.exists()


def test_a_recipe_is_laid_over_the_one_that_it_extends():
    small, large = (load_recipe(RECIPE.with_name(name)) for name in ("tinyworld.yaml", "tinyworld-gpu.yaml"))
    assert (large.base.hidden_size, large.base.layers) == (320, small.base.layers)
    assert large.base.questions == small.base.questions
    assert large.sft.learning_rate == small.sft.learning_rate
    assert large.work != small.work


@pytest.mark.parametrize(
    ("extends", "words"), [("nowhere.yaml", "is no file in"), ("middle.yaml", "extends another one")]
)
def test_a_recipe_that_extends_what_it_cannot_is_refused(tmp_path, extends, words):
    (tmp_path / "middle.yaml").write_text("extends: lowest.yaml")
    top = tmp_path / "top.yaml"
    top.write_text(f"extends: {extends}")
    with pytest.raises(PresetError, match=words):
        load_recipe(top)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("name: x\nwork: y\nsft: {rnak: 3}\n", ["sft.rnak", "rank"], id="misspelt key"),
        pytest.param("name: x\nwork: y\n", ["publish.out", "missing"], id="missing key"),
        pytest.param("name: x\nwork: y\nsft: {batch: 8, micro_batch: 3}\n", ["must divide batch, 8"], id="micro-batch"),
        pytest.param("name: [x\n", ["YAML"], id="broken YAML"),
        pytest.param(
            "name: x\nwork: y\nsft: {targets: [lm_head]}\n", ["sft.targets", "down_proj"], id="a strange module"
        ),
    ],
)
def test_a_broken_recipe_names_the_place_and_the_reason(tmp_path, text, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(PresetError) as error:
        load_recipe(path)
    assert all(word in str(error.value) for word in [*words, str(path)])


def test_a_step_without_its_input_says_what_to_run_first(tmp_path, capsys):
    assert main(["sft", "--recipe", str(RECIPE), "--smoke", "--override", f"work={tmp_path}"]) == 2
    assert "run the step before it" in capsys.readouterr().err


def test_ctrl_c_says_that_the_next_run_goes_on(tmp_path, capsys, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "do_base", interrupted)
    assert main(["base", "--recipe", str(RECIPE), "--smoke", "--override", f"work={tmp_path}"]) == 130
    assert capsys.readouterr().err == "align: stopped; the same command goes on from the last checkpoint\n"
