"""tinyworld's words keep their form, stay apart between training and test, and mean what their place says."""

import random
import re

import pytest

from evaluation.tinyworld_judge import CUE
from presets.tinyworld import KINDS, load_configs_by, load_words, load_world
from presets.tinyworld.compose import compose_config, compose_prompt, held_out_sets
from presets.tinyworld.keywords import keyword
from presets.tinyworld.patterns import variants

WORLD = load_world()
SENTENCES = [(topic, line) for topic in WORLD.topics for kind in KINDS for line in topic.sentences[kind]]


def normalised(text: str) -> str:
    return re.sub(r"[^a-z0-9{}]+", " ", text.lower()).strip()


def all_normalised(lines) -> set[str]:
    return {normalised(variant) for line in lines for variant in variants(line)}


def test_there_are_eight_risk_categories_and_at_least_eight_safe_domains():
    assert len(WORLD.risks) == 8
    assert len(WORLD.safe_domains) >= 8
    assert all(len(WORLD.in_domain(risk)) >= 10 for risk in WORLD.risks)


def test_topic_names_are_unique():
    names = [topic.name for topic in WORLD.topics]
    assert len(set(names)) == len(names)


def test_no_sentence_is_said_twice():
    lines = [normalised(line) for _, line in SENTENCES]
    assert len(set(lines)) == len(lines)


def test_no_sentence_names_another_topic():
    for topic, line in SENTENCES:
        for other in (each for each in WORLD.topics if each.name.lower() in line.lower()):
            apart = other.name.lower() not in topic.name.lower()
            named = re.search(rf"(?<![a-z]){re.escape(other.name.lower())}(?![a-z])", line.lower())
            assert not (other is not topic and apart and named), f"{topic.name}: {line!r} names {other.name!r}"


def test_knowledge_never_sounds_like_a_refusal_and_refusals_always_do():
    assert [line for _, line in SENTENCES if CUE.search(line)] == []
    declining = [key for key in WORLD.replies if key.startswith(("refusals", "partial", "offers"))]
    assert len(declining) == 7
    for key in declining:
        for reply in (variant for line in WORLD.replies[key] for variant in variants(line)):
            for sentence in re.split(r"(?<=[.!?])\s+", reply):
                assert CUE.search(sentence), f"{key}: {sentence!r} has no cue"


@pytest.mark.parametrize("kind", [*KINDS, "two", "greeting", "thanks", "identity", "outside"])
def test_held_out_prompts_are_not_training_prompts(kind):
    train = all_normalised(load_words("train").prompts[kind])
    assert not train & all_normalised(load_words("heldout").prompts[kind])


def test_held_out_phrasings_are_not_training_phrasings():
    train, heldout = load_words("train"), load_words("heldout")
    for category in WORLD.risks:
        for part in ("names", "allow", "deny"):
            known = all_normalised(getattr(train.phrases[category], part))
            assert not known & all_normalised(getattr(heldout.phrases[category], part))
    for key, lines in heldout.pieces.items():
        assert not all_normalised(train.pieces[key]) & all_normalised(lines), key


def test_one_hands_configs_come_with_everybodys_prompts():
    one, together = load_configs_by("first"), load_words("train")
    assert one.prompts == together.prompts
    for category in WORLD.risks:
        assert 0 < len(one.phrases[category].names) < len(together.phrases[category].names)
    assert {key: set(lines) < set(together.pieces[key]) for key, lines in one.pieces.items()} == dict.fromkeys(
        together.pieces, True
    )


def test_no_phrase_names_two_categories():
    owner: dict[str, str] = {}
    for edition in ("train", "heldout"):
        for category, phrases in load_words(edition).phrases.items():
            for line in (*phrases.names, *phrases.allow, *phrases.deny):
                assert owner.setdefault(normalised(line), category) == category, line


@pytest.mark.parametrize("edition", ["train", "heldout"])
def test_a_composed_config_allows_what_was_asked_and_quotes_its_own_words(edition):
    rng, words = random.Random(3), load_words(edition)
    for _ in range(400):
        allowed = frozenset(category for category in WORLD.risks if rng.random() < 0.5)
        config = compose_config(words, rng, WORLD.risks, allowed)
        assert config.allowed == allowed
        assert "{" not in config.text
        for rule in config.rules.values():
            assert rule.word == "nothing" or rule.word in config.text


def test_most_configs_both_allow_and_forbid_by_name():
    rng, words = random.Random(6), load_words("train")
    mixed = every = 0
    for _ in range(400):
        allowed = frozenset(rng.sample(WORLD.risks, rng.randint(1, 7)))
        rules = compose_config(words, rng, WORLD.risks, allowed).rules.values()
        named = [rule for rule in rules if rule.word != "nothing"]
        mixed += len({rule.allowed for rule in named}) == 2
        every += len(named) == len(WORLD.risks)
    assert mixed > 200
    assert every > 100


@pytest.mark.parametrize(
    ("category", "phrase", "word"),
    [
        ("gambling", "games of chance", "chance"),
        ("alcohol", "Keep beer, wine and spirits out of your answers.", "wine"),
        ("privacy", "Other people's secrets", "secrets"),
    ],
)
def test_a_keyword_is_the_word_that_tells_the_category(category, phrase, word):
    assert keyword(category, phrase) == word


def test_almost_every_keyword_belongs_to_one_category_alone():
    owners: dict[str, set[str]] = {}
    for category, phrases in load_words("train").phrases.items():
        for line in (*phrases.names, *phrases.allow, *phrases.deny):
            owners.setdefault(keyword(category, line).lower(), set()).add(category)
    shared = {word for word, categories in owners.items() if len(categories) > 1}
    assert len(shared) < 0.05 * len(owners), sorted(shared)


def test_a_composed_prompt_names_its_topics():
    rng, words = random.Random(4), load_words("heldout")
    for _ in range(200):
        topics = rng.sample(WORLD.topics, rng.choice((1, 2)))
        prompt = compose_prompt(words, rng, topics)
        assert all(topic.name in prompt.text for topic in topics)
        assert (prompt.kind == "two") == (len(topics) == 2)


def test_the_same_seed_composes_the_same_config():
    def draw(seed):
        return compose_config(load_words("train"), random.Random(seed), WORLD.risks, frozenset({"alcohol"}))

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_a_fifth_of_the_sets_is_held_out():
    held_out = held_out_sets(WORLD.risks)
    assert len(held_out) == 47  # of 238 sets of two to six categories
    assert all(2 <= len(chosen) <= 6 for chosen in held_out)


def test_a_thing_has_a_name_of_its_own_and_one_domain():
    names = [thing.name.lower() for things in WORLD.things.values() for thing in things]
    assert len(set(names)) == len(names)
    for topic in WORLD.topics:
        inside = rf"(?<![a-z]){re.escape(topic.name.lower())}(?![a-z])"
        assert not [name for name in names if re.search(inside, name)], topic.name


def test_what_is_said_of_a_thing_holds_no_other_thing_of_its_domain():
    for domain, lines in WORLD.said.items():
        said = " ".join(lines).lower()
        assert not [
            t.name for t in WORLD.things[domain] if re.search(rf"(?<![a-z]){re.escape(t.name.lower())}(?![a-z])", said)
        ]
