"""Mirrored, scaled and cut pictures: boxes and masks go where the pixels go."""

from __future__ import annotations

import numpy as np
import torch

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.probe.detect.augmentation import GREY, flipped, jittered
from regiontok.probe.detect.objects import Objects


def scene() -> tuple[Picture, Objects]:
    """A white rectangle on black, 60 x 100 pixels."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[10:40, 20:80] = 255
    masks = PixelMasks.from_dense((pixels[..., 0] > 0)[None])
    boxes = torch.tensor([[20.0, 10.0, 80.0, 40.0]])
    return Picture.of(pixels), Objects(boxes, torch.tensor([0]), masks)


def test_a_mirrored_picture_mirrored_again_is_the_same():
    picture, objects = scene()
    once = flipped(picture, objects)
    assert once[1].boxes.tolist() == [[20.0, 10.0, 80.0, 40.0]]
    moved = Objects(torch.tensor([[5.0, 1.0, 20.0, 9.0]]), objects.classes)
    assert flipped(picture, moved)[1].boxes.tolist() == [[80.0, 1.0, 95.0, 9.0]]
    again = flipped(*once)
    assert np.array_equal(again[0].pixels, picture.pixels)
    assert again[1].masks.counts == objects.masks.counts


def test_objects_stay_on_their_pixels_at_every_scale_and_place():
    kept = 0
    for seed in range(40):
        picture, objects = jittered(*scene(), 64, np.random.default_rng(seed))
        white = picture.pixels[..., 0] > 191
        assert picture.size == (64, 64)
        if not len(objects.classes):
            assert white.sum() < 64 * 2
            continue
        kept += 1
        dense = objects.masks.dense()[0].numpy()
        assert (dense != white).sum() <= 2 * 64  # the edge
        x0, y0, x1, y1 = objects.masks.boxes[0]
        np.testing.assert_allclose(objects.boxes[0].numpy(), [x0, y0, x1, y1], atol=1.01)
    assert kept > 30


def test_small_pictures_are_padded_with_grey():
    rng = np.random.default_rng(3)
    picture, _ = jittered(*scene(), 64, rng)
    scale = np.random.default_rng(3).uniform(0.1, 2.0) * 0.64
    assert scale < 0.9
    assert (picture.pixels[-1, -1] == GREY).all()
