"""Global patches are noticed by windows and by masks, and replaced by their surroundings."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.settings import registry
from regiontok.transform.globalfilter import Globalfilter
from samples.grids import grid_of

H, W = 8, 16
GLOBAL = [(1, 1), (4, 5), (6, 12)]


def halves():
    """Left and right half of one direction each; three patches look like both."""
    features = torch.zeros(H, W, 2)
    features[:, : W // 2, 0] = 1
    features[:, W // 2 :, 1] = 1
    for y, x in GLOBAL:
        features[y, x] = 3.0
    return features


def masks_of_halves():
    masks = torch.zeros(2, H, W, dtype=torch.bool)
    masks[0, :, : W // 2] = True
    masks[1, :, W // 2 :] = True
    return masks


@pytest.mark.parametrize("regions", ["windows", "masks"])
def test_patches_that_look_like_everything_take_what_lies_around_them(regions):
    before = halves()
    after = Globalfilter(regions=regions).one(grid_of(before, masks=masks_of_halves())).features
    expected = before.clone()
    expected[1, 1] = expected[4, 5] = torch.tensor([1.0, 0.0])
    expected[6, 12] = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(after, expected)


def test_scores_by_hand():
    """Two masks of two patches.

    b in the first is as far from its own region (cosines 0, 1) as from the other (1, 0), so it is
    global.
    """
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [1.0, 0.0]]])
    masks = torch.tensor([[[True, True, False, False]], [[False, False, True, True]]])
    filtered = Globalfilter(regions="masks").one(grid_of(features, masks=masks)).features
    assert torch.equal(filtered, features), (
        "all four patches are global: nothing is left to replace them by"
    )
    features[0, 2] = torch.tensor([2.0, 2.0])
    filtered = Globalfilter(regions="masks").one(grid_of(features, masks=masks)).features
    # cosines: a-b 0, a-c 0.71, b-c 0.71, d = a; own less other: a 0.5 - 0.85, b 0.5 - 0.35, c 0.85
    # - 0.71, d 0.85 - 0.5
    assert filtered[0].tolist() == [[0.0, 1.0], [0.0, 1.0], [2.0, 2.0], [1.0, 0.0]]


def test_the_threshold_is_a_difference_of_mean_cosines():
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [1.0, 0.0]]])
    masks = torch.tensor([[[True, True, False, False]], [[False, False, True, True]]])
    difference = (1 + 0.5**0.5) / 2 - 0.5**0.5  # of the third patch
    for threshold, changed in ((difference - 1e-6, False), (difference + 1e-6, True)):
        after = (
            Globalfilter(threshold, regions="masks").one(grid_of(features, masks=masks)).features
        )
        assert (after[0, 2] != features[0, 2]).any() == changed


def test_patches_of_no_mask_and_of_all_masks_stay():
    masks = masks_of_halves()
    masks[:, 4] = True
    masks[:, 1] = False
    before = halves()
    after = Globalfilter(regions="masks").one(grid_of(before, masks=masks)).features
    assert torch.equal(after[[1, 4]], before[[1, 4]])
    assert (after[6, 12] != before[6, 12]).any()


def test_a_mask_counts_where_it_covers_half_a_patch():
    """Pixels 2 x 2 a patch: the same masks at twice the size, one column of pixels short."""
    masks = masks_of_halves().repeat_interleave(2, 1).repeat_interleave(2, 2)
    masks[0, :, 0] = False
    frame = Frame.stretch((2 * H, 2 * W), (2 * H, 2 * W), (2, 2))
    after = Globalfilter(regions="masks").one(grid_of(halves(), frame, masks=masks)).features
    torch.testing.assert_close(
        after,
        Globalfilter(regions="masks").one(grid_of(halves(), masks=masks_of_halves())).features,
    )


def test_a_window_over_the_whole_grid_has_nothing_to_compare_with():
    before = halves()
    assert torch.equal(Globalfilter(radius=W).one(grid_of(before)).features, before)


def test_padding_takes_no_part():
    frame = Frame.letterbox((12, 24), (12, 12), (2, 2))
    features = torch.zeros(6, 6, 3)
    features[..., 0] = 1
    features[:, 3:] = torch.tensor([0.0, 1.0, 0.0])
    features[3, 1] = torch.tensor([1.0, 1.0, 0.0])
    other = features.clone()
    other[~frame.valid] = torch.tensor([-7.0, 5.0, 9.0])
    filtered, filtered_other = (
        Globalfilter(radius=1).one(grid_of(values, frame)).features for values in (features, other)
    )
    assert (filtered[3, 1] != features[3, 1]).any()
    assert torch.equal(filtered[frame.valid], filtered_other[frame.valid])
    assert torch.equal(filtered_other[~frame.valid], other[~frame.valid])


def test_windows_are_those_of_a_loop():
    features = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = torch.nn.functional.normalize(features, dim=-1)
    remote, inside = torch.zeros(5, 7, dtype=torch.bool), {}
    for y in range(5):
        for x in range(7):
            window = torch.zeros(5, 7, dtype=torch.bool)
            window[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = True
            cosine = unit @ unit[y, x]
            inside[y, x] = window
            around = window.clone()
            around[y, x] = False
            remote[y, x] = cosine[around].mean() - cosine[~window].mean() < 0.07
    assert 3 < remote.sum() < 30
    expected = features.clone()
    for (y, x), window in inside.items():
        if remote[y, x] and (window & ~remote).any():
            expected[y, x] = features[window & ~remote].mean(0)
    torch.testing.assert_close(Globalfilter(radius=1).one(grid_of(features)).features, expected)


def test_masks_are_asked_for():
    assert registry.build("transform", "globalfilter(regions='masks')").reads_masks
    assert not registry.build("transform", "globalfilter").reads_masks
    with pytest.raises(
        ValueError, match="needs pixel masks: name a segmenter, or take regions='windows'"
    ):
        Globalfilter(regions="masks").one(grid_of(halves()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 2.5}, r"threshold 2.5 lies outside \[-2, 2\]"),
        ({"regions": "boxes"}, "regions must be 'windows' or 'masks', not 'boxes'"),
        ({"radius": 0}, "a radius of 1 patch or more, got 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        Globalfilter(**options)
