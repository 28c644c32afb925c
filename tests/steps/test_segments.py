"""Segments: masks on patches that one can count, and OG-LLaVA's published operator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.steps.segments import Segments
from samples.grids import blank_grid, patches_from

# 4 x 6 pixels under 2 x 3 patches of 2 x 2 pixels
CORNER = """
##....
##...#
......
#.....
"""  # shares 1, 0, 1/4 / 1/4, 0, 0
MIDDLE = """
.##...
..##..
..##..
......
"""  # shares 1/4, 3/4, 0 / 0, 1/2, 0


def drawn(*pictures):
    return torch.from_numpy(
        np.array([[[c == "#" for c in row] for row in picture.split()] for picture in pictures])
    )


def masked_grid(masks, frame=None, **extra):
    """A grid of 2 x 3 patches, or a frame's, with masks of its picture."""
    frame = frame or Frame.stretch((4, 6), (4, 6), (2, 2))
    return blank_grid(frame=frame, masks=masks, **extra)


@pytest.mark.parametrize(
    ("step", "corner", "middle"),
    [
        (Segments(), [0, 2, 3], [0, 1, 4]),
        (Segments(0), [0, 2, 3], [0, 1, 4]),
        (Segments(0.25), [0], [1, 4]),
        (Segments(0.25, compare=">="), [0, 2, 3], [0, 1, 4]),
        (Segments(0.5), [0], [1]),
        (Segments(0.5, compare=">="), [0], [1, 4]),
        (Segments(2, unit="pixels"), [0], [1]),
        (Segments(2, unit="pixels", compare=">="), [0], [1, 4]),
        (Segments(0.5, unit="pixels", compare=">="), [0, 2, 3], [0, 1, 4]),
    ],
)
def test_threshold_by_hand(step, corner, middle):
    assert patches_from(step, masked_grid(drawn(CORNER, MIDDLE))) == [corner, middle]


def test_flat1d_counts_runs_of_four_pixels_and_not_patches():
    # runs of CORNER: ##.. / ..## / ...# / .... / ..#. / ....   (the raster cut every four pixels)
    step = Segments(0.5, mapping="flat1d", unit="pixels", compare=">=")
    assert patches_from(step, masked_grid(drawn(CORNER))) == [[0, 1, 2, 4]]
    assert patches_from(Segments(0.25, mapping="flat1d"), masked_grid(drawn(CORNER))) == [[0, 1]]


def published(mask, output_size, threshold_count=0.5):
    """Listing 1 of OG-LLaVA, section 5.1.1."""
    mask_flat = mask.float().flatten().contiguous().unsqueeze(0).unsqueeze(0)
    total_pixels = mask.numel()
    bin_size = total_pixels / output_size
    pooled = torch.nn.functional.adaptive_avg_pool1d(mask_flat, output_size).squeeze()
    counts = pooled * bin_size
    return counts >= threshold_count


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 31), st.integers(1, 31)),
    st.tuples(st.integers(1, 7), st.integers(2, 7)),
    st.sampled_from(["stretch", "letterbox", "crop"]),
    st.sampled_from([0.25, 0.5, 1, 2.5]),
    st.floats(0, 1),
    st.integers(0, 2**31),
)
def test_flat1d_equals_the_published_operator_whatever_the_frame(
    size, grid, framing, alpha, density, seed
):
    masks = torch.from_numpy(np.random.default_rng(seed).random((3, *size)) < density)
    # the last pixels of the canvas are seen by no patch
    frame = Frame.fit(framing, size, (3 * grid[0] + 2, 3 * grid[1] + 1), (3, 3))
    step = Segments(alpha, mapping="flat1d", unit="pixels", compare=">=")
    expected = [
        published(mask, grid[0] * grid[1], alpha).nonzero()[:, 0].tolist() for mask in masks
    ]
    assert patches_from(step, masked_grid(masks, frame, padding="keep")) == [
        patches for patches in expected if patches
    ]


def test_flat1d_and_grid2d_are_different_regions():
    left = torch.zeros(1, 24, 24)
    left[..., :12] = 1
    # 6 x 6 patches; 16 pixels a run, so a row of the image is one run and a half
    frame = Frame.stretch((24, 24), (24, 24), (4, 4))
    assert len(patches_from(Segments(0.5, compare=">="), masked_grid(left, frame))[0]) == 18
    assert (
        len(
            patches_from(
                Segments(0.5, mapping="flat1d", unit="pixels", compare=">="),
                masked_grid(left, frame),
            )[0]
        )
        == 36
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 2**31))
def test_grid2d_equals_average_pooling_where_patches_are_whole_pixels(h, w, seed):
    masks = torch.from_numpy(np.random.default_rng(seed).random((3, 4 * h, 4 * w)) < 0.3)
    frame = Frame.stretch((4 * h, 4 * w), (4 * h, 4 * w), (4, 4))
    share = torch.nn.functional.avg_pool2d(masks[:, None].float(), 4)[:, 0]
    expected = Regions.from_masks(share > 0.3)
    regions = Segments(0.3).one(Regions.singletons((h, w)), masked_grid(masks, frame))
    assert torch.equal(regions.masks, expected.masks)


def test_pixels_are_those_of_the_image_not_of_the_canvas():
    frame = Frame.stretch((8, 12), (4, 6), (2, 2))  # halved: a patch sees 4 x 4 pixels of the image
    masks = torch.zeros(1, 8, 12)
    masks[0, :2, :2] = 1  # 4 of its 16
    assert patches_from(Segments(4, unit="pixels", compare=">="), masked_grid(masks, frame)) == [
        [0]
    ]
    assert patches_from(Segments(4, unit="pixels"), masked_grid(masks, frame)) == []
    assert patches_from(Segments(0.25, compare=">="), masked_grid(masks, frame)) == [[0]]


def test_masks_that_reach_the_threshold_nowhere_are_dropped_or_keep_their_best_patch():
    dot = torch.zeros(4, 6)
    dot[2, 3], dot[1, 4] = 1, 1  # a pixel in patch 4, one in patch 2: equally much
    pair = torch.zeros(4, 6)
    pair[0, 1:4] = 1  # one pixel in patch 0, two in patch 1
    grid = masked_grid(torch.stack([dot, drawn(CORNER)[0], pair, torch.zeros(4, 6)]))
    dropped = Segments(0.6).one(Regions.singletons(grid.grid), grid)
    assert (dropped.patch.tolist(), dropped.source.tolist()) == ([0], [1])
    best = Segments(0.6, vanished="best").one(Regions.singletons(grid.grid), grid)
    # of equals the first; an empty mask stays nothing
    assert (best.patch.tolist(), best.source.tolist()) == ([2, 0, 1], [0, 1, 2])


def test_source_is_the_index_of_the_mask():
    masks = torch.stack([torch.zeros(4, 6), drawn(MIDDLE)[0], torch.zeros(4, 6), drawn(CORNER)[0]])
    regions = Segments(0.5).one(Regions.singletons((2, 3)), masked_grid(masks))
    assert (regions.source.tolist(), regions.patch.tolist()) == ([1, 3], [1, 0])


def test_overlap_is_kept_unless_the_smallest_takes_it():
    everything = torch.ones(4, 6)
    masks = torch.stack([everything, drawn(CORNER)[0], drawn(MIDDLE)[0]])  # 24, 6 and 6 pixels
    grid = masked_grid(masks)
    assert patches_from(Segments(0.2), grid) == [[0, 1, 2, 3, 4, 5], [0, 2, 3], [0, 1, 4]]
    # patch 0 is in all three: the two small ones are of equal area, the first of them takes it
    assert patches_from(Segments(0.2, resolve="smallest"), grid) == [[5], [0, 2, 3], [1, 4]]


def test_smallest_is_by_pixels_and_not_by_patches():
    scattered = torch.zeros(4, 6)
    scattered[0, 1], scattered[0, 2], scattered[0, 4] = 1, 1, 1  # 3 pixels in 3 patches
    full = torch.zeros(4, 6)
    full[:2, :2] = 1  # 4 pixels in one patch
    assert patches_from(
        Segments(0.2, resolve="smallest"), masked_grid(torch.stack([full, scattered]))
    ) == [[0, 1, 2]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 6), st.sampled_from(["drop", "best"]))
def test_smallest_makes_regions_disjoint_and_loses_no_patch(seed, k, vanished):
    masks = torch.from_numpy(np.random.default_rng(seed).random((k, 8, 10)) < 0.4)
    grid = masked_grid(masks, Frame.stretch((8, 10), (8, 10), (2, 2)))
    every = Segments(0.4, vanished=vanished).one(Regions.singletons(grid.grid), grid)
    disjoint = Segments(0.4, vanished=vanished, resolve="smallest").one(
        Regions.singletons(grid.grid), grid
    )
    assert torch.equal(disjoint.counts, every.counts.clamp(max=1))
    for mask, source in zip(disjoint.masks, disjoint.source, strict=True):
        assert not bool((mask & ~every.masks[every.source == source][0]).any())


def test_no_mask_is_no_region():
    assert patches_from(Segments(), masked_grid(torch.zeros(0, 4, 6))) == []
    assert (
        patches_from(
            Segments(resolve="smallest", vanished="best"), masked_grid(torch.zeros(0, 4, 6))
        )
        == []
    )


def test_an_image_without_masks_may_keep_its_patches():
    every_patch = Segments(unmasked="patches")
    assert patches_from(every_patch, masked_grid(torch.zeros(0, 4, 6))) == [[i] for i in range(6)]
    padded = Frame.letterbox((4, 8), (8, 8), (2, 2))
    assert len(patches_from(every_patch, masked_grid(torch.zeros(0, 4, 8), padded))) == 8
    vanished = masked_grid(torch.zeros(1, 4, 6))  # there is a mask: nothing stands in for it
    assert patches_from(every_patch, vanished) == []


def test_a_mask_outside_the_crop_vanishes():
    frame = Frame.center_crop((4, 12), (4, 4), (2, 2))  # sees columns 4 to 8
    masks = torch.zeros(2, 4, 12)
    masks[0, :, :4] = 1
    masks[1, :2, 3:7] = 1
    grid = masked_grid(masks, frame)
    for vanished in ("drop", "best"):
        regions = Segments(vanished=vanished).one(Regions.singletons((2, 2)), grid)
        assert (regions.source.tolist(), regions.patch.tolist()) == ([1], [0, 1])


def test_masks_follow_the_letterbox_and_never_reach_padding():
    frame = Frame.letterbox((4, 8), (8, 8), (2, 2))
    grid = masked_grid(torch.ones(1, 4, 8), frame, padding="keep")
    assert patches_from(Segments(0), grid) == [list(range(4, 12))]


def test_what_segments_refuses():
    grid = masked_grid(torch.ones(1, 4, 6))
    with pytest.raises(
        ValueError, match="there is no segmenter: name one, say segmenter='felzenszwalb'"
    ):
        Segments().one(Regions.singletons((2, 3)), grid.but(masks=None))
    with pytest.raises(ValueError, match=r"image's size \(4, 6\), got \(4, 7\)"):
        Segments().one(Regions.singletons((2, 3)), masked_grid(torch.ones(1, 4, 7)))
    with pytest.raises(
        ValueError, match=r"threshold 1.5 lies outside \[0, 1\]; for pixel counts say unit='pixels'"
    ):
        Segments(1.5)
    with pytest.raises(ValueError, match="gives every patch to every mask; use compare='>'"):
        Segments(0, compare=">=")
