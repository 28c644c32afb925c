"""Sheets of pictures with heads and captions, and saving them whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from regiontok.draw._text import printable, shortened, width, wrapped, write
from regiontok.system.files import replacing

WIDE = 2000  # a contact sheet's width in pixels
MARGIN, GUTTER, ROW_GAP = 60, 20, 34
TITLE, SUBTITLE, HEAD, CAPTION = 40, 20, 22, 17  # letters in pixels
LEADING = 1.4  # from one base line to the next, in letter sizes
PAPER, INK, GREY, RULE = (252, 252, 250), (24, 26, 30), (104, 108, 116), (222, 222, 218)
FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {
        "format": "JPEG",
        "quality": 90,
        "subsampling": 0,
    },  # 4:2:0 would blur thin coloured lines
    ".jpeg": {"format": "JPEG", "quality": 90, "subsampling": 0},
    ".webp": {"format": "WEBP", "quality": 90},
}


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a sheet: a title over it and a caption under it, either may be empty."""

    image: Image.Image
    title: str = ""
    caption: str = ""


def column_width(columns: int) -> int:
    """Pixels of the longer side of a picture in a contact sheet of so many columns: pictures drawn
    at that size stay crisp.

    >>> column_width(5)
    360
    """
    return (WIDE - 2 * MARGIN - (columns - 1) * GUTTER) // columns


def side_by_side(panels: Sequence[Panel]) -> Image.Image:
    """The panels in one row, each picture at its own size.

    Raises:
        ValueError: no panels.

    >>> side_by_side([Panel(Image.new("RGB", (300, 200)), "photo"), Panel(Image.new("RGB", (300, 200)), "regions")]).width
    740
    """
    if not panels:
        raise ValueError("expected at least one panel, got none")
    return _sheet([panels], max(max(panel.image.size) for panel in panels), "", "", [""])


def contact_sheet(
    rows: Sequence[Sequence[Panel]],
    *,
    title: str,
    subtitle: str = "",
    row_titles: Sequence[str] | None = None,
) -> Image.Image:
    """Rows of panels on one sheet, 2000 pixels wide (less if the pictures are small: none is
    enlarged).

    A panel's title stands over it unless the panel above has the same: equal titles down a column
    are one column head. Captions of a row stand on one line. Row titles run up the left margin.
    Letters are ASCII and a few signs; accents are dropped.

    Raises:
        ValueError: no panels, or row titles of another number than the rows.

    >>> panel = Panel(Image.new("RGB", (640, 480)), "Photo", "576 patches")
    >>> contact_sheet([[panel] * 5] * 2, title="Regions").width
    2000
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        raise ValueError("expected at least one row with a panel, got none")
    if row_titles is not None and len(row_titles) != len(rows):
        raise ValueError(f"expected a title for each of {len(rows)} rows, got {len(row_titles)}")
    longest = max(max(panel.image.size) for row in rows for panel in row)
    cell = min(column_width(columns), longest)
    return _sheet(rows, cell, title, subtitle, row_titles or [""] * len(rows))


def _sheet(
    rows: Sequence[Sequence[Panel]], cell: int, title: str, subtitle: str, row_titles: Sequence[str]
) -> Image.Image:
    """All strips from top to bottom, on paper as high as they need."""
    columns = max(len(row) for row in rows)
    room = columns * cell + (columns - 1) * GUTTER
    strips = [_heading(title, subtitle, room)] if title or subtitle else []
    above: Sequence[Panel] = ()
    for row, row_title in zip(rows, row_titles, strict=True):
        heads = [
            "" if i < len(above) and above[i].title == panel.title else panel.title
            for i, panel in enumerate(row)
        ]
        strips.append(_row(row, heads, row_title, cell, room))
        above = row
    gaps = ROW_GAP * (len(strips) - 1)
    sheet = Image.new(
        "RGB", (room + 2 * MARGIN, sum(strip.height for strip in strips) + gaps + 2 * MARGIN), PAPER
    )
    y = MARGIN
    for strip in strips:
        sheet.paste(strip, (0, y))
        y += strip.height + ROW_GAP
    return sheet


def _heading(title: str, subtitle: str, room: int) -> Image.Image:
    big, small = wrapped(title, TITLE, room, bold=True), wrapped(subtitle, SUBTITLE, room)
    strip = _strip(room, _high(TITLE, big) + _high(SUBTITLE, small))
    y = _write_lines(strip, (MARGIN, 0), big, TITLE, INK, bold=True)
    _write_lines(strip, (MARGIN, y), small, SUBTITLE, GREY)
    return strip


def _row(
    row: Sequence[Panel], heads: Sequence[str], title: str, cell: int, room: int
) -> Image.Image:
    pictures = [_fitted(panel.image, cell) for panel in row]
    captions = [wrapped(panel.caption, CAPTION, cell) for panel in row]
    over = 1 + (_high(HEAD, [""]) if any(heads) else 0)  # one pixel for the frame
    high = max((picture.height for picture in pictures), default=0)
    deepest = max((_high(CAPTION, lines) for lines in captions), default=0)
    under = deepest + CAPTION // 3 if deepest else 0
    strip = _strip(room, over + high + 1 + under)
    for i, (picture, head, lines) in enumerate(zip(pictures, heads, captions, strict=True)):
        x = MARGIN + i * (cell + GUTTER)
        head = shortened(printable(head), HEAD, cell, bold=True)
        _write_lines(strip, (x, 0), [head], HEAD, INK, bold=True)
        strip.paste(RULE, (x - 1, over - 1, x + picture.width + 1, over + picture.height + 1))
        strip.paste(picture, (x, over))
        _write_lines(strip, (x, over + high + CAPTION // 3), lines, CAPTION, GREY)
    if title:
        _write_upwards(strip, over, high, title)
    return strip


def _strip(room: int, high: int) -> Image.Image:
    return Image.new("RGB", (room + 2 * MARGIN, high), PAPER)


def _fitted(image: Image.Image, cell: int) -> Image.Image:
    """The picture, made smaller if its longer side is more than the cell."""
    image = image.convert("RGB")
    scale = cell / max(image.size)
    if scale >= 1:
        return image
    wide, high = (max(1, round(side * scale)) for side in image.size)
    return image.resize((wide, high), Image.Resampling.LANCZOS)


def _high(size: int, lines: Sequence[str]) -> int:
    return round(LEADING * size * len(lines))


def _write_lines(
    sheet: Image.Image,
    at: tuple[int, int],
    lines: Sequence[str],
    size: int,
    ink: tuple[int, int, int],
    bold: bool = False,
) -> int:
    """Lines from (x, y), the upper left corner, downwards; the y below them comes back."""
    for i, line in enumerate(lines):
        write(sheet, (at[0], at[1] + size + _high(size, lines[:i])), line, size, ink, bold)
    return at[1] + _high(size, lines)


def _write_upwards(strip: Image.Image, over: int, high: int, title: str) -> None:
    """A row's title in the left margin, turned by 90 degrees, beside the middle of its pictures."""
    text = shortened(printable(title), CAPTION, high)
    if not text:
        return
    line = Image.new("RGB", (high, _high(CAPTION, [text])), PAPER)
    write(line, ((high - width(text, CAPTION)) // 2, CAPTION), text, CAPTION, GREY)
    turned = line.transpose(Image.Transpose.ROTATE_90)
    strip.paste(turned, (MARGIN - turned.width - CAPTION // 2, over))


def save_image(image: Image.Image, path: str | Path) -> Path:
    """Write the image whole or not at all, in the format its suffix names (.png, .jpg, .webp); an
    older file is replaced.

    Raises:
        ValueError: another suffix.
        OSError: the folder is missing or not writable, the disk is full. Nothing half-written
            stays, an older file stays as it was.
    """
    path = Path(path)
    options = FORMATS.get(path.suffix.lower())
    if options is None:
        raise ValueError(
            f"{path}: expected a name that ends in {', '.join(FORMATS)}, got {path.suffix or 'no suffix'}"
        )
    data = io.BytesIO()
    image.convert("RGB").save(data, **options)
    try:
        with replacing(path) as part:
            part.write_bytes(data.getbuffer())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        need = f"{data.tell() / 1e6:.1f} MB into {path.parent.resolve()}"
        raise type(error)(f"{path} was not written: {reason} (writing {need})") from error
    return path
