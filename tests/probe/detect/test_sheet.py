"""The sheet of detections: truth above, below it only what is sure, masks where they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.probe.detect.coco_files import DetectionImage
from regiontok.probe.detect.objects import Objects
from regiontok.probe.detect.sheet import detection_sheet

CATEGORIES = ((4, "disc"), (9, "sign"))


def sheet(tmp_path, results):
    Image.new("RGB", (60, 40)).save(tmp_path / "1.png")
    dense = torch.zeros(1, 40, 60, dtype=torch.bool)
    dense[0, 10:30, 20:50] = True
    objects = Objects(
        torch.tensor([[20.0, 10.0, 50.0, 30.0]]), torch.tensor([1]), PixelMasks.from_dense(dense)
    )
    image = DetectionImage(5, tmp_path / "1.png", (40, 60), objects)
    return np.array(detection_sheet([image], results, CATEGORIES, title="T").convert("L"), int)


def test_what_is_sure_is_drawn_and_nothing_else(tmp_path):
    code = PixelMasks.from_dense(torch.ones(1, 40, 60, dtype=torch.bool)).to_coco()[0]
    sure = {"image_id": 5, "category_id": 4, "bbox": [2, 2, 50, 30], "score": 0.9}
    nothing = sheet(tmp_path, [])
    for result in ({**sure, "score": 0.1}, {**sure, "image_id": 6}):
        assert np.array_equal(sheet(tmp_path, [result]), nothing)
    boxes, masks = (sheet(tmp_path, [result]) for result in (sure, {**sure, "segmentation": code}))
    assert (boxes != nothing).sum() < (masks != nothing).sum()
    rows = (masks != nothing).any(1).nonzero()[0]
    assert rows.min() > len(nothing) / 2  # the truth above stays


def test_without_pictures_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="expected at least one row with a panel"):
        detection_sheet([], [], CATEGORIES, title="T")
