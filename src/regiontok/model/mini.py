"""A small language model and its tokenizer, made on the spot; it knows nothing.

It is the backend of recipes at scale mini and of the tests. Its vocabulary is bytes, or the closed
one of the generated world: a question is then a tenth as long.

After: nothing; a Llama of the sizes that learned generated scenes on two CPU cores.
"""

from __future__ import annotations

from typing import Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from regiontok.model.world_vocabulary import pattern, phrases, words
from regiontok.system.choices import check_choice

Vocabulary = Literal["bytes", "world"]
VOCABULARIES = ("bytes", "world")
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


def mini_tokenizer(vocabulary: Vocabulary = "bytes") -> PreTrainedTokenizerFast:
    """A tokenizer with four special entries in front; `<image>` is the placeholder of a picture.

    Args:
        vocabulary: "bytes", one token a byte; or "world", which has the words and phrases of the
            generated world besides, see `regiontok.model.world_vocabulary`.

    Raises:
        ValueError: If there is no such vocabulary.

    >>> tokenizer = mini_tokenizer()
    >>> tokenizer.decode(tokenizer("dé<image>").input_ids), len(tokenizer("dé<image>").input_ids)
    ('dé<image>', 4)
    >>> tokenizer = mini_tokenizer("world")
    >>> [tokenizer.decode(number) for number in tokenizer("Is there a red ring?").input_ids]
    ['Is there a', ' red', ' ring', '?']
    """
    check_choice("vocabulary", vocabulary, VOCABULARIES)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    entries = [*SPECIAL, *alphabet]
    pre_tokenizer: pre_tokenizers.PreTokenizer = byte_level
    if vocabulary == "world":
        whole = [byte_level.pre_tokenize_str(text)[0][0] for text in (*phrases(), *words())]
        entries = list(dict.fromkeys([*entries, *whole]))
        split = pre_tokenizers.Split(Regex(pattern()), behavior="isolated")
        pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    numbers = {entry: number for number, entry in enumerate(entries)}
    # without merges, what is no entry as a whole is spelled byte by byte
    bytes_tokenizer = Tokenizer(models.BPE(vocab=numbers, merges=[], ignore_merges=True))
    bytes_tokenizer.pre_tokenizer = pre_tokenizer
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
    seed: int = 0,
    *,
    width: int = 192,
    layers: int = 4,
    heads: int = 6,
    inner: int = 0,
    vocabulary: Vocabulary = "bytes",
) -> LlamaForCausalLM:
    """A Llama of 2 million random parameters that fits `mini_tokenizer`.

    Args:
        seed: seed of the parameters.
        width: width of a layer.
        layers: number of layers.
        heads: heads of a layer's attention.
        inner: width within a layer's perceptron; 0 is four times `width`.
        vocabulary: that of the tokenizer.
    """
    config = LlamaConfig(
        vocab_size=len(mini_tokenizer(vocabulary)),
        hidden_size=width,
        intermediate_size=inner or 4 * width,
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
