"""How a run shows itself: a drawing of its regions, and a table for notebooks."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw.regions import Style, draw_regions

if TYPE_CHECKING:
    from regiontok.tokenizer.run import Run

MAX_DRAWN = 4  # pictures of the drawing in a notebook's table
MAX_ROWS = 20  # rows of the table
MAX_IN_COLOURS = 300  # regions of a view; more are told apart by their borders
MAX_WEBP = 60_000  # bytes of the drawing in the table
WEBP_STEPS = ((480, 80), (400, 70), (320, 60), (240, 50), (160, 40), (96, 30))  # pixels, quality
GAP, PAPER = 8, (255, 255, 255)


def drawing_of(run: Run, *, longest: int = 480, most: int | None = None) -> Image.Image:
    """Each picture beside the regions of its views, a row a picture.

    Of a clip the middle frame is drawn.

    Args:
        run: what is drawn.
        longest: pixels on the longer side of each picture drawn.
        most: pictures that are drawn at most; None draws all.
    """
    rows = [_picture_row(run, image, longest) for image in range(len(run.pictures))[:most]]
    widths = [sum(tile.width for tile in row) + GAP * (len(row) - 1) for row in rows]
    heights = [max(tile.height for tile in row) for row in rows]
    size = max(widths, default=1), sum(heights) + GAP * max(0, len(rows) - 1)
    sheet = Image.new("RGB", (size[0], max(1, size[1])), PAPER)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for tile in row:
            sheet.paste(tile, (left, top))
            left += tile.width + GAP
        top += height + GAP
    return sheet


def _picture_row(run: Run, image: int, longest: int) -> list[Image.Image]:
    """The photo, and the photo with the regions of each view."""
    source, views = run.pictures[image], run.views(image)
    photo = _middle_frame(source) if isinstance(source, Clip) else source
    scale = longest / max(photo.size)
    size = (max(1, round(photo.size[0] * scale)), max(1, round(photo.size[1] * scale)))
    plain = photo.resized(size, (0, 0, *photo.size), "bicubic")
    drawn = [
        _view_drawing(photo, run.grids[view].frame, run.regions[view], longest) for view in views
    ]
    return [Image.fromarray(plain), *drawn]


def _view_drawing(photo: Picture, frame: Frame, regions: Regions, longest: int) -> Image.Image:
    if len(regions.grid) == 3:  # a clip's
        regions, _ = regions.on_frame(regions.grid[0] // 2)
    style: Style = "colours" if len(regions) <= MAX_IN_COLOURS else "borders"
    return draw_regions(photo, frame, regions.to("cpu"), style=style, longest=longest)


def _middle_frame(clip: Clip) -> Picture:
    return clip.frames[len(clip.frames) // 2]


def html_of(run: Run) -> str:
    """The drawing of the first pictures, and a table of all of them, for a notebook."""
    hidden = len(run.pictures) - MAX_ROWS
    head = _html_row("th", ["image", "size", "grid", "regions", "tokens"])
    rows = [_html_row("td", _cells(run, image)) for image in range(len(run.pictures))[:MAX_ROWS]]
    more = f"<p>and {hidden} more pictures</p>" if hidden > 0 else ""
    stages = [f"{stage} {1000 * seconds:.0f}" for stage, seconds in run.seconds.items()]
    times = f"<p>milliseconds: {', '.join(stages)}</p>" if stages else ""
    return (
        '<div style="display: flex; flex-wrap: wrap; gap: 1em; align-items: flex-start">'
        f'<img alt="regions of the pictures" src="{_webp_uri(run)}" style="max-width: 60%">'
        f"<div><table>{head}{''.join(rows)}</table>{more}{times}</div></div>"
    )


def _cells(run: Run, image: int) -> list[str]:
    source, views = run.pictures[image], run.views(image)
    frames = [str(len(source.frames))] if isinstance(source, Clip) else []
    return [
        source.name,
        " × ".join([*frames, *map(str, source.size)]) + " px",
        ", ".join(" × ".join(map(str, run.grids[view].grid)) for view in views),
        str(sum(len(run.regions[view]) for view in views)),
        str(int(run.tokens.counts[image])),
    ]


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _webp_uri(run: Run) -> str:
    """The drawing as a data URI: as large and as good as fits into `MAX_WEBP` bytes."""
    for longest, quality in WEBP_STEPS:
        data = io.BytesIO()
        drawing_of(run, longest=longest, most=MAX_DRAWN).save(data, "WEBP", quality=quality)
        if data.tell() <= MAX_WEBP:
            break
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
