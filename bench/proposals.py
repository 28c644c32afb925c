"""How well the proposals of `regiontok curate` find large objects, by size, score and suppression.

    python bench/proposals.py DATA
    python bench/proposals.py DATA --segmenter slic --sizes 256 640 --photos 20

DATA is a folder laid out as docs/about/data.md says. Objects are those that people have drawn in
COCO's photos, no crowds, with a box whose shorter edge has at least 128 pixels. Proposals are the
boxes of the same size. For each longer edge at which the segmenter sees a photo stand:

    recall      share of objects that a proposal overlaps by an IoU of at least .5
    boxes       proposals a photo
    ms          processor time a photo, of segmenting and choosing

"fills" suppresses by the share of its box that a mask fills, "area" by the box's area, "none" not
at all; at most five boxes of the best score count in "recall of 5", which is what tells scores
apart. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks, masks_from
from regiontok.core.picture import Picture
from regiontok.curate.plan import ProposePlan
from regiontok.curate.proposals import Proposals, proposals_of
from regiontok.curate.propose import copy_of, segmenter_of

LEAST = 128  # pixels of a box's shorter edge
FEW = 5


@dataclass(frozen=True, eq=False)
class Annotated:
    """A photo and the boxes `[n 4]`, xyxy, of its large objects."""

    picture: Picture
    objects: np.ndarray


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--segmenter", default="felzenszwalb")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 320, 640])
    parser.add_argument("--photos", type=int, default=107)
    args = parser.parse_args()
    photos = annotated(args.data / "coco", args.photos)
    count = sum(len(photo.objects) for photo in photos)
    print(f"{count} objects in {len(photos)} photos")
    print(f"{'size':>5s} {'score':6s}{'recall':>8s}{'of 5':>8s}{'boxes':>8s}{'ms':>8s}")
    rows = []
    for size in args.sizes:
        for row in measured(photos, ProposePlan(segmenter=args.segmenter, size=size)):
            rows.append(row)
            figures = "".join(f"{row[name]:8.3f}" for name in ("recall", "recall_of_5"))
            print(f"{row['size']:5d} {row['score']:6s}{figures}{row['boxes']:8.1f}{row['ms']:8.1f}")
    result = {"bench": "proposals", "segmenter": args.segmenter, "objects": count}
    print(json.dumps(result | {"photos": len(photos), "rows": rows}))


def measured(photos: list[Annotated], plan: ProposePlan) -> list[dict[str, Any]]:
    """A row for each score."""
    segmenter, size = segmenter_of(plan)
    masks, seconds = [], 0.0
    for photo in photos:
        start = time.process_time()
        masks += masks_from(segmenter, [copy_of(photo.picture, size)])
        proposals_of(masks[-1], photo.picture.size, plan)
        seconds += time.process_time() - start
    rows = []
    for score in ("fills", "area", "none"):
        chosen = plan.model_copy(update={"overlap": 1.0}) if score == "none" else plan
        found = [
            proposals_of(scored(each, score), photo.picture.size, chosen)
            for each, photo in zip(masks, photos, strict=True)
        ]
        rows.append(
            {
                "size": size,
                "score": score,
                "recall": recall(photos, found),
                "recall_of_5": recall(photos, [best(each) for each in found]),
                "boxes": sum(map(len, found)) / len(photos),
                "ms": 1000 * seconds / len(photos),
            }
        )
    return rows


def scored(masks: PixelMasks, score: str) -> PixelMasks:
    """Masks with another score than the one they would be given."""
    if score != "area":
        return masks
    sides = masks.boxes[:, 2:] - masks.boxes[:, :2]
    return replace(masks, scores=sides.prod(1) / (masks.size[0] * masks.size[1]))


def best(proposals: Proposals) -> Proposals:
    """The few proposals with the best scores."""
    return Proposals(proposals.boxes[:FEW], proposals.scores[:FEW])


def recall(photos: list[Annotated], found: list[Proposals]) -> float:
    """The share of all objects that a proposal overlaps enough."""
    hits = [
        (overlaps(photo.objects, each.boxes).max(1, initial=0) >= 0.5).sum()
        for photo, each in zip(photos, found, strict=True)
    ]
    return float(sum(hits) / sum(len(photo.objects) for photo in photos))


def overlaps(objects: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The IoU `[n k]` of each object with each box."""
    lower = np.maximum(objects[:, None, :2], boxes[None, :, :2])
    upper = np.minimum(objects[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(upper - lower, 0).prod(2)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (objects, boxes)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def annotated(coco: Path, most: int) -> list[Annotated]:
    """The photos that have large objects."""
    data = json.loads((coco / "annotations/split/instances_dev.json").read_text())
    by_image: dict[int, list[list[float]]] = {}
    for annotation in data["annotations"]:
        x, y, width, height = annotation["bbox"]
        if not annotation["iscrowd"] and min(width, height) >= LEAST:
            by_image.setdefault(annotation["image_id"], []).append([x, y, x + width, y + height])
    paths = {image["id"]: coco / "images" / image["file_name"] for image in data["images"]}
    return [
        Annotated(Picture.of(paths[number]), np.array(boxes))
        for number, boxes in sorted(by_image.items())
        if paths[number].is_file()
    ][:most]


if __name__ == "__main__":
    main()
