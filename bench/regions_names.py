"""How often the name of a region agrees with the COCO category of the object under it.

    python bench/regions_names.py --data ../shared/data

For every annotated object that is large enough and whose category ImageNet knows, each source
offers the region that overlaps it best (IoU on the patch grid), and the region is named by `lite`'s
dense logits averaged over it. A name is right if its ImageNet class is in the category's list below
(top-1), or if one of the five best is (top-5). Beside these stand the name of the whole photo,
names drawn from the regions of other photos, and chance. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.measures.naming import region_logits
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.tokenizer.regionizer import build_encoder

# COCO category -> ImageNet-1k class indices that mean it, or a kind of it. Categories that ImageNet
# does not know (person, giraffe, frisbee, ...) are left out, and so are those that it knows only by
# a part or a relative (cake, donut, sandwich, carrot).
MAPPING: dict[str, tuple[int, ...]] = {
    "bicycle": (444, 671),
    "car": (436, 468, 511, 609, 627, 656, 661, 717, 751, 817),
    "motorcycle": (665, 670),
    "airplane": (404, 895),
    "bus": (654, 779, 874),
    "train": (466, 547, 705, 820),
    "truck": (555, 569, 675, 717, 864, 867),
    "boat": (472, 484, 510, 554, 576, 625, 628, 780, 814, 871, 914),
    "traffic light": (920,),
    "stop sign": (919,),
    "parking meter": (704,),
    "bench": (703,),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": tuple(range(281, 286)),
    "dog": tuple(range(151, 269)),
    "horse": (339,),
    "sheep": (348, 349),
    "cow": (345,),
    "elephant": (101, 385, 386),
    "bear": tuple(range(294, 298)),
    "zebra": (340,),
    "backpack": (414,),
    "umbrella": (879,),
    "handbag": (748,),
    "tie": (457, 906),
    "skis": (795,),
    "sports ball": (429, 430, 574, 722, 768, 805, 852, 890),
    "tennis racket": (752,),
    "bottle": (440, 720, 737, 898, 907),
    "wine glass": (441, 572),
    "cup": (504, 967, 968),
    "knife": (499, 623),
    "spoon": (618, 910),
    "bowl": (659, 809),
    "banana": (954,),
    "apple": (948,),
    "orange": (950,),
    "broccoli": (937,),
    "hot dog": (934,),
    "pizza": (963,),
    "chair": (423, 559, 765, 857),
    "couch": (831,),
    "potted plant": (738,),
    "bed": (564,),
    "dining table": (532,),
    "toilet": (861,),
    "tv": (664, 782, 851),
    "laptop": (620, 681),
    "mouse": (673,),
    "remote": (761,),
    "keyboard": (508,),
    "cell phone": (487,),
    "microwave": (651,),
    "oven": (827,),
    "toaster": (859,),
    "sink": (896,),
    "refrigerator": (760,),
    "book": (921,),
    "clock": (409, 530, 892),
    "vase": (883,),
    "teddy bear": (850,),
    "hair drier": (589,),
}
SOURCES = {
    "clustering": "merge({threshold})",
    "felzenszwalb": "segments(0.5)",
    "combined": "segments(0.5, resolve='smallest') | cover('rest') | merge({threshold})",
}


def photos(data: Path, smallest: int) -> Iterator[tuple[Path, list[str], list]]:
    """Photos with the category and the segmentation of each of their objects.

    Objects with a box of `smallest` pixels a side or less are left out, and so are crowds.
    """
    for file in sorted((data / "coco" / "annotations" / "split").glob("*instances*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {category["id"]: category["name"] for category in content["categories"]}
        objects_by_image: dict[int, list[dict]] = {}
        for annotation in content["annotations"]:
            if (
                names[annotation["category_id"]] in MAPPING
                and not annotation.get("iscrowd")
                and min(annotation["bbox"][2:]) > smallest
            ):
                objects_by_image.setdefault(annotation["image_id"], []).append(annotation)
        for image in content["images"]:
            path = data / "coco" / "images" / image["file_name"]
            if image["id"] in objects_by_image and path.is_file():
                objects = objects_by_image[image["id"]]
                yield (
                    path,
                    [names[annotation["category_id"]] for annotation in objects],
                    [annotation["segmentation"] for annotation in objects],
                )


def best_region(masks: Tensor, target: Tensor) -> tuple[int, float]:
    """The region of `masks [k h w]` that overlaps `target [h w]` (shares) best, and its IoU."""
    shared = torch.minimum(masks.float(), target).sum((1, 2))
    joined = torch.maximum(masks.float(), target).sum((1, 2))
    iou = shared / joined
    best = int(iou.argmax())
    return best, float(iou[best])


def measure(
    data: Path, encoder_spec: str, smallest: int, limit: int | None, seed: int
) -> tuple[list[dict], int]:
    """The rows of the table, one a source, and the number of photos."""
    encoder = build_encoder(encoder_spec)
    tokenizers = {
        name: RegionTokenizer(
            encoder, spec.format(threshold=encoder.threshold), segmenter="felzenszwalb"
        )
        for name, spec in SOURCES.items()
    }
    logits_of: dict[str, list[Tensor]] = {
        name: [] for name in (*SOURCES, "annotated masks", "whole photo")
    }
    overlap: dict[str, list[float]] = {name: [] for name in SOURCES}
    truth: list[str] = []
    chosen = list(photos(data, smallest))[:limit]
    for path, categories, segmentations in track(chosen, "photos", console=Console(stderr=True)):
        picture = Picture.of(path)
        dense = encoder.logits([picture])[0]
        grids = tokenizers["felzenszwalb"].regionizer.see([picture])
        targets = grids[0].frame.to_grid(PixelMasks.from_coco(segmentations, picture.size))
        regions_by_source = {
            name: tokenizer.regionizer.trails(grids)[0][-1]
            for name, tokenizer in tokenizers.items()
        }
        named = {name: region_logits(dense, regions) for name, regions in regions_by_source.items()}
        for category, target in zip(categories, targets, strict=True):
            truth.append(category)
            for name, regions in regions_by_source.items():
                best, iou = best_region(regions.masks, target)
                logits_of[name].append(named[name][best])
                overlap[name].append(iou)
            logits_of["annotated masks"].append(
                (dense * target[..., None]).sum((0, 1)) / target.sum().clamp(min=1e-9)
            )
            logits_of["whole photo"].append(dense.mean((0, 1)))
    order = np.random.default_rng(seed).permutation(len(truth))
    logits_of["names of other regions"] = [logits_of["clustering"][i] for i in order]
    rows = [_row(name, logits, truth, overlap.get(name)) for name, logits in logits_of.items()]
    chance = float(np.mean([len(MAPPING[category]) / 1000 for category in truth]))
    rows.append({"source": "chance (one of 1,000 names)", "top1": chance, "iou": None})
    rows[-1]["top5"] = min(1.0, 5 * chance)
    return rows, len(chosen)


def _row(name: str, logits: list[Tensor], truth: list[str], overlap: list[float] | None) -> dict:
    top = torch.stack(logits).topk(5).indices
    right = torch.stack(
        [
            torch.isin(five, torch.tensor(MAPPING[category]))
            for five, category in zip(top, truth, strict=True)
        ]
    )
    iou = None if overlap is None else float(np.mean(overlap))
    return {
        "source": name,
        "top1": float(right[:, 0].float().mean()),
        "top5": float(right.any(1).float().mean()),
        "iou": iou,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("REGIONTOK_DATA"),
        help="folder with coco/ (docs/about/data.md)",
    )
    parser.add_argument("--encoder", default="lite", help="an encoder with a classifier")
    parser.add_argument(
        "--smallest",
        type=int,
        default=40,
        help="objects with a smaller box side in px are left out",
    )
    parser.add_argument("--limit", type=int, help="photos at the most")
    parser.add_argument("--seed", type=int, default=0, help="of the names of other regions")
    args = parser.parse_args()
    if not args.data or not args.data.is_dir():
        sys.exit(
            f"no data at {args.data}: give --data or REGIONTOK_DATA "
            "(docs/about/data.md says what belongs there)"
        )
    rows, count = measure(args.data, args.encoder, args.smallest, args.limit, args.seed)
    print("| source | top-1 | top-5 | mean IoU of the region |\n| --- | --- | --- | --- |")
    for row in rows:
        iou = "" if row["iou"] is None else f"{row['iou']:.2f}"
        print(
            f"| {row['source']} | {100 * row['top1']:.1f} % | {100 * row['top5']:.1f} % | {iou} |"
        )
    result = {"bench": "regions_names", "photos": count, "encoder": args.encoder}
    print(json.dumps(result | {"rows": rows}))


if __name__ == "__main__":
    main()
