"""A small language model and its byte tokenizer, made on the spot; it knows nothing.

It is the backend of recipes at scale mini and of the tests.

After: nothing; a Llama of the sizes that learned generated scenes on two CPU cores.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
_PARTS_AS_TEXT = "message['content'] | map(attribute='text', default='<image>') | join('')"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: "
    "{% if message['content'] is string %}{% set text = message['content'] %}"
    "{% else %}{% set text = " + _PARTS_AS_TEXT + " %}{% endif %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ text }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ text }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def mini_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, four special ones in front; `<image>` is the placeholder of a picture.

    >>> tokenizer = mini_tokenizer()
    >>> tokenizer.decode(tokenizer("dé<image>").input_ids), len(tokenizer("dé<image>").input_ids)
    ('dé<image>', 4)
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *alphabet))}
    bytes_tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    bytes_tokenizer.decoder = decoders.ByteLevel()
    pad, begin, end, image = SPECIAL
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_tokenizer,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        extra_special_tokens={"image_token": image},
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.model_max_length = 2048
    return tokenizer


def mini_language_model(
    seed: int = 0, *, width: int = 192, layers: int = 4, heads: int = 6
) -> LlamaForCausalLM:
    """A Llama of 2 million random parameters that fits `mini_tokenizer`."""
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
