"""Region tokens inside tiny random Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

They have positions on three axes, windows, and deep-stacked layers.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers", minversion="5.18")

from regiontok.core.frame import Frame  # noqa: E402 - after the skip
from regiontok.released.family import ImageTokens  # noqa: E402
from regiontok.released.qwen import Qwen  # noqa: E402
from regiontok.released.ready_tokens import visual_outputs  # noqa: E402
from regiontok.released.vlm import ReleasedVLM  # noqa: E402
from samples.pictures import blurred_photo  # noqa: E402
from samples.qwen_family import IMAGE, KINDS  # noqa: E402
from samples.qwen_family import tiny_qwen_family as released  # noqa: E402
from samples.segmenters import BrightArea, FirstPictureOnly  # noqa: E402

PHOTOS = [blurred_photo(1, (33, 56)), blurred_photo(2, (40, 24)), blurred_photo(3, (20, 37))]
TEXTS = [f"What {IMAGE} is?", "say", f"a {IMAGE} b {IMAGE}? And then"]


def vlm(kind: str, **options) -> ReleasedVLM:
    """The tiny model with regions."""
    return ReleasedVLM(*released(kind), **options)


def tokens_at(places: list[list[float]], grid: tuple[int, int]) -> ImageTokens:
    """Tokens that stand somewhere, of no value."""
    where = torch.tensor(places, dtype=torch.float64).reshape(-1, 2)
    none = torch.zeros(len(where), dtype=torch.int64)
    frame = Frame.stretch(grid, grid, (1, 1))
    return ImageTokens(torch.zeros(len(where), 4), (), none, none, where, (frame,))


def positioned(ids: list[list[int]], mask: list[list[int]], images: list[ImageTokens]):
    """Positions by the family alone, and the model's distance from counting."""
    inner = SimpleNamespace(rope_deltas=None)
    family = Qwen.__new__(Qwen)
    family.model = SimpleNamespace(config=SimpleNamespace(image_token_id=2), model=inner)
    arguments = (torch.tensor(ids), torch.tensor(mask), images)
    family.remember_positions(*arguments)
    return family.position_ids(*arguments), inner


def test_positions_by_eye():
    # two words, an image of 3 x 4 cells with two regions, one word; the first row has a pad on the
    # left
    ids, mask = [[0, 9, 9, 2, 2, 9], [9, 9, 9, 9, 9, 9]], [[0, 1, 1, 1, 1, 1], [1] * 6]
    positions, inner = positioned(ids, mask, [tokens_at([[0.5, 1.0], [2.0, 2.25]], (3, 4))])
    assert positions[:, 0].tolist() == [
        [0, 0, 1, 2, 3, 4],  # the text's own count, for the mask
        [0, 0, 1, 2, 2, 6],  # time: the image starts at 2; text goes on at 2 + max(3, 4)
        [0, 0, 1, 2.5, 4, 6],  # height
        [0, 0, 1, 3, 4.25, 6],  # width
    ]
    assert positions[:, 1].tolist() == [list(range(6))] * 4
    assert inner.rope_deltas.tolist() == [[2], [0]]  # 5 tokens, 7 positions


def test_two_images_side_by_side_are_told_apart_and_one_without_tokens_takes_no_room():
    images = [
        tokens_at([[1, 0]], (2, 2)),
        tokens_at([], (9, 9)),
        tokens_at([[0, 2], [0, 3]], (1, 5)),
    ]
    positions, _ = positioned([[2, 2, 2, 9]], [[1] * 4], images)
    assert positions[1:, 0].tolist() == [[0, 2, 2, 7], [1, 2, 2, 7], [0, 4, 5, 7]]


def test_image_tokens_of_another_number_are_refused():
    with pytest.raises(ValueError, match="hold 3 image tokens, the images have 1"):
        positioned([[2, 2, 2, 9]], [[1] * 4], [tokens_at([[1, 0]], (2, 2))])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_positions_of_the_empty_pipeline_are_the_models_own(kind: str, side: str):
    model, processor = released(kind)
    inputs = processor(
        images=PHOTOS, text=list(TEXTS), padding=True, padding_side=side, return_tensors="pt"
    )
    named = {
        name: inputs[name] for name in ("mm_token_type_ids", "image_grid_thw", "attention_mask")
    }
    expected, deltas = model.model.get_rope_index(inputs["input_ids"], **named)
    prompts = vlm(kind).prepare(PHOTOS, TEXTS, side=side)
    assert torch.equal(prompts.input_ids, inputs["input_ids"])
    assert torch.equal(prompts.other_inputs["position_ids"][1:], expected.float())
    vlm(kind)(prompts)
    assert torch.equal(model.model.rope_deltas, deltas)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_empty_pipeline_is_the_untouched_model(kind: str, place: str):
    model, processor = released(kind)
    mine = vlm(kind, pool_stage=place)
    for side in ("left", "right"):
        inputs = processor(
            images=PHOTOS, text=list(TEXTS), padding=True, padding_side=side, return_tensors="pt"
        )
        prompts = mine.prepare(PHOTOS, TEXTS, side=side)
        with torch.no_grad():
            expected, got = model(**inputs).logits, mine(prompts).logits
        real = inputs["attention_mask"].bool()
        assert torch.equal(got[real], expected[real])
    inputs = processor(
        images=PHOTOS, text=list(TEXTS), padding=True, padding_side="left", return_tensors="pt"
    )
    for options in ({"num_beams": 1}, {"num_beams": 3}, {"num_beams": 1, "use_cache": False}):
        rules = {"max_new_tokens": 6, "do_sample": False, "suppress_tokens": [2, 3], **options}
        assert torch.equal(
            mine.generate(images=PHOTOS, prompts=TEXTS, **rules), model.generate(**inputs, **rules)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_changes_the_answer_so_that_the_tests_above_mean_something(kind: str):
    mine = vlm(kind)
    with torch.no_grad():
        first, second = (
            mine(images=PHOTOS[i], prompts=f"{IMAGE} is").logits[0, -1] for i in (0, 2)
        )
    assert (first - second).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_mergers_read_gives_what_they_gave(kind: str):
    family = vlm(kind).family
    _, processor = released(kind)
    inputs = processor.image_processor(PHOTOS, return_tensors="pt")
    sizes = [(image.height, image.width) for image in PHOTOS]
    for seen, size in zip(family.encode(inputs, sizes, "tile"), sizes, strict=True):
        (view,) = seen.views
        assert view.grid.frame.image == size
        assert (
            len(view.projector_inputs)
            == len(view.projector_outputs)
            == (3 if kind == "qwen3_vl" else 1)
        )
        for level, (before, after) in enumerate(
            zip(view.projector_inputs, view.projector_outputs, strict=True)
        ):
            assert torch.allclose(
                family.project(before.flatten(0, 1), level), after.flatten(0, 1), atol=1e-6
            )
    assert [seen.views[0].grid.grid for seen in family.encode(inputs, sizes, "tile")] == [
        (4, 7),
        (5, 3),
        (2, 5),
    ]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_regions_are_means_of_the_models_own_features_in_every_level(kind: str, place: str):
    mine = vlm(kind, regions="windows(3)", pool_stage=place)
    prompts = mine.prepare(PHOTOS[0], f"{IMAGE} is")
    (tokens,) = prompts.tokens
    inputs = mine.processor.image_processor(PHOTOS[:1], return_tensors="pt")
    (view,) = mine.family.encode(inputs, [(33, 56)], "tile")[0].views
    for level, values in enumerate((tokens.values, *tokens.deepstack)):
        for region, mask in enumerate(tokens.regions[0].masks):
            if place == "after":
                expected = view.projector_outputs[level][mask].mean(0)
            else:
                expected = mine.family.project(
                    view.projector_inputs[level][mask].mean(0)[None], level
                )[0]
            assert torch.allclose(values[region], expected, atol=1e-5)
    assert len(tokens.deepstack) == (2 if kind == "qwen3_vl" else 0)


def test_deep_stacked_features_reach_the_language_model():
    mine = vlm("qwen3_vl", regions="windows(3)")
    prompts = mine.prepare(PHOTOS[0], f"{IMAGE} is")
    blank = ImageTokens(
        **{
            **vars(prompts.tokens[0]),
            "deepstack": tuple(torch.zeros_like(layer) for layer in prompts.tokens[0].deepstack),
        }
    )
    with torch.no_grad():
        whole, without = (
            mine.model(
                **{**prompts.inputs(), "mm_encoder_outputs": visual_outputs([tokens])}
            ).logits[0, -1]
            for tokens in (prompts.tokens[0], blank)
        )
    assert (whole - without).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_is_the_row_in_a_batch(kind: str):
    mine = vlm(kind, regions="merge(0.6)")
    rows = [[PHOTOS[0]], [], PHOTOS[1:]]
    with torch.no_grad():
        for side in ("left", "right"):
            batch = mine.prepare(rows, TEXTS, side=side)
            assert len(set(batch.counts)) > 1, "rows of equal length would prove little"
            logits = mine(batch).logits
            for row, (images, text) in enumerate(zip(rows, TEXTS, strict=True)):
                alone = mine(images=images or None, prompts=text).logits[0]
                assert torch.allclose(
                    logits[row][batch.attention_mask[row].bool()], alone, atol=2e-5
                )


def uncached(mine: ReleasedVLM, prompts, ids: torch.Tensor) -> torch.Tensor:
    """Logits over prompts and answers at once, without a cache: what decoding must agree with."""
    mask = torch.cat(
        [prompts.attention_mask, torch.ones_like(ids[:, prompts.attention_mask.shape[1] :])], 1
    )
    named = {
        "position_ids": mine.family.position_ids(ids, mask, prompts.tokens),
        "mm_encoder_outputs": visual_outputs(prompts.tokens),
    }
    with torch.no_grad():
        return mine.model(input_ids=ids, attention_mask=mask, use_cache=False, **named).logits


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_with_regions_agrees_with_an_uncached_recomputation(kind: str):
    mine = vlm(kind, regions="merge(0.6)")
    prompts = mine.prepare(PHOTOS, TEXTS)
    position_ids = prompts.other_inputs["position_ids"]
    assert (position_ids != position_ids.round()).any(), "centroids between patches are the point"
    rules = {"max_new_tokens": 5, "do_sample": False, "suppress_tokens": [2, 3]}
    out = mine.generate(prompts, **rules, return_dict_in_generate=True, output_logits=True)
    length = prompts.input_ids.shape[1]
    again = uncached(mine, prompts, out.sequences)
    for step, logits in enumerate(out.logits):
        assert torch.allclose(logits, again[:, length + step - 1], atol=2e-5)
    assert torch.equal(mine.generate(prompts, **rules, use_cache=False), out.sequences)


RULES = {
    "do_sample": False,
    "suppress_tokens": [2, 3],
    "return_dict_in_generate": True,
    "output_logits": True,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_turn_goes_on_from_the_cache_at_the_right_place(kind: str):
    mine = vlm(kind, regions="merge(0.6)")
    prompts = mine.prepare(PHOTOS, TEXTS)
    mine.prepare(PHOTOS[2], f"{IMAGE} of another conversation")
    first = mine.generate(prompts, max_new_tokens=3, **RULES)
    more = torch.cat([first.sequences, torch.tensor([[60, 61]] * 3)], 1)
    mask = torch.cat(
        [prompts.attention_mask, torch.ones_like(more[:, prompts.input_ids.shape[1] :])], 1
    )
    cached = {"past_key_values": first.past_key_values, "max_new_tokens": 3}
    second = mine.model.generate(input_ids=more, attention_mask=mask, **cached, **RULES)
    again = uncached(mine, prompts, second.sequences)
    for step, logits in enumerate(second.logits):
        assert torch.allclose(logits, again[:, more.shape[1] + step - 1], atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_turn_with_a_new_image_reads_only_that_one(kind: str):
    mine = vlm(kind, regions="merge(0.6)")
    text = f"{IMAGE} is"
    with torch.no_grad():
        cache = mine(images=PHOTOS[0], prompts=text, use_cache=True).past_key_values
    whole = mine.prepare(PHOTOS[:2], f"{text} so. {IMAGE} then")
    fresh = mine.generate(whole, max_new_tokens=3, **RULES)
    turn = mine.generate(whole, past_key_values=cache, max_new_tokens=3, **RULES)
    assert torch.equal(turn.sequences, fresh.sequences)
    for of_turn, afresh in zip(turn.logits, fresh.logits, strict=True):
        assert torch.allclose(of_turn, afresh, atol=2e-5)


def test_a_cache_of_something_else_is_refused():
    mine = vlm("qwen2_5_vl", regions="windows(3)")
    with torch.no_grad():
        cache = mine(images=PHOTOS[0], prompts=f"{IMAGE} is", use_cache=True).past_key_values
    with pytest.raises(
        ValueError, match="the cache holds 8 tokens, the prompts 7: prepare the whole conversation"
    ):
        mine.generate(images=PHOTOS[0], prompts=f"{IMAGE}so", past_key_values=cache)
    with pytest.raises(ValueError, match=r"the cache ends inside an image \(after 8 tokens\)"):
        mine.generate(images=PHOTOS[0], prompts=f"a lon {IMAGE} is", past_key_values=cache)


def test_prompts_that_decoding_cannot_go_on_from_are_refused():
    mine = vlm("qwen2_5_vl", regions="windows(3)")
    with pytest.raises(ValueError, match="last column, which is padding here"):
        mine.generate(mine.prepare(PHOTOS, TEXTS, side="right"))
    with pytest.raises(ValueError, match="ends with an image"):
        mine.generate(images=PHOTOS[0], prompts="is <|image_pad|>")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bright_square_lands_on_the_cells_that_saw_it(kind: str):
    mine = vlm(kind, regions="segments(0.5)", segmenter=BrightArea())
    pixels = np.zeros((66, 90, 3), np.uint8)  # becomes 48 x 72: cells of 11 x 10 pixels
    pixels[11:33, 50:80] = 255
    (tokens,) = mine.prepare(pixels, f"{IMAGE}?").tokens
    inputs = mine.processor.image_processor([Image.fromarray(pixels)], return_tensors="pt")
    height, width = (side // 2 for side in inputs["image_grid_thw"][0, 1:].tolist())
    # four patches a cell, as the tower gets them
    brightness = inputs["pixel_values"].mean(1).reshape(height, width, 4).mean(2)
    assert (height, width) == (6, 9) == tokens.grids[0]
    assert torch.equal(tokens.regions[0].masks[0], brightness > brightness.mean())
    assert tokens.regions[0].masks[0].nonzero().aminmax(dim=0).min.tolist() == [1, 5]
    assert tokens.positions.tolist() == [[1.5, 6.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_regions_is_the_prompt_without_tokens(kind: str):
    mine = vlm(kind, regions="segments(0.5)", segmenter=FirstPictureOnly())
    prompts = mine.prepare(PHOTOS[:2], f"{IMAGE} {IMAGE} is")
    assert prompts.counts == [1, 0]
    empty = IMAGE.replace("<|image_pad|>", "")
    plain = mine.prepare(PHOTOS[:1], f"{IMAGE} {empty} is")
    assert torch.equal(prompts.input_ids, plain.input_ids)
    with torch.no_grad():
        assert torch.equal(mine(prompts).logits, mine(plain).logits)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_eager_attention_says_the_same(kind: str):
    prompts = vlm(kind, regions="merge(0.6)").prepare(PHOTOS, TEXTS)
    real = prompts.attention_mask.bool()
    with torch.no_grad():
        sdpa, eager = (
            ReleasedVLM(*released(kind, name), regions="merge(0.6)")(
                images=PHOTOS, prompts=TEXTS
            ).logits[real]
            for name in ("sdpa", "eager")
        )
    assert torch.allclose(sdpa, eager, atol=2e-5)


def test_a_processor_of_another_patch_size_is_refused():
    model, processor = released("qwen2_5_vl")
    other = type(processor)(
        transformers.Qwen2VLImageProcessor(), processor.tokenizer, processor.video_processor
    )
    with pytest.raises(
        ValueError,
        match=r"patches of 14 pixels, merged 2 x 2; this model takes patches of 4, merged 2 x 2",
    ):
        Qwen(model, other)


def test_a_video_in_the_prompt_is_refused():
    with pytest.raises(ValueError, match="video"):
        vlm("qwen2_5_vl").prepare(None, "<|vision_start|><|video_pad|><|vision_end|>?")
