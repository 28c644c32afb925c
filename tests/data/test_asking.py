"""A saved model is asked in the very ids it was trained on."""

from __future__ import annotations

import copy

import pytest

from regiontok.data.labels import Labeller
from regiontok.data.record import Turn
from regiontok.model.mini import mini_tokenizer
from regiontok.model.processor import RegionVLMProcessor
from samples.pictures import noise
from samples.tokenizers import DATED, LLAMA2, LLAMA3, QWEN3, llama_like, qwen_like

FIRST = Turn("user", "<image>\nWhat is it?")
TALK = [
    FIRST,
    Turn("assistant", "olives and bread"),
    Turn("user", "And this?"),
    Turn("assistant", "café"),
]
CASES = {
    "vicuna": (llama_like, "vicuna_v1"),
    "vicuna, not legacy": (lambda: llama_like("first"), "vicuna_v1"),
    "vicuna, metaspace": (lambda: llama_like("always"), "vicuna_v1"),
    "vicuna on qwen": (qwen_like, "vicuna_v1"),
    "llama2, not legacy": (lambda: llama_like("first", LLAMA2), ""),
    "llama3": (lambda: qwen_like(LLAMA3), ""),
    "dated": (lambda: qwen_like(DATED), ""),
    "qwen3": (lambda: qwen_like(QWEN3), ""),
    "mini": (mini_tokenizer, ""),
}


def saved_processor(labeller: Labeller, tokenizer, folder) -> RegionVLMProcessor:
    """The processor as a trained stage saves it and another process reads it."""
    asking = copy.deepcopy(tokenizer)
    asking.chat_template = labeller.template.chat_template
    RegionVLMProcessor(asking).save_pretrained(folder)
    return RegionVLMProcessor.from_pretrained(folder)


def messages(turns: list[Turn]) -> list[dict]:
    """The turns as chat messages, pictures as parts."""
    return [
        {
            "role": turn.role,
            "content": [
                *([{"type": "image"}] if "<image>" in turn.text else []),
                {"type": "text", "text": turn.text.removeprefix("<image>\n")},
            ],
        }
        for turn in turns
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_prompt_is_the_trained_one_in_every_turn(case, tmp_path):
    make, template = CASES[case]
    labeller = Labeller(make(), template)
    processor = saved_processor(labeller, make(), tmp_path)
    trained, labels = labeller(TALK)
    for turns in (TALK[:1], TALK[:3]):
        prompt = processor.prompt_ids(messages(turns))
        assert prompt == labeller.prompt(turns)
        if "qwen3" not in case or len(turns) > 1:  # it drops the thoughts of earlier answers
            assert prompt == trained[: len(prompt)]
            assert labels[len(prompt)] == trained[len(prompt)], "the next id is supervised"


@pytest.mark.parametrize("case", ["vicuna, not legacy", "llama3", "mini"])
def test_a_text_from_the_template_has_the_same_ids(case, tmp_path):
    make, template = CASES[case]
    labeller = Labeller(make(), template)
    processor = saved_processor(labeller, make(), tmp_path)
    asked = messages(TALK[:1])
    text = processor.apply_chat_template(asked, add_generation_prompt=True)
    batch = processor(images=noise(20, 30), text=[text, "a"])
    assert batch["input_ids"][0] == labeller.prompt(TALK[:1])
    assert batch["attention_mask"][0] == [1] * len(batch["input_ids"][0])


def test_a_tokenizer_without_a_template_is_asked_by_a_name(tmp_path):
    """Vicuna's tokenizer has no chat template."""
    plain = llama_like()
    plain.chat_template = None
    labeller = Labeller(llama_like(), "plain")
    processor = saved_processor(labeller, plain, tmp_path)
    assert processor.prompt_ids(messages(TALK[:1])) == labeller.prompt(TALK[:1])


def test_begin_tokens_stand_in_front_once():
    processor = RegionVLMProcessor(llama_like("first"))
    begin = processor.tokenizer.bos_token
    ids = processor(text="What?")["input_ids"][0]
    assert ids[0] == processor.tokenizer.bos_token_id
    assert processor(text=f"{begin}What?")["input_ids"][0] == ids
    assert processor(text="What?", add_special_tokens=False)["input_ids"][0] == ids[1:]
