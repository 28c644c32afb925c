"""Features of regions: crops, pooling by hand, batches, and what fails alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.curate import region_features
from regiontok.curate.region_features import (
    CropFeatures,
    DenseFeatures,
    FeaturesFailed,
    RegionImage,
    crops_of,
)
from regiontok.methods import Encoder


@dataclass(frozen=True)
class MeanColour(Encoder):
    """Patches of 10 pixels and their mean colours; black pictures cannot be encoded."""

    framing: str = "stretch"
    summaries: int = 0

    @property
    def width(self) -> int:
        return 3

    def frame(self, size: Pair) -> Frame:
        return Frame.fit(self.framing, size, (40, 40), (10, 10))

    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        grids = []
        for picture in pictures:
            if not picture.pixels.any():
                raise ValueError("all black\nand more lines")
            frame = self.frame(picture.size)
            canvas = torch.from_numpy(frame.place(picture, resample="nearest")).double()
            patches = canvas.view(4, 10, 4, 10, 3).mean((1, 3)).float()
            prefix = patches.flatten(0, 1).amax(0) * torch.tensor([[1.0], [-1.0]])
            grids.append(PatchGrid(patches, frame, prefix=prefix, summaries=self.summaries))
        return grids


def image(pixels: np.ndarray, *boxes, number: int = 0, masks=None) -> RegionImage:
    return RegionImage(number, Picture.of(pixels), np.array(boxes, np.float32), masks)


def unit(*vector: float) -> pytest.approx:
    return pytest.approx((np.array(vector) / np.linalg.norm(vector)).tolist(), abs=1e-6)


@pytest.fixture
def halves() -> np.ndarray:
    """40 x 80 pixels, (200, 0, 0) left and (0, 100, 0) right."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40, 0] = 200
    pixels[:, 40:, 1] = 100
    return pixels


def test_a_crop_is_the_box_in_whole_pixels(halves):
    boxes = [(10.2, 0, 19.1, 5), (79.9, 39.9, 80, 40), (80, 40, 80, 40)]
    sizes = [crop.size for crop in crops_of(image(halves, *boxes))]
    assert sizes == [(5, 10), (1, 1), (1, 1)]


def test_crops_are_described_by_themselves(halves):
    features = CropFeatures(MeanColour())
    ((number, vectors),) = features.of(
        iter([image(halves, (0, 0, 40, 40), (40, 0, 80, 40), (0, 0, 80, 40), number=7)])
    )
    assert (number, features.width) == (7, 3)
    assert vectors[0].tolist() == unit(1, 0, 0)
    assert vectors[1].tolist() == unit(0, 1, 0)
    assert vectors[2].tolist() == unit(2, 1, 0)


def test_an_encoder_with_summary_tokens_gives_those(halves):
    features = CropFeatures(MeanColour(summaries=2))
    ((_, vectors),) = features.of(iter([image(halves, (0, 0, 80, 40))]))
    assert features.width == 6
    assert vectors[0].tolist() == unit(200, 100, 0, -200, -100, 0)


def test_one_pass_pools_the_patches_under_a_box(halves):
    boxes = [(0, 0, 40, 40), (20, 10, 60, 20), (30, 0, 60, 40)]
    features = DenseFeatures(MeanColour(summaries=2))
    ((_, vectors),) = features.of(iter([image(halves, *boxes)]))
    assert features.width == 3
    assert vectors[0].tolist() == unit(1, 0, 0)
    assert vectors[1].tolist() == unit(200, 100, 0)
    assert vectors[2].tolist() == unit(200 * 1, 100 * 2, 0), "a third is left"


def test_one_pass_pools_under_masks_where_there_are_some(halves):
    mask = np.zeros((1, 40, 80), bool)
    mask[0, :, 40:60] = True
    mask[0, 0, 0] = True
    only = PixelMasks.from_dense(mask)
    ((_, vectors),) = DenseFeatures(MeanColour()).of(
        iter([image(halves, (0, 0, 60, 40), masks=only)])
    )
    assert vectors[0].tolist() == unit(200 * 1, 100 * 800, 0)


def test_a_region_that_the_frame_crops_away_takes_the_next_patch(halves):
    ((_, vectors),) = DenseFeatures(MeanColour("crop")).of(
        iter([image(halves, (0, 0, 10, 40), (75, 0, 80, 5), (30, 0, 40, 40))])
    )
    assert vectors[0].tolist() == unit(1, 0, 0)
    assert vectors[1].tolist() == unit(0, 1, 0)
    assert vectors[2].tolist() == unit(1, 0, 0)


def test_padding_has_no_part(halves):
    whole = image(halves, (0, 0, 80, 40))
    for features in (DenseFeatures(MeanColour("letterbox")), CropFeatures(MeanColour("letterbox"))):
        ((_, vectors),) = features.of(iter([whole]))
        assert vectors[0].tolist() == unit(2, 1, 0)


@pytest.mark.parametrize("kind", [CropFeatures, DenseFeatures])
def test_an_image_that_cannot_be_encoded_is_set_aside_alone(halves, kind, monkeypatch):
    monkeypatch.setattr(region_features, "CROPS", 3)
    images = [
        image(halves, (0, 0, 40, 40), (40, 0, 80, 40), number=1),
        image(np.zeros((9, 9, 3), np.uint8), (0, 0, 5, 5), (0, 0, 9, 9), number=2),
        image(halves, (0, 0, 80, 40), number=3),
    ]
    outcomes = dict(kind(MeanColour()).of(iter(images)))
    assert list(outcomes) == [1, 2, 3]
    assert outcomes[2] == FeaturesFailed("all black")
    assert outcomes[1].shape == (2, 3)
    assert outcomes[3][0].tolist() == unit(2, 1, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_crops_come_back_to_their_images_whatever_goes_together(halves, size, monkeypatch):
    monkeypatch.setattr(region_features, "CROPS", size)
    boxes = [(0, 0, 40, 40), (40, 0, 80, 40), (0, 0, 80, 40)]
    images = [image(halves, *boxes[: count + 1], number=count) for count in range(3)]
    outcomes = list(CropFeatures(MeanColour()).of(iter(images)))
    assert [(number, len(vectors)) for number, vectors in outcomes] == [(0, 1), (1, 2), (2, 3)]
    assert outcomes[2][1][1].tolist() == unit(0, 1, 0)


def test_no_images_have_no_features():
    assert list(CropFeatures(MeanColour()).of(iter([]))) == []
