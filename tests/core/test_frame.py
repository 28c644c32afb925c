"""Pixels to patches and back, against rectangles by hand, Pillow and CLIP's processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regiontok.core import frame as module
from regiontok.core.frame import Frame
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture

FRAMINGS = ("stretch", "letterbox", "crop")
ODD = [
    ((37, 53), (42, 42), (14, 14)),
    ((480, 640), (50, 50), (16, 16)),
    ((5, 3), (33, 47), (8, 5)),
    ((64, 31), (28, 56), (14, 14)),
]


@st.composite
def frames(draw) -> Frame:
    side = st.integers(1, 40)
    patch = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    canvas = (patch[0] + draw(side), patch[1] + draw(side))
    framing = draw(st.sampled_from(FRAMINGS))
    edge = max(canvas) + draw(st.integers(0, 9)) if framing == "crop" else None
    return Frame.fit(framing, (draw(side), draw(side)), canvas, patch, edge)


def overlap(start: float, end: float, other_start: float, other_end: float) -> float:
    return max(0.0, min(end, other_end) - max(start, other_start))


def footprint(frame: Frame, row: int, col: int) -> tuple[float, float, float, float]:
    """(y0, x0, y1, x1) of a patch in image pixels, padding cut off.

    It is worked out here, apart from the code under test.
    """
    edges: list[list[float]] = [[], []]
    for axis, index in enumerate((row, col)):
        # image pixels in a canvas pixel
        scale = (frame.crop[axis + 2] - frame.crop[axis]) / frame.resized[axis]
        for edge in (index * frame.patch[axis], (index + 1) * frame.patch[axis]):
            inside = min(max(edge - frame.offset[axis], 0), frame.resized[axis])
            edges[axis].append(frame.crop[axis] + inside * scale)
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def by_hand(frame: Frame, mask: np.ndarray) -> np.ndarray:
    """Share of each patch that the mask covers, pixel by pixel."""
    (h, w), share = frame.grid, np.zeros(frame.grid)
    pixel = [(frame.crop[a + 2] - frame.crop[a]) / frame.resized[a] for a in (0, 1)]
    # A patch's own area in image pixels, padding included.
    whole = frame.patch[0] * pixel[0] * frame.patch[1] * pixel[1]
    for row in range(h):
        for col in range(w):
            y0, x0, y1, x1 = footprint(frame, row, col)
            for y, x in zip(*np.nonzero(mask), strict=True):
                share[row, col] += overlap(y0, y1, y, y + 1) * overlap(x0, x1, x, x + 1) / whole
    return share


def covered_area(frame: Frame, mask: np.ndarray) -> float:
    y0, x0, y1, x1 = frame.covered
    rows = np.array([overlap(y0, y1, y, y + 1) for y in range(mask.shape[0])])
    cols = np.array([overlap(x0, x1, x, x + 1) for x in range(mask.shape[1])])
    return float(rows @ mask @ cols)


# --- the three framings


def test_stretch_of_a_picture_drawn_by_hand():
    # Twice as high and as wide as before: a patch sees 1 x 2 pixels.
    frame = Frame.stretch((2, 4), canvas=(4, 4), patch=(2, 2))
    mask = torch.tensor([[[1, 0, 0, 0], [1, 1, 0, 1]]])
    assert frame.to_grid(mask).tolist() == [[[0.5, 0.0], [1.0, 0.5]]]
    assert frame.covered == (0, 0, 2, 4)
    assert frame.valid.all()


def test_letterbox_of_a_wide_photo():
    frame = Frame.letterbox((100, 200), canvas=(336, 336), patch=(14, 14))
    assert (frame.resized, frame.offset) == ((168, 336), (84, 0))
    assert int(frame.valid.sum()) == 288
    assert frame.valid.any(1).tolist() == [False] * 6 + [True] * 12 + [False] * 6
    assert frame.content.sum() == 288
    # 3:2 is 16 of 24 rows; 192 of 576 patches are padding.
    photo = Frame.letterbox((2, 3), canvas=(336, 336), patch=(14, 14))
    assert int((~photo.valid).sum()) == 192


def test_letterbox_with_patches_that_are_part_padding():
    # 224 rows from 56 on: patch row 3 is half padding.
    frame = Frame.letterbox((100, 150), canvas=(336, 336), patch=(16, 16))
    assert frame.grid == (21, 21)
    assert frame.content[3, 0] == 0.5
    assert frame.valid[3, 0]
    assert not frame.valid[2, 0]
    assert frame.content.sum() == 14 * 21
    tall = Frame.letterbox((150, 100), canvas=(336, 336), patch=(16, 16))
    assert torch.equal(tall.content, frame.content.T)


def test_crop_of_a_wide_photo():
    frame = Frame.center_crop((100, 200), canvas=(336, 336), patch=(14, 14))
    assert frame.crop == (0, 50, 100, 150)
    assert frame.covered == (0, 50, 100, 150)
    assert frame.valid.all()
    # 256 x 512, cut at (16, 144).
    wider = Frame.center_crop((100, 200), canvas=(224, 224), patch=(14, 14), edge=256)
    assert wider.crop == (6.25, 56.25, 93.75, 143.75)


def test_patches_that_do_not_fill_the_canvas():
    frame = Frame.stretch((384, 384), canvas=(384, 384), patch=(14, 14))
    assert frame.grid == (27, 27)
    assert frame.covered == (0, 0, 378, 378)
    assert frame.pixels_per_patch() == 196
    beyond = torch.zeros(1, 384, 384)
    beyond[0, 378:] = 1
    assert frame.to_grid(beyond).abs().sum() == 0
    assert frame.to_pixels(torch.ones(27, 27)).isnan().sum() == 384**2 - 378**2
    half = Frame.stretch((192, 768), canvas=(384, 384), patch=(14, 14))
    assert half.covered == (0, 0, 189, 756)
    assert half.pixels_per_patch() == 7 * 28


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Frame.stretch((0, 5), (28, 28), (14, 14)), "at least one pixel"),
        (lambda: Frame.stretch((5, 5), (28, 28), (0, 14)), "at least one pixel"),
        (
            lambda: Frame.stretch((5, 5), (13, 28), (14, 14)),
            r"canvas \(13, 28\) is smaller than one patch \(14, 14\)",
        ),
        (
            lambda: Frame.center_crop((5, 5), (28, 56), (14, 14), edge=50),
            "shortest edge 50 is smaller than the canvas",
        ),
        (
            lambda: Frame.fit("squash", (5, 5), (28, 28), (14, 14)),
            "framing must be 'stretch', 'letterbox' or 'crop', not 'squash'",
        ),
    ],
)
def test_frames_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("image", [(1, 1), (20_000, 10), (10, 20_000), (1, 20_000)])
def test_extreme_pictures(framing, image):
    frame = Frame.fit(framing, image, (336, 336), (14, 14))
    assert frame.grid == (24, 24)
    assert frame.valid.any()
    masks = PixelMasks.from_dense(np.ones((1, *image), bool))
    assert torch.allclose(frame.to_grid(masks)[0], frame.content)
    canvas = frame.place(Picture.of(np.full((*image, 3), 200, np.uint8)), fill=(1, 2, 3))
    assert canvas.shape == (336, 336, 3)
    (y, x), (height, width) = frame.offset, frame.resized
    assert (canvas[y : y + height, x : x + width] == 200).all()
    assert frame.to_pixels(torch.arange(576).view(24, 24)).shape == image


# --- masks on the grid


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(frames(), st.randoms(use_true_random=False))
def test_shares_are_areas(frame, random):
    mask = np.array(
        [[random.random() < 0.4 for _ in range(frame.image[1])] for _ in range(frame.image[0])]
    )
    share = frame.to_grid(torch.from_numpy(mask[None]))[0].numpy()
    coded = frame.to_grid(PixelMasks.from_dense(mask[None]))[0].numpy()
    assert np.allclose(coded, share, atol=1e-7)
    assert ((coded > 0) == (share > 0)).all()
    if mask.sum() <= 60:
        assert np.allclose(share, by_hand(frame, mask), atol=1e-6)
    assert share.min() >= 0
    assert share.max() <= 1 + 1e-6
    # nothing is lost and nothing counted twice
    assert np.isclose(
        share.sum() * frame.pixels_per_patch(), covered_area(frame, mask), rtol=1e-5, atol=1e-6
    )


@settings(max_examples=80, deadline=None)
@given(frames())
def test_the_whole_picture_covers_its_content(frame):
    everything = frame.to_grid(torch.ones(1, *frame.image, dtype=torch.bool))[0]
    assert torch.allclose(everything, frame.content, atol=1e-6)
    assert torch.equal(everything > 0, frame.valid)
    hand = [
        [footprint(frame, row, col) for col in range(frame.grid[1])] for row in range(frame.grid[0])
    ]
    area = torch.tensor(
        [[(y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in row] for row in hand], dtype=torch.float64
    )
    assert torch.equal(area > 1e-9 * frame.pixels_per_patch(), frame.valid)
    assert torch.allclose(area / frame.pixels_per_patch(), frame.content.double(), atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(frames(), st.data())
def test_a_mask_selects_only_patches_it_meets(frame, data):
    y, x = (data.draw(st.integers(0, side - 1)) for side in frame.image)
    mask = torch.zeros(1, *frame.image)
    mask[0, y, x] = 1
    touched = frame.to_grid(mask)[0] > 0
    for row in range(frame.grid[0]):
        for col in range(frame.grid[1]):
            y0, x0, y1, x1 = footprint(frame, row, col)
            area = overlap(y0, y1, y, y + 1) * overlap(x0, x1, x, x + 1) / frame.pixels_per_patch()
            if area > 1e-6:
                assert touched[row, col]
            if area < 1e-12:
                assert not touched[row, col]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(("image", "canvas", "patch"), ODD)
def test_nothing_bleeds_over_an_edge(framing, image, canvas, patch):
    """The left half of the picture covers what lies left of the middle, and nothing right of it."""
    frame = Frame.fit(framing, image, canvas, patch)
    middle = image[1] // 2
    mask = torch.zeros(1, *image)
    mask[..., :middle] = 1
    share = frame.to_grid(mask)[0]
    for row in range(frame.grid[0]):
        for col in range(frame.grid[1]):
            _, x0, _, x1 = footprint(frame, row, col)
            if x0 >= middle:
                assert share[row, col] == 0
            if x1 <= middle:
                assert torch.isclose(share[row, col], frame.content[row, col])


@pytest.mark.parametrize("image", [(640, 480), (333, 720), (1000, 1200), (96, 48)])
def test_exactly_half_a_patch_is_exactly_one_half(image):
    """O1's rule is "at least 0.5"; in float32 3,833 of 7,200 patches ended just below."""
    frame = Frame.stretch(image, (336, 336), (14, 14))
    mask = torch.zeros(1, *image, dtype=torch.bool)
    step = image[1] / 24
    for col in range(24):
        start = col * step
        assert start.is_integer()
        assert (step / 2).is_integer() or step == 2
        mask[0, :, int(start) : int(start + step / 2)] = True
    for half in (mask, ~mask, PixelMasks.from_dense(mask), PixelMasks.from_dense(~mask)):
        assert (frame.to_grid(half) == 0.5).all()
    for whole in (torch.ones_like(mask), PixelMasks.from_dense(torch.ones_like(mask))):
        assert (frame.to_grid(whole) == 1).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert (frame.to_grid(mask) == 0.5).all()


def test_shares_are_means_where_sizes_divide():
    values = torch.rand(3, 42, 70, generator=torch.Generator().manual_seed(0))
    frame = Frame.stretch((42, 70), (42, 70), (14, 14))
    mean = values.reshape(3, 3, 14, 5, 14).mean((2, 4))
    assert torch.allclose(frame.to_grid(values), mean, atol=1e-6)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("mapping", ["grid2d", "flat1d"])
def test_coded_masks_equal_dense_ones(framing, mapping):
    dense = (
        torch.rand(2 * module.CHUNK + 3, 19, 31, generator=torch.Generator().manual_seed(1)) > 0.7
    )
    dense[5] = False
    frame = Frame.fit(framing, (19, 31), (42, 42), (14, 14))
    coded = frame.to_grid(PixelMasks.from_dense(dense), mapping)
    assert torch.equal(coded, frame.to_grid(dense, mapping))
    assert coded.dtype == torch.float32
    assert coded[5].abs().sum() == 0
    for dtype in (torch.uint8, torch.int64, torch.float64, torch.bfloat16):
        assert torch.equal(frame.to_grid(dense.to(dtype), mapping), coded)


def test_no_masks_and_masks_of_nothing():
    frame = Frame.center_crop((10, 40), (28, 28), (14, 14))
    assert frame.to_grid(PixelMasks((10, 40), ())).shape == (0, 2, 2)
    assert frame.to_grid(torch.zeros(0, 10, 40)).shape == (0, 2, 2)
    outside = torch.zeros(1, 10, 40)
    outside[..., :15] = 1
    outside[..., 25:] = 1
    assert frame.crop == (0, 15, 10, 25)
    assert frame.to_grid(outside).abs().sum() == 0


def test_masks_of_another_size():
    frame = Frame.stretch((10, 20), (28, 28), (14, 14))
    for masks in (
        torch.ones(1, 20, 10),
        torch.ones(10, 20),
        PixelMasks.from_dense(np.ones((1, 28, 28))),
        PixelMasks((20, 10), ()),
    ):
        with pytest.raises(ValueError, match=r"masks and pixels of the image's size \(10, 20\)"):
            frame.to_grid(masks)
    with pytest.raises(ValueError, match=r"image's size \(10, 20\), got \(20, 10\)"):
        frame.place(Picture.of(np.zeros((20, 10, 3), np.uint8)))


def test_flat_mapping_cuts_the_flattened_image_into_runs():
    frame = Frame.letterbox((4, 6), (28, 42), (14, 14))  # 2 x 3 patches, 24 pixels: runs of 4
    mask = torch.zeros(1, 4, 6)
    mask[0, 0, :5] = 1  # pixels 0..4 of the flattened image
    assert frame.to_grid(mask, "flat1d").tolist() == [[[1.0, 0.25, 0], [0, 0, 0]]]
    assert frame.to_grid(mask)[0, 0].tolist() == [0.5, 0.5, 0.25]
    assert frame.pixels_per_patch("flat1d") == 4


@pytest.mark.parametrize(
    ("image", "grid"), [((7, 9), (3, 3)), ((5, 5), (6, 7)), ((30, 20), (4, 4))]
)
def test_flat_mapping_by_hand(image, grid):
    frame = Frame.stretch(image, (grid[0] * 2, grid[1] * 2), (2, 2))
    mask = torch.rand(2, *image, generator=torch.Generator().manual_seed(2)) > 0.5
    size, bins = image[0] * image[1], grid[0] * grid[1]
    expected = torch.zeros(2, bins)
    for i in range(bins):
        start, end = i * size // bins, -(-(i + 1) * size // bins)
        expected[:, i] = mask.flatten(1)[:, start:end].float().mean(1)
    assert torch.allclose(frame.to_grid(mask, "flat1d").flatten(1), expected)


# --- back to pixels


@settings(max_examples=80, deadline=None)
@given(frames())
def test_every_pixel_takes_the_patch_under_its_centre(frame):
    index = torch.arange(frame.grid[0] * frame.grid[1]).view(frame.grid)
    patches = frame.to_pixels(index)
    assert patches.shape == frame.image
    for y in range(frame.image[0]):
        for x in range(frame.image[1]):
            patch = int(patches[y, x])
            if patch < 0:
                continue
            y0, x0, y1, x1 = footprint(frame, patch // frame.grid[1], patch % frame.grid[1])
            assert y0 - 1e-6 <= y + 0.5 <= y1 + 1e-6
            assert x0 - 1e-6 <= x + 0.5 <= x1 + 1e-6
    y0, x0, y1, x1 = frame.covered
    rows, cols = (torch.arange(side) + 0.5 for side in frame.image)
    inside = ((rows > y0 + 1e-6) & (rows < y1 - 1e-6))[:, None] & (
        (cols > x0 + 1e-6) & (cols < x1 - 1e-6)
    )[None]
    assert bool((patches >= 0)[inside].all())


@settings(max_examples=60, deadline=None)
@given(frames(), st.randoms(use_true_random=False))
def test_masks_come_back_within_one_patch(frame, random):
    """A mask's patches, as pixels, hold all of it that patches see, and nothing further off."""
    y, x = random.randrange(frame.image[0]), random.randrange(frame.image[1])
    mask = torch.zeros(1, *frame.image, dtype=torch.bool)
    mask[0, y : y + 3, x : x + 4] = True
    back = frame.to_pixels(frame.to_grid(mask) > 0)[0]
    assert back.dtype == torch.bool
    covered = frame.to_pixels(torch.ones(frame.grid, dtype=torch.bool))
    assert bool((back | ~mask[0] | ~covered).all())
    reach = [
        frame.patch[a] * (frame.crop[a + 2] - frame.crop[a]) / frame.resized[a] + 0.5
        for a in (0, 1)
    ]
    inside = mask[0].nonzero()
    for pixel in back.nonzero():
        gap = (inside - pixel).abs().float()
        assert bool(((gap[:, 0] <= reach[0] + 1e-4) & (gap[:, 1] <= reach[1] + 1e-4)).any())


def test_pixels_no_patch_sees():
    frame = Frame.center_crop((2, 6), (4, 4), (2, 2))
    rows = frame.to_pixels(torch.tensor([[0, 1], [2, 3]]))
    assert rows.tolist() == [[-1, -1, 0, 1, -1, -1], [-1, -1, 2, 3, -1, -1]]
    assert frame.to_pixels(torch.ones(2, 2)).isnan().sum() == 8
    assert frame.to_pixels(torch.ones(2, 2), fill=7.0)[0].tolist() == [7, 7, 1, 1, 7, 7]
    assert frame.to_pixels(torch.ones(2, 2, dtype=torch.bool))[0].tolist() == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    batch = frame.to_pixels(torch.arange(40.0).view(5, 2, 2, 2))
    assert batch.shape == (5, 2, 2, 6)
    assert batch[4, 1, 1, 3] == 39
    assert frame.to_pixels(torch.ones(2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with pytest.raises(
        ValueError, match=r"expected values on the \(2, 2\) grid, got shape \[2, 3\]"
    ):
        frame.to_pixels(torch.ones(2, 3))


# --- boxes


def test_boxes_by_hand():
    frame = Frame.letterbox((100, 200), canvas=(336, 336), patch=(14, 14))
    box = torch.tensor([[0.0, 0, 200, 100], [50, 25, 100, 50], [-50, -50, 500, 500]])
    assert frame.boxes_to_grid(box).tolist() == [[0, 6, 24, 18], [6, 9, 12, 12], [0, 6, 24, 18]]
    assert torch.allclose(frame.boxes_to_pixels(frame.boxes_to_grid(box[:2])), box[:2])
    assert frame.boxes_to_pixels(torch.tensor([[0.0, 0, 24, 24]])).tolist() == [[0, 0, 200, 100]]
    assert frame.boxes_to_grid(torch.zeros(0, 4)).shape == (0, 4)
    assert frame.boxes_to_grid(torch.tensor([[50, 25, 100, 50]])).dtype == torch.float32
    with pytest.raises(ValueError, match=r"expected boxes \[k 4\] as xyxy, got shape \[4\]"):
        frame.boxes_to_grid(torch.zeros(4))
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="box 1 has a coordinate that is not finite"):
            frame.boxes_to_grid(torch.tensor([[0.0, 0, 9, 9], [0, wrong, 9, 9]]))


@settings(max_examples=80, deadline=None)
@given(frames(), st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4))
def test_boxes_come_back(frame, corners):
    y0, x0, y1, x1 = frame.covered
    shares = torch.tensor(corners, dtype=torch.float64)
    corner = torch.tensor([x0, y0, x0, y0], dtype=torch.float64)
    size = torch.tensor([x1 - x0, y1 - y0] * 2, dtype=torch.float64)
    inside = corner + shares * size
    boxes = frame.boxes_to_grid(inside)
    assert bool((boxes >= 0).all())
    assert bool((boxes <= torch.tensor([frame.grid[1], frame.grid[0]] * 2) + 1e-5).all())
    assert torch.allclose(frame.boxes_to_pixels(boxes).double(), inside, atol=1e-4, rtol=1e-4)


# --- pictures on the canvas


@pytest.mark.parametrize("size", [(480, 640), (333, 500), (500, 333), (97, 211), (336, 336)])
@pytest.mark.parametrize(("canvas", "edge"), [(336, 336), (224, 256)])
def test_crop_equals_resizing_all_and_cropping_then(size, canvas, edge):
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    frame = Frame.center_crop(size, (canvas, canvas), (14, 14), edge=edge)
    ours = frame.place(Picture.of(pixels))
    short, long = min(size), max(size)
    full = [edge if side == short else int(edge * long / short) for side in size]
    resized = Image.fromarray(pixels).resize((full[1], full[0]), Image.Resampling.BICUBIC)
    top, left = (full[0] - canvas) // 2, (full[1] - canvas) // 2
    assert np.array_equal(ours, np.asarray(resized.crop((left, top, left + canvas, top + canvas))))


@pytest.mark.parametrize("size", [(480, 640), (333, 500), (201, 97)])
def test_crop_equals_clips_processor(size):
    transformers = pytest.importorskip("transformers")
    processor = (
        getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    )
    pixels = np.random.default_rng(4).integers(0, 256, (*size, 3), dtype=np.uint8)
    side = {"height": 336, "width": 336}
    process = processor(
        size={"shortest_edge": 336}, crop_size=side, do_normalize=False, do_rescale=False
    )
    theirs = np.asarray(
        process(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    ).transpose(1, 2, 0)
    ours = Frame.center_crop(size, (336, 336), (14, 14)).place(Picture.of(pixels))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    "resample", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
)
def test_letterbox_places_the_resized_picture(resample):
    pixels = np.random.default_rng(5).integers(0, 256, (30, 61, 3), dtype=np.uint8)
    frame = Frame.letterbox((30, 61), (56, 56), (14, 14))
    canvas = frame.place(Picture.of(pixels), resample=resample, fill=(122, 116, 104))
    resized = np.asarray(
        Image.fromarray(pixels).resize((56, 28), Image.Resampling[resample.upper()])
    )
    assert (frame.resized, frame.offset) == ((28, 56), (14, 0))
    assert np.array_equal(canvas[14:42], resized)
    assert (canvas[:14] == [122, 116, 104]).all()
    assert (canvas[42:] == [122, 116, 104]).all()
    stretched = Frame.stretch((30, 61), (56, 56), (14, 14)).place(
        Picture.of(pixels), resample=resample
    )
    assert np.array_equal(
        stretched,
        np.asarray(Image.fromarray(pixels).resize((56, 56), Image.Resampling[resample.upper()])),
    )


@settings(max_examples=40, deadline=None)
@given(frames())
def test_every_frame_can_be_placed(frame):
    canvas = frame.place(Picture.of(np.full((*frame.image, 3), 90, np.uint8)), fill=(255, 0, 0))
    assert canvas.shape == (*frame.canvas, 3)
    assert canvas.dtype == np.uint8
    padding = (canvas == [255, 0, 0]).all(-1)
    assert ((canvas == 90).all(-1) | padding).all()
    assert padding.sum() == frame.canvas[0] * frame.canvas[1] - frame.resized[0] * frame.resized[1]
    (h, w), (height, width) = frame.grid, frame.patch
    blocks = (~padding)[: h * height, : w * width].reshape(h, height, w, width)
    assert np.allclose(blocks.mean((1, 3)), frame.content.numpy(), atol=1e-6)


def test_frames_are_values():
    assert Frame.letterbox((10, 20), (28, 28), (14, 14)) == Frame.letterbox(
        (10, 20), (28, 28), (14, 14)
    )
    assert len({Frame.fit(framing, (10, 20), (28, 28), (14, 14)) for framing in FRAMINGS}) == 3
