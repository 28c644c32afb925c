"""What `check_encoder` finds: encoders that hold, and promises that are not true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.methods import Encoder
from regiontok.testing import check_encoder
from samples.methods import variant


@dataclass(frozen=True)
class Colour(Encoder):
    """The mean colour of each cell of an 8 x 8 grid."""

    width: ClassVar[int] = 3

    def frame(self, size):
        return Frame.stretch(size, (64, 64), (8, 8))

    def encode(self, pictures):
        grids = []
        for picture in pictures:
            frame = self.frame(picture.size)
            cells = frame.place(picture).reshape(8, 8, 8, 8, 3).mean((1, 3)) / 255
            features = torch.from_numpy(cells.astype(np.float32))
            grids.append(PatchGrid(features, frame, key=picture.key))
        return grids


def without_keys(self, pictures):
    return [replace(grid, key="") for grid in Colour().encode(pictures)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 4}, r"features \[8, 8, 3\] do not fit \(8, 8\) patches of width 4"),
        ({"encode": without_keys}, "the grid must have the picture's key"),
        ({"summaries": 1}, "summaries is 1, the grid has 0"),
        ({"cls_attention": True}, "cls_attention is True, and the grid has none"),
        ({"threshold": 7.0}, r"threshold 7.0 lies outside \[-1, 1\]"),
        ({"logits": lambda self, pictures: []}, "classes is empty, so logits must be refused"),
    ],
)
def test_an_encoder_must_keep_what_it_promises(changes, message):
    check_encoder(Colour())
    with pytest.raises(AssertionError, match=message):
        check_encoder(variant(Colour, "Broken", **changes))
