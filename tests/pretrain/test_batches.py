"""A rank's batches: what its regions see, and their labels."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from regiontok.pretrain.batches import CollateViews
from regiontok.rice.visible import Visible
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.random_view import draw_view
from regiontok.shards.views import LabelSpace, ViewSettings

LABELS = LabelSpace(classes=9, vocabulary=256, tokenize=str.encode)


def test_a_text_line_below_half_a_patch_sees_its_whole_line_in_training_as_in_use():
    """Patches of 16 pixels: the line is 6.4 pixels high and 64 long, within a row of patches."""
    line = [[0.0, 20.0, 64.0, 26.4]]
    row = ImageRegions(0, "a", (64, 64), line, texts=["STATION"])
    with io.BytesIO() as file:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(file, "png")
        data = file.getvalue()
    settings = ViewSettings((64, 64), regions=1, scale=None, positives=4, patch=16)
    view = draw_view(row, lambda: data, settings, LABELS, np.random.default_rng(0), shard="s")
    batch = CollateViews(("text",), patch=16)([view])
    assert batch.visible.mask.view(4, 4).int().tolist() == [
        [0, 0, 0, 0],
        [1, 1, 1, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert torch.equal(
        batch.visible.mask, Visible.from_boxes([torch.tensor(line) / 16], (4, 4)).mask
    )
    ids = sorted(set(b"STATION"))
    assert sorted(batch.labels["text"][0, 0].tolist() + batch.excluded["text"][0, 0].tolist()) == [
        *ids
    ]
