"""Lettering that looks the same on every machine: Aileron, the font inside Pillow.

It holds ASCII and a few signs, no accents: `printable` puts the nearest letters where it has none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache, partial

from PIL import Image, ImageDraw, ImageFont

# What Pillow's cut of Aileron can show beyond ASCII (probed glyph by glyph, Pillow 12 and 13; a
# test probes again).
SIGNS = "©«°±´·»‘’“”…‹›⁄™"
# Letters and signs that do not decompose into one of those and an accent.
NEAREST = str.maketrans(
    {
        **{"–": "-", "—": "-", "−": "-", "×": "x", "→": "->", "←": "<-", "≥": ">=", "≤": "<="},
        **{"≈": "~", "•": "·", "„": "“", "€": "EUR", "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe"},
        **{"Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i"},
        **{"ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"},
    }
)
BOLD = 1 / 60  # stroke for headings, in font heights: Pillow brings no bold cut
FINE = 4  # lines of text are drawn so many times larger, then reduced


def printable(text: str) -> str:
    """`text` in one line, of signs the font has: no accents, "?" for what has no near letter.

    >>> printable("café — 3 ×\\nbœuf, 日")
    'cafe - 3 x boeuf, ?'
    """
    plain = []
    for sign in " ".join(text.translate(NEAREST).split()):
        if _in_font(sign):
            plain.append(sign)
            continue
        decomposed = unicodedata.normalize("NFKD", sign)
        letters = [letter for letter in decomposed if not unicodedata.combining(letter)]
        plain += [letter if _in_font(letter) else "?" for letter in letters]
    return "".join(plain)


def _in_font(sign: str) -> bool:
    return " " <= sign <= "~" or sign in SIGNS


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Aileron at `size` pixels."""
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise RuntimeError(
            "this Pillow was built without FreeType; install a wheel from PyPI: "
            "pip install --upgrade pillow"
        )
    return loaded


def text_width(text: str, size: int, bold: bool = False) -> int:
    """Pixels that `write` takes for one line."""
    return -int(-font(FINE * size).getlength(text) // FINE) + (2 if bold else 0)


def measure(size: int, *, bold: bool = False) -> Callable[[str], int]:
    """`text_width` at one size, as `wrapped` and `shortened` take it."""
    return partial(text_width, size=size, bold=bold)


def write(
    image: Image.Image,
    start: tuple[int, int],
    text: str,
    size: int,
    ink: tuple[int, int, int],
    bold: bool = False,
) -> None:
    """Write one line onto the image, from (x, y) of its base line's start.

    It is drawn four times as large and reduced: at text sizes the font's hinting moves letters by
    whole pixels, and blanks close up.
    """
    if not text:
        return
    edge = FINE * (size // 2)  # room for what leans out of the first and the last letter
    mask = Image.new("L", (FINE * text_width(text, size, bold) + 2 * edge, FINE * 2 * size), 0)
    pen, face = ImageDraw.Draw(mask), font(FINE * size)
    stroke = FINE * size * BOLD if bold else 0
    pen.text((edge, FINE * size), text, 255, face, "ls", stroke_width=stroke)
    image.paste(ink, (start[0] - edge // FINE, start[1] - size), mask.reduce(FINE))
