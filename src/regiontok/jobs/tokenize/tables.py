"""The regions of an image as JSON has them: patches, box, source, names; and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Regions
from regiontok.jobs.tokenize.tokenizer_set import SpecResult


def image_table(result: SpecResult, index: int, *, rle: bool) -> dict[str, Any]:
    """The regions of one image; of several views, each with its view.

    Args:
        result: the result of a region spec on a batch.
        index: place of the image in the batch.
        rle: also write each region's pixels as COCO run lengths, which the `stored` segmenter reads
            back.
    """
    run = result.run
    views = [(run.regions[view].to("cpu"), run.grids[view]) for view in run.views(index)]
    tables = [regions_table(result, regions, grid) for regions, grid in views]
    table = tables[0]
    if len(views) > 1:
        rows = [
            {"view": index, **row} for index, view in enumerate(tables) for row in view["regions"]
        ]
        layouts = [{"grid": view["grid"], "frame": view["frame"]} for view in tables]
        table |= {"views": layouts, "regions": rows}
    if rle:
        masks = [
            mask for regions, grid in views for mask in pixel_masks(regions, grid.frame).to_coco()
        ]
        table |= {"size": list(views[0][1].frame.image), "masks": masks}
    return table


def regions_table(result: SpecResult, regions: Regions, grid: PatchGrid) -> dict[str, Any]:
    """Regions of an image or a clip: patches, box, source, and names and scores if any.

    Args:
        result: whose spec and names are written.
        regions: the regions of one view.
        grid: the grid under which the image lies.
    """
    boxes = grid.frame.boxes_to_pixels(grid_boxes(regions)).tolist()
    rows = []
    for index, patches in enumerate(regions.patch.split(regions.sizes.tolist())):
        source = int(regions.source[index])
        row: dict[str, Any] = {
            "patches": patches.tolist(),
            "box": [round(side, 2) for side in boxes[index]],
            "source": source,
            **(mask_entry(grid.masks, source) if grid.masks is not None else {}),
        }
        if result.names:
            naming = result.names[index]
            row |= {"name": naming.name, "name_share": round(naming.share, 4)}
        rows.append(row)
    return {
        "spec": result.spec,
        "grid": list(regions.grid),
        "frame": asdict(grid.frame),
        "regions": rows,
    }


def mask_entry(masks: PixelMasks, source: int) -> dict[str, Any]:
    """The name and the score of a region's mask, where there are any."""
    entry: dict[str, Any] = {}
    if source >= 0 and masks.names is not None:
        entry["mask_name"] = masks.names[source]
    if source >= 0 and masks.scores is not None:
        score = float(masks.scores[source])
        entry["mask_score"] = round(score, 4) if score == score else None
    return entry


def label_of(row: Mapping[str, Any]) -> str:
    """What a region is called, and how sure that is; "" if it has no name.

    A classifier's name comes with its probability, a mask's with its score.

    >>> label_of({"name": "cat", "name_share": 0.97}), label_of({"mask_score": 0.5})
    ('cat (97 %)', '')
    >>> label_of({"mask_name": "dog", "mask_score": 0.5})
    'dog 0.50'
    """
    if row.get("name"):
        return f"{row['name']} ({100 * row['name_share']:.0f} %)"
    name, score = row.get("mask_name", ""), row.get("mask_score")
    return name if score is None or not name else f"{name} {score:.2f}"


def views_of(table: Mapping[str, Any]) -> list[tuple[Frame, Regions, list[dict[str, Any]]]]:
    """The frame, the regions and the rows of each view of a table."""
    if "views" not in table:
        rows = table["regions"]
        return [(_frame_of(table["frame"]), _regions_of(rows, table["grid"]), rows)]
    views = []
    for number, layout in enumerate(table["views"]):
        rows = [row for row in table["regions"] if row["view"] == number]
        views.append((_frame_of(layout["frame"]), _regions_of(rows, layout["grid"]), rows))
    return views


def _frame_of(sides: Mapping[str, Sequence[Any]]) -> Frame:
    return Frame(**{name: tuple(pair) for name, pair in sides.items()})


def _regions_of(rows: Sequence[Mapping[str, Any]], grid: Sequence[int]) -> Regions:
    patches = [torch.tensor(row["patches"], dtype=torch.int64) for row in rows]
    sizes = torch.tensor([len(patch) for patch in patches], dtype=torch.int64)
    return Regions(
        torch.cat(patches) if patches else sizes,
        torch.arange(len(rows)).repeat_interleave(sizes),
        tuple(grid),
        torch.tensor([row["source"] for row in rows], dtype=torch.int64),
    )


def grid_boxes(regions: Regions) -> torch.Tensor:
    """The box of each region, `[k 4]` xyxy in patches; a clip's over all its frames."""
    position = torch.stack(torch.unravel_index(regions.patch, regions.grid), 1)[:, -2:].double()
    region = regions.region[:, None].expand(-1, 2)
    bound = torch.full((len(regions), 2), torch.inf, dtype=torch.float64)
    lowest = bound.scatter_reduce(0, region, position, "amin")
    highest = (-bound).scatter_reduce(0, region, position + 1, "amax")
    return torch.cat([lowest.flip(1), highest.flip(1)], 1)


def pixel_masks(regions: Regions, frame: Frame) -> PixelMasks:
    """The pixels of each region of one view."""
    coded = [
        PixelMasks.from_dense(frame.to_pixels(chunk)).counts for chunk in regions.masks.split(32)
    ]
    return PixelMasks(frame.image, tuple(code for chunk in coded for code in chunk))
