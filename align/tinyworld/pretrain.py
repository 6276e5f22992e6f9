"""Pre-train tinyworld's base model from random weights, and watch binding appear.

Binding is the skill that alignment needs: to say of a prompt which word of the config names its category, and what the
config says of it. It is measured during training on configs with held-out category combinations, in training phrasings
and in held-out ones, and written to `binding.jsonl` beside the weights. Resumable: a checkpoint is kept beside the model
until it is finished.

    python -m align base --recipe align/recipes/tinyworld.yaml
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.tinyworld import chat_format
from align.tinyworld.binding import Binding, flipped_questions, measure_binding, questions
from align.tinyworld.documents import FLIPS, KINDS_OF_DOCUMENT, Document, Writer
from presets import yaml_file
from presets.tinyworld import load_configs_by, load_words, load_world
from presets.tinyworld.compose import held_out_sets
from presets.yaml_file import FieldError

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

IGNORED = -100
"""The label of tokens that the loss leaves out (PyTorch's cross-entropy)."""


@dataclass(frozen=True)
class Stage:
    """A stretch of the run, `until` a step, and the share of each kind of document in it.

    `hand` names one of the training hands, if only that one's configs are to be met yet. `flips` is the share of configs in
    which one sentence alone decides a category.
    """

    until: int = 10**9
    hand: str = ""
    flips: float = FLIPS
    reading: float = 0.4
    chat: float = 0.3
    book: float = 0.22
    small_talk: float = 0.08

    def __post_init__(self) -> None:
        if self.hand:
            load_configs_by(self.hand)  # an unknown one is said now, not when its stage begins

    @property
    def mix(self) -> dict[str, float]:
        """Kinds of document and their shares."""
        return {kind: getattr(self, kind) for kind in KINDS_OF_DOCUMENT}


@dataclass(frozen=True)
class BaseRecipe:
    """A pre-training run. `tokens` counts the tokens read, `step_tokens` how many of them make one optimiser step.

    `matrix_learning_rate` is Muon's, for the matrices inside the layers; `learning_rate` is AdamW's, for the rest.
    `compiled` asks for PyTorch's compiler on a CPU: 40 s at the start, then 1.6 times the speed. `workers` are processes that
    draw and encode the texts ahead; with 0 the training draws them itself, which is enough for a CPU. `micro_batches` are
    the parts of one optimiser step: on a CPU small tensors are reused by the allocator where large ones go back to the
    system each time; on a GPU few large ones cost fewer launches.
    """

    seed: int = 0
    hidden_size: int = 192
    intermediate_size: int = 512
    layers: int = 4
    heads: int = 6
    tokens: int = 24_000_000
    step_tokens: int = 4_096
    micro_batches: int = 4
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 5e-3
    warmup_steps: int = 20
    decay: float = 0.5
    compiled: bool = True
    measure_every: int = 250
    questions: int = 96
    threads: int = 2
    workers: int = 0
    tokenizer_documents: int = 6_000
    stages: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for field in ("tokens", "step_tokens", "micro_batches", "layers", "heads", "questions"):
            if getattr(self, field) < 1:
                raise FieldError(field, f"is {getattr(self, field)}; at least 1 is needed")
        if self.hidden_size % self.heads:
            raise FieldError("heads", f"is {self.heads}, which does not divide hidden_size, {self.hidden_size}")
        stages = [
            yaml_file.build(Stage, stage, Path(f"stages[{place}]")) for place, stage in enumerate(self.stages)
        ] or [Stage()]
        object.__setattr__(self, "stages", tuple(stages))

    def stage(self, step: int) -> Stage:
        """The stage that a step belongs to: the first that ends after it, or the last one."""
        return next((stage for stage in self.stages if step < stage.until), self.stages[-1])

    @property
    def steps(self) -> int:
        """Optimiser steps in the whole run."""
        return max(1, self.tokens // self.step_tokens)

    def warmth(self, step: int) -> float:
        """The share of the full learning rate at a step: linear warm-up, constant, then linear to 0 over the last `decay`."""
        left = (self.steps - step) / (self.decay * self.steps)
        return min((step + 1) / self.warmup_steps, left, 1.0)


def pretrain(recipe: BaseRecipe, *, out: Path) -> int:
    """Train, save the model and its tokenizer to `out`, and return the number of steps."""
    import torch
    from tqdm import tqdm

    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    tokenizer = _tokenizer(recipe, out)
    model = _new_model(recipe, tokenizer)
    optimisers = _new_optimisers(model, recipe)
    first = _resume(out, model, optimisers)
    forward = _compiled(model.model) if recipe.compiled and model.device.type == "cpu" else model.model
    progress = tqdm(range(first, recipe.steps), initial=first, total=recipe.steps, desc="base", mininterval=5)
    stage, batches = None, iter(())
    for step in progress:
        if stage is not recipe.stage(step):
            stage = recipe.stage(step)
            batches = iter(_loader(recipe, tokenizer, stage, seed=recipe.seed + 1_000 * (step + 1)))
        loss = _step(model, forward, optimisers, next(batches), recipe.warmth(step))
        if step % 10 == 0:
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if (step + 1) % recipe.measure_every == 0 or step + 1 == recipe.steps:
            _record(out, model, tokenizer, recipe, step + 1, loss)
            _checkpoint(out, model, optimisers, step + 1)
    model.to(torch.float32).save_pretrained(out)
    (out / "checkpoint.pt").unlink()
    return recipe.steps


def _writer(seed: int, stage: Stage) -> Writer:
    world = load_world()
    words = load_configs_by(stage.hand) if stage.hand else load_words("train")
    return Writer(world, words, seed, held_out_sets(world.risks), flips=stage.flips)


def _tokenizer(recipe: BaseRecipe, out: Path) -> PreTrainedTokenizerFast:
    """The run's tokenizer: the one that an interrupted run has saved, or a new one fitted to the last stage's texts."""
    from transformers import AutoTokenizer

    if not (out / "tokenizer.json").exists():
        documents = _writer(recipe.seed, recipe.stages[-1]).documents(recipe.stages[-1].mix)
        drawn = itertools.islice(documents, recipe.tokenizer_documents)
        chat_format.train_tokenizer(
            "".join(segment.text for segment in document) for document in drawn
        ).save_pretrained(out)
    return AutoTokenizer.from_pretrained(out)


def _new_model(recipe: BaseRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    import torch
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
    if torch.cuda.is_available():
        return model.to("cuda")
    model.set_attn_implementation("eager")  # on a CPU, at these lengths, faster than the fused kernel
    return model


def _compiled(body: torch.nn.Module) -> Callable[..., Any]:
    """`body` through PyTorch's compiler, or as it is where there is no C++ compiler for that to use."""
    import torch

    if shutil.which(os.environ.get("CXX", "g++")) is None:
        print("no C++ compiler found: training goes on without PyTorch's compiler, about half as fast", file=sys.stderr)
        return body
    return torch.compile(body, dynamic=True)


def _new_optimisers(model: LlamaForCausalLM, recipe: BaseRecipe) -> list[torch.optim.Optimizer]:
    import torch

    matrices = [weight for name, weight in model.named_parameters() if weight.dim() == 2 and "embed" not in name]
    rest = [weight for name, weight in model.named_parameters() if weight.dim() < 2 or "embed" in name]
    muon = torch.optim.Muon(
        matrices, lr=recipe.matrix_learning_rate, momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    optimisers = [muon, torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)]
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["full_lr"] = group["lr"]
    return optimisers


def _encode(document: Document, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Token ids and labels of a document; segments meet only at special tokens, so they may be encoded apart."""
    ids: list[int] = []
    labels: list[int] = []
    for segment, row in zip(document, tokenizer([part.text for part in document])["input_ids"], strict=True):
        ids += row
        labels += row if segment.trained else [IGNORED] * len(row)
    return ids, labels


def _loader(recipe: BaseRecipe, tokenizer: PreTrainedTokenizerFast, stage: Stage, *, seed: int) -> Iterable[Any]:
    """The steps of a stage without end, as `_batches` makes them. The same seed and number of workers give the same ones."""
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Steps(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            worker = get_worker_info()
            writer = _writer(seed + (worker.id if worker else 0), stage)
            return _batches(writer.documents(stage.mix), tokenizer, recipe)

    return DataLoader(Steps(), batch_size=None, num_workers=recipe.workers)


def _batches(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, recipe: BaseRecipe
) -> Iterator[list[tuple[Any, Any]]]:
    """Steps of about `step_tokens` tokens, each a list of (ids, labels) of shape (rows, tokens), rows of like length.

    Padding stands on the right, where causal attention never lets a real token see it: no mask is needed.
    """
    order = random.Random(0)
    drawn = max(512, recipe.step_tokens // 32)
    while True:
        rows = sorted((_encode(next(documents), tokenizer) for _ in range(drawn)), key=lambda row: len(row[0]))
        micro, current = [], []
        for row in rows:
            if current and len(row[0]) * (len(current) + 1) > recipe.step_tokens // recipe.micro_batches:
                micro.append(_pad(current, tokenizer.pad_token_id))
                current = []
            current.append(row)
        order.shuffle(micro)
        for index in range(0, len(micro) - recipe.micro_batches + 1, recipe.micro_batches):
            yield micro[index : index + recipe.micro_batches]


def _pad(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Any, Any]:
    import torch

    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in rows])
    return ids, labels


def _step(
    model: Any, forward: Callable[..., Any], optimisers: list[Any], batch: list[tuple[Any, Any]], warmth: float
) -> float:
    """One optimiser step over the micro-batches; `forward` is the model's body. Returns the mean loss per trained token."""
    import torch

    trained = sum(int((labels[:, 1:] != IGNORED).sum()) for _, labels in batch)
    losses = []
    for ids, labels in ((ids.to(model.device), labels.to(model.device)) for ids, labels in batch):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=_has_bfloat16(model.device.type)):
            hidden = forward(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            chosen = labels[:, 1:] != IGNORED
            logits = model.lm_head(hidden[chosen])
        loss = torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][chosen], reduction="sum") / trained
        loss.backward()
        losses.append(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = warmth * group["full_lr"]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    total = float(sum(losses))
    if not math.isfinite(total):
        raise FloatingPointError(f"the loss is {total}; lower the learning rates of the recipe")
    return total


def _has_bfloat16(device: str) -> bool:
    """True where bfloat16 is computed in hardware; a processor without it takes ten times as long as with float32."""
    import torch

    return device != "cpu" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def _record(out: Path, model: Any, tokenizer: Any, recipe: BaseRecipe, step: int, loss: float) -> None:
    """Append one point of the binding curve to `binding.jsonl`."""
    point: dict[str, Any] = {"step": step, "tokens": step * recipe.step_tokens, "loss": round(loss, 4)}
    for name, edition in (("seen", "train"), ("unseen", "heldout")):
        asked, flipped = (
            draw(load_world(), load_words(edition), recipe.questions, seed=1) for draw in (questions, flipped_questions)
        )
        binding: Binding = measure_binding(model, tokenizer, asked, flipped)
        point[name] = binding.as_dict()
    with (out / "binding.jsonl").open("a") as file:
        file.write(json.dumps(point) + "\n")


def _checkpoint(out: Path, model: Any, optimisers: list[Any], step: int) -> None:
    import torch

    partial = out / "checkpoint.partial"
    torch.save(
        {"step": step, "model": model.state_dict(), "optimisers": [optimiser.state_dict() for optimiser in optimisers]},
        partial,
    )
    partial.replace(out / "checkpoint.pt")


def _resume(out: Path, model: Any, optimisers: list[Any]) -> int:
    """Load the checkpoint, if one is there; return the step to go on from."""
    import torch

    if not (out / "checkpoint.pt").exists():
        return 0
    state = torch.load(out / "checkpoint.pt", weights_only=True, map_location=model.device)
    model.load_state_dict(state["model"])
    for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return int(state["step"])
