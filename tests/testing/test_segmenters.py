"""What `check_segmenter` finds: segmenters that hold, and things that none may do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from regiontok.core.masks import PixelMasks
from regiontok.methods import Segmenter
from regiontok.testing import check_segmenter
from samples.methods import variant


@dataclass(frozen=True)
class Everything(Segmenter):
    """One mask of the whole picture."""

    def __call__(self, pictures):
        return [PixelMasks.from_dense(np.ones((1, *picture.size))) for picture in pictures]


def test_a_segmenter_must_give_masks_of_each_picture_s_size_and_repeat():
    check_segmenter(Everything())
    swapped = variant(
        Everything,
        "Swapped",
        __call__=lambda self, pictures: [
            PixelMasks.from_dense(np.ones((1, *picture.size[::-1]))) for picture in pictures
        ],
    )
    with pytest.raises(AssertionError, match=r"masks of \(64, 48\) for a picture of \(48, 64\)"):
        check_segmenter(swapped)
    drawing = variant(
        Everything,
        "Drawing",
        __call__=lambda self, pictures: [
            PixelMasks.from_dense(np.random.rand(1, *picture.size) > 0.5)  # noqa: NPY002
            for picture in pictures
        ],
    )
    with pytest.raises(AssertionError, match="in a batch a picture has other masks than alone"):
        check_segmenter(drawing)
