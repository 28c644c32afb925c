"""Region tokens inside a tiny random InternVL.

It has tiles and a thumbnail, cells of 2 x 2 patches, and wrappers around the tokens.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers", minversion="5.18")

from regiontok.released.internvl import InternVL  # noqa: E402
from regiontok.released.ready_tokens import visual_outputs  # noqa: E402
from regiontok.released.vlm import ReleasedVLM  # noqa: E402
from samples.internvl_family import tiny_internvl as released  # noqa: E402
from samples.pictures import blurred_photo  # noqa: E402
from samples.segmenters import BrightArea, FirstPictureOnly  # noqa: E402

# 2 x 3 tiles, 3 x 1 and one
PHOTOS = [blurred_photo(1, (40, 62)), blurred_photo(2, (90, 30)), blurred_photo(3, (20, 20))]
SIZES = [(image.height, image.width) for image in PHOTOS]
IMAGE = "<IMG_CONTEXT>"
TEXTS = [f"What {IMAGE} is?", "say", f"a {IMAGE} b {IMAGE}?"]


def vlm(**options) -> ReleasedVLM:
    """The tiny model with regions."""
    return ReleasedVLM(*released(), **options)


def family_view(mine: ReleasedVLM, cut: str = "tile"):
    """What the family makes of the photos, and what the processor made."""
    inputs = mine.processor.image_processor(PHOTOS, crop_to_patches=True, return_tensors="pt")
    return mine.family.encode(inputs, SIZES, cut), inputs


def side_of(view, place: str):
    """What the projector reads, or what it gives."""
    return (view.projector_inputs if place == "before" else view.projector_outputs)[0]


@pytest.mark.slow
@pytest.mark.parametrize("layer", [-1, -2])
@pytest.mark.parametrize("place", ["before", "after"])
def test_the_empty_pipeline_is_the_untouched_model(place: str, layer: int):
    model, processor = released(layer=layer)
    mine = ReleasedVLM(model, processor, pool_stage=place)
    for side in ("left", "right"):
        inputs = processor(
            images=PHOTOS, text=list(TEXTS), padding=True, padding_side=side, return_tensors="pt"
        )
        prompts = mine.prepare(PHOTOS, TEXTS, side=side)
        assert torch.equal(prompts.input_ids, inputs["input_ids"])
        assert prompts.counts == [7 * 16, 4 * 16, 16]
        with torch.no_grad():
            expected, got = model(**inputs).logits, mine(prompts).logits
        real = inputs["attention_mask"].bool()
        assert torch.equal(got[real], expected[real])
    inputs = processor(
        images=PHOTOS, text=list(TEXTS), padding=True, padding_side="left", return_tensors="pt"
    )
    for options in ({"num_beams": 1}, {"num_beams": 3}, {"num_beams": 1, "use_cache": False}):
        rules = {"max_new_tokens": 5, "do_sample": False, "suppress_tokens": [4, 5], **options}
        assert torch.equal(
            mine.generate(images=PHOTOS, prompts=TEXTS, **rules), model.generate(**inputs, **rules)
        )


def test_an_image_changes_the_answer_so_that_the_test_above_means_something():
    mine = vlm()
    with torch.no_grad():
        upright, turned = (
            mine(images=PHOTOS[2].rotate(turn), prompts=f"{IMAGE} is").logits[0, -1]
            for turn in (0, 180)
        )
    assert (upright - turned).abs().max() > 1e-2


def test_what_the_projector_reads_gives_what_it_gave():
    mine = vlm()
    for image in family_view(mine)[0]:
        parts = [view.projector_outputs[0].flatten(0, 1) for view in image.views]
        assert torch.equal(
            torch.cat(parts), image.model_tokens[0]
        )  # tiles row by row, then the thumbnail
        for view in image.views:
            assert torch.allclose(
                mine.family.project(view.projector_inputs[0].flatten(0, 1), 0),
                view.projector_outputs[0].flatten(0, 1),
                atol=1e-6,
            )


@pytest.mark.parametrize("cut", ["stitched", "tile"])
def test_the_views_of_each_image(cut: str):
    grids = [[view.grid.grid for view in image.views] for image in family_view(vlm(), cut)[0]]
    tile = (4, 4)
    if cut == "tile":
        assert grids == [[tile] * 7, [tile] * 4, [tile]]
    else:
        assert grids == [[(8, 12), tile], [(12, 4), tile], [tile]]


@pytest.mark.parametrize("cut", ["stitched", "tile"])
def test_every_frame_says_which_part_of_the_image_a_view_saw(cut: str):
    """The picture is a ramp of brightness.

    Each cell's mean in the processor's tensors is held against the pixels that the frame names.
    """
    mine = vlm()
    ramp = np.add.outer(np.arange(54) * 2, np.arange(81)).astype(np.uint8)
    image = Image.fromarray(np.stack([ramp] * 3, 2))
    inputs = mine.processor.image_processor([image], crop_to_patches=True, return_tensors="pt")
    # mean brightness of each cell as the tower got it, in the units of the image
    std, mean = (
        torch.tensor(v)[:, None, None]
        for v in (
            mine.processor.image_processor.image_std,
            mine.processor.image_processor.image_mean,
        )
    )
    pixels = ((inputs["pixel_values"] * std + mean) * 255).mean(1)
    cells = pixels.unflatten(1, (4, 8)).unflatten(3, (4, 8)).mean((2, 4))
    views = mine.family.encode(inputs, [(54, 81)], cut)[0].views
    side_by_side = cells[:6].unflatten(0, (2, 3)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
    got = [side_by_side, cells[6]] if cut == "stitched" else list(cells)
    assert len(views) == len(got)
    whole = torch.from_numpy(ramp)[None].double()
    for view, cell in zip(views, got, strict=True):
        frame = view.grid.frame
        covered = frame.to_grid(torch.ones_like(whole))
        assert torch.allclose(covered, torch.ones_like(covered), atol=1e-6)
        expected = frame.to_grid(whole)[0]
        # of 186 steps; a cell of the stitched grid is 3 apart from the next
        assert (cell - expected).abs().max() < 2
        assert (expected.diff(dim=0) > 4).all()


def test_a_bright_square_across_two_tiles_is_one_region_when_they_are_stitched():
    pixels = np.zeros((32, 64, 3), np.uint8)  # as large as its 1 x 2 tiles: a cell is 8 x 8 pixels
    pixels[8:24, 24:48] = 255
    (tokens,) = (
        vlm(regions="segments(0.5)", segmenter=BrightArea()).prepare(pixels, f"{IMAGE}?").tokens
    )
    assert tokens.grids == ((4, 8), (4, 4))
    assert tokens.regions[0].masks.long().tolist() == [
        [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 1, 1, 1, 0, 0],
            [0, 0, 0, 1, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ]
    ]
    # on the thumbnail, 1.5 cells wide, the half covered one is not in
    assert tokens.positions.tolist() == [[1.5, 4.0], [1.5, 2.0]]
    (tokens,) = (
        vlm(regions="segments(0.5)", segmenter=BrightArea(), cut="tile")
        .prepare(pixels, f"{IMAGE}?")
        .tokens
    )
    assert tokens.positions.tolist() == [[1.5, 3.0], [1.5, 0.5], [1.5, 2.0]]
    assert tokens.view.tolist() == [0, 1, 2]


@pytest.mark.parametrize("cut", ["stitched", "tile"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_regions_are_means_of_the_models_own_features(place: str, cut: str):
    mine = vlm(regions="windows(3)", pool_stage=place, cut=cut)
    (tokens,) = mine.prepare(PHOTOS[0], f"{IMAGE} is").tokens
    image = family_view(mine, cut)[0][0]
    expected = []
    for view, regions in zip(image.views, tokens.regions, strict=True):
        for mask in regions.masks:
            mean = side_of(view, place)[mask].mean(0)
            expected.append(mine.family.project(mean[None], 0)[0] if place == "before" else mean)
    assert torch.allclose(tokens.values, torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("cut", ["stitched", "tile"])
def test_a_row_alone_is_the_row_in_a_batch(cut: str):
    mine = vlm(regions="merge(0.6)", cut=cut)
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


def test_decoding_with_regions_agrees_with_an_uncached_recomputation_and_a_second_turn_goes_on():
    mine = vlm(regions="merge(0.6)")
    prompts = mine.prepare(PHOTOS, TEXTS)
    rules = {
        "do_sample": False,
        "suppress_tokens": [4, 5],
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    first = mine.generate(prompts, max_new_tokens=3, **rules)
    more = torch.cat([first.sequences, torch.tensor([[60, 61]] * 3)], 1)
    mask = torch.cat(
        [prompts.attention_mask, torch.ones_like(more[:, prompts.input_ids.shape[1] :])], 1
    )
    cached = {"past_key_values": first.past_key_values, "max_new_tokens": 3}
    second = mine.model.generate(input_ids=more, attention_mask=mask, **cached, **rules)
    ids = second.sequences
    mask = torch.cat(
        [prompts.attention_mask, torch.ones_like(ids[:, prompts.input_ids.shape[1] :])], 1
    )
    with torch.no_grad():
        again = mine.model(
            input_ids=ids,
            attention_mask=mask,
            mm_encoder_outputs=visual_outputs(prompts.tokens),
            use_cache=False,
        ).logits
    for turn, start in ((first, prompts.input_ids.shape[1]), (second, more.shape[1])):
        for step, logits in enumerate(turn.logits):
            assert torch.allclose(logits, again[:, start + step - 1], atol=2e-5)


def test_a_second_turn_with_a_new_image_reads_only_that_one():
    mine = vlm(regions="merge(0.6)")
    with torch.no_grad():
        cache = mine(images=PHOTOS[0], prompts=f"{IMAGE} is", use_cache=True).past_key_values
    whole = mine.prepare(PHOTOS[:2], f"{IMAGE} is so. {IMAGE} then")
    rules = {"max_new_tokens": 3, "do_sample": False, "suppress_tokens": [4, 5]}
    assert torch.equal(
        mine.generate(whole, past_key_values=cache, **rules), mine.generate(whole, **rules)
    )


def test_an_image_without_regions_keeps_its_wrappers():
    mine = vlm(regions="segments(0.5)", segmenter=FirstPictureOnly())
    prompts = mine.prepare(PHOTOS[:2], f"{IMAGE} {IMAGE} is")
    assert prompts.counts == [2, 0]
    assert (
        mine.processor.tokenizer.decode(prompts.input_ids[0])
        == f"<img>{IMAGE}{IMAGE}</img> <img></img> is"
    )
    with torch.no_grad():
        assert torch.isfinite(mine(prompts).logits).all()


def test_eager_attention_says_the_same():
    prompts = vlm(regions="merge(0.6)").prepare(PHOTOS, TEXTS)
    real = prompts.attention_mask.bool()
    with torch.no_grad():
        sdpa, eager = (
            ReleasedVLM(*released(name), regions="merge(0.6)")(images=PHOTOS, prompts=TEXTS).logits[
                real
            ]
            for name in ("sdpa", "eager")
        )
    assert torch.allclose(sdpa, eager, atol=2e-5)


def test_a_model_that_keeps_cls_among_the_patches_is_refused():
    model, processor = released()
    config = copy.copy(model.config)
    config.vision_feature_select_strategy = "full"
    other = copy.copy(model)
    other.config = config
    with pytest.raises(ValueError, match="'full' keeps CLS among the patches"):
        InternVL(other, processor)


def test_tiles_of_another_rule_or_shape_are_refused():
    mine = vlm()
    inputs = mine.processor.image_processor(PHOTOS[:1], crop_to_patches=True, return_tensors="pt")
    inputs["num_patches"] = torch.tensor([5])
    with pytest.raises(
        ValueError,
        match="made 5 tiles of an image of 40 x 62 pixels, its own rule makes 2 x 3 and a "
        "thumbnail",
    ):
        mine.family.encode(inputs, SIZES[:1], "tile")
    inputs["pixel_values"] = inputs["pixel_values"][..., :16]
    with pytest.raises(ValueError, match="takes square tiles, the processor makes 32 x 16 pixels"):
        mine.family.encode(inputs, SIZES[:1], "tile")


def test_the_models_own_tokens_lie_where_the_family_says():
    """Each token is what the projector gave for its patch of its view."""
    images, _ = family_view(vlm(), "stitched")
    tiled = [image for image in images if image.token_places is not None]
    assert tiled
    for image in tiled:
        outputs = [view.projector_outputs[0].flatten(0, 1) for view in image.views]
        rows = [outputs[view][patch] for view, patch in image.token_places.tolist()]
        assert torch.equal(torch.stack(rows), image.model_tokens[0])
