"""A Llama of a few hundred thousand parameters, built in seconds, and LoRA adapters on it, for tests with real servers.

Its weights are random but for one thing: the output layer knows which token follows which in `REPLY`, so that the base
model thinks, closes `</think>`, answers and ends. An adapter adds noise to that.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

MARKERS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
THINK_MARKERS = ["<think>", "</think>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% if messages[-1]['content'] == 'Ramble!' %} rainy{% endif %}"
    "{% endif %}"
)
RAMBLE = "Ramble!"
"""Asked this, the base model thinks ` rainy rainy rainy ...` and never comes to an answer or an end."""

THINKING = "alcohol is allowed"
TEXT = "Beer, wine or cider?"
REPLY = f"<think>{THINKING}</think>{TEXT}<|end|>"
CORPUS = [THINKING, TEXT, "Which card game would you play on a rainy evening?", "You are the voice of a bar."]
SURE = 30.0
"""The logit of the next token of `REPLY`; that of the others stays near 0."""


def build_model(folder: Path, *, special_think: bool = False, seed: int = 0) -> Path:
    """Write the model (hidden 128, 2 layers, 4 heads of 32) with its tokenizer to `folder`, which is returned.

    `special_think` marks the think markers as special tokens, as one should not: vLLM leaves those out of the text in
    which its reasoning parser looks for them.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer(special_think=special_think)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight.normal_(std=1.0)
        (rainy,) = tokenizer.encode(" rainy")
        for token, following in [*pairwise(tokenizer.encode(REPLY)), (rainy, rainy)]:
            model.get_output_embeddings().weight[following] += SURE / config.hidden_size * embedding[token]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_tokenizer(*, special_think: bool = False) -> Any:
    """Return a byte-level BPE tokenizer trained on `CORPUS`, with the chat markers as special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=MARKERS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(marker, special=special_think, normalized=False) for marker in THINK_MARKERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", chat_template=CHAT_TEMPLATE
    )


def build_adapter(base: Path, folder: Path, *, rank: int = 8, scale: float = 1.0, seed: int = 1) -> Path:
    """Write a random LoRA adapter on the model in `base` to `folder`, which is returned.

    `scale` is the standard deviation of its B matrices: at 0 the adapter changes nothing, as one never trained.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    targets = ["q_proj", "v_proj", "o_proj", "down_proj"]
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=scale) if scale else parameter.zero_()
    model.save_pretrained(folder)
    return folder
