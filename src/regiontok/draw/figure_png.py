"""A figure as pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from regiontok.draw._arrange import arrange
from regiontok.draw._text import FINE, width, write
from regiontok.draw.figure import BAR, DARK, LIGHT, SHADE, Figure, Placed, Words
from regiontok.draw.sheet import LEADING, PAPER, RULE


def draw_png(figure: Figure) -> Image.Image:
    """The figure in pixels."""
    sheet = arrange(figure)
    image = Image.new("RGB", (sheet.wide, sheet.high), PAPER)
    for placed in sheet.pictures:
        image.paste(
            RULE,
            (placed.x - 1, placed.y - 1, placed.x + placed.wide + 1, placed.y + placed.high + 1),
        )
        image.paste(_bordered(placed), (placed.x, placed.y))
    for bar in sheet.bars:
        ramp = bar.scale.colours(np.linspace(bar.scale.low, bar.scale.high, bar.wide))
        image.paste(Image.fromarray(np.repeat(ramp[None], BAR, axis=0)), (bar.x, bar.y))
    pen = ImageDraw.Draw(image)
    for line in sheet.strokes:
        pen.line([(round(line.x0), round(line.y0)), (round(line.x1), round(line.y1))], line.ink)
    for words in sheet.words:
        _put(image, words)
    return image


def _bordered(placed: Placed) -> Image.Image:
    """The panel's picture at its size, with its borders: drawn four times as large and reduced, so
    that widths need not be whole."""
    image = placed.panel.image.convert("RGB")
    if image.size != (placed.wide, placed.high):
        image = image.resize((placed.wide, placed.high), Image.Resampling.LANCZOS)
    if not placed.panel.lines:
        return image
    for ink, share, weight in ((DARK, SHADE, 2 * placed.weight), (LIGHT, 1.0, placed.weight)):
        mask = Image.new("L", (FINE * placed.wide, FINE * placed.high), 0)
        pen, half = ImageDraw.Draw(mask), FINE * weight / 2
        for x0, y0, x1, y1 in placed.panel.lines:
            left, top = round(x0 * mask.width - half), round(y0 * mask.height - half)
            right, bottom = round(x1 * mask.width + half) - 1, round(y1 * mask.height + half) - 1
            pen.rectangle((left, top, max(left, right), max(top, bottom)), round(255 * share))
        image.paste(ink, (0, 0), mask.reduce(FINE))
    return image


def _put(image: Image.Image, words: Words) -> None:
    x, y = round(words.x), round(words.y)
    if not words.upright:
        write(image, (x, y), words.text, words.size, words.ink, words.bold)
        return
    line = Image.new(
        "RGB", (width(words.text, words.size, words.bold), round(LEADING * words.size)), PAPER
    )
    write(line, (0, words.size), words.text, words.size, words.ink, words.bold)
    image.paste(line.transpose(Image.Transpose.ROTATE_90), (x - words.size, y - line.width))
