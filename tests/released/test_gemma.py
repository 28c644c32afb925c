"""Region tokens inside a tiny random Gemma 3: averaged cells, tokens that see one another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", minversion="5.18")

from regiontok.released.gemma import Gemma3  # noqa: E402 - after the skip
from regiontok.released.vlm import ReleasedVLM  # noqa: E402
from samples.models import byte_tokenizer, ready_to_answer  # noqa: E402
from samples.pictures import blurred_photo  # noqa: E402
from samples.segmenters import BrightArea, FirstPictureOnly  # noqa: E402

SIDE, PATCH = 32, 4  # 8 x 8 patches, averaged to 4 x 4 cells of 8 pixels
SPECIAL = ("<pad>", "</s>", "<boi>", "<eoi>", "<soft>")
IMAGE = "<boi>"
PHOTOS = [blurred_photo(1, (40, 62)), blurred_photo(2, (90, 30)), blurred_photo(3, (20, 20))]
SIZES = [(photo.height, photo.width) for photo in PHOTOS]
TEXTS = [f"What {IMAGE} is?", "say", f"a {IMAGE} b {IMAGE}?"]
BY_PROMPT = [[PHOTOS[0]], [], PHOTOS[1:]]
RULES = {"do_sample": False, "suppress_tokens": [2, 3, 4]}
LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


@lru_cache(maxsize=2)
def released(attention: str = "sdpa"):
    """A tiny random model, and its processor."""
    text = transformers.Gemma3TextConfig(
        vocab_size=256 + len(SPECIAL),
        **LAYERS,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    vision = transformers.SiglipVisionConfig(**LAYERS, image_size=SIDE, patch_size=PATCH)
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=16,
        boi_token_index=2,
        eoi_token_index=3,
        image_token_index=4,
    )
    torch.manual_seed(0)
    model = transformers.Gemma3ForConditionalGeneration(config)
    with torch.no_grad():  # the weight starts at zero
        model.model.multi_modal_projector.mm_input_projection_weight.normal_(0, 0.2)
    tokenizer = byte_tokenizer(SPECIAL, ("boi_token", "eoi_token", "image_token"))
    images = transformers.Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE})
    processor = transformers.Gemma3Processor(images, tokenizer, image_seq_length=16)
    return ready_to_answer(model, attention), processor


def vlm(**options) -> ReleasedVLM:
    """The tiny model with regions."""
    return ReleasedVLM(*released(), **options)


def untouched_inputs(side: str):
    """The released model's own inputs."""
    _, processor = released()
    options = {"padding": True, "padding_side": side, "return_tensors": "pt"}
    return processor(images=BY_PROMPT, text=list(TEXTS), **options)


@pytest.mark.slow
@pytest.mark.parametrize("pool_stage", ["before", "after"])
@pytest.mark.parametrize("images", [PHOTOS, BY_PROMPT], ids=["flat", "by prompt"])
def test_the_empty_pipeline_is_the_untouched_model(images, pool_stage: str):
    model, gemma = released()[0], vlm(pool_stage=pool_stage)
    for side in ("left", "right"):
        inputs, prepared = untouched_inputs(side), gemma.prepare(images, TEXTS, side=side)
        assert torch.equal(prepared.input_ids, inputs["input_ids"])
        assert torch.equal(prepared.other_inputs["token_type_ids"], inputs["token_type_ids"])
        assert prepared.counts == [16, 16, 16]
        with torch.no_grad():
            assert torch.equal(gemma(prepared).logits, model(**inputs).logits)
    inputs = untouched_inputs("left")
    for options in ({"num_beams": 1}, {"num_beams": 3}, {"num_beams": 1, "use_cache": False}):
        rules = {**RULES, "max_new_tokens": 5, **options}
        answers = gemma.generate(images=images, prompts=TEXTS, **rules)
        assert torch.equal(answers, model.generate(**inputs, **rules))


def test_an_image_changes_the_answer_so_that_the_test_above_means_something():
    gemma = vlm()
    with torch.no_grad():
        upright, turned = (
            gemma(images=PHOTOS[2].rotate(turn), prompts=f"{IMAGE} is").logits[0, -1]
            for turn in (0, 180)
        )
    assert (upright - turned).abs().max() > 1e-2


def test_what_the_projector_reads_gives_what_it_gave():
    gemma = vlm()
    images = gemma.processor.image_processor(PHOTOS, return_tensors="pt")
    for image, size in zip(gemma.family.encode(images, SIZES, "tile"), SIZES, strict=True):
        (view,) = image.views
        assert view.grid.frame.image == size
        assert view.grid.frame.grid == (4, 4)
        cells, tokens = view.projector_inputs[0], view.projector_outputs[0]
        assert torch.equal(tokens.flatten(0, 1), image.model_tokens[0])
        projected = gemma.family.project(cells.flatten(0, 1), 0)
        assert torch.allclose(projected, tokens.flatten(0, 1), atol=1e-6)


def test_a_bright_square_lands_on_the_cells_that_saw_it():
    pixels = np.zeros((64, 96, 3), np.uint8)  # a cell sees 16 x 24 pixels of it
    pixels[16:48, 24:96] = 255
    (tokens,) = vlm(regions="segments(0.5)", segmenter=BrightArea()).prepare(pixels, IMAGE).tokens
    assert tokens.regions[0].masks.long().tolist() == [
        [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    ]
    assert tokens.positions.tolist() == [[1.5, 2.0]]


def test_a_row_alone_is_the_row_in_a_batch():
    gemma = vlm(regions="merge(0.6)")
    with torch.no_grad():
        for side in ("left", "right"):
            batch = gemma.prepare(BY_PROMPT, TEXTS, side=side)
            assert len(set(batch.counts)) > 1, "rows of equal length would prove little"
            logits = gemma(batch).logits
            for row, (images, text) in enumerate(zip(BY_PROMPT, TEXTS, strict=True)):
                alone = gemma(images=images or None, prompts=text).logits[0]
                is_token = batch.attention_mask[row].bool()
                assert torch.allclose(logits[row][is_token], alone, atol=2e-5)


def test_a_second_turn_with_a_new_image_reads_only_that_one():
    gemma = vlm(regions="merge(0.6)")
    with torch.no_grad():
        cache = gemma(images=PHOTOS[0], prompts=f"{IMAGE} is", use_cache=True).past_key_values
    conversation = gemma.prepare(PHOTOS[:2], f"{IMAGE} is so. {IMAGE} then")
    rules = {**RULES, "max_new_tokens": 3}
    afresh = gemma.generate(conversation, **rules)
    assert torch.equal(gemma.generate(conversation, past_key_values=cache, **rules), afresh)


def test_an_image_without_regions_keeps_its_wrappers():
    gemma = vlm(regions="segments(0.5)", segmenter=FirstPictureOnly())
    prepared = gemma.prepare(PHOTOS[:2], f"{IMAGE} {IMAGE} is")
    assert prepared.counts == [1, 0]
    text = gemma.processor.tokenizer.decode(prepared.input_ids[0])
    assert text == "\n\n<boi><soft><eoi>\n\n \n\n<boi><eoi>\n\n is"
    with torch.no_grad():
        assert torch.isfinite(gemma(prepared).logits).all()


def test_processors_of_another_size_or_with_pan_and_scan_are_refused():
    model, processor = released()
    images = transformers.Gemma3ImageProcessor(size={"height": 16, "width": 16})
    other = transformers.Gemma3Processor(images, processor.tokenizer, image_seq_length=16)
    with pytest.raises(ValueError, match="expected an image processor of 32 x 32 px"):
        Gemma3(model, other)
    inputs = processor.image_processor(PHOTOS, return_tensors="pt")
    with pytest.raises(ValueError, match=r"3 crops of 1 images: switch pan and scan off"):
        vlm().family.encode(inputs, SIZES[:1], "tile")
