"""A figure as SVG that needs nothing else: photos inside as PNG, letters, borders and scales as
vectors."""

from __future__ import annotations

import base64
import io
from xml.sax.saxutils import escape

from regiontok.draw._arrange import arrange
from regiontok.draw._text import width
from regiontok.draw.figure import BAR, DARK, LIGHT, SHADE, Bar, Figure, Placed, Stroke, Words
from regiontok.draw.maps import VIRIDIS
from regiontok.draw.sheet import PAPER, RULE

FONT = "Aileron, Helvetica, Arial, 'Liberation Sans', sans-serif"


def draw_svg(figure: Figure) -> str:
    """The figure as SVG text, of the size of its PNG. Each panel is a group of class "panel", each
    colour scale one of class "scale".

    Letters are whatever sans-serif the reader has, stretched to the width that they have in the
    PNG, so that none runs out of its place.
    """
    sheet = arrange(figure)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{sheet.wide}" height="{sheet.high}" '
        f'viewBox="0 0 {sheet.wide} {sheet.high}" font-family="{FONT}">'
    )
    parts = [
        head,
        *([_ramp()] if sheet.bars else []),
        f'<rect width="{sheet.wide}" height="{sheet.high}" fill="{_hex(PAPER)}"/>',
        *map(_panel, sheet.pictures),
        *map(_bar, sheet.bars),
        *map(_stroke, sheet.strokes),
        *map(_words, sheet.words),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _ramp() -> str:
    last = len(VIRIDIS) - 1
    stops = "".join(
        f'<stop offset="{i / last:g}" stop-color="{_hex(colour)}"/>'
        for i, colour in enumerate(VIRIDIS.tolist())
    )
    return f'<defs><linearGradient id="ramp">{stops}</linearGradient></defs>'


def _panel(placed: Placed) -> str:
    x, y, wide, high = placed.x, placed.y, placed.wide, placed.high
    place = f'x="{x}" y="{y}" width="{wide}" height="{high}"'
    data = io.BytesIO()
    placed.panel.image.convert("RGB").save(data, "PNG", optimize=True)
    inside = f'<image {place} preserveAspectRatio="none" href="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"/>'
    if placed.panel.lines:
        ends = [
            (x + x0 * wide, y + y0 * high, x + x1 * wide, y + y1 * high)
            for x0, y0, x1, y1 in placed.panel.lines
        ]
        path = "".join(f"M{x0:.5g} {y0:.5g}L{x1:.5g} {y1:.5g}" for x0, y0, x1, y1 in ends)
        for ink, share, weight in ((DARK, SHADE, 2 * placed.weight), (LIGHT, 1, placed.weight)):
            stroke = f'stroke="{_hex(ink)}" stroke-opacity="{share}" stroke-width="{weight:.3g}"'
            inside += f'<path d="{path}" fill="none" stroke-linecap="square" {stroke}/>'
    frame = f'<rect x="{x - 0.5}" y="{y - 0.5}" width="{wide + 1}" height="{high + 1}" fill="none" stroke="{_hex(RULE)}"/>'
    return f'<g class="panel">{inside}{frame}</g>'


def _bar(bar: Bar) -> str:
    return f'<g class="scale"><rect x="{bar.x}" y="{bar.y}" width="{bar.wide}" height="{BAR}" fill="url(#ramp)"/></g>'


def _stroke(line: Stroke) -> str:
    return f'<path d="M{line.x0:g} {line.y0:g}L{line.x1:g} {line.y1:g}" stroke="{_hex(line.ink)}"/>'


def _words(words: Words) -> str:
    if not words.text:
        return ""
    room = width(words.text, words.size, words.bold)
    turn = f' transform="rotate(-90 {words.x:g} {words.y:g})"' if words.upright else ""
    weight = ' font-weight="600"' if words.bold else ""
    look = f'font-size="{words.size}" fill="{_hex(words.ink)}"{weight} textLength="{room}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{words.x:g}" y="{words.y:g}" {look}{turn}>{escape(words.text)}</text>'


def _hex(colour: tuple[int, int, int] | list[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
