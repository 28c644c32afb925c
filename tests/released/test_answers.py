"""A released model answers conversations with pictures inside as it answers prompts."""

from __future__ import annotations

import pytest
from tokenizers import processors

from regiontok.released.loading import from_vlm
from samples.models import ready_to_answer
from samples.pictures import noise
from samples.released import tiny_llava

NEW = {"max_new_tokens": 4, "do_sample": False}


def asked(*pictures, text="What?") -> list[dict]:
    parts = [{"type": "image", "image": picture} for picture in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


@pytest.fixture(scope="module")
def vlm():
    model, processor = tiny_llava()
    return from_vlm(ready_to_answer(model), processor, regions="merge(k=4)")


def test_messages_are_answered_as_their_prompts(vlm):
    first, second = noise(40, 60), noise(40, 60, seed=1)
    conversations = [asked(first), asked(text="And?"), asked(second, first)]
    prompts = [
        vlm.processor.apply_chat_template(
            [{"role": "user", "content": f"{'<image>' * count}{text}"}], add_generation_prompt=True
        )
        for count, text in ((1, "What?"), (0, "And?"), (2, "What?"))
    ]
    expected = vlm.answer([[first], [], [second, first]], prompts, **NEW)
    assert vlm.answer(conversations, **NEW) == expected
    assert vlm.answer(messages=conversations, **NEW) == expected
    assert vlm.answer(asked(first), **NEW) == vlm.answer(first, prompts[0], **NEW)
    bare = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    assert vlm.answer(first, messages=bare, **NEW) == vlm.answer(asked(first), **NEW)
    with pytest.raises(ValueError, match="give prompts"):
        vlm.answer(first)


def test_a_begin_token_of_the_template_stands_in_front_once():
    model, processor = tiny_llava()
    begins = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    processor.tokenizer.backend_tokenizer.post_processor = begins
    vlm = from_vlm(model, processor, regions="merge(k=4)")
    text = processor.apply_chat_template(asked(), add_generation_prompt=True)
    assert text.startswith("<s>")
    assert vlm.prepare(None, text).input_ids[0].tolist().count(1) == 1
    assert vlm.prepare(None, text.removeprefix("<s>")).input_ids[0].tolist().count(1) == 1


def test_a_processor_without_chat_template_takes_no_messages():
    model, processor = tiny_llava()
    processor.chat_template = None
    with pytest.raises(ValueError, match="no chat template, so it is no model to chat with"):
        from_vlm(model, processor).answer(asked(noise(8, 8)))


def test_everything_shows_itself_in_a_line(vlm):
    prepared = vlm.prepare(noise(40, 60), "<image>")
    assert repr(vlm).startswith("ReleasedVLM(llava, regions='merge(k=4)', pool=mean, ")
    assert "input_ids=[1 x 4] int64" in repr(prepared)
    for shown in (vlm, prepared, prepared.tokens[0]):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 400
