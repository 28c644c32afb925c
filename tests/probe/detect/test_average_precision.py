"""Average precision: the official figures, perfect and absent detections, and LVIS's rule."""

from __future__ import annotations

import json

import pytest
import torch

from regiontok.probe.detect.average_precision import average_precision, results_of
from regiontok.probe.detect.objects import Detections

CATEGORIES = ((3, "cat"), (7, "dog"))


def truth(**image) -> dict:
    square = [[10.0, 10.0, 50.0, 10.0, 50.0, 50.0, 10.0, 50.0]]
    return {
        "images": [{"id": number, "height": 60, "width": 80, **image} for number in (1, 2)],
        "annotations": [
            {"image_id": 1, "category_id": 3, "bbox": [10, 10, 40, 40], "segmentation": square},
            {"image_id": 2, "category_id": 7, "bbox": [10, 10, 40, 40], "segmentation": square},
        ],
        "categories": [{"id": n, "name": name, "frequency": "f"} for n, name in CATEGORIES],
    }


def found(classes: list[int], masks: bool = True) -> Detections:
    boxes = torch.tensor([[10.0, 10.0, 50.0, 50.0]] * len(classes))
    dense = torch.zeros(len(classes), 60, 80, dtype=torch.bool)
    dense[:, 10:50, 10:50] = True
    scores = torch.linspace(0.9, 0.8, len(classes))
    return Detections(boxes, scores, torch.tensor(classes), dense if masks else None)


def test_the_official_figures_are_reproduced(data):
    golden = json.loads((data / "golden" / "coco_ap.json").read_text())["segm"]
    ground, results = (json.loads((data / golden[key]).read_text()) for key in ("gt", "dt"))
    ours = average_precision(ground, results, "segm")
    for name, value in golden["stats"].items():
        assert ours[name] == pytest.approx(value, abs=1e-9), name


def test_the_official_figures_of_boxes_are_reproduced(data):
    folder = data / "coco" / "results_cocoapi"
    ground = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    ours = average_precision(ground, results, "bbox")
    printed = {"AP": 0.505, "AP50": 0.697, "AP75": 0.573, "APs": 0.586, "APm": 0.519, "AR1": 0.387}
    assert {name: round(ours[name], 3) for name in printed} == printed


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_perfect_detections_have_ap_1_and_none_have_0(kind):
    perfect = results_of(1, found([0]), CATEGORIES) + results_of(2, found([1]), CATEGORIES)
    assert average_precision(truth(), perfect, kind)["AP"] == pytest.approx(1.0)
    wrong = results_of(1, found([1]), CATEGORIES)
    assert average_precision(truth(), wrong, kind)["AP"] == 0.0
    assert average_precision(truth(), [], kind)["AP"] == 0.0
    half = average_precision(truth(), perfect[:1], kind)["AP"]
    assert half == pytest.approx(0.5)
    assert average_precision(truth(), perfect[:1], kind, images=[1])["AP"] == pytest.approx(1.0)


def test_lvis_does_not_count_categories_that_a_picture_was_not_annotated_for():
    # a dog is claimed in picture 1, where nobody looked for dogs, with a better score than any
    results = results_of(1, found([1, 0]), CATEGORIES) + results_of(2, found([1]), CATEGORIES)
    results[0]["score"] = 0.99
    results[-1]["score"] = 0.5
    quiet = truth(neg_category_ids=[], not_exhaustive_category_ids=[])
    assert average_precision(quiet, results, "bbox", lvis=True)["AP"] == pytest.approx(1.0)
    known_absent = truth(neg_category_ids=[7], not_exhaustive_category_ids=[])
    ours = average_precision(known_absent, results, "bbox", lvis=True)
    assert ours["AP"] == pytest.approx(0.75)
    assert ours["APf"] == ours["AP"]
    assert ours["APr"] is None
