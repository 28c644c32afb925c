"""A mask store as a segmenter: masks by the bytes of a picture, whatever its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regiontok.core.picture import Picture
from regiontok.maskstore.writer import MaskWriter
from regiontok.segment.stored import Stored
from samples.mask_stores import STRIPES, masks_of, same, write_parts


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    return Picture.of(pixels, "photo.png")


@pytest.fixture
def root(tmp_path, picture):
    with MaskWriter(tmp_path / "s", STRIPES) as writer:
        writer.add(picture.key, masks_of(3, (40, 50)))
    return str(tmp_path / "s")


@pytest.mark.parametrize("format", ["auto", "store"])
def test_a_picture_is_found_by_its_bytes_whatever_its_name(root, picture, format):
    renamed = Picture(picture.pixels, picture.key, "elsewhere/other.jpg")
    (masks,) = Stored(root, format)([renamed])
    assert same(masks, masks_of(3, (40, 50)))


def test_a_picture_that_the_store_lacks_is_an_error_or_has_no_masks(root):
    other = Picture.of(np.zeros((4, 5, 3), np.uint8), "other.png")
    message = r"other.png: .* has no masks of these bytes \(key .*\) among its 1 images; add them"
    with pytest.raises(ValueError, match=message):
        Stored(root)([other])
    (masks,) = Stored(root, missing="empty")([other])
    assert (masks.size, len(masks)) == ((4, 5), 0)


def test_another_size_under_the_same_key_is_an_error(root, picture):
    turned = Picture(picture.pixels.transpose(1, 0, 2), picture.key, "turned.png")
    message = r"turned.png: its masks in .*size \(40, 50\).*turned by 90 degrees"
    with pytest.raises(ValueError, match=message):
        Stored(root)([turned])


def test_the_identity_is_the_fingerprint(root):
    assert Stored(root).identity == STRIPES.fingerprint
    with_gaps = Stored(root, missing="empty").identity
    write_parts(Path(root), [5])
    assert Stored(root).identity == STRIPES.fingerprint
    assert Stored(root, missing="empty").identity != with_gaps


def test_options_of_other_formats_and_folders_without_a_marker_are_refused(root, tmp_path):
    with pytest.raises(ValueError, match="images goes with the formats results"):
        _ = Stored(root, images="x.json").identity
    with pytest.raises(ValueError, match="no mask store"):
        _ = Stored(str(tmp_path), "store").identity
