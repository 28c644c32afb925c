"""Pixel masks as the page gets them: a small label map, in which the smallest mask lies on top."""

from __future__ import annotations

import math
from typing import Any

from regiontok.core.masks import PixelMasks
from regiontok.system.arrays import packed

LONGEST = 512  # pixels of the longer side of the label map: sharp enough for a screen


def mask_data(masks: PixelMasks) -> dict[str, Any]:
    """Masks of one picture: their label map (-1 for none), and what is known of each."""
    step = max(1, math.ceil(max(masks.size) / LONGEST))
    labels = masks.labels()[step // 2 :: step, step // 2 :: step]
    scores = None if masks.scores is None else [round(float(score), 4) for score in masks.scores]
    return {
        "size": list(masks.size),
        "labels": packed(labels, "int32"),
        "areas": masks.areas.tolist(),
        "names": None if masks.names is None else list(masks.names),
        "scores": scores,
    }
