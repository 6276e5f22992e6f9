"""The base model's optimiser and recipe: a step moves every weight, and the learning rate follows its schedule."""

import pytest
import torch

from align.tinyworld.chat_format import train_tokenizer
from align.tinyworld.pretrain import BaseRecipe, _batches, _new_model, _new_optimisers, _step, _writer
from presets.yaml_file import FieldError, PresetError


@pytest.fixture(scope="module")
def tokenizer():
    texts = ("".join(segment.text for segment in document) for document in drawn(400))
    return train_tokenizer(texts)


def drawn(count: int):
    documents = _writer(0).documents(BaseRecipe().stage(0).mix)
    return [next(documents) for _ in range(count)]


def test_one_step_moves_every_weight_and_keeps_the_loss_finite(tokenizer):
    recipe = BaseRecipe(hidden_size=64, intermediate_size=96, layers=2, heads=4, step_tokens=1_024)
    torch.manual_seed(0)
    model = _new_model(recipe, tokenizer)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    batch = next(_batches(iter(drawn(600)), tokenizer, recipe.step_tokens))
    assert 0 < _step(model, model.model, _new_optimisers(model, recipe), batch, 1.0) < 20
    still = [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]
    assert still == []


def test_the_learning_rate_warms_up_stays_and_falls_to_nothing():
    recipe = BaseRecipe(tokens=4_096_00, step_tokens=4_096, warmup_steps=10, decay=0.5)
    shares = [recipe.warmth(step) for step in range(recipe.steps)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[20] == shares[45] == 1.0
    assert 0 < shares[-1] < 0.05


@pytest.mark.parametrize("stages", [[{"untill": 3}], [{"reading": 1, "rest": 2}]])
def test_a_misspelt_stage_is_named(stages):
    with pytest.raises(FieldError, match="is no field of a stage"):
        BaseRecipe(stages=tuple(stages))


def test_a_stage_with_an_unknown_hand_is_refused_before_it_begins():
    with pytest.raises(PresetError, match="'nobody' is no hand"):
        BaseRecipe(stages=({"until": 5}, {"hand": "nobody"}))
