"""The ready-made configs as a benchmark: each one asked about every category, by prompts that nobody trained on."""

from collections import Counter

from evaluation.benchmarks import load_benchmark
from evaluation.benchmarks.tinyworld_ready import PROMPTS
from presets.safety_config import load_safety_configs
from presets.tinyworld import load_words, load_world
from presets.tinyworld.patterns import variants

ITEMS = load_benchmark("tinyworld-ready")
CONFIGS = load_safety_configs("tinyworld")
RISKS = load_world().risks


def test_every_config_is_asked_about_every_category():
    situations = Counter((item.config.id, item.situation) for item in ITEMS)
    for config in CONFIGS.values():
        allowed = len(config.allowed)
        assert situations[config.id, "allowed"] == PROMPTS * allowed
        assert situations[config.id, "disallowed"] == PROMPTS * (len(RISKS) - allowed)


def test_the_oracle_answers_what_is_allowed_and_refuses_the_rest():
    for item in ITEMS:
        other = "always-answer" if item.situation == "allowed" else "always-refuse"
        assert item.references["oracle"] == item.references[other]


def test_no_longer_sentence_of_a_ready_made_config_is_a_training_phrase():
    words = load_words("train")
    lines = [line for pieces in words.pieces.values() for line in pieces]
    lines += [line for phrases in words.phrases.values() for line in (*phrases.allow, *phrases.deny)]
    trained = {variant.lower().strip(" .") for line in lines for variant in variants(line) if "{" not in variant}
    said = {part.lower().strip(" .\n") for config in CONFIGS.values() for part in config.text.split(". ")}
    assert not {part for part in trained & said if len(part.split()) > 6}
