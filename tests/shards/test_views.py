"""Views: geometry against the pixels, exactly N regions, text, bad rows, JPEG at a fraction."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from regiontok.core.frame import Frame
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import PictureError
from regiontok.shards.batch import collate
from regiontok.shards.decode import decode_crop, decoding_divisor
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.random_view import draw_view
from regiontok.shards.shares import mask_shares
from regiontok.shards.tar import ShardError
from regiontok.shards.views import LabelSpace, NoRegion, ViewSettings, to_view

OBJECTS = LabelSpace(classes=100)
TEXT = LabelSpace(classes=100, vocabulary=256, tokenize=str.encode)


def encoded(pixels: np.ndarray, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def draw(row, data=b"", settings=None, labels=OBJECTS, seed=0, kind=None):
    data = data or encoded(np.zeros((*row.size, 3), np.uint8))
    return draw_view(
        row,
        lambda: data,
        settings or ViewSettings((32, 32)),
        labels,
        np.random.default_rng(seed),
        shard="s-0",
        kind=kind,
    )


def boxes(count: int, size=(60, 80)) -> np.ndarray:
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, (size[1] - 12, size[0] - 12), (count, 2))
    return np.concatenate([corner, corner + rng.uniform(4, 12, (count, 2))], axis=1).astype(
        np.float32
    )


def row_of(count: int, **fields) -> ImageRegions:
    return ImageRegions(4, "img", (60, 80), boxes(count), **({"labels": np.arange(count)} | fields))


@pytest.mark.parametrize("size", [(128, 128), (64, 128)])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_boxes_and_masks_lie_on_the_pixels_they_lay_on(size, form):
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[90:210, 120:260] = 255  # a box with a corner cut out
    pixels[90:140, 120:170] = 0
    mask = PixelMasks.from_dense(pixels[None, ..., 0] > 0)
    row = ImageRegions(
        0, "a", (300, 400), np.array([[120, 90, 260, 210]]), labels=np.array([3]), masks=mask.counts
    )
    settings = ViewSettings(size, regions=1, scale=(0.15, 1), patch=1)
    data, flips = (
        encoded(pixels, form, **({"quality": 100, "subsampling": 0} if form == "JPEG" else {})),
        set(),
    )
    for seed in range(25):
        view = draw(row, data, settings, seed=seed)
        flips.add(view.flipped)
        assert view.shares.shape == (1, *size)
        white = view.pixels[..., 0] / 255
        assert np.abs(white - view.shares[0]).mean() < 0.012  # what bicubic smears along the edges
        if not white.any():
            continue
        x0, y0, x1, y1 = view.boxes[0]
        across, down = np.flatnonzero(white.max(0) > 0.5), np.flatnonzero(white.max(1) > 0.5)
        assert across[0] >= x0 - 1
        assert across[-1] + 1 <= x1 + 1
        assert down[0] >= y0 - 1
        assert down[-1] + 1 <= y1 + 1
    assert flips == {False, True}


@pytest.mark.parametrize("grid", [(1, 1), (7, 5), (16, 16), (90, 120)])
def test_shares_and_boxes_are_those_of_frame(grid):
    rng = np.random.default_rng(2)
    dense = ndimage.uniform_filter(rng.random((6, 60, 80)), (0, 5, 5)) > 0.5
    dense = np.concatenate([dense, np.zeros((1, 60, 80), bool), np.ones((1, 60, 80), bool)])
    masks = PixelMasks.from_dense(dense)
    for crop in ((0, 0, 60, 80), (3, 10, 44, 71), (59, 79, 60, 80)):
        frame = Frame((60, 80), crop, grid, (0, 0), grid, (1, 1))
        shares = mask_shares(masks.counts, (60, 80), crop, grid)
        assert np.allclose(shares, frame.to_grid(masks).numpy(), atol=1e-6)
        assert ((shares > 0) == (frame.to_grid(masks).numpy() > 0)).all()
        assert np.allclose(
            to_view(boxes(9), crop, grid),
            frame.boxes_to_grid(torch.from_numpy(boxes(9))).numpy(),
            atol=1e-5,
        )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"o", "breaks off in the middle"),
        (b"5", "describes fewer pixels"),
        (b"aZ1", "describes more pixels"),
        (b"M", "negative run"),
    ],
)
def test_a_forged_mask_is_refused(code, message):
    with pytest.raises(ValueError, match=f"run-length code 0 .*{message}"):
        mask_shares([code], (3, 3), (0, 0, 3, 3), (1, 1))


def test_by_eye_whole_image_and_flip():
    row = ImageRegions(0, "a", (10, 20), np.array([[2, 0, 6, 5]]), labels=np.array([7]))
    settings = ViewSettings((20, 20), regions=2, scale=None, flip=1.0, patch=10)
    view = draw(row, settings=settings)
    assert view.flipped
    assert view.boxes.tolist() == [[14, 0, 18, 10]] * 2  # stretched to (2, 0, 6, 10), then mirrored
    assert np.allclose(view.shares[0], [[0, 0.4], [0, 0]])
    assert view.labels[:, 0].tolist() == [7, 7]
    assert view.crop == (0, 0, 10, 20)


@pytest.mark.parametrize(("have", "want"), [(3, 10), (10, 10), (25, 10), (1, 4)])
def test_exactly_n_regions(have, want):
    row = row_of(have)
    seen = set()
    for seed in range(25):
        view = draw(row, settings=ViewSettings((32, 32), regions=want, scale=None), seed=seed)
        assert view.boxes.shape == (want, 4)
        chosen = view.regions.tolist()
        assert len(set(chosen)) == min(have, want)  # without replacement, or all of them
        assert view.labels[:, 0].tolist() == chosen
        seen |= set(chosen)
    assert seen == set(range(have))


def test_regions_outside_the_crop_are_dropped_and_counted():
    row = row_of(30)
    view = draw(row, settings=ViewSettings((32, 32), regions=30, scale=(0.2, 0.3), ratio=(1, 1)))
    y0, x0, y1, x1 = view.crop
    inside = [
        place
        for place, (a, b, c, d) in enumerate(row.boxes)
        if min(c, x1) > max(a, x0) and min(d, y1) > max(b, y0)
    ]
    assert sorted(set(view.regions.tolist())) == inside
    assert view.dropped == 30 - len(inside) > 0
    assert (view.boxes[:, :2] >= 0).all()
    assert (view.boxes[:, 2:] <= 32).all()
    assert (view.boxes[:, 2:] > view.boxes[:, :2]).all()


def test_a_mask_wholly_outside_the_crop_is_dropped_although_its_box_is_in_view():
    mask = np.zeros((1, 60, 80), bool)
    mask[0, 0, 0] = mask[0, 59, 79] = True
    row = ImageRegions(
        0,
        "a",
        (60, 80),
        [[0, 0, 80, 60], [30, 20, 50, 40]],
        labels=[1, 2],
        masks=[PixelMasks.from_dense(mask).counts[0], b""],
    )
    settings = ViewSettings((32, 32), regions=2, scale=(0.3, 0.4))
    views = [draw(row, settings=settings, seed=seed) for seed in range(20)]
    kept_by_view = [0 in view.regions for view in views]
    corner = [view.crop[:2] == (0, 0) or view.crop[2:] == (60, 80) for view in views]
    assert kept_by_view == corner
    assert not all(kept_by_view)
    assert all(view.dropped == 2 - len(set(view.regions.tolist())) for view in views)


def test_text_is_never_flipped_and_never_cut():
    row = ImageRegions(
        0, "a", (60, 80), [[5, 5, 60, 15], [10, 30, 40, 55]], labels=[-1, 4], texts=["hello", ""]
    )
    settings = ViewSettings((32, 32), regions=2, flip=1.0, scale=(0.3, 1.0))
    for seed in range(20):
        view = draw(row, settings=settings, labels=TEXT, seed=seed)
        assert not view.flipped
        for region, kind, box, ids in zip(
            view.regions, view.kinds, view.boxes, view.labels, strict=True
        ):
            assert kind == (1 if region == 0 else 0)
            # h e l o: l once
            assert [number for number in ids.tolist() if number >= 0] == (
                [104, 101, 108, 111] if kind else [4]
            )
            y0, x0, y1, x1 = view.crop
            shown = (box[2] - box[0]) * (x1 - x0) / 32 * (box[3] - box[1]) * (y1 - y0) / 32
            assert not kind or shown >= 0.8 * 550 - 0.01
    assert draw(row, settings=settings, labels=TEXT, kind="text").kinds.tolist() == [1, 1]
    # without a tokenizer text is not used, but still not mirrored
    only_objects = draw(row, settings=settings)
    assert only_objects.kinds.tolist() == [0, 0]
    assert not only_objects.flipped


def test_m_positives_at_random_the_other_tokens_beside_them_and_unsure_text_left_out():
    row = ImageRegions(
        0, "a", (60, 80), boxes(2), texts=["abcdefghij", "zz"], confidences=[0.9, 0.7]
    )
    settings = ViewSettings((32, 32), regions=3, positives=4, scale=None)
    drawn = [draw(row, settings=settings, labels=TEXT, seed=seed) for seed in range(5)]
    assert {tuple(view.regions.tolist()) for view in drawn} == {(0, 0, 0)}  # above .7 alone is sure
    for view in drawn:
        labels, others = view.labels[0].tolist(), view.excluded[0].tolist()
        assert len(labels) == 4
        assert sorted(labels + others) == list(range(97, 107))
    assert len({tuple(view.labels[0].tolist()) for view in drawn}) > 1
    both = draw(row_of(2, labels=[-1, 5], texts=["abcdef", ""]), settings=settings, labels=TEXT)
    assert both.excluded[both.kinds == 0].tolist() == [[-1, -1]]
    assert collate([both, drawn[0]]).excluded.shape == (2, 3, 6)


def test_a_region_says_whether_its_shares_are_of_a_mask():
    dense = np.zeros((1, 60, 80), bool)
    dense[0, 10:20, 10:20] = True
    code = PixelMasks.from_dense(dense).counts[0]
    row = ImageRegions(
        0, "a", (60, 80), [[0, 0, 40, 40], [40, 40, 60, 60]], labels=[1, 2], masks=[code, b""]
    )
    settings = ViewSettings((48, 64), regions=2, patch=16, scale=None)
    view = draw(row, settings=settings)
    assert view.has_mask.tolist() == [region == 0 for region in view.regions]
    by_box = draw(row, settings=replace(settings, masks=False))
    assert not by_box.has_mask.any()
    place = by_box.regions.tolist().index(0)
    assert by_box.shares[place].sum() == 4 > view.shares[view.regions.tolist().index(0)].sum()


def test_the_policy_for_an_image_without_regions():
    row = ImageRegions(9, "a", (60, 80), np.zeros((0, 4)))
    with pytest.raises(NoRegion, match=r"s-0, image 9 \(a\): no region in view"):
        draw(row)
    view = draw(row, settings=ViewSettings((32, 32), regions=2, empty="ignore", patch=16))
    assert view.boxes.tolist() == [[0, 0, 32, 32]] * 2
    assert (view.labels == -1).all()
    assert view.regions.tolist() == [-1, -1]
    assert view.shares.tolist() == np.ones((2, 2, 2)).tolist()


def test_labels_out_of_range_name_the_shard_and_the_image():
    with pytest.raises(
        ShardError, match=r"s-0, image 4 \(img\): region 2 has the label 100, expected 0..99"
    ):
        draw(row_of(3, labels=[0, 99, 100]))
    with pytest.raises(
        ShardError,
        match=r"image 4 \(img\): the text of region 1 has token ids \[195, 169\], expected 0..127",
    ):
        draw(
            row_of(2, texts=["", "é"], labels=[1, -1]),
            labels=LabelSpace(100, 128, str.encode),
            settings=ViewSettings((32, 32), scale=None),
        )


def test_pixels_of_another_size_and_damaged_ones_are_named():
    with pytest.raises(
        ShardError,
        match=r"image 4 \(img\): 10 x 20 pixels \(height x width\), the side-car says 60 x 80",
    ):
        draw(row_of(2), encoded(np.zeros((10, 20, 3), np.uint8), "JPEG"))
    whole = encoded(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8), "JPEG")
    with pytest.raises(PictureError, match=r"s-0, image 4 \(img\): damaged or truncated"):
        draw(row_of(2), whole[: len(whole) // 2])


def test_the_same_seed_gives_the_same_view():
    row = row_of(12)
    first, again, other = (draw(row, seed=seed) for seed in (3, 3, 4))
    assert first.regions.tolist() == again.regions.tolist()
    assert first.crop == again.crop != other.crop


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_crops_equal_those_of_the_whole_picture(turn, mode):
    y, x = np.mgrid[:331, :447]
    pixels = np.stack(
        [128 + 100 * np.sin(x / 40), 128 + 100 * np.cos(y / 30), (x + y) / 4], axis=-1
    ).astype(np.uint8)
    image, exif, stream = Image.fromarray(pixels).convert(mode), Image.Exif(), io.BytesIO()
    exif[0x112] = turn
    image.save(stream, "JPEG", quality=95, exif=exif)
    whole = Image.fromarray(np.asarray(Image.open(stream).convert("RGB")))
    upright = {1: whole, 3: whole.transpose(3), 6: whole.transpose(4), 8: whole.transpose(2)}[turn]
    size = upright.size[::-1]
    for crop, target in (
        ((0, 0, *size), (64, 64)),
        ((13, 7, 310, 300), (32, 48)),
        ((40, 50, 90, 120), (64, 64)),
    ):
        cropped = decode_crop(stream.getvalue(), size, crop, target)
        y0, x0, y1, x1 = crop
        expected = np.asarray(
            upright.resize(target[::-1], Image.Resampling.BICUBIC, box=(x0, y0, x1, y1))
        )
        assert cropped.shape == (*target, 3)
        # levels of 255; 0 where nothing is decoded at a fraction
        assert np.abs(cropped.astype(int) - expected).mean() < 1.0


def test_settings_are_checked():
    for bad, message in (
        ({"size": (30, 32), "patch": 16}, "not made of whole patches of 16"),
        ({"size": (32, 32), "scale": (0, 1)}, "scale must be"),
        ({"size": (32, 32), "ratio": (2, 1)}, "ratio must be"),
        ({"size": (32, 32), "flip": 2}, "flip is a probability"),
        ({"size": (32, 32), "regions": 0}, "must be at least 1"),
        ({"size": (32, 32), "empty": "drop"}, "empty must be"),
    ):
        with pytest.raises(ValueError, match=message):
            ViewSettings(**bad)


@pytest.mark.parametrize(("size", "step"), [((60, 80), 1), ((200, 280), 4), ((1000, 1400), 8)])
def test_crops_have_whole_pixels_at_the_fraction_they_are_decoded_at(size, step):
    row = ImageRegions(0, "a", size, np.array([[0, 0, size[1], size[0]]]), labels=np.array([3]))
    seen = set()
    for seed in range(40):
        y0, x0, y1, x1 = draw(
            row, settings=ViewSettings((32, 32), regions=1, scale=(0.1, 1)), seed=seed
        ).crop
        assert 0 <= y0 < y1 <= size[0]
        assert 0 <= x0 < x1 <= size[1]
        fraction = decoding_divisor(y1 - y0, x1 - x0, (32, 32))
        assert all(edge % fraction == 0 for edge in (y0, x0, y1, x1))
        seen.add(fraction)
    assert max(seen) == step
