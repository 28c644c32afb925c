"""What OG-LLaVA's down-sampling operator selects, as published and on the encoder's own patches.

    python bench/phi_alpha.py --data FOLDER                   # figures over COCO and BSDS500 masks
    python bench/phi_alpha.py --picture docs/pictures/phi_alpha.webp   # the picture in the docs

The operators are `segments(0.5, unit='pixels', compare='>=')` (section 5.1.1, row O1) with
`mapping='flat1d'` as published, which takes runs of the flattened mask, and with
`mapping='grid2d'`; alpha is half a pixel in both. A mask's true footprint are the patches of its
stretched photo that hold one of its pixels' centres, found by painting the pixels one by one and
not by the code under test. Reported for each source of masks: IoU with the footprint (mean over
masks, and pooled: sums of intersections and unions), tokens against the footprint's, the tokens of
an image against its patches, and which share of the tokens a mask of the photo's left half selects.
The last line on stdout is one JSON object. The picture is of a photo of scikit-image.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from bsds import data_root, photos
from PIL import Image
from rich.console import Console
from rich.progress import track
from skimage import data

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw.regions import draw_regions
from regiontok.draw.sheet import Panel, contact_sheet
from regiontok.segment.formats.coco import coco_instances
from regiontok.segment.formats.rle import read_json
from regiontok.steps.segments import Segments

PATCH = 14
MAPPINGS = ("flat1d", "grid2d")
PANEL_WIDTH = 400  # pixels


def select(masks: PixelMasks, frame: Frame, mapping: str) -> torch.Tensor:
    """The patches that the operator takes for each mask, `[k n]` bool."""
    step = Segments(0.5, mapping=mapping, unit="pixels", compare=">=")  # type: ignore[arg-type]
    grid = PatchGrid(torch.zeros(*frame.grid, 1), frame, masks=masks, padding="keep")
    selected = step.one(Regions.singletons(frame.grid), grid)
    chosen = torch.zeros(len(masks), frame.grid[0] * frame.grid[1], dtype=torch.bool)
    chosen[selected.source[selected.region], selected.patch] = True
    return chosen


def footprint(mask: np.ndarray, grid: tuple[int, int]) -> torch.Tensor:
    """The patches under the centres of a mask's pixels on the stretched photo, `[n]` bool."""
    rows, cols = np.nonzero(mask)
    (height, width), (h, w) = mask.shape, grid
    painted = np.zeros(grid, bool)
    painted[((rows + 0.5) * h / height).astype(int), ((cols + 0.5) * w / width).astype(int)] = True
    return torch.from_numpy(painted.ravel())


def coco(root: Path) -> Iterator[PixelMasks]:
    """The annotated objects of each photo."""
    path = root / "coco" / "annotations" / "split" / "instances_dev.json"
    known = read_json(path)
    sizes = {image["file_name"]: (image["height"], image["width"]) for image in known["images"]}
    for entry in coco_instances(path, known):
        masks = entry.read(sizes[entry.name])
        if len(masks):
            yield masks


def bsds500(root: Path) -> Iterator[PixelMasks]:
    """The segments of each photo's first annotator."""
    for photo in photos(root):
        yield PixelMasks.from_labels(photo.humans()[0].astype(np.int64))


def measure(sources: list[PixelMasks], side: int) -> dict[str, dict]:
    """The figures of one source of masks on a grid of `side` x `side` patches."""
    rows: dict[str, list] = {mapping: [] for mapping in MAPPINGS}
    images: dict[str, list[int]] = {mapping: [] for mapping in (*MAPPINGS, "footprint")}
    halves: dict[str, list[float]] = {mapping: [] for mapping in MAPPINGS}
    for masks in track(sources, console=Console(stderr=True)):
        frame = Frame.stretch(masks.size, (side * PATCH, side * PATCH), (PATCH, PATCH))
        dense = masks.dense().numpy()
        footprints = torch.stack([footprint(mask, frame.grid) for mask in dense])
        half = torch.zeros(1, *masks.size, dtype=torch.bool)
        half[:, :, : masks.size[1] // 2] = True
        images["footprint"].append(int(footprints.sum()))
        for mapping in MAPPINGS:
            chosen = select(masks, frame, mapping)
            intersection, union = (chosen & footprints).sum(1), (chosen | footprints).sum(1)
            rows[mapping] += torch.stack(
                [intersection, union, chosen.sum(1), footprints.sum(1)], dim=1
            ).tolist()
            images[mapping].append(int(chosen.sum()))
            halves[mapping].append(
                float(select(PixelMasks.from_dense(half), frame, mapping).float().mean())
            )
    figures = {}
    for mapping in MAPPINGS:
        intersection, union, tokens, true = np.array([row for row in rows[mapping] if row[1]]).T
        figures[mapping] = {
            "masks": len(tokens),
            "iou_mean": round(float((intersection / union).mean()), 3),
            "iou_pooled": round(float(intersection.sum() / union.sum()), 3),
            "tokens_against_footprint": round(float(tokens.sum() / true.sum()), 2),
            "tokens_of_an_image": round(float(np.mean(images[mapping])), 1),
            "tokens_of_an_image_most": int(np.max(images[mapping])),
            "share_of_patches_for_a_left_half": round(float(np.mean(halves[mapping])), 3),
        }
    return figures


def painted(photo: Picture) -> Iterator[tuple[str, np.ndarray]]:
    """Two masks of the photo, by hand: the cat's eye, and everything left of the middle."""
    y, x = np.mgrid[: photo.size[0], : photo.size[1]]
    yield "an eye", ((y - 115) / 38) ** 2 + ((x - 171) / 43) ** 2 <= 1
    yield "the left half", x < photo.size[1] // 2


def picture(path: Path) -> None:
    """Draw masks on a photo, and the patches of each that either operator selects."""
    photo = Picture.of(data.chelsea())
    frame = Frame.stretch(photo.size, (24 * PATCH, 24 * PATCH), (PATCH, PATCH))
    rows, names = [], []
    for name, mask in painted(photo):
        patches = footprint(mask, frame.grid)
        pixels = np.where(mask[:, :, None], photo.pixels, photo.pixels // 4)
        panel_image = Image.fromarray(pixels.astype(np.uint8)).resize(
            (PANEL_WIDTH, round(PANEL_WIDTH * mask.shape[0] / mask.shape[1]))
        )
        row = [Panel(panel_image, "the mask", f"{int(patches.sum())} patches hold some of it")]
        for mapping, title in (
            ("flat1d", "flat1d, as published"),
            ("grid2d", "grid2d, aligned with the encoder"),
        ):
            chosen = select(PixelMasks.from_dense(mask[None]), frame, mapping)
            overlap = float((chosen[0] & patches).sum() / (chosen[0] | patches).sum())
            regions = Regions.from_masks(chosen.view(1, *frame.grid))
            drawn = draw_regions(photo, frame, regions, style="colours", longest=PANEL_WIDTH)
            row.append(
                Panel(
                    drawn, title, f"{int(chosen.sum())} tokens; IoU with its patches {overlap:.2f}"
                )
            )
        rows.append(row)
        names.append(name)
    title = "The patches that hold half a pixel of a mask, or more"
    sheet = contact_sheet(rows, title=title, row_titles=names)
    sheet.save(path, quality=75, method=6)  # quality 90 is 167 kB


def main() -> None:
    """Measure and print, or draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the folder of docs/about/data.md; default $REGIONTOK_DATA")
    parser.add_argument(
        "--grid", type=int, default=24, help="patches a side: 24 is CLIP ViT-L/14 at 336 px"
    )
    parser.add_argument("--limit", type=int, help="images of each source")
    parser.add_argument("--picture", type=Path, help="draw the picture of the docs, and stop")
    options = parser.parse_args()
    if options.picture:
        picture(options.picture)
        return
    try:
        root = data_root(options.data)
    except FileNotFoundError as error:
        sys.exit(str(error))
    figures_by_source = {}
    for name, source in (("coco", coco), ("bsds500", bsds500)):
        figures_by_source[name] = measure(list(source(root))[: options.limit], options.grid)
        for mapping, figures in figures_by_source[name].items():
            print(
                f"{name} {mapping}: "
                + ", ".join(f"{key} {value}" for key, value in figures.items())
            )
    print(json.dumps({"bench": "phi_alpha", "grid": options.grid, **figures_by_source}))


if __name__ == "__main__":
    main()
