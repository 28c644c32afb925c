"""Exactly the assistant's words and end token are supervised.

This is checked for the tokenizers and templates of real families.
"""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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

from regiontok.data.labels import Labeller
from regiontok.data.records import RecordError, Turn
from regiontok.data.templates import VICUNA
from regiontok.model.mini import mini_tokenizer
from regiontok.model.splice import IGNORE

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
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# as Qwen3's: an empty think block before the last answer only
QWEN3 = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.last %}{{- '<think>\n\n</think>\n\n' }}{%- "
    "endif %}"
    "{{- message.content + '<|im_end|>\n' }}{%- endfor %}"
)
LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + ' ' + "
    "eos_token }}"
    "{% else %}{{ raise_exception('no system role here') }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = "
    "bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
)
MARKED = CHATML.replace(
    "message['content'] + '<|im_end|>' + '\n'}}",
    "'' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + "
    "'<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}",
)


def llama_like() -> PreTrainedTokenizerFast:
    """A tokenizer like those of Llama 1 and 2 and Vicuna.

    BPE over sentencepiece's pieces with byte fallback, whose merges reach over words and colons.
    """
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
    # the byte pieces are plain tokens, not special ones
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.name_or_path = "llama-like"
    return tokenizer


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


def said(labeller: Labeller, turns: list[Turn]) -> list[str]:
    """The supervised stretches, decoded."""
    ids, labels = labeller(turns)
    assert len(ids) == len(labels)
    assert all(label in (IGNORE, number) for number, label in zip(ids, labels, strict=True))
    stretches: list[list[int]] = []
    for before, label in zip([IGNORE, *labels], labels, strict=False):
        if label != IGNORE:
            stretches = [*stretches, []] if before == IGNORE else stretches
            stretches[-1].append(label)
    return [
        labeller.tokenizer.decode(stretch, clean_up_tokenization_spaces=False).lstrip(" ")
        for stretch in stretches
    ]


def llama_with(template: str) -> PreTrainedTokenizerFast:
    tokenizer = llama_like()
    tokenizer.chat_template = template
    return tokenizer


FIRST, SECOND = TALK[1].text, TALK[3].text
CASES = {
    "vicuna": (llama_like, "vicuna_v1", "</s>"),
    "llama2": (lambda: llama_with(LLAMA2), "", " </s>"),
    "chatml": (qwen_like, "", "<|im_end|>"),
    "qwen3": (lambda: qwen_like(QWEN3), "", "<|im_end|>"),
    "llama3": (lambda: qwen_like(LLAMA3), "", "<|eot_id|>"),
    "marked": (lambda: qwen_like(MARKED), "", "<|im_end|>"),
    "vicuna on qwen": (qwen_like, "vicuna_v1", "<|endoftext|>"),
    "mini": (mini_tokenizer, "", "</s>"),
}


@pytest.mark.parametrize("case", CASES)
def test_answers_and_their_end_are_supervised_and_nothing_else(case):
    make, template, end = CASES[case]
    labeller = Labeller(make(), template)
    assert said(labeller, TALK) == [FIRST + end, SECOND + end]
    ids, _ = labeller(TALK)
    assert ids.count(labeller.image_id) == 1


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=8, deadline=None)
@given(
    words=st.text(
        st.characters(blacklist_categories=["Cs", "Cc", "Cn"], max_codepoint=0x1F9FF),
        min_size=1,
        max_size=20,
    )
)
def test_any_words_are_supervised_whole(case, words):
    make, template, end = CASES[case]
    labeller = LABELLERS.setdefault(case, Labeller(make(), template))
    # the ends hold: some templates strip
    turns = [Turn("user", "<image>\nWhat?"), Turn("assistant", f"a{words}b")]
    if "<image>" in words:
        return
    (heard,) = said(labeller, turns)
    assert unicodedata.normalize("NFC", heard) == unicodedata.normalize("NFC", f"a{words}b{end}")


LABELLERS: dict[str, Labeller] = {}


def test_a_merge_over_the_boundary_is_cut_where_the_answer_starts():
    """The letters ":r" are one token in running text.

    The answer's r must be supervised without the template's colon.
    """
    inner = Tokenizer(
        models.BPE(
            {**{letter: index for index, letter in enumerate(":usrastneidWh?<mg>q")}, ":r": 90},
            [(":", "r")],
        )
    )
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens([AddedToken("</s>", special=True)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}"
    )
    assert ":r" in tokenizer.tokenize("assistant:red</s>")
    ids, labels = Labeller(tokenizer)([Turn("user", "Wh?"), Turn("assistant", "red")])
    assert tokenizer.convert_ids_to_tokens([label for label in labels if label != IGNORE]) == [
        "r",
        "e",
        "d",
        "</s>",
    ]
    assert ":r" not in tokenizer.convert_ids_to_tokens(ids)


def test_a_space_before_the_first_word_stays_with_it_as_in_llava():
    labeller = Labeller(llama_like(), "vicuna_v1")
    ids, labels = labeller(TALK[:2])
    first = next(index for index, label in enumerate(labels) if label != IGNORE)
    tokens = labeller.tokenizer.convert_ids_to_tokens(ids)
    assert tokens[first].startswith("▁")
    assert tokens[first - 1].endswith(":")
    assert tokens[0] == "<s>"
    text = labeller.template.render(TALK).text
    assert text == (
        f"<s>{VICUNA} USER: <image>\nWhat colour is the circle? ASSISTANT: {FIRST}</s>USER: And "
        f"the triangle? ASSISTANT: {SECOND}</s>"
    )


def test_plain_is_pictures_caption_and_line_end():
    labeller = Labeller(llama_like(), "plain")
    turns = [Turn("user", "<image>\nDescribe it."), Turn("assistant", "A red circle.")]
    assert labeller.template.render(turns).text == "<s><image>A red circle.\n"
    assert said(labeller, turns) == ["A red circle.\n"]
    with pytest.raises(RecordError, match="one question with a picture and one caption"):
        labeller(TALK)


def test_the_think_block_of_qwen3_is_not_supervised():
    labeller = Labeller(qwen_like(QWEN3))
    text = labeller.template.render(TALK).text
    assert text.count("<think>") == 1
    assert not any("<think>" in stretch for stretch in said(labeller, TALK))


def test_words_that_a_template_strips_are_supervised_as_it_writes_them():
    labeller = Labeller(qwen_like(LLAMA3))
    assert said(labeller, [Turn("user", "Hi"), Turn("assistant", "  red\n")]) == ["red<|eot_id|>"]


def test_the_given_tokenizer_stays_as_it_is_and_the_placeholder_may_be_another_id():
    tokenizer = llama_like()
    before = len(tokenizer)
    labeller = Labeller(tokenizer, "vicuna_v1", placeholder=32000)
    ids, _ = labeller(TALK)
    assert len(tokenizer) == before
    assert ids.count(32000) == 1


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}",
            "no end token behind an answer",
        ),
        (
            "{% for m in messages %}{{ m.content | upper + eos_token }}{% endfor %}",
            "does not write every answer once",
        ),
        (
            "{% for m in messages %}{{ m.content.replace('two', '2') + eos_token }}{% endfor %}",
            "changes the words",
        ),
        (
            "{% for m in messages %}{% generation %}{{ m.content + eos_token }}{% endgeneration "
            "%}{% endfor %}",
            "marks 4 stretches",
        ),
        ("{{ raise_exception('not you') }}", "refuses it .not you"),
    ],
)
def test_a_template_that_gives_no_spans_is_refused_by_name(template, message):
    tokenizer = qwen_like(template)
    tokenizer.name_or_path = "some/model"
    with pytest.raises(
        ValueError,
        match=f"chat template of some/model cannot give the spans of answers: .*{message}",
    ):
        Labeller(tokenizer)


def test_a_conversation_that_a_template_refuses_is_a_record_error():
    labeller = Labeller(llama_with(LLAMA2))
    with pytest.raises(RecordError, match="no system role here"):
        labeller([Turn("system", "Be brief."), *TALK[:2]])


def test_ids_that_do_not_say_the_words_are_refused():
    """A vocabulary without bytes: what it does not know it cannot say."""
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "hello": 1, "USER": 2}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="</s>")
    with pytest.raises(RecordError, match="do not say the answer: '<unk>"):
        Labeller(tokenizer, "vicuna_v1")([Turn("user", "hello"), Turn("assistant", "zebra")])


def test_tokenizers_that_cannot_serve_are_refused():
    tokenizer = llama_like()
    with pytest.raises(ValueError, match="has no chat template: name one of plain, vicuna_v1"):
        Labeller(tokenizer)
    with pytest.raises(ValueError, match=r"unknown template 'vicuna_v2'.*known: plain, vicuna_v1"):
        Labeller(tokenizer, "vicuna_v2")
    with pytest.raises(ValueError, match="object gives no offsets"):
        Labeller(object())
