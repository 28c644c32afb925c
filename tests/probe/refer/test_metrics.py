"""cIoU, gIoU and P@0.5: LISA's own numbers, and cases that one can check by eye."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from regiontok.probe.refer.metrics import Overlap, scores


def test_equals_lisa(data: Path) -> None:
    golden = json.loads((data / "golden" / "giou_ciou.json").read_text())
    overlaps = [Overlap(row["inter"], row["union"]) for row in golden["inputs"]]
    assert [one.iou for one in overlaps] == pytest.approx([row["iou"] for row in golden["inputs"]])
    found = scores(overlaps, [row["seq"] for row in golden["inputs"]])
    assert found["ciou"].value / 100 == pytest.approx(golden["expected"]["cIoU"], rel=1e-9)
    assert found["giou"].value / 100 == pytest.approx(golden["expected"]["gIoU"], rel=1e-9)
    assert found["ciou"].low < found["ciou"].value < found["ciou"].high


def test_by_eye() -> None:
    predicted = torch.tensor([[1, 1], [0, 0]], dtype=torch.bool)
    assert Overlap.of(predicted, torch.tensor([[1, 0], [1, 0]])) == (1, 3)
    assert Overlap.of(predicted, torch.tensor([[1, 255], [0, 0]])) == (1, 1)
    assert Overlap.of(~predicted & predicted, torch.zeros(2, 2)) == (0, 0)
    found = scores([Overlap(1, 3), Overlap(0, 0)], ["a", "b"], resamples=50)
    assert found["ciou"].value == pytest.approx(100 / 3)  # an empty union adds nothing
    assert found["giou"].value == pytest.approx(200 / 3, rel=1e-4)  # and counts 1 here
    assert found["p50"].value == 50
    with pytest.raises(ValueError, match=r"picture's size \[3, 3\], got \[2, 2\]"):
        Overlap.of(predicted, torch.zeros(3, 3))
    with pytest.raises(ValueError, match="at least one expression"):
        scores([], [])
