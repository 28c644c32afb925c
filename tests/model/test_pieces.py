"""Text becomes the ids that LLaVA makes of it, for legacy Llama tokenizers and others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.model.pieces import PieceTokenizer
from samples.tokenizers import (
    LLAMA_FORMS,
    SlowLlama,
    llama_like,
    qwen_like,
    tokenizer_image_token,
)

PROMPTS = [
    "A chat. USER: <image>\nWhat colour? ASSISTANT: red</s>USER: olive ASSISTANT: 1</s>",
    "<image>olive oil\n",
    "<image><image> two\n",
    "USER: <image> ASSISTANT: an empty question leaves a space</s>",
    "no picture at all",
    "  two spaces in front, <image>  two behind, and one at the end ",
]


def pieces_of(form) -> PieceTokenizer:
    tokenizer = llama_like(form)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    return PieceTokenizer(tokenizer)


PIECES = {form: pieces_of(form) for form in LLAMA_FORMS}
SLOW = {form: SlowLlama(legacy=form != "first") for form in LLAMA_FORMS}


@pytest.mark.parametrize("form", LLAMA_FORMS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_ids_are_those_of_llava(form, prompt):
    pieces = PIECES[form]
    ids, offsets = pieces(f"<s>{prompt}")
    assert ids == tokenizer_image_token(prompt, SLOW[form], pieces.image_id)
    assert len(ids) == len(offsets)


@pytest.mark.parametrize("form", LLAMA_FORMS)
@settings(max_examples=60, deadline=None)
@given(
    prompt=st.lists(
        st.one_of(st.just("<image>"), st.text("abce :.\nUSERolvd🦀é", max_size=8)), max_size=5
    ).map("".join)
)
def test_ids_of_any_text_are_those_of_llava(form, prompt):
    pieces = PIECES[form]
    ids, offsets = pieces(f"<s>{prompt}")
    assert ids == tokenizer_image_token(prompt, SLOW[form], pieces.image_id)
    whole = f"<s>{prompt}"
    assert all(0 <= first <= last <= len(whole) for first, last in offsets)
    covered = {place for first, last in offsets for place in range(first, last)}
    assert covered == set(range(len(whole)))


def test_the_forms_differ_behind_an_end_token_only():
    """A legacy tokenizer marks the word behind "</s>", one that is not legacy does not."""
    ids = {form: PIECES[form]("<s>red</s>USER: red")[0] for form in LLAMA_FORMS}
    assert ids["normalizer"] == ids["always"] != ids["first"]
    one = {form: PIECES[form]("<s>red<image>USER: red")[0] for form in LLAMA_FORMS}
    assert one["normalizer"] == one["always"] == one["first"]


def test_byte_level_tokenizers_read_the_whole_text():
    tokenizer = qwen_like()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    text = "<|begin|> a <image>\n What? <|im_end|>\n"
    ids, offsets = PieceTokenizer(tokenizer)(text)
    whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert (ids, offsets) == (whole.input_ids, whole.offset_mapping)


def test_no_token_reaches_over_a_cut():
    pieces = PIECES["first"]
    ids, offsets = pieces("<s>olive oil", cuts=[5])
    assert all(not first < 5 < last for first, last in offsets)
    assert len(ids) > len(pieces("<s>olive oil")[0])


def test_an_empty_text_has_no_ids():
    assert PIECES["first"]("") == ([], [])
    assert PIECES["first"]("<s>") == ([1], [(0, 3)])
