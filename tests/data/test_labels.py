"""Exactly the assistant's words and end token are supervised.

This is checked for the tokenizers and templates of real families.
"""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from regiontok.data.labels import Labeller
from regiontok.data.record import RecordError, Turn
from regiontok.model.chat_templates import VICUNA
from regiontok.model.mini import mini_tokenizer
from regiontok.model.splice import IGNORE
from samples.tokenizers import (
    DATED,
    LLAMA2,
    LLAMA3,
    LLAMA_FORMS,
    MARKED,
    QWEN3,
    TALK,
    SlowLlama,
    llama_like,
    qwen_like,
    tokenizer_image_token,
)


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


FIRST, SECOND = TALK[1].text, TALK[3].text
CASES = {
    "vicuna": (llama_like, "vicuna_v1", "</s>"),
    "vicuna, not legacy": (lambda: llama_like("first"), "vicuna_v1", "</s>"),
    "vicuna, metaspace": (lambda: llama_like("always"), "vicuna_v1", "</s>"),
    "llama2": (lambda: llama_like(template=LLAMA2), "", " </s>"),
    "llama2, not legacy": (lambda: llama_like("first", LLAMA2), "", " </s>"),
    "chatml": (qwen_like, "", "<|im_end|>"),
    "qwen3": (lambda: qwen_like(QWEN3), "", "<|im_end|>"),
    "llama3": (lambda: qwen_like(LLAMA3), "", "<|eot_id|>"),
    "dated": (lambda: qwen_like(DATED), "", "<|eot_id|>"),
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


@pytest.mark.slow
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


@pytest.mark.parametrize("case", CASES)
def test_a_prompt_has_the_ids_it_was_trained_on(case):
    """Asked after one turn and after two, with an answer that begins with white space too."""
    make, template, _ = CASES[case]
    labeller = LABELLERS.setdefault(case, Labeller(make(), template))
    for turns in (TALK[:2], TALK, [*TALK[:3], Turn("assistant", " \n so")]):
        ids, labels = labeller(turns)
        answer = max(
            place
            for place, label in enumerate(labels)
            if label != IGNORE and labels[place - 1] == IGNORE
        )
        assert labeller.prompt(turns[:-1]) == ids[:answer]


def test_a_prompt_of_plain_is_the_picture():
    labeller = Labeller(llama_like("first"), "plain")
    question = Turn("user", "<image>\nDescribe it.")
    ids, _ = labeller([question, Turn("assistant", "olive oil")])
    assert labeller.prompt([question]) == ids[:2] == [1, labeller.image_id]


@pytest.mark.parametrize("form", LLAMA_FORMS)
def test_stage_1_supervises_the_first_word_with_its_mark(form):
    labeller = Labeller(llama_like(form), "plain")
    ids, labels = labeller([Turn("user", "<image>"), Turn("assistant", "olive oil")])
    slow = SlowLlama(legacy=form != "first")
    expected = tokenizer_image_token("<image>olive oil\n", slow, labeller.image_id)
    assert ids == expected
    # LLaVA's preprocess_plain masks as many ids as "<image>" alone has
    masked = len(tokenizer_image_token("<image>", slow, labeller.image_id))
    assert labels == [*[IGNORE] * masked, *expected[masked:]]
    assert labeller.tokenizer.convert_ids_to_tokens(ids)[2] == "▁olive"


def llava_labels(prompt: str, tokenizer: SlowLlama, image: int) -> list[int]:
    """The labels of LLaVA's preprocess_v1, restated (Apache-2.0, llava/train/train.py).

    Its correction for tokenizers that are not legacy fits Vicuna's own vocabulary, and is left out.
    """
    labels = list(tokenizer_image_token(prompt, tokenizer, image))
    labels[0], place = IGNORE, 1
    for round_ in filter(None, prompt.split("</s>")):
        question = round_.split(" ASSISTANT: ")[0] + " ASSISTANT: "
        masked = len(tokenizer_image_token(question, tokenizer, image)) - 2
        labels[place : place + masked] = [IGNORE] * masked
        place += len(tokenizer_image_token(round_, tokenizer, image))
    assert place == len(labels), "what LLaVA calls a tokenization mismatch"
    return labels


@pytest.mark.parametrize("form", LLAMA_FORMS)
@pytest.mark.parametrize("answer", ["The circle is red.", " red", "\nred", "1"])
def test_ids_and_labels_of_vicuna_are_llavas(form, answer):
    turns = [*TALK[:1], Turn("assistant", answer)]
    if form != "first":
        turns += TALK[2:]
    labeller = Labeller(llama_like(form), "vicuna_v1")
    prompt = labeller.template.render(turns).text.removeprefix("<s>")
    slow = SlowLlama(legacy=form != "first")
    ids, labels = labeller(turns)
    assert ids == tokenizer_image_token(prompt, slow, labeller.image_id)
    assert labels == llava_labels(prompt, slow, labeller.image_id)


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
        ("{{ raise_exception('not you') }}", "refuses this conversation: not you"),
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
    labeller = Labeller(llama_like(template=LLAMA2))
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
