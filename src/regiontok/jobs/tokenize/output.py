"""What `tokenize` leaves on disk for one image: tokens, regions, a picture, and a report that is
written last."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from regiontok.core.frame import Frame
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.core.tokens import Tokens
from regiontok.draw.regions import draw_regions
from regiontok.draw.sheet import Panel, save_image, side_by_side
from regiontok.measures.naming import Naming
from regiontok.system.files import replacing
from regiontok.tokenizer.region_tokenizer import Run

REPORT = "report.json"
COLOURED, NUMBERED, NAMED = (
    300,
    150,
    8,
)  # regions of a drawing: up to so many in colours, with numbers; so many named
# of a name in a drawing: 20 times what a blind classifier gives each of 1,000 classes; the JSON has
# all names
SURE = 0.02


@dataclass(frozen=True, eq=False)
class Setting:
    """One region spec of a run, with what it gave for one image."""

    spec: str
    run: Run
    steps: tuple[Any, ...] = ()
    names: Sequence[Naming] | None = None


def slug(text: str) -> str:
    """A file name for a spec.

    >>> slug("merge(k=64) | sort('com')")
    'merge-k-64-sort-com'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:80] or "patches"


def slugs(specs: Sequence[str]) -> list[str]:
    """A file name for each spec, all different: names that would be the same get a piece of their
    spec's hash.

    >>> slugs(["merge(0.5)", "merge(-0.5)", "patches"])
    ['merge-0.5~862c1727', 'merge-0.5~64007873', 'patches']
    """
    names = [slug(text) for text in specs]
    hashes = [hashlib.sha256(text.encode()).hexdigest()[:8] for text in specs]
    return [f"{n}~{h}" if names.count(n) > 1 else n for n, h in zip(names, hashes, strict=True)]


def write_image(
    folder: Path,
    index: int,
    settings: Sequence[Setting],
    report: dict[str, Any],
    *,
    rle: bool,
    picture: bool,
) -> None:
    """Write the folder of one image of a run: whole, or not at all.

    Args:
        folder: of this image.
        index: of the image in the runs' batch.
        settings: one a region spec; the photo and the grid are the same in all.
        report: what `report.json` says.
        rle: also write each region's pixels as COCO run lengths, which the `stored` segmenter reads
            back.
        picture: also draw.
    """
    tables = [_regions_json(setting, index, rle) for setting in settings]
    drawing = side_by_side(panels(index, settings)) if picture else None
    write_folder(
        folder, [setting.run.tokens[index] for setting in settings], tables, drawing, report
    )


def write_folder(
    folder: Path,
    tokens: Sequence[Tokens],
    regions: Sequence[dict[str, Any]],
    drawing: Image.Image | None,
    report: dict[str, Any],
) -> None:
    """Write one output folder whole, or not at all: tokens and regions a setting, the drawing if
    there is one, the report last."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as part:
        part.mkdir()
        for own, table, name in zip(
            tokens, regions, slugs([table["spec"] for table in regions]), strict=True
        ):
            save_file(own.to("cpu").to_tensors(), part / f"{name}.safetensors")
            write_json(part / f"{name}.regions.json", table)
        if drawing is not None:
            save_image(drawing, part / "regions.png")
        write_json(part / REPORT, report)


def check_target(folder: Path) -> None:
    """Writing replaces the folder: what stands there must be an output of before, never the image
    or the frames themselves.

    Raises:
        ValueError: something else is there.
    """
    if folder.exists() and not (folder / REPORT).is_file():
        raise ValueError(
            f"{folder} is there and is no output of tokenize; choose another output folder"
        )


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of an image that was done before, or None."""
    try:
        return json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def panels(index: int, settings: Sequence[Setting], *, longest: int = 640) -> list[Panel]:
    """The photo, and a panel for each setting."""
    photo = settings[0].run.pictures[index]
    shown = [Panel(scaled(photo, longest), "photo", f"{photo.size[1]} × {photo.size[0]} px")]
    for setting in settings:
        for view in setting.run.views(index):
            grid, regions = setting.run.grids[view], setting.run.regions[view]
            names = _largest(setting.names, regions) if setting.names else None
            drawn = draw_regions(
                photo,
                grid.frame,
                regions,
                style="colours" if len(regions) <= COLOURED else "borders",
                names=names,
                numbers=names is None and len(regions) <= NUMBERED,
                longest=longest,
            )
            told = (
                f"view {grid.view} · {len(regions)} regions of {grid.patches}"
                if grid.view
                else caption(setting, index)
            )
            shown.append(Panel(drawn, setting.spec, told))
    return shown


def _largest(names: Sequence[Naming], regions: Regions) -> list[str | None]:
    """Names for the largest regions whose name is more than a guess; more names would hide the
    picture."""
    sure = [
        at
        for at in regions.sizes.argsort(descending=True, stable=True).tolist()
        if names[at].share >= SURE
    ]
    chosen = set(sure[:NAMED])
    return [naming.name if at in chosen else None for at, naming in enumerate(names)]


def scaled(picture: Picture, longest: int) -> Image.Image:
    """The picture with its longer side at `longest` pixels."""
    high, wide = picture.size
    scale = longest / max(high, wide)
    size = (max(1, round(high * scale)), max(1, round(wide * scale)))
    return Image.fromarray(picture.resized(size, (0, 0, high, wide), "bicubic"))


def caption(setting: Setting, index: int) -> str:
    """What stands under a picture: regions, tokens, and what share of the patch tokens they are."""
    run = setting.run
    tokens, views = int(run.tokens.counts[index]), run.views(index)
    patches = sum(run.grids[view].patches for view in views)
    regions = sum(len(run.regions[view]) for view in views)
    if regions == tokens == patches:
        return f"{patches} patches, a token each"
    return f"{regions} regions · {tokens} tokens · {100 * tokens / patches:.0f} % of {patches}"


def _regions_json(setting: Setting, index: int, rle: bool) -> dict[str, Any]:
    views = setting.run.views(index)
    seen = [(setting.run.regions[view].to("cpu"), setting.run.grids[view].frame) for view in views]
    tables = [regions_table(setting, *view) for view in seen]
    found = tables[0]
    if len(views) > 1:  # one list of regions, each of which says its view
        rows = [
            {"view": number, **row}
            for number, table in enumerate(tables)
            for row in table["regions"]
        ]
        found |= {
            "views": [{"grid": table["grid"], "frame": table["frame"]} for table in tables],
            "regions": rows,
        }
    if rle:
        masks = [mask for view in seen for mask in pixel_masks(*view).to_coco()]
        found |= {"size": list(seen[0][1].image), "masks": masks}
    return found


def regions_table(setting: Setting, regions: Regions, frame: Frame) -> dict[str, Any]:
    """What the JSON of a setting says of any regions, of an image or a clip: patches, box, source,
    and the name if there is one."""
    boxes = frame.boxes_to_pixels(grid_boxes(regions)).tolist()
    rows = []
    for at, patch in enumerate(regions.patch.split(regions.sizes.tolist())):
        row: dict[str, Any] = {
            "patches": patch.tolist(),
            "box": [round(v, 2) for v in boxes[at]],
            "source": int(regions.source[at]),
        }
        if setting.names:
            row |= {"name": setting.names[at].name, "name_share": round(setting.names[at].share, 4)}
        rows.append(row)
    return {
        "spec": setting.spec,
        "grid": list(regions.grid),
        "frame": asdict(frame),
        "regions": rows,
    }


def grid_boxes(regions: Regions) -> torch.Tensor:
    """`[k 4]` xyxy in patches; of a clip over all frames."""
    at = torch.stack(torch.unravel_index(regions.patch, regions.grid), 1)[:, -2:].double()
    index = regions.region[:, None].expand(-1, 2)
    low = torch.full((len(regions), 2), torch.inf, dtype=torch.float64).scatter_reduce(
        0, index, at, "amin"
    )
    high = torch.full((len(regions), 2), -torch.inf, dtype=torch.float64).scatter_reduce(
        0, index, at + 1, "amax"
    )
    return torch.cat([low.flip(1), high.flip(1)], 1)


def pixel_masks(regions: Regions, frame: Frame) -> PixelMasks:
    """The pixels of each region of one view."""
    parts = [
        PixelMasks.from_dense(frame.to_pixels(chunk)).counts for chunk in regions.masks.split(32)
    ]
    return PixelMasks(frame.image, tuple(code for part in parts for code in part))


def write_json(path: Path, value: Any) -> None:
    """One line of strict JSON."""
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
