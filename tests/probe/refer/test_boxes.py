"""Boxes in replies: the published accuracy, and what counts as a box."""

from __future__ import annotations

import json
from pathlib import Path

from regiontok.probe.refer.boxes import box_iou, is_right, read_box


def test_equals_visual_cot(data: Path) -> None:
    golden = json.loads((data / "golden" / "rec_accuracy.json").read_text())
    rows = golden["rows"]
    right = [
        is_right(row["text"], tuple(row["bbox"]), (row["height"], row["width"])) for row in rows
    ]
    share, count, total = golden["expected"].split()
    assert (sum(right) / len(rows), sum(right), len(rows)) == (float(share), int(count), int(total))


def test_by_eye() -> None:
    assert read_box("[1, 2, 3, 4] and [5, 6, 7, 8]") == (1, 2, 3, 4)
    assert read_box("[1, 2, 3]") is None
    assert box_iou((0, 0, 1, 1), (2, 2, 3, 3)) == box_iou((1, 1, 0, 0), (0, 0, 1, 1)) == 0
    assert not is_right("[0, 0, 1, 0.5]", (0, 0, 100, 100), (100, 100))  # exactly half is wrong
    assert is_right("[0, 0, 1, 0.51]", (0, 0, 100, 100), (100, 100))
    assert not is_right("on the left", (0, 0, 100, 100), (100, 100))
