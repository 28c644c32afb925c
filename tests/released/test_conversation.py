"""Conversations with a released model: its pictures are encoded once, by the keys they have."""

from __future__ import annotations

import pytest
import torch

from regiontok.released.conversation import ReleasedConversationModel
from regiontok.released.loading import from_vlm
from samples.pictures import noise
from samples.released import tiny_llava


def messages(*questions: int) -> list[dict]:
    """Questions with so many pictures each, and answers between them."""
    turns = []
    for pictures in questions:
        images = [{"type": "image"} for _ in range(pictures)]
        text = {"type": "text", "text": "What?"}
        turns.append({"role": "user", "content": [*images, text]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": "That."}]})
    return turns[:-1]


def counted(vlm) -> list[int]:
    """Grows by the number of images whenever the tower sees some."""
    calls, encode = [], vlm.family.encode
    vlm.family.encode = lambda inputs, sizes, cut: (
        calls.append(len(sizes)) or encode(inputs, sizes, cut)
    )
    return calls


def test_pictures_are_encoded_once_until_another_is_added():
    vlm = from_vlm(*tiny_llava(), regions="merge(k=5)")
    calls, model = counted(vlm), ReleasedConversationModel(vlm)
    first = model.prepare(messages(1), [noise(40, 60)])
    again = model.prepare(messages(1, 0), [noise(40, 60)])
    assert calls == [1]
    assert torch.equal(first.pictures[0].tokens.values, again.pictures[0].tokens.values)
    assert again.length > first.length
    both = model.prepare(messages(1, 1), [noise(40, 60), noise(40, 60, seed=1)])
    assert calls == [1, 2]  # some models see pictures together
    assert [len(picture.tokens) for picture in both.pictures] == [5, 5]
    assert len(both.visual_columns) == 10
    assert set(both.seconds) == {"encode"}


def test_a_cache_belongs_to_who_asks_with_it():
    vlm = from_vlm(*tiny_llava(), regions="merge(k=5)")
    calls, cache = counted(vlm), {}
    for _ in range(2):
        vlm.prepare(noise(40, 60), "<image>", cache=cache)
    assert calls == [1]
    vlm.prepare(noise(40, 60), "<image>")
    vlm.prepare([[noise(40, 60)]], ["<image>"], cache=cache)  # by prompt is another question
    assert calls == [1, 1, 1]


def test_the_models_own_tokens_are_its_patches():
    model = ReleasedConversationModel(from_vlm(*tiny_llava()))
    (picture,) = model.prepare(messages(1), [noise(40, 60)]).pictures
    assert [len(regions) for regions in picture.regions] == [16]
    assert picture.tokens.region.tolist() == list(range(16))
    assert picture.frames[0].grid == (4, 4)


def test_text_alone_is_answered():
    model = ReleasedConversationModel(from_vlm(*tiny_llava()))
    prepared = model.prepare(messages(0), [])
    assert (prepared.pictures, len(prepared.visual_columns)) == ((), 0)
    ids = prepared.generate(max_new_tokens=2, min_new_tokens=2, do_sample=False)
    assert ids.shape == (1, prepared.length + 2)


def test_a_processor_without_chat_template_is_refused():
    model, processor = tiny_llava()
    processor.chat_template = None
    with pytest.raises(ValueError, match="no chat template, so it is no model to chat with"):
        ReleasedConversationModel(from_vlm(model, processor))
