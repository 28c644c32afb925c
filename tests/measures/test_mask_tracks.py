"""J and F of masks against DAVIS's toolkit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regiontok.measures.mask_tracks import (
    contour_accuracy,
    mask_track_scores,
    region_similarity,
)


def test_frames_of_davis_score_as_in_its_toolkit(data: Path):
    golden = json.loads((data / "golden" / "davis_jf.json").read_text())["sequences"]["dog"]
    root = data / "davis2016"
    for number in (0, 11, 19):
        mask, truth = (
            np.array(Image.open(root / folder / "dog" / f"{number:05}.png")) > 0
            for folder in ("results_osvos", "Annotations/480p")
        )
        assert region_similarity(mask, truth) == golden["J_first20"][number]
        assert contour_accuracy(mask, truth) == golden["F_first20"][number]


@pytest.mark.slow
def test_every_frame_of_davis_scores_as_in_its_toolkit(data: Path):
    golden = json.loads((data / "golden" / "davis_jf.json").read_text())["sequences"]
    root = data / "davis2016"
    for clip, figures in golden.items():
        masks, truth = (
            [
                np.array(Image.open(path)) > 0
                for path in sorted((root / folder / clip).glob("*.png"))
            ]
            for folder in ("results_osvos", "Annotations/480p")
        )
        scores = mask_track_scores(masks, truth)
        assert scores.region.tolist() == figures["J_first20"]
        assert scores.contour.tolist() == figures["F_first20"]


def test_empty_masks_agree_and_the_ends_of_a_clip_are_left_out():
    nothing, block = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    block[5:15, 5:15] = True
    assert contour_accuracy(nothing, nothing) == region_similarity(nothing, nothing) == 1
    assert contour_accuracy(nothing, block) == contour_accuracy(block, nothing) == 0
    scores = mask_track_scores([nothing, block, block, nothing], [block] * 4)
    assert scores.region_mean == scores.contour_mean == scores.mean == 1
    with pytest.raises(ValueError, match="one same number of frames, 3 at least"):
        mask_track_scores([block], [block])
    with pytest.raises(ValueError, match="masks of one size"):
        region_similarity(block, block[:5])
