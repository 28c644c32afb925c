"""A released model without its language model makes the whole model's tokens."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", minversion="5.18")

from regiontok.released.eyes import LanguageModelAbsent
from regiontok.released.loading import eyes_of_vlm, from_vlm
from samples.internvl_family import tiny_internvl
from samples.llava_family import tiny_llava_family
from samples.pictures import blurred_photo
from samples.qwen_family import tiny_qwen_family
from samples.read_tensors import watch_reading

PHOTOS = [blurred_photo(1, (50, 90)), blurred_photo(2, (70, 33))]
MODELS = {
    "llava": lambda: tiny_llava_family("llava"),
    "llava_next": lambda: tiny_llava_family("llava_next"),
    "llava_onevision": lambda: tiny_llava_family("llava_onevision"),
    "internvl": tiny_internvl,
    "qwen2_vl": lambda: tiny_qwen_family("qwen2_vl"),
    "qwen2_5_vl": lambda: tiny_qwen_family("qwen2_5_vl"),
    "qwen3_vl": lambda: tiny_qwen_family("qwen3_vl"),
}
FAST = ("llava",)


@pytest.mark.parametrize(
    "kind",
    [kind if kind in FAST else pytest.param(kind, marks=pytest.mark.slow) for kind in MODELS],
)
def test_tokens_are_the_whole_models_and_no_language_weight_is_read(kind, tmp_path, monkeypatch):
    model, processor = MODELS[kind]()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    whole = from_vlm(str(tmp_path), regions="merge(k=3)")
    read = watch_reading(monkeypatch)
    eyes = eyes_of_vlm(str(tmp_path), regions="merge(k=3)")
    assert read
    names = [*read, *(name for name, _ in eyes.model.named_parameters())]

    assert not [name for name in names if "language_model" in name or "lm_head" in name]
    prompts = [eyes.processor.image_token] * 2
    theirs, ours = whole.prepare(PHOTOS, prompts), eyes.prepare(PHOTOS, prompts)
    assert torch.equal(theirs.input_ids, ours.input_ids)
    for one, other in zip(theirs.tokens, ours.tokens, strict=True):
        assert torch.equal(one.values, other.values)
        assert all(map(torch.equal, one.deepstack, other.deepstack))
    with pytest.raises(LanguageModelAbsent, match="loaded without its language model"):
        eyes.model.model.language_model()
