"""Supervised fine-tuning on the lowest-error response of each prompt, with TRL and a LoRA adapter.

CoSA section 5.4 trains on the chosen responses first. The released code keeps whichever chosen response came last, even
a refusal where an answer exists; the target here is always a response of the lowest error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from presets.yaml_file import FieldError

log = logging.getLogger(__name__)

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class SFTRecipe:
    """LoRA and optimiser settings. `epochs` may be a fraction; `max_length` in tokens, longer rows are left out.

    `targets` are the modules that the adapter changes. On a CPU vLLM copies the adapter's rows for every token, so that
    its cost grows with the rank and with every module that it wraps (align/tinyworld/LOG.md).
    `micro_batch` is how many rows a device takes at once, 0 for all of `batch`; `checkpointing` computes activations anew
    in the backward pass: with both, large models fit.
    """

    targets: tuple[str, ...] = LORA_TARGETS
    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    learning_rate: float = 1e-3
    epochs: float = 1.0
    batch: int = 32
    micro_batch: int = 0
    checkpointing: bool = False
    max_length: int = 640
    warmup_steps: int = 20
    save_steps: int = 100
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        check_micro_batch(self.batch, self.micro_batch)
        if not self.targets or set(self.targets) - set(LORA_TARGETS):
            raise FieldError("targets", f"is {list(self.targets)}; it must hold some of {', '.join(LORA_TARGETS)}")
        object.__setattr__(self, "targets", tuple(self.targets))


def train_sft(
    recipe: SFTRecipe, *, model: Path | str, rows: Sequence[Mapping[str, Any]], out: Path, start: Path | None = None
) -> None:
    """Train a LoRA adapter on `{prompt, completion}` rows and save it to `out`. Resumes from a checkpoint.

    It goes on from the adapter in `start`, if that is given; then its rank and targets hold, not the recipe's.
    """
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(recipe.threads)
    tokenizer = AutoTokenizer.from_pretrained(model)
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.targets),
        task_type="CAUSAL_LM",
    )
    policy = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    if start is not None:
        policy = PeftModel.from_pretrained(policy, str(start), is_trainable=True)
    trainer = SFTTrainer(
        model=policy,
        args=SFTConfig(**common_arguments(recipe, out), completion_only_loss=True),
        train_dataset=fitting(rows, tokenizer, recipe.max_length, ("completion",)),
        processing_class=tokenizer,
        peft_config=lora if start is None else None,
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(out))
    trainer.model.save_pretrained(out)


def check_micro_batch(batch: int, micro_batch: int) -> None:
    """Raise `FieldError` unless a batch can be cut into micro-batches of this size (0: it is not cut)."""
    if batch < 1 or micro_batch < 0 or (micro_batch and batch % micro_batch):
        raise FieldError("micro_batch", f"is {micro_batch}; it must divide batch, {batch}, or be 0 to take all at once")


def common_arguments(recipe: Any, out: Path) -> dict[str, Any]:
    """The trainer arguments that SFT and DPO share."""
    import torch

    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(out / "checkpoints"),
        "learning_rate": recipe.learning_rate,
        "num_train_epochs": recipe.epochs,
        "per_device_train_batch_size": recipe.micro_batch or recipe.batch,
        "gradient_accumulation_steps": recipe.batch // (recipe.micro_batch or recipe.batch),
        "warmup_steps": recipe.warmup_steps,
        "lr_scheduler_type": "cosine",
        "max_length": None,
        "save_steps": recipe.save_steps,
        "save_total_limit": 1,
        "logging_steps": 10,
        "seed": recipe.seed,
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "report_to": "none",
        "gradient_checkpointing": recipe.checkpointing,
    }


def fitting(rows: Sequence[Mapping[str, Any]], tokenizer: Any, max_length: int, ends: Sequence[str]) -> Any:
    """The rows whose prompt with each of its `ends` fits `max_length` tokens, as a dataset; the rest is dropped whole.

    Nothing is cut: a config without its question, or an answer without its end, teaches the wrong thing.
    """
    from datasets import Dataset

    def length(row: Mapping[str, Any], end: str) -> int:
        return len(tokenizer.apply_chat_template([*row["prompt"], *row[end]], return_dict=True)["input_ids"])

    kept = [row for row in rows if all(length(row, end) <= max_length for end in ends)]
    if dropped := len(rows) - len(kept):
        log.warning("%d of %d rows are longer than %d tokens and were left out whole", dropped, len(rows), max_length)
    if not kept:
        raise ValueError(f"none of the {len(rows)} rows fits max_length={max_length} tokens; raise max_length")
    return Dataset.from_list([{key: row[key] for key in ("prompt", *ends)} for row in kept])


def last_checkpoint(out: Path) -> str | None:
    """The newest checkpoint of an interrupted run, or None."""
    from transformers.trainer_utils import get_last_checkpoint

    folder = out / "checkpoints"
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None
