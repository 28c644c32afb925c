"""What SAM's mask-generator helpers and our own parts share, on the helpers' recorded answers.

Crops of the picture and the filling of holes are left out: `sam` makes neither.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regiontok.core.masks import PixelMasks
from regiontok.core.rle import code_of_segmentation, runs_of_code
from regiontok.segment.prompted.everything import CanvasPlacement, passing
from regiontok.segment.prompted.granularity import Level


@pytest.fixture
def golden(data: Path) -> Any:
    return json.loads((data / "golden" / "amg_utils.json").read_text())


def test_run_lengths_areas_and_boxes(golden: Any) -> None:
    dense = np.array([[int(letter) for letter in row] for row in golden["mask_rows"]], bool)
    masks = PixelMasks.from_dense(dense[None])
    assert runs_of_code(masks.counts[0]).tolist() == golden["rle"]["counts"]
    assert code_of_segmentation(golden["rle"], (40, 60)) == masks.counts[0]
    assert masks.areas[0] == golden["area_from_rle"] == dense.sum()
    for name, fill in (("rle_zeros_4x5", 0), ("rle_ones_4x5", 1)):
        (code,) = PixelMasks.from_dense(np.full((1, 4, 5), fill)).counts
        assert runs_of_code(code).tolist() == golden[name]
    # the helper's box ends at the last pixel, ours behind it
    x0, y0, x1, y1 = golden["bbox_xyxy"]
    assert masks.boxes[0].tolist() == [x0, y0, x1 + 1, y1 + 1]
    assert PixelMasks.from_dense(np.zeros((1, 4, 5))).boxes[0].tolist() == golden["bbox_xyxy_empty"]


def test_prompts(golden: Any) -> None:
    square = CanvasPlacement((1, 1), (1, 1), 1, padded=False)
    assert square.prompts(4).tolist() == golden["point_grid_4"]


def test_stability(golden: Any) -> None:
    """The threshold parts the two masks exactly where the recorded scores say."""
    logits = torch.tensor(golden["stability"]["logits"])[:, None]
    placement = CanvasPlacement((6, 7), (6, 7), 7, padded=False)
    low, high = golden["stability"]["score"]
    for threshold, kept in ((low - 1e-6, 2), (low + 1e-6, 1), (high - 1e-6, 1), (high + 1e-6, 0)):
        level = Level(1, 0.0, threshold)
        candidates = passing(logits, torch.ones(2, 1), level, placement, exact=True)
        assert len(candidates) == kept
