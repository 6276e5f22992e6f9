"""Direct preference optimisation on the error-score pairs, going on with the SFT adapter (CoSA section 5.4).

The reference is the SFT model, as in the paper: TRL keeps a frozen copy of the adapter that it is given.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.sft import check_micro_batch, common_arguments, fitting, last_checkpoint
from presets.yaml_file import FieldError

LOSSES = (
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
)
"""TRL's losses on pairs, by its own names. Its `sft` is left out: that is a step of its own here."""


@dataclass(frozen=True)
class DPORecipe:
    """`beta` is DPO's (the paper's 0.1), not the error score's. `pairs` is how many are drawn for training, 0 for all.

    `loss` is one of TRL's (`DPOConfig.loss_type`): `sigmoid` is DPO, `sigmoid_norm` DPO on mean instead of summed
    log-probabilities, so that a long response does not weigh more.
    """

    beta: float = 0.1
    loss: str = "sigmoid"
    learning_rate: float = 1e-4
    epochs: float = 1.0
    batch: int = 16
    micro_batch: int = 0
    checkpointing: bool = False
    pairs: int = 4_000
    max_length: int = 640
    warmup_steps: int = 20
    save_steps: int = 100
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        check_micro_batch(self.batch, self.micro_batch)
        if self.loss not in LOSSES:
            raise FieldError("loss", f"is {self.loss!r}; it is one of {', '.join(LOSSES)}")


def train_dpo(
    recipe: DPORecipe, *, model: Path | str, adapter: Path, rows: Sequence[Mapping[str, Any]], out: Path
) -> int:
    """Train on `{prompt, chosen, rejected}` rows from `adapter` on, save to `out`, return how many were drawn. Resumes."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(recipe.threads)
    if 0 < recipe.pairs < len(rows):
        rows = random.Random(recipe.seed).sample(list(rows), recipe.pairs)
    tokenizer = AutoTokenizer.from_pretrained(model)
    body = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    policy = PeftModel.from_pretrained(body, str(adapter), is_trainable=True)
    trainer = DPOTrainer(
        model=policy,
        args=DPOConfig(**common_arguments(recipe, out), beta=recipe.beta, loss_type=recipe.loss),
        train_dataset=fitting(rows, tokenizer, recipe.max_length, ("chosen", "rejected")),
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(out))
    trainer.model.save_pretrained(out, selected_adapters=["default"])
    return len(rows)
