"""tinyworld's special tokens, chat template and tokenizer.

The generation prompt ends in `<think>`: a reply begins with the *reading*, a line that says what is asked of which topic,
the topic's category, the config's word for that, and yes or no. It is an addition to CoSAlign; every arm has it.
Earlier replies are shown without their reading, as reasoning models do it.

A word must be the same token wherever it stands, or it cannot be found and copied: system and user messages begin with
a space, and the tokenizer puts one behind every line break.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
THINK, ANSWER = "<think>", "</think>"
SPECIAL_TOKENS = (PAD, END, SYSTEM, USER, ASSISTANT, THINK, ANSWER)
VOCABULARY = 6144
MAX_LENGTH = 1024

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- '<|assistant|>' -}}
{%- generation -%}
{{- message.content if loop.last else message.content.split('</think>')[-1] -}}{{- '<|end|>' -}}
{%- endgeneration -%}
{%- else -%}
{{- '<|' + message.role + '|> ' + message.content + '<|end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|><think>' -}}{%- endif -%}
"""


def with_reading(reading: str, answer: str) -> str:
    """An assistant message as the model writes it: the reading, then the answer."""
    return f"{THINK}{reading}{ANSWER}{answer}"


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of VOCABULARY tokens fitted to `texts`, with the chat template set."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace("\n", "\n ")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=_with_visible_thinking(tokenizer),
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _with_visible_thinking(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with the marks of thinking no longer *special*: of those a server's reasoning parser sees nothing."""
    state = json.loads(tokenizer.to_str())
    for token in state["added_tokens"]:
        token["special"] = token["content"] not in (THINK, ANSWER)
    return Tokenizer.from_str(json.dumps(state))
