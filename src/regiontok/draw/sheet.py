"""Sheets of pictures with heads and captions, and saving them whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from regiontok.core.picture import Picture
from regiontok.draw._text import measure, printable, text_width, write
from regiontok.draw._wrap import shortened, wrapped
from regiontok.system.drawn import mark_options
from regiontok.system.files import replacing_shared

WIDTH = 2000  # a contact sheet's width in pixels
MARGIN, GUTTER, ROW_GAP = 60, 20, 34
NARROWEST = 200  # pixels of a column at least: a caption has room
TITLE, SUBTITLE, HEAD, CAPTION = 40, 20, 22, 17  # letters in pixels
LEADING = 1.4  # from one base line to the next, in letter sizes
PAPER, INK, GREY, RULE = (252, 252, 250), (24, 26, 30), (104, 108, 116), (222, 222, 218)
# The usual subsampling 4:2:0 would blur thin coloured lines.
JPEG = {"format": "JPEG", "quality": 90, "subsampling": 0}
FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": JPEG,
    ".jpeg": JPEG,
    # 0.08 MB for a photo beside its regions, where PNG takes 0.71 and twice the time
    ".webp": {"format": "WEBP", "quality": 80},
}


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a sheet, with a title over it and a caption under it; both may be empty."""

    image: Image.Image
    title: str = ""
    caption: str = ""


def column_width(columns: int) -> int:
    """Pixels of a picture's longer side in a contact sheet of so many columns: it stays crisp.

    >>> column_width(5)
    360
    """
    return (WIDTH - 2 * MARGIN - (columns - 1) * GUTTER) // columns


def side_by_side(panels: Sequence[Panel]) -> Image.Image:
    """The panels in one row, each picture at its own size.

    Raises:
        ValueError: If there are no panels.

    >>> pair = [Panel(Image.new("RGB", (300, 200)), title) for title in ("photo", "regions")]
    >>> side_by_side(pair).width
    740
    """
    if not panels:
        raise ValueError("expected at least one panel, got none")
    side = max(max(panel.image.size) for panel in panels)
    return _sheet([panels], side, title="", subtitle="", row_titles=[""])


def contact_sheet(
    rows: Sequence[Sequence[Panel]],
    *,
    title: str,
    subtitle: str = "",
    row_titles: Sequence[str] | None = None,
) -> Image.Image:
    """Rows of panels on one sheet, 2000 pixels wide, or less: small pictures are not enlarged.

    A panel's title stands over it unless the panel above has the same: equal titles down a column
    are one column head. Captions of a row stand on one line. Row titles run up the left margin.
    Letters are ASCII and a few signs; accents are dropped.

    Raises:
        ValueError: If there are no panels, or if the number of row titles is not that of the rows.

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
    side = min(column_width(columns), longest)
    titles = row_titles or [""] * len(rows)
    return _sheet(rows, side, title=title, subtitle=subtitle, row_titles=titles)


def _sheet(
    rows: Sequence[Sequence[Panel]],
    side: int,
    *,
    title: str,
    subtitle: str,
    row_titles: Sequence[str],
) -> Image.Image:
    """All strips from top to bottom, on paper as high as they need."""
    widths = _column_widths(rows, side)
    room = sum(widths) + (len(widths) - 1) * GUTTER
    strips = [_heading(title, subtitle, room)] if title or subtitle else []
    titles_above: list[str] = []
    for row, row_title in zip(rows, row_titles, strict=True):
        titles = [panel.title for panel in row]
        heads = [
            "" if titles_above[i : i + 1] == [title] else title for i, title in enumerate(titles)
        ]
        strips.append(_row(row, heads, row_title, side, widths))
        titles_above = titles
    height = sum(strip.height for strip in strips) + ROW_GAP * (len(strips) - 1) + 2 * MARGIN
    sheet = Image.new("RGB", (room + 2 * MARGIN, height), PAPER)
    y = MARGIN
    for strip in strips:
        sheet.paste(strip, (0, y))
        y += strip.height + ROW_GAP
    return sheet


def _column_widths(rows: Sequence[Sequence[Panel]], side: int) -> list[int]:
    """Pixels of each column: its widest picture, so that upright photos leave no gaps."""
    columns = max(len(row) for row in rows)
    narrowest = min(NARROWEST, side)
    pictures = [[row[i].image for row in rows if i < len(row)] for i in range(columns)]
    return [max(narrowest, *(_fitted_size(p, side)[0] for p in column)) for column in pictures]


def _heading(title: str, subtitle: str, room: int) -> Image.Image:
    title_lines = _printable_lines(title, TITLE, room, bold=True)
    subtitle_lines = _printable_lines(subtitle, SUBTITLE, room)
    height = _text_height(TITLE, len(title_lines)) + _text_height(SUBTITLE, len(subtitle_lines))
    strip = _strip(room, height)
    y = _write_lines(strip, (MARGIN, 0), title_lines, TITLE, INK, bold=True)
    _write_lines(strip, (MARGIN, y), subtitle_lines, SUBTITLE, GREY)
    return strip


def _row(
    row: Sequence[Panel], heads: Sequence[str], title: str, side: int, widths: Sequence[int]
) -> Image.Image:
    """One row of panels; `side` is that of its pictures, `widths` those of all columns."""
    room = sum(widths) + (len(widths) - 1) * GUTTER
    pictures = [_fitted(panel.image, side) for panel in row]
    captions = [
        _printable_lines(panel.caption, CAPTION, width)
        for panel, width in zip(row, widths, strict=False)
    ]
    top = 1 + (_text_height(HEAD, 1) if any(heads) else 0)  # one pixel for the frame
    height = max((picture.height for picture in pictures), default=0)
    most_lines = max((len(lines) for lines in captions), default=0)
    caption_height = _text_height(CAPTION, most_lines) + CAPTION // 3 if most_lines else 0
    strip = _strip(room, top + height + 1 + caption_height)
    x = MARGIN
    panels = zip(pictures, heads, captions, widths, strict=False)
    for picture, head, lines, width in panels:
        head = shortened(printable(head), width, measure(HEAD, bold=True))
        _write_lines(strip, (x, 0), [head], HEAD, INK, bold=True)
        strip.paste(RULE, (x - 1, top - 1, x + picture.width + 1, top + picture.height + 1))
        strip.paste(picture, (x, top))
        _write_lines(strip, (x, top + height + CAPTION // 3), lines, CAPTION, GREY)
        x += width + GUTTER
    if title:
        _write_upwards(strip, top, height, title)
    return strip


def _strip(room: int, height: int) -> Image.Image:
    return Image.new("RGB", (room + 2 * MARGIN, height), PAPER)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """The picture, made smaller if its longer side is more than `side`."""
    image = image.convert("RGB")
    size = _fitted_size(image, side)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _fitted_size(image: Image.Image, side: int) -> tuple[int, int]:
    """(width, height) of a picture whose longer side is at most `side`."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return width, height


def _printable_lines(text: str, size: int, room: int, *, bold: bool = False) -> list[str]:
    lines = "\n".join(map(printable, text.splitlines()))
    return wrapped(lines, room, measure(size, bold=bold))


def _text_height(size: int, lines: int) -> int:
    return round(LEADING * size * lines)


def _write_lines(
    sheet: Image.Image,
    corner: tuple[int, int],
    lines: Sequence[str],
    size: int,
    ink: tuple[int, int, int],
    bold: bool = False,
) -> int:
    """Write lines downwards from (x, y), their upper left corner; return the y below them."""
    x, y = corner
    for i, line in enumerate(lines):
        write(sheet, (x, y + size + _text_height(size, i)), line, size, ink, bold)
    return y + _text_height(size, len(lines))


def _write_upwards(strip: Image.Image, top: int, height: int, title: str) -> None:
    """Write a row's title into the left margin, turned by 90 degrees, beside its pictures."""
    text = shortened(printable(title), height, measure(CAPTION))
    if not text:
        return
    line = Image.new("RGB", (height, _text_height(CAPTION, 1)), PAPER)
    write(line, ((height - text_width(text, CAPTION)) // 2, CAPTION), text, CAPTION, GREY)
    turned = line.transpose(Image.Transpose.ROTATE_90)
    strip.paste(turned, (MARGIN - turned.width - CAPTION // 2, top))


def scaled(picture: Picture, longest: int) -> Image.Image:
    """The picture with its longer side at `longest` pixels."""
    height, width = picture.size
    scale = longest / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return Image.fromarray(picture.resized(size, (0, 0, height, width), "bicubic"))


def save_image(image: Image.Image, path: str | Path) -> Path:
    """Write the image whole or not at all, in the format that its suffix names.

    The suffixes are .png, .jpg, .jpeg and .webp. An older file is replaced. The picture carries a
    mark by which walks over images know it for no input; see `regiontok.system.drawn`.

    Raises:
        ValueError: If the suffix is another.
        OSError: If the folder is missing or not writable, or the disk is full. Nothing half-written
            stays, and an older file stays as it was.
    """
    path = Path(path)
    options = FORMATS.get(path.suffix.lower())
    if options is None:
        raise ValueError(
            f"{path}: expected a name that ends in {', '.join(FORMATS)}, got "
            f"{path.suffix or 'no suffix'}"
        )
    file = io.BytesIO()
    image.convert("RGB").save(file, **options, **mark_options(options["format"]))
    try:
        with replacing_shared(path) as temporary:
            temporary.write_bytes(file.getbuffer())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        attempt = f"writing {file.tell() / 1e6:.1f} MB into {path.parent.resolve()}"
        raise type(error)(f"{path} was not written: {reason} ({attempt})") from error
    return path
