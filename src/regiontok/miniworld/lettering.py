"""Printed words: what is said on plates in pictures, in the fonts that come with the package.

The sheet of letters, `glyphs.npz`, is drawn once by `tools/glyphs.py` from the fonts of matplotlib
and Pillow, so that no picture depends on what is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from regiontok.miniworld import _ink

# Words that are no words of any other question, so that reading them is reading.
NOUNS = tuple(
    "apple bread cable dance eagle fruit glass house juice knife lemon mouse night ocean paper "
    "queen river sugar table uncle voice water youth zebra beach chair dream earth flame grape "
    "honey island jacket kettle ladder market number button pencil rabbit saddle ticket valley "
    "window mirror anchor basket candle".split()
)
DIGITS = "0123456789"
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"  # without I, O and Q, which look like l, 0 and each other
KINDS = ("word", "digits", "letters")
CHARACTERS = 4  # of a text of digits or of letters
_MARGIN = 0.18  # of the line's height, around the text


@dataclass(frozen=True, eq=False)
class GlyphSheet:
    """The letters of all fonts.

    Attributes:
        sheet: `[f h columns]` uint8 coverage.
        starts: `[f letters]` first column of each letter.
        widths: `[f letters]` columns of each letter, `pad` on either side included.
        pad: columns on either side of a letter's advance.
        fonts: names of the fonts.
        number_of: letter -> its number.
    """

    sheet: np.ndarray
    starts: np.ndarray
    widths: np.ndarray
    pad: int
    fonts: tuple[str, ...]
    number_of: dict[str, int]


class Plate(NamedTuple):
    """A plate with a printed text.

    Attributes:
        text: what is printed.
        kind: a word of `KINDS`.
        font: name of its font.
        corner: (top, left) in pixels.
        size: (height, width) in pixels.
        line: height in pixels of the line of letters.
        tones: brightness of the plate and of the ink, 0 to 255.
    """

    text: str
    kind: str
    font: str
    corner: tuple[int, int]
    size: tuple[int, int]
    line: int
    tones: tuple[float, float]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """xyxy in pixels, the ends exclusive."""
        (top, left), (height, width) = self.corner, self.size
        return left, top, left + width, top + height


@cache
def glyph_sheet() -> GlyphSheet:
    """The sheet of the package, read once."""
    with (files("regiontok.miniworld") / "glyphs.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        return GlyphSheet(
            sheet=arrays["sheet"],
            starts=arrays["starts"],
            widths=arrays["widths"],
            pad=int(arrays["pad"]),
            fonts=tuple(map(str, arrays["fonts"])),
            number_of={letter: number for number, letter in enumerate(str(arrays["characters"]))},
        )


def plate_size(text: str, font: str, height: int) -> tuple[int, int]:
    """(height, width) in pixels of a plate whose line is `height` pixels high."""
    sheet = glyph_sheet()
    down, across = _margins(height)
    columns = sum(_advances(sheet, text, font))
    width = round(columns * height / sheet.sheet.shape[1])
    return height + 2 * down, width + 2 * across


def print_plate(pixels: np.ndarray, plate: Plate) -> None:
    """Print a plate over `pixels` `[H W 3]`."""
    sheet = glyph_sheet()
    (top, left), (height, width) = plate.corner, plate.size
    pixels[top : top + height, left : left + width] = int(plate.tones[0])
    row = sheet.fonts.index(plate.font)
    down, across = _margins(plate.line)
    scale = plate.line / sheet.sheet.shape[1]
    at = float(left + across)
    ink = np.full(3, plate.tones[1])
    for letter, advance in zip(plate.text, _advances(sheet, plate.text, plate.font), strict=True):
        number = sheet.number_of[letter]
        start = sheet.starts[row, number]
        glyph = sheet.sheet[row, :, start : start + sheet.widths[row, number]]
        corner = (float(top + down), at - sheet.pad * scale)
        _ink.print_letter(pixels, glyph, corner, scale, ink)
        at += advance * scale


def _margins(line: int) -> tuple[int, int]:
    """Pixels above and below a line of letters, and on either side of it."""
    return round(_MARGIN * line) // 2, round(_MARGIN * line)


def _advances(sheet: GlyphSheet, text: str, font: str) -> list[int]:
    row = sheet.fonts.index(font)
    return [int(sheet.widths[row, sheet.number_of[letter]]) - 2 * sheet.pad for letter in text]
