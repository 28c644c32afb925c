"""Where everything of a figure stands: one layout for pixels and for vectors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from regiontok.draw._text import printable, shortened, width, wrapped
from regiontok.draw.figure import (
    BAR,
    CAPTION,
    GUTTER,
    HEAD,
    MARGIN,
    NUMBER,
    PITCH,
    ROW_GAP,
    SHORTEST,
    TICK,
    TITLE,
    Bar,
    Figure,
    Panel,
    Placed,
    Sheet,
    Stroke,
    Words,
    panel_side,
)  # fmt: skip
from regiontok.draw.maps import Scale
from regiontok.draw.sheet import GREY, INK, LEADING


def arrange(figure: Figure) -> Sheet:
    """Place everything: a panel in the middle of its column, the rows as high as their pictures."""
    columns = len(figure.heads)
    cell = panel_side(columns)
    beside = _beside(figure, cell)
    edge = MARGIN + max(
        round(PITCH * size * len(lines)) + (GUTTER if lines else 0)
        for size, lines in beside.values()
    )
    left = [edge + i * (cell + GUTTER) for i in range(columns)]
    room = left[-1] + cell - MARGIN
    sheet = Sheet(room + 2 * MARGIN, 0)
    y = _lines(
        sheet, MARGIN, MARGIN, wrapped(figure.title, TITLE, room, bold=True), TITLE, bold=True
    )
    y = _groups(sheet, figure, left, cell, y + (HEAD // 2 if figure.title else 0))
    y = _heads(sheet, figure, left, cell, y)
    spans: list[tuple[str, int, int]] = []  # title, top, bottom; rows with the same title share it
    for at, (row, title) in enumerate(zip(figure.rows, figure.titles, strict=True)):
        later = [
            {panel.scale for panel in column if panel}
            for column in zip(*figure.rows[at + 1 :], strict=True)
        ]
        bottom, end = _row(sheet, row, later or [set()] * columns, left, cell, y)
        start = spans.pop()[1] if spans and spans[-1][0] == title else y
        spans.append((title, start, bottom))
        y = end + ROW_GAP
    for title, top, bottom in spans:
        _upright(sheet, *beside[title], edge - GUTTER, top, bottom)
    if figure.note:
        y = (
            _lines(sheet, MARGIN, y + ROW_GAP, wrapped(figure.note, CAPTION, room), CAPTION, GREY)
            + ROW_GAP
        )
    return replace(sheet, high=y - ROW_GAP + MARGIN)


def folded(text: str, size: int, room: int) -> list[str]:
    """`wrapped` in bold, but words that are too long break behind -, /, _, ( and a comma before
    they are shortened.

    >>> folded("clip-vit-large-patch14", HEAD, 150)
    ['clip-vit-large-', 'patch14']
    """
    lines = []
    for part in text.splitlines():
        line = ""
        for word in printable(part).split():
            pieces = (
                [word] if width(word, size, bold=True) <= room else re.split(r"(?<=[-/_(,])", word)
            )
            for at, piece in enumerate(pieces):
                longer = f"{line} {piece}" if line and not at else line + piece
                if line and width(longer, size, bold=True) > room:
                    lines.append(line)
                    longer = piece
                line = longer
        lines.append(line)
    return [shortened(line, size, room, bold=True) for line in lines]


def _beside(figure: Figure, cell: int) -> dict[str, tuple[int, list[str]]]:
    """Each row title's letters in pixels and its lines: as long as its highest row, and at most
    three."""
    high: dict[str, int] = {}
    for row, title in zip(figure.rows, figure.titles, strict=True):
        tall = max((_fitted(panel.image.size, cell)[1] for panel in row if panel), default=0)
        high[title] = max(high.get(title, 0), tall)
    found = {}
    for title, room in high.items():
        size = HEAD if len(folded(title, HEAD, room)) <= 2 else CAPTION
        first, second, *rest = [*(line for line in folded(title, size, room) if line), "", ""]
        third = shortened(" ".join(filter(None, rest)), size, room, bold=True)
        found[title] = size, [line for line in (first, second, third) if line]
    return found


def _upright(
    sheet: Sheet, size: int, lines: Sequence[str], right: int, top: int, bottom: int
) -> None:
    """A row's title, upwards, its last line at `right`."""
    for at, text in enumerate(reversed(lines)):
        foot = (top + bottom + width(text, size, bold=True)) / 2
        sheet.words.append(
            Words(right - round(PITCH * size * at), foot, text, size, bold=True, upright=True)
        )


def _lines(
    sheet: Sheet,
    x: float,
    y: int,
    lines: Sequence[str],
    size: int,
    ink: tuple[int, int, int] = INK,
    bold: bool = False,
) -> int:
    """Lines downwards from the upper left corner; the y below them comes back."""
    for text in lines:
        sheet.words.append(Words(x, y + size, text, size, ink, bold))
        y += round(LEADING * size)
    return y


def _groups(sheet: Sheet, figure: Figure, left: Sequence[int], cell: int, y: int) -> int:
    """Headings over several columns, each with a line under it."""
    if not any(figure.groups):
        return y
    start = 0
    for end in range(1, len(left) + 1):
        if end < len(left) and figure.groups[end] == figure.groups[start]:
            continue
        first, last = left[start], left[end - 1] + cell
        text = shortened(printable(figure.groups[start]), HEAD, last - first, bold=True)
        if text:
            sheet.words.append(
                Words(
                    (first + last - width(text, HEAD, bold=True)) / 2,
                    y + HEAD,
                    text,
                    HEAD,
                    bold=True,
                )
            )
            sheet.strokes.append(Stroke(first, y + HEAD + 11, last, y + HEAD + 11))
        start = end
    return y + HEAD + 20


def _heads(sheet: Sheet, figure: Figure, left: Sequence[int], cell: int, y: int) -> int:
    """Column heads, centred, the last line of all on one base line."""
    letters = [f"({chr(ord('a') + i % 26)}) " if figure.letters else "" for i in range(len(left))]
    heads = [
        folded(f"{letter}{head}", HEAD, cell)
        for letter, head in zip(letters, figure.heads, strict=True)
    ]
    most = max(map(len, heads), default=0)
    for x, lines in zip(left, heads, strict=True):
        for at, text in enumerate(lines, most - len(lines)):
            base = y + round(LEADING * HEAD * at) + HEAD
            sheet.words.append(
                Words(x + (cell - width(text, HEAD, bold=True)) / 2, base, text, HEAD, bold=True)
            )
    return y + round(LEADING * HEAD * most)


def _row(
    sheet: Sheet,
    row: Sequence[Panel | None],
    later: Sequence[set[Scale | None]],
    left: Sequence[int],
    cell: int,
    y: int,
) -> tuple[int, int]:
    """One row's pictures, each with its caption and scale under it; where the pictures end, and
    where all of it ends.

    `later` are the scales further down in each column.
    """
    ends, bottom = [y], y
    for x, panel, scales in zip(left, row, later, strict=True):
        if panel is None:
            continue
        wide, high = _fitted(panel.image.size, cell)
        column, x = x, x + (cell - wide) // 2
        sheet.pictures.append(Placed(x, y, wide, high, panel, _weight(panel, wide, high)))
        bottom, end = max(bottom, y + high), y + high
        if panel.caption:
            end = _lines(
                sheet, x, end + 4, wrapped(panel.caption, CAPTION, column + cell - x), CAPTION, GREY
            )
        if panel.scale and panel.scale not in scales:
            long = max(wide, min(cell, SHORTEST))
            end = _scale(sheet, panel.scale, column + (cell - long) // 2, end + 8, long)
        ends.append(end)
    return bottom, max(ends)


def _fitted(size: tuple[int, int], cell: int) -> tuple[int, int]:
    scale = min(1.0, cell / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _weight(panel: Panel, wide: int, high: int) -> float:
    """Pixels of a border: finer where there are more of them, so that a fine mesh does not hide the
    photo."""
    length = sum(abs(x1 - x0) * wide + abs(y1 - y0) * high for x0, y0, x1, y1 in panel.lines)
    return min(2.5, max(0.7, wide * high / max(length, 1.0) / 12))


def _scale(sheet: Sheet, scale: Scale, x: int, y: int, wide: int) -> int:
    """A colour bar with numbers below, its label under them."""
    sheet.bars.append(Bar(x, y, wide, scale))
    for at, start, number in _numbers(scale, 3, x, wide) or _numbers(scale, 2, x, wide):
        sheet.strokes.append(Stroke(at, y + BAR, at, y + BAR + TICK))
        sheet.words.append(Words(start, y + BAR + TICK + NUMBER, number, NUMBER, GREY))
    end = y + BAR + TICK + round(LEADING * NUMBER)
    text = shortened(printable(scale.label), NUMBER, wide)
    return (
        _lines(sheet, x + (wide - width(text, NUMBER)) / 2, end, [text], NUMBER, GREY)
        if text
        else end
    )


def _numbers(scale: Scale, least: int, x: int, wide: int) -> list[tuple[float, float, str]]:
    """(tick, where its number starts, number) of each; with the fewest ticks as many as stand
    apart, with more all or none."""
    found: list[tuple[float, float, str]] = []
    free = float(x)
    for place, number in scale.ticks(least):
        at, room = x + place * wide, width(number, NUMBER)
        start = min(max(at - room / 2, x), x + wide - room)
        if start >= free:
            found.append((at, start, number))
            free = start + room + NUMBER // 2
        elif least > 2:
            return []
    return found
