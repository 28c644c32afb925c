"""Small tokenizers and chat templates like those of real families, and LLaVA's slow tokenizer."""

from __future__ import annotations

import json
import re
from functools import cache
from types import SimpleNamespace
from typing import Literal

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from regiontok.data.record import Turn
from regiontok.model.chat_templates import VICUNA

LlamaForm = Literal["normalizer", "always", "first"]
LLAMA_FORMS: tuple[LlamaForm, ...] = ("normalizer", "always", "first")
TEXTS = [
    VICUNA,
    "USER: What colour is the circle? ASSISTANT: The circle is red.",
    "user\nassistant\nThe triangle is blue, the square green.",
    "ASSISTANT:ASSISTANT:ASSISTANT:red ASSISTANT:red :red :red :red",
] * 4
TALK = [
    Turn("user", "<image>\nWhat colour is the circle?"),
    Turn("assistant", "The circle is red."),
    Turn("user", "And the triangle?"),
    Turn("assistant", "Blue: naïve café 🦀, I think."),
]
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = CHATML.replace(
    "message['content'] + '<|im_end|>' + '\n'}}",
    "'' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + "
    "'<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}",
)
# as Qwen3's: an empty think block before the last answer only, and behind a prompt without thinking
QWEN3 = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.last %}{{- '<think>\n\n</think>\n\n' }}"
    "{%- endif %}{{- message.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'].strip() + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('no system role here') }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
# as Llama 3.2's: the day it is rendered on, where transformers tells it
DATED = (
    "{{- bos_token }}\n{%- if not date_string is defined %}"
    "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}\n"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string }}"
    "{{- '<|eot_id|>' }}" + LLAMA3.replace("loop.index0 == 0", "false")
)


@cache
def _trained_llama() -> str:
    """The trained tokenizer as JSON, in the form of legacy tokenizers."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    inner.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    )
    decoder = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    inner.decoder = decoders.Sequence(decoder)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    table = json.loads(inner.to_str())
    # the byte pieces are plain tokens, not special ones
    table["added_tokens"] = table["added_tokens"][:3]
    # one whole word with its mark: a stage of captions begins with it
    model, word = table["model"], "▁olive"
    pairs = [(word[:length], word[length]) for length in range(1, len(word))]
    for text in (*word, *("".join(pair) for pair in pairs)):
        model["vocab"].setdefault(text, len(model["vocab"]))
    model["merges"] = [*pairs, *model["merges"]]
    return json.dumps(table)


def llama_like(form: LlamaForm = "normalizer", template: str = "") -> PreTrainedTokenizerFast:
    """A tokenizer like those of Llama 1 and 2 and Vicuna.

    BPE over sentencepiece's pieces with byte fallback, whose merges reach over words and colons.

    Args:
        form: how the word mark comes in front: "normalizer" and "always" are legacy tokenizers, as
            earlier and later versions of transformers make them; "first" is one that is not legacy.
        template: a chat template.
    """
    inner = Tokenizer.from_str(_trained_llama())
    if form != "normalizer":
        inner.normalizer = None  # type: ignore[assignment]
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=form, split=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.name_or_path = "llama-like"
    tokenizer.chat_template = template or None
    return tokenizer


class SlowLlama:
    """LLaVA's tokenizer: the slow Llama tokenizer of transformers over sentencepiece, restated.

    Args:
        legacy: a legacy one marks the first word behind each special token, too.
    """

    bos_token_id = 1

    def __init__(self, legacy: bool) -> None:
        self.legacy = legacy
        self._bpe = Tokenizer.from_str(_trained_llama())
        self._bpe.normalizer = None  # type: ignore[assignment]

    def __call__(self, text: str) -> SimpleNamespace:
        if text and not self.legacy:
            text = "▁" + text
        ids = [self.bos_token_id]
        for stretch in re.split("(<unk>|<s>|</s>)", text):
            if stretch in ("<unk>", "<s>", "</s>"):
                ids.append(self._bpe.token_to_id(stretch))
            elif stretch:
                ids += self._pieces(("▁" if self.legacy else "") + stretch)
        return SimpleNamespace(input_ids=ids)

    def _pieces(self, text: str) -> list[int]:
        return self._bpe.encode(text.replace(" ", "▁"), add_special_tokens=False).ids


def tokenizer_image_token(prompt: str, tokenizer: SlowLlama, image: int) -> list[int]:
    """LLaVA's function of that name, restated (Apache-2.0, llava/mm_utils.py)."""
    chunks = [tokenizer(chunk).input_ids for chunk in prompt.split("<image>")]
    offset = 1 if chunks[0][:1] == [tokenizer.bos_token_id] else 0
    ids = chunks[0][:offset]
    for number, chunk in enumerate(chunks):
        ids += [image] * (number > 0) + chunk[offset:]
    return ids


def qwen_like(template: str = CHATML) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen's normaliser and split.

    Its end token is special and not the tokenizer's eos.
    """
    inner = Tokenizer(models.BPE())
    inner.normalizer = normalizers.NFC()
    words = Regex(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| "
        r"?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(words, "isolated"), level])
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    names = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|begin|>",
    ]
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|endoftext|>", bos_token="<|begin|>"
    )
    tokenizer.chat_template = template
    return tokenizer
