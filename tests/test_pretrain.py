"""The base model's optimiser and recipe: a step moves every weight, and the learning rate follows its schedule."""

import itertools

import pytest
import torch

from align.tinyworld.chat_format import train_tokenizer
from align.tinyworld.pretrain import BaseRecipe, _batches, _loader, _new_model, _new_optimisers, _step, _writer
from presets.yaml_file import PresetError


@pytest.fixture(scope="module")
def tokenizer():
    texts = ("".join(segment.text for segment in document) for document in drawn(400))
    return train_tokenizer(texts)


def drawn(count: int):
    stage = BaseRecipe().stage(0)
    documents = _writer(0, stage).documents(stage.mix)
    return [next(documents) for _ in range(count)]


def test_one_step_moves_every_weight_and_keeps_the_loss_finite(tokenizer):
    recipe = BaseRecipe(hidden_size=64, intermediate_size=96, layers=2, heads=4, step_tokens=1_024)
    torch.manual_seed(0)
    model = _new_model(recipe, tokenizer)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    batch = next(_batches(iter(drawn(600)), tokenizer, recipe))
    assert 0 < _step(model, model.model, _new_optimisers(model, recipe), batch, 1.0) < 20
    still = [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]
    assert still == []


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_a_step_has_its_micro_batches_and_no_more_tokens_than_asked_for(tokenizer, micro_batches):
    recipe = BaseRecipe(step_tokens=4_096, micro_batches=micro_batches)
    for step in itertools.islice(_batches(iter(drawn(1_600)), tokenizer, recipe), 20):
        assert len(step) == micro_batches
        assert all(ids.shape == labels.shape for ids, labels in step)
        assert sum(ids.numel() for ids, _ in step) <= recipe.step_tokens


@pytest.mark.parametrize("workers", [0, 2])
def test_texts_drawn_ahead_by_workers_are_the_same_each_time_and_differ_between_workers(tokenizer, workers):
    recipe = BaseRecipe(step_tokens=4_096, workers=workers)

    def steps():
        loader = _loader(recipe, tokenizer, recipe.stage(0), seed=3)
        return [[ids.tolist() for ids, _ in step] for step in itertools.islice(loader, 4)]

    first = steps()
    assert first == steps()
    assert len({str(step) for step in first}) == 4


def test_the_learning_rate_warms_up_stays_and_falls_to_nothing():
    recipe = BaseRecipe(tokens=4_096_00, step_tokens=4_096, warmup_steps=10, decay=0.5)
    shares = [recipe.warmth(step) for step in range(recipe.steps)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[20] == shares[45] == 1.0
    assert 0 < shares[-1] < 0.05


@pytest.mark.parametrize("stages", [[{"untill": 3}], [{"reading": 1, "rest": 2}]])
def test_a_misspelt_stage_is_named(stages):
    with pytest.raises(PresetError, match=r"stages\[0\]: \w+: is not a field"):
        BaseRecipe(stages=tuple(stages))


def test_a_stage_with_an_unknown_hand_is_refused_before_it_begins():
    with pytest.raises(PresetError, match="'nobody' is no hand"):
        BaseRecipe(stages=({"until": 5}, {"hand": "nobody"}))
