"""Objects show themselves in one short line, whatever they hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import Tokens

FRAME = Frame.letterbox((480, 640), canvas=(336, 336), patch=(14, 14))
MASKS = PixelMasks.from_dense(np.ones((2, 480, 640), bool), scores=[0.5, 1.0], names=["cat", "mat"])
REGIONS = Regions.singletons((24, 24))
MEMBERS = Members.of([REGIONS, REGIONS], image=[0, 0])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Picture.of(np.zeros((480, 640, 3), np.uint8)), "Picture('image', 480 x 640 pixels)"),
        (
            Clip.of(np.zeros((3, 8, 9, 3), np.uint8), fps=2.5, name="a.mp4"),
            "Clip('a.mp4', 3 frames of 8 x 9 pixels, 2.5 a second)",
        ),
        (Clip.of(np.zeros((3, 8, 9, 3), np.uint8)), "Clip('clip', 3 frames of 8 x 9 pixels)"),
        (FRAME, "Frame(image 480 x 640, canvas 336 x 336, 24 x 24 patches)"),
        (MASKS, "PixelMasks(2 masks, 480 x 640 pixels, scores, names)"),
        (PixelMasks((4, 6), ()), "PixelMasks(0 masks, 4 x 6 pixels)"),
        (REGIONS, "Regions(24 x 24 patches, 576 regions)"),
        (Regions.singletons((5, 2, 3)), "Regions(5 x 2 x 3 patches, 30 regions)"),
        (MEMBERS, "Members(2 views of 1 image, 1152 patches, 1152 regions)"),
        (
            PatchGrid(torch.zeros(24, 24, 8, dtype=torch.bfloat16), FRAME, masks=MASKS),
            "PatchGrid(24 x 24 patches, width 8, bfloat16, cpu, 2 masks)",
        ),
        (
            Tokens.of_patches(torch.zeros(1152, 8), MEMBERS),
            "Tokens(1152 tokens of 1 image, width 8, float32, cpu)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_line_says_what_it_is_and_how_large(value, text):
    assert repr(value) == text
