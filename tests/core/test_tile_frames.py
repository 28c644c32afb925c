"""Frames of tiled images, against transformers' own arithmetic, and against the whole canvas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.frame import Frame
from regiontok.core.tile_frames import canvas_frame, unpadded_patches, window_frame
from regiontok.core.tiling import Tiling

sides = st.integers(1, 900)


@settings(max_examples=150, deadline=None)
@given(sides, sides, st.sampled_from(["anyres", "anyres(4)", "2x2", "3x1,1x3"]))
def test_grid_size_and_unpadding_are_those_of_transformers(height, width, text):
    library = pytest.importorskip("transformers.image_processing_utils")
    transforms = pytest.importorskip(
        "transformers.models.llava_next.image_processing_pil_llava_next"
    )
    modeling = pytest.importorskip("transformers.models.llava_next.modeling_llava_next")
    tiling, side, patch = Tiling.of(text), 336, 14
    pinpoints = [(rows * side, columns * side) for rows, columns in tiling.grids]
    best = library.select_best_resolution((height, width), pinpoints)
    frame = canvas_frame(tiling, (height, width), (side, side), (patch, patch))
    assert frame.canvas == best
    shape = torch.empty(3, height, width).numpy()
    assert frame.resized == transforms.get_patch_output_size(
        shape, best, input_data_format="channels_first"
    )
    numbers = torch.arange(frame.grid[0] * frame.grid[1]).view(1, *frame.grid)
    theirs = modeling.unpad_image(numbers, (height, width))[0]
    if theirs.numel():
        rows, columns = unpadded_patches(frame)
        assert torch.equal(numbers[0, rows, columns], theirs)
        assert bool(frame.valid[rows, columns].all())


def test_a_strip_thinner_than_a_patch_keeps_the_patches_that_see_it():
    frame = canvas_frame(Tiling.of("2x2"), (10, 2000), (56, 56), (14, 14))
    rows, columns = unpadded_patches(frame)
    assert frame.valid[rows, columns].all()
    assert (rows, columns) == (slice(3, 4), slice(0, 8))


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(1, 3), st.integers(1, 3))
def test_windows_share_out_the_grid_of_the_canvas(height, width, rows, columns):
    """A mask's shares on the tiles are those on the whole canvas, cut up.

    Where there is no window there is no image.
    """
    frame = canvas_frame(Tiling(((rows, columns),)), (height, width), (28, 28), (14, 14))
    mask = torch.zeros(1, height, width)
    mask[:, height // 4 : height // 2 + 1, width // 3 :] = 1
    whole = frame.to_grid(mask)
    for row in range(rows):
        for column in range(columns):
            window = window_frame(frame, (28 * row, 28 * column), (28, 28))
            patches = (slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
            if window is None:
                assert not frame.valid[patches].any()
                continue
            torch.testing.assert_close(
                window.to_grid(mask)[0], whole[0][patches], atol=1e-6, rtol=0
            )
            torch.testing.assert_close(window.content, frame.content[patches], atol=1e-6, rtol=0)


def test_a_window_knows_the_part_of_the_image_it_sees():
    frame = Frame.stretch((60, 80), (28, 56), (14, 14))
    right = window_frame(frame, (0, 28), (28, 28))
    assert right is not None
    assert right.covered == (0.0, 40.0, 60.0, 80.0)
    labels = right.to_pixels(torch.tensor([[0, 1], [2, 3]]))
    assert labels[0, [0, 39, 40, 59, 60, 79]].tolist() == [-1, -1, 0, 0, 1, 1]
