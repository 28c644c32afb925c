"""With and without masks (O5), object-guided rows (O2) and mask-free samples in a checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.data.mask_free import without_masks
from regiontok.model.vlm import RegionVLM
from regiontok.settings.recipe import TokenizerSettings
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from samples.models import mini_vlm
from samples.pictures import colour_blocks

IMAGE = 3
FUSION = TokenizerSettings(
    encoder="filters(size=56)",
    segmenter="felzenszwalb",
    regions="segments(0.5, mapping='flat1d', unit='pixels', compare='>=')",
    pool="select",
    padding="keep",
)
PLAIN = TokenizerSettings(encoder="filters(size=56)", padding="keep")  # LLaVA: every patch


def masked(model: RegionVLM, picture: Picture, masks: torch.Tensor) -> PatchGrid:
    """The picture's features with masks of one's own."""
    (grid,) = model.regionizer.see([picture], masks=False)
    return grid.but(masks=PixelMasks.from_dense(masks))


def boxes(count: int, seed: int, size: tuple[int, int]) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for mask in masks:
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, side, 2)) for side in size)
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return masks


def pair() -> tuple[RegionVLM, RegionVLM]:
    """OG-LLaVA and LLaVA with the same weights."""
    fusion, plain = mini_vlm(FUSION), mini_vlm(PLAIN)
    plain.load_state_dict(fusion.state_dict())
    return fusion, plain


def logits(model: RegionVLM, pictures: list[Any], **words: Any) -> torch.Tensor:
    return model(
        torch.tensor([[1, IMAGE, 40, 41]] * len(pictures)), pictures=pictures, **words
    ).logits


def test_one_mask_that_covers_all_patches_equals_plain_llava():
    fusion, plain = pair()
    grid = masked(fusion, colour_blocks(1), torch.ones(1, 60, 84, dtype=torch.bool))
    assert torch.equal(fusion.see([grid]).values, plain.see([colour_blocks(1)]).values)
    assert torch.equal(logits(fusion, [grid]), logits(plain, [colour_blocks(1)]))


def test_without_masks_one_checkpoint_is_plain_llava_and_asks_no_segmenter(monkeypatch):
    fusion, plain = pair()
    assert len(fusion.see([colour_blocks(2)])) != 16  # with masks there are other rows
    monkeypatch.setattr(type(fusion.regionizer.segmenter), "__call__", None)
    assert torch.equal(
        fusion.see([colour_blocks(2)], regions="").values, plain.see([colour_blocks(2)]).values
    )
    assert torch.equal(
        logits(fusion, [colour_blocks(2)], regions=""), logits(plain, [colour_blocks(2)])
    )
    ids = torch.tensor([[1, IMAGE, 40, 41]])
    words = {"max_new_tokens": 5, "do_sample": False}
    bare = fusion.generate(ids, pictures=[colour_blocks(2)], regions="", **words)
    assert torch.equal(bare, plain.generate(ids, pictures=[colour_blocks(2)], **words))


def test_some_pictures_of_a_batch_without_masks():
    fusion, _ = pair()
    pictures = [colour_blocks(seed) for seed in (1, 2, 3)]
    mixed = fusion.see(pictures, regions=[None, "", "windows(2)"])
    alone = [
        fusion.see([picture], regions=text)
        for picture, text in zip(pictures, [None, "", "windows(2)"], strict=True)
    ]
    assert mixed.counts.tolist() == [len(tokens) for tokens in alone]
    torch.testing.assert_close(
        mixed.values, torch.cat([tokens.values for tokens in alone]), rtol=0, atol=1e-6
    )
    with pytest.raises(ValueError, match="expected regions for each of 3 pictures, got 2"):
        fusion.see(pictures, regions=["", None])


def test_a_global_view_is_every_patch_already():
    whole = FUSION.model_copy(update={"whole": True})
    model, plain = mini_vlm(whole), mini_vlm(PLAIN)
    plain.load_state_dict(model.state_dict())
    rows = len(model.see([colour_blocks(2)])) - 16
    assert rows == len(mini_vlm(FUSION).see([colour_blocks(2)]))  # V + T
    assert torch.equal(
        model.see([colour_blocks(2)], regions="").values, plain.see([colour_blocks(2)]).values
    )


@pytest.mark.parametrize("whole", [False, True])
def test_all_patches_of_all_views_of_tiles(whole):
    model = mini_vlm(FUSION.model_copy(update={"tiles": "2x2", "padding": "drop", "whole": whole}))
    patches = [
        int(grid.valid.sum()) for grid in model.regionizer.see([colour_blocks(2)], masks=False)
    ]
    assert len(patches) == 2
    bare = model.see([colour_blocks(2), colour_blocks(1)], regions=["", None])[0]
    assert len(bare) == sum(patches)
    assert sorted(zip(bare.view.tolist(), bare.patch.tolist(), strict=True)) == list(
        zip(bare.view.tolist(), bare.patch.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    "changes", [{}, {"whole": True}, {"pool": "mean"}, {"pool": "mean", "whole": True}]
)
def test_lengths_are_reckoned_with_what_the_model_is_shown(changes):
    settings = FUSION.model_copy(update=changes)
    measured = (
        RegionTokenizer(**without_masks(settings).model_dump()).run([colour_blocks(2)]).tokens
    )
    assert (
        len(mini_vlm(settings).see([colour_blocks(2)], regions=""))
        == len(measured)
        == 16 + (changes.get("pool") == "mean" and "whole" in changes)
    )


def test_tokens_do_not_depend_on_batch_mates():
    """In the release 449 rows beside 1,732 were filled with zeros.

    Its connector made tokens of them.
    """
    model = mini_vlm(FUSION)
    few, many = (
        masked(model, colour_blocks(seed), boxes(count, seed, (60, 84)))
        for seed, count in ((1, 2), (2, 40))
    )
    alone, other, both = model.see([few]), model.see([many]), model.see([few, many])
    assert both.counts.tolist() == [len(alone), len(other)]
    assert len(other) > 4 * len(alone)
    torch.testing.assert_close(both[0].values, alone.values, rtol=0, atol=1e-6)
    ids, mask = torch.tensor([[1, IMAGE, 40, 41]] * 2), torch.ones(2, 4, dtype=torch.int64)
    beside = model(ids, mask, pictures=[few, many]).logits[0, : len(alone) + 3]
    torch.testing.assert_close(beside, logits(model, [few])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("policy", ["largest", "round_robin", "merge_rest"])
def test_a_hundred_overlapping_masks_within_a_budget_reach_the_language_model(policy):
    settings = FUSION.model_copy(
        update={"regions": f"{FUSION.regions} | budget(24, policy={policy!r})"}
    )
    model = mini_vlm(settings)
    grid = masked(model, colour_blocks(1), boxes(100, 1, (60, 84)))
    tokens = model.see([grid])
    assert len(mini_vlm(FUSION).see([grid])) > 400
    assert len(tokens) == 24 if policy == "round_robin" else 0 < len(tokens) <= 24
    made_of = model.spliced(torch.tensor([[1, IMAGE, 40, 41]]), pictures=[grid])
    assert made_of.lengths.tolist() == [len(tokens) + 3]  # the text is whole


def test_a_text_only_row_trains():
    model = mini_vlm(FUSION).train()
    ids = torch.tensor([[1, IMAGE, 40, 41, 42], [1, 50, 51, 52, 53]])
    loss = model(
        ids,
        torch.ones_like(ids),
        pictures=[colour_blocks(1)],
        labels=ids.masked_fill(ids == IMAGE, -100),
    ).loss
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.head.parameters())
    model.zero_grad()
    model(ids[1:], labels=ids[1:]).loss.backward()  # no picture at all
    assert all(float(parameter.grad.abs().sum()) == 0 for parameter in model.head.parameters())
    assert float(model.get_input_embeddings().weight.grad.abs().sum()) > 0


def test_rows_of_a_mask_stand_in_ascending_order_mask_by_mask():
    model = mini_vlm(
        FUSION.model_copy(update={"regions": "segments(0.5, unit='pixels', compare='>=')"})
    )
    masks = torch.zeros(2, 60, 84, dtype=torch.bool)
    masks[0, 30:, :] = True
    masks[1, :, :42] = True
    tokens = model.see([masked(model, colour_blocks(1), masks)])
    assert tokens.patch.tolist() == [*range(8, 16), 0, 1, 4, 5, 8, 9, 12, 13]
    assert tokens.region.tolist() == [0] * 8 + [1] * 8
    # patch 8 in two masks: the same row twice
    assert torch.equal(tokens.values[0], tokens.values[12])
    assert Frame.stretch((60, 84), (56, 56), (14, 14)).grid == (4, 4)
