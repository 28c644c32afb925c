"""Average precision of boxes and masks, by COCO's rule and by LVIS's, through faster-coco-eval.

After: pycocotools (COCO: 100 detections a picture); the LVIS API (300 detections; categories that a
picture was not annotated for do not count there, and AP is also given for rare, common and frequent
categories).
Differs: nothing known; `golden/coco_ap.json` is reproduced.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.probe.detect.objects import Detections
from regiontok.system.need import need

# our names of faster-coco-eval's numbers, by both rules and by each of them
_BOTH = {
    **{"AP_all": "AP", "AP_50": "AP50", "AP_75": "AP75"},
    **{"AP_small": "APs", "AP_medium": "APm", "AP_large": "APl"},
    **{"AR_small": "ARs", "AR_medium": "ARm", "AR_large": "ARl"},
}
_COCO = {**_BOTH, "AR_all": "AR1", "AR_second": "AR10", "AR_third": "AR100"}
_LVIS = {**_BOTH, "AR_all": "AR300", "APr": "APr", "APc": "APc", "APf": "APf"}


def average_precision(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: str,
    *,
    images: Iterable[int] | None = None,
    lvis: bool = False,
) -> dict[str, float | None]:
    """AP and AR of detections; None where nothing of that size or frequency is annotated.

    Args:
        truth: the content of a file in COCO's form.
        results: detections in COCO's form of results.
        kind: "bbox" or "segm".
        images: numbers of the pictures that count; None counts all of the file.
        lvis: whether LVIS's rule counts.

    Raises:
        MissingPackage: If faster-coco-eval is not installed.
    """
    package = need("faster_coco_eval", extra="probe")
    ground = package.COCO(_complete(truth, images))
    if not results or not ground.anns:
        nothing = 0.0 if ground.anns else None
        return dict.fromkeys(("AP", "AP50", "AP75"), nothing)
    found = ground.loadRes([dict(result) for result in results])
    evaluation = package.COCOeval_faster(ground, found, kind, lvis_style=lvis, print_function=_mute)
    if lvis:
        evaluation.params.maxDets = [300]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = evaluation.stats_as_dict
    names = _LVIS if lvis else _COCO
    return {name: None if stats[key] < 0 else float(stats[key]) for key, name in names.items()}


def results_of(
    image: int, detections: Detections, categories: Sequence[tuple[int, str]]
) -> list[dict[str, Any]]:
    """The detections of one picture in COCO's form of results.

    Args:
        image: the picture's number.
        detections: what was found in it.
        categories: number and name of each category, in the order of the classes.
    """
    codes: list[dict[str, Any]] | None = None
    if detections.masks is not None:
        codes = PixelMasks.from_dense(detections.masks).to_coco()
    results = []
    for row, (x0, y0, x1, y1) in enumerate(detections.boxes.tolist()):
        result = {
            "image_id": image,
            "category_id": categories[int(detections.classes[row])][0],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": float(detections.scores[row]),
        }
        results.append(result | ({"segmentation": codes[row]} if codes is not None else {}))
    return results


def _complete(truth: Mapping[str, Any], images: Iterable[int] | None) -> dict[str, Any]:
    """A copy for the package, which writes into it, with what COCO's rule reads filled in."""
    chosen = None if images is None else set(images)
    annotations = []
    for number, annotation in enumerate(truth["annotations"], 1):
        if chosen is None or annotation["image_id"] in chosen:
            filled = {"iscrowd": 0, "id": number, **annotation}
            filled.setdefault("area", float(np.prod(annotation["bbox"][2:])))
            annotations.append(filled)
    kept = [image for image in truth["images"] if chosen is None or image["id"] in chosen]
    return copy.deepcopy(
        {"images": kept, "annotations": annotations, "categories": truth["categories"]}
    )


def _mute(*words: Any) -> None:
    """Say nothing where the package would print a table."""
