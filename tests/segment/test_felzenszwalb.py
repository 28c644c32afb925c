"""The two scikit-image segmenters equal scikit-image's own output, on odd pictures too."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.segmentation
from skimage import data as photos

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.segment._label_segmenter import at_full_size, shrunk
from regiontok.segment.felzenszwalb import Felzenszwalb
from regiontok.segment.slic import Slic
from regiontok.settings import registry, spec

BOTH = [Felzenszwalb(), Slic()]
coffee = Picture.of(np.ascontiguousarray(photos.coffee()[::3, ::3]), "coffee")
noise = Picture.of(
    np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8), "noise"
)


def same(masks: PixelMasks, labels: np.ndarray) -> bool:
    """One mask a label, in the labels' order."""
    return np.array_equal(masks.dense().numpy(), labels[None] == np.unique(labels)[:, None, None])


def test_felzenszwalb_is_scikit_images():
    labels = skimage.segmentation.felzenszwalb(coffee.pixels, scale=120, sigma=0.5, min_size=40)
    (masks,) = Felzenszwalb(scale=120, sigma=0.5, min_size=40)([coffee])
    assert len(masks) == labels.max() + 1 > 10
    assert same(masks, labels)


def test_slic_is_scikit_images():
    labels = skimage.segmentation.slic(coffee.pixels, n_segments=30, compactness=20)
    (masks,) = Slic(segments=30, compactness=20.0)([coffee])
    assert len(masks) == len(np.unique(labels)) > 10
    assert same(masks, labels)


@pytest.mark.parametrize("segmenter", BOTH, ids=registry.name_of)
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (20000, 10), (10, 20000), (90, 700)])
def test_masks_partition_a_picture_of_any_size(segmenter, size):
    ramp = np.linspace(0, 255, size[0] * size[1] * 3).reshape(*size, 3).astype(np.uint8)
    (masks,) = segmenter([Picture.of(ramp)])
    assert masks.size == size
    assert len(masks) >= 1
    assert masks.areas.min() > 0
    assert masks.areas.sum() == size[0] * size[1]


def test_one_colour():
    flat = Picture.of(np.full((120, 160, 3), 127, np.uint8))
    assert Felzenszwalb()([flat])[0].areas.tolist() == [120 * 160]
    assert len(Slic(segments=12)([flat])[0]) == 12


def test_slic_on_noise_is_one_mask_of_everything():
    assert Slic()([noise])[0].areas.tolist() == [120 * 160]


def test_fewer_than_two_min_sizes_of_pixels_are_one_segment():
    halves = np.zeros((10, 20, 3), np.uint8)
    halves[:, 10:] = 255
    assert len(Felzenszwalb(min_size=100)([Picture.of(halves)])[0]) == 2
    assert len(Felzenszwalb(min_size=101)([Picture.of(halves)])[0]) == 1


@pytest.mark.parametrize("segmenter", BOTH, ids=registry.name_of)
def test_the_same_again_alone_or_in_a_batch(segmenter):
    first, second = segmenter([coffee, noise])
    assert [first.counts, second.counts] == [
        segmenter([picture])[0].counts for picture in (coffee, noise)
    ]
    assert segmenter([]) == []


@pytest.mark.parametrize(
    ("segmenter", "original"),
    [
        (
            Felzenszwalb(longest=60, min_size=10),
            lambda pixels: skimage.segmentation.felzenszwalb(pixels, 300, sigma=0.8, min_size=10),
        ),
        (Slic(longest=60), lambda pixels: skimage.segmentation.slic(pixels, 64, 10.0)),
    ],
    ids=["felzenszwalb", "slic"],
)
def test_a_large_picture_is_segmented_at_the_working_size(segmenter, original):
    pixels = np.asarray(coffee.pil.resize((60, 40), 2))  # 134 x 200 pixels, bilinear
    assert same(segmenter([coffee])[0], at_full_size(original(pixels), coffee.size))


def test_shrinking_keeps_the_aspect_and_never_enlarges():
    assert shrunk(coffee, 100).shape == (67, 100, 3)
    assert shrunk(coffee, 1000) is coffee.pixels


def test_labels_come_back_by_nearest():
    labels = np.array([[0, 1, 2]])
    assert at_full_size(labels, (2, 7)).tolist() == [[0, 0, 1, 1, 1, 2, 2]] * 2
    assert at_full_size(labels, (1, 3)) is labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("felzenszwalb(scale=0)", "scale must be a number above 0, got 0"),
        ("felzenszwalb(scale=1e999)", "scale must be a number above 0, got inf"),
        ("felzenszwalb(sigma=-1)", "sigma must be 0 pixels or more, got -1"),
        (
            "felzenszwalb(min_size=0)",
            "min_size and longest must be at least 1 pixel, got 0 and 640",
        ),
        ("felzenszwalb(longest=0)", "min_size and longest must be at least 1 pixel, got 300 and 0"),
        ("felzenszwalb(min_size=2.5)", "min_size must be int, not 2.5"),
        ("slic(segments=0)", "segments must be at least 1, got 0"),
        ("slic(compactness=0.0)", "compactness must be a number above 0, got 0.0"),
        ("slic(longest=0)", "longest must be at least 1 pixel, got 0"),
        ("slic(segment=3)", r"no parameter 'segment' \(did you mean 'segments'\?\)"),
    ],
)
def test_values_out_of_range(text, message):
    with pytest.raises(spec.SpecError, match=message):
        registry.build("segmenter", text)


def test_spec_text_and_identity():
    for segmenter in (*BOTH, Felzenszwalb(scale=100), Slic(segments=32)):
        assert registry.build("segmenter", registry.render(segmenter)) == segmenter
    assert {method.identity for method in BOTH} == {f"scikit-image {skimage.__version__}"}
