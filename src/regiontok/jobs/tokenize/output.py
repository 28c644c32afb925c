"""The folder that `tokenize` writes for one image: tokens, regions, a drawing, and a report.

The report is written last, so that a folder with a report is whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from regiontok.core.frame import Frame
from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Regions
from regiontok.core.tokens import Tokens
from regiontok.draw.sheet import save_image, side_by_side
from regiontok.jobs.tokenize.panels import panels
from regiontok.jobs.tokenize.report import REPORT
from regiontok.jobs.tokenize.tokenizer_set import SpecResult
from regiontok.system.files import replacing


def slug(text: str) -> str:
    """A file name for a spec.

    >>> slug("merge(k=64) | sort('com')")
    'merge-k-64-sort-com'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:80] or "patches"


def distinct_slugs(specs: Sequence[str]) -> list[str]:
    """A file name for each spec; names that would be the same get a piece of their spec's hash.

    >>> distinct_slugs(["merge(0.5)", "merge(-0.5)", "patches"])
    ['merge-0.5~862c1727', 'merge-0.5~64007873', 'patches']
    """
    names = [slug(text) for text in specs]
    hashes = [hashlib.sha256(text.encode()).hexdigest()[:8] for text in specs]
    return [
        f"{name}~{digest}" if names.count(name) > 1 else name
        for name, digest in zip(names, hashes, strict=True)
    ]


def write_image(
    folder: Path,
    results: Sequence[SpecResult],
    index: int,
    report: dict[str, Any],
    *,
    rle: bool,
    picture: bool,
) -> None:
    """Write the folder of one image: whole, or not at all.

    Args:
        folder: the folder of this image.
        results: one result a region spec, over the same batch of pictures.
        index: place of the image in the batch.
        report: what `report.json` holds.
        rle: also write each region's pixels as COCO run lengths, which the `stored` segmenter reads
            back.
        picture: also draw the regions.
    """
    write_folder(
        folder,
        tokens=[result.run.tokens[index] for result in results],
        tables=[_image_table(result, index, rle) for result in results],
        drawing=side_by_side(panels(results, index)) if picture else None,
        report=report,
    )


def write_folder(
    folder: Path,
    *,
    tokens: Sequence[Tokens],
    tables: Sequence[dict[str, Any]],
    drawing: Image.Image | None,
    report: dict[str, Any],
) -> None:
    """Write one output folder: whole, or not at all.

    Args:
        folder: what it becomes; an earlier output there is replaced.
        tokens: the tokens of each region spec.
        tables: the regions of each region spec, see `regions_table`.
        drawing: a picture of the regions; None writes none.
        report: what `report.json` holds.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    names = distinct_slugs([table["spec"] for table in tables])
    with replacing(folder) as part:
        part.mkdir()
        for spec_tokens, table, name in zip(tokens, tables, names, strict=True):
            save_file(spec_tokens.to("cpu").to_tensors(), part / f"{name}.safetensors")
            write_json(part / f"{name}.regions.json", table)
        if drawing is not None:
            save_image(drawing, part / "regions.png")
        write_json(part / REPORT, report)


def check_target(folder: Path) -> None:
    """Refuse to replace what is no earlier output: the image, say, or the frames themselves.

    Raises:
        ValueError: If something else is there.
    """
    if folder.exists() and not (folder / REPORT).is_file():
        raise ValueError(
            f"{folder} is there and is no output of tokenize; choose another output folder"
        )


def _image_table(result: SpecResult, index: int, rle: bool) -> dict[str, Any]:
    """The regions of one image as its JSON has them; of several views, each with its view."""
    run = result.run
    views = [(run.regions[view].to("cpu"), run.grids[view].frame) for view in run.views(index)]
    tables = [regions_table(result, regions, frame) for regions, frame in views]
    table = tables[0]
    if len(views) > 1:
        rows = [
            {"view": index, **row} for index, view in enumerate(tables) for row in view["regions"]
        ]
        layouts = [{"grid": view["grid"], "frame": view["frame"]} for view in tables]
        table |= {"views": layouts, "regions": rows}
    if rle:
        masks = [mask for view in views for mask in pixel_masks(*view).to_coco()]
        table |= {"size": list(views[0][1].image), "masks": masks}
    return table


def regions_table(result: SpecResult, regions: Regions, frame: Frame) -> dict[str, Any]:
    """Regions of an image or a clip as JSON has them: patches, box, source, and a name if any.

    Args:
        result: whose spec and names are written.
        regions: the regions of one view.
        frame: how the image lies under their grid.
    """
    boxes = frame.boxes_to_pixels(grid_boxes(regions)).tolist()
    rows = []
    for index, patches in enumerate(regions.patch.split(regions.sizes.tolist())):
        row: dict[str, Any] = {
            "patches": patches.tolist(),
            "box": [round(side, 2) for side in boxes[index]],
            "source": int(regions.source[index]),
        }
        if result.names:
            naming = result.names[index]
            row |= {"name": naming.name, "name_share": round(naming.share, 4)}
        rows.append(row)
    return {
        "spec": result.spec,
        "grid": list(regions.grid),
        "frame": asdict(frame),
        "regions": rows,
    }


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


def write_json(path: Path, value: Any) -> None:
    """Write one line of strict JSON."""
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
