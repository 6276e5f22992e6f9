"""Pre-train tinyworld's base model from random weights, and watch binding appear.

Binding is the skill that alignment needs: to say of a prompt which words of the config decide, and how. It is measured
during training on configs with held-out category combinations, in training phrasings and in held-out ones, and written
to `binding.jsonl` beside the weights. Resumable: a checkpoint is kept beside the model until it is finished.

    python -m align tinyworld-base --recipe align/recipes/tinyworld-base.yaml
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.tinyworld import chat_format
from align.tinyworld.binding import Binding, measure_binding, questions
from align.tinyworld.documents import KINDS_OF_DOCUMENT, Document, Writer
from presets.tinyworld import load_words, load_world
from presets.tinyworld.compose import held_out_sets

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

MICRO_BATCHES = 8
"""Parts of one optimiser step: small tensors are reused by the allocator, large ones go back to the system each time."""
IGNORED = -100
"""The label of tokens that the loss leaves out (PyTorch's cross-entropy)."""


@dataclass(frozen=True)
class Stage:
    """A stretch of the run, `until` a step, and the share of each kind of document in it."""

    until: int = 10**9
    reading: float = 0.45
    recall: float = 0.12
    meaning: float = 0.13
    chat: float = 0.15
    book: float = 0.10
    small_talk: float = 0.05

    @property
    def mix(self) -> dict[str, float]:
        """Kinds of document and their shares."""
        return {kind: getattr(self, kind) for kind in KINDS_OF_DOCUMENT}


@dataclass(frozen=True)
class BaseRecipe:
    """A pre-training run. `tokens` counts the tokens read, `step_tokens` how many of them make one optimiser step."""

    out: str
    seed: int = 0
    hidden_size: int = 192
    intermediate_size: int = 512
    layers: int = 4
    heads: int = 6
    tokens: int = 24_000_000
    step_tokens: int = 8_192
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    decay: float = 0.4
    weight_decay: float = 0.1
    measure_every: int = 250
    questions: int = 96
    threads: int = 2
    tokenizer_documents: int = 6_000
    stages: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        stages = tuple(Stage(**stage) for stage in self.stages) or (Stage(),)
        object.__setattr__(self, "stages", stages)

    def stage(self, step: int) -> Stage:
        """The stage that a step belongs to: the first that ends after it, or the last one."""
        return next((stage for stage in self.stages if step < stage.until), self.stages[-1])

    @property
    def steps(self) -> int:
        """Optimiser steps in the whole run."""
        return max(1, self.tokens // self.step_tokens)

    def rate(self, step: int) -> float:
        """The learning rate at a step: linear warm-up, constant, then linear to zero over the last `decay` of the run."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        left = (self.steps - step) / (self.decay * self.steps)
        return self.learning_rate * min(warm, left, 1.0)


def pretrain(recipe: BaseRecipe) -> Path:
    """Train, save the model and its tokenizer to `recipe.out`, and return that folder."""
    import torch
    from tqdm import tqdm

    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out = Path(recipe.out)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(recipe, out)
    model = _new_model(recipe, tokenizer)
    optimiser = _new_optimiser(model, recipe)
    first = _resume(out, model, optimiser)
    writer = _writer(recipe.seed + 1_000 * (first + 1))
    progress = tqdm(range(first, recipe.steps), initial=first, total=recipe.steps, desc="base", mininterval=5)
    stage, batches = None, iter(())
    for step in progress:
        if stage is not recipe.stage(step):
            stage = recipe.stage(step)
            batches = _batches(writer.documents(stage.mix), tokenizer, recipe.step_tokens)
        loss = _step(model, optimiser, next(batches), recipe.rate(step))
        if step % 10 == 0:
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if (step + 1) % recipe.measure_every == 0 or step + 1 == recipe.steps:
            _record(out, model, tokenizer, recipe, step + 1, loss)
            _checkpoint(out, model, optimiser, step + 1)
    model.to(torch.float32).save_pretrained(out)
    (out / "checkpoint.pt").unlink()
    return out


def _writer(seed: int) -> Writer:
    world = load_world()
    return Writer(world, load_words("train"), seed, held_out_sets(world.risks))


def _tokenizer(recipe: BaseRecipe, out: Path) -> PreTrainedTokenizerFast:
    """The run's tokenizer: the one that an interrupted run has saved, or a new one fitted to the first stage's texts."""
    from transformers import AutoTokenizer

    if not (out / "tokenizer.json").exists():
        documents = _writer(recipe.seed).documents(recipe.stage(0).mix)
        drawn = itertools.islice(documents, recipe.tokenizer_documents)
        chat_format.train_tokenizer(
            "".join(segment.text for segment in document) for document in drawn
        ).save_pretrained(out)
    return AutoTokenizer.from_pretrained(out)


def _new_model(recipe: BaseRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=chat_format.MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # on a CPU, at these lengths, faster than the fused kernel
    return model


def _new_optimiser(model: LlamaForCausalLM, recipe: BaseRecipe) -> torch.optim.Optimizer:
    import torch

    matrices = [weight for weight in model.parameters() if weight.dim() >= 2]
    vectors = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95))


def _encode(document: Document, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Token ids and labels of a document; segments meet only at special tokens, so they may be encoded apart."""
    ids: list[int] = []
    labels: list[int] = []
    for segment, row in zip(document, tokenizer([part.text for part in document])["input_ids"], strict=True):
        ids += row
        labels += row if segment.trained else [IGNORED] * len(row)
    return ids, labels


def _batches(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, step_tokens: int
) -> Iterator[list[tuple[Any, Any]]]:
    """Steps of about `step_tokens` tokens, each a list of (ids, labels) of shape (rows, tokens), rows of like length.

    Padding stands on the right, where causal attention never lets a real token see it: no mask is needed.
    """
    order = random.Random(0)
    while True:
        rows = sorted((_encode(next(documents), tokenizer) for _ in range(512)), key=lambda row: len(row[0]))
        micro, current = [], []
        for row in rows:
            if current and len(row[0]) * (len(current) + 1) > step_tokens // MICRO_BATCHES:
                micro.append(_pad(current, tokenizer.pad_token_id))
                current = []
            current.append(row)
        order.shuffle(micro)
        for index in range(0, len(micro) - MICRO_BATCHES + 1, MICRO_BATCHES):
            yield micro[index : index + MICRO_BATCHES]


def _pad(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Any, Any]:
    import torch

    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in rows])
    return ids, labels


def _step(model: Any, optimiser: Any, batch: list[tuple[Any, Any]], rate: float) -> float:
    """One optimiser step over the micro-batches; returns the mean loss per trained token."""
    import torch

    trained = sum(int((labels[:, 1:] != IGNORED).sum()) for _, labels in batch)
    total = 0.0
    for ids, labels in batch:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            chosen = labels[:, 1:] != IGNORED
            logits = model.lm_head(hidden[chosen])
        loss = torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][chosen], reduction="sum") / trained
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    if not math.isfinite(total):
        raise FloatingPointError(f"the loss is {total}; lower the learning rate (it is {rate:g})")
    return total


def _record(out: Path, model: Any, tokenizer: Any, recipe: BaseRecipe, step: int, loss: float) -> None:
    """Append one point of the binding curve to `binding.jsonl`."""
    point: dict[str, Any] = {"step": step, "tokens": step * recipe.step_tokens, "loss": round(loss, 4)}
    for name, edition in (("seen", "train"), ("unseen", "heldout")):
        asked = questions(load_world(), load_words(edition), recipe.questions, seed=1)
        binding: Binding = measure_binding(model, tokenizer, asked)
        point[name] = binding.as_dict()
    with (out / "binding.jsonl").open("a") as file:
        file.write(json.dumps(point) + "\n")


def _checkpoint(out: Path, model: Any, optimiser: Any, step: int) -> None:
    import torch

    partial = out / "checkpoint.partial"
    torch.save({"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict()}, partial)
    partial.replace(out / "checkpoint.pt")


def _resume(out: Path, model: Any, optimiser: Any) -> int:
    """Load the checkpoint, if one is there; return the step to go on from."""
    import torch

    if not (out / "checkpoint.pt").exists():
        return 0
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
