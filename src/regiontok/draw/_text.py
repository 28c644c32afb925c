"""Lettering that looks the same on every machine: Aileron, the font inside Pillow.

It holds ASCII and a few signs, no accents: `printable` puts the nearest letters where it has none.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from PIL import Image, ImageDraw, ImageFont

# What Pillow's cut of Aileron can show beyond ASCII (probed glyph by glyph, Pillow 12 and 13; a
# test probes again).
SIGNS = "©«°±´·»‘’“”…‹›⁄™"
# Letters and signs that do not decompose into one of those and an accent.
NEAREST = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "×": "x", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "≈": "~", "•": "·", "„": "“", "€": "EUR",
     "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i",
     "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"}
)  # fmt: skip
BOLD = 1 / 60  # stroke for headings, in font heights: Pillow brings no bold cut
FINE = 4  # lines of text are drawn so many times larger, then reduced


def printable(text: str) -> str:
    """`text` in one line, of signs the font has: accents dropped, "?" for what has no near letter.

    >>> printable("café — 3 ×\\nbœuf, 日")
    'cafe - 3 x boeuf, ?'
    """
    plain = []
    for sign in " ".join(text.translate(NEAREST).split()):
        if _shown(sign):
            plain.append(sign)
            continue
        parts = [
            part for part in unicodedata.normalize("NFKD", sign) if not unicodedata.combining(part)
        ]
        plain += [part if _shown(part) else "?" for part in parts]
    return "".join(plain)


def _shown(sign: str) -> bool:
    return " " <= sign <= "~" or sign in SIGNS


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Aileron at `size` pixels."""
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise RuntimeError(
            "this Pillow was built without FreeType; install a wheel from PyPI: pip install --upgrade pillow"
        )
    return loaded


def width(text: str, size: int, bold: bool = False) -> int:
    """Pixels that `write` takes for one line."""
    return -int(-font(FINE * size).getlength(text) // FINE) + (2 if bold else 0)


def shortened(text: str, size: int, room: int, bold: bool = False) -> str:
    """`text`, or as much of its start as fits into `room` pixels with "…" behind; "" if not even
    that fits."""
    if width(text, size, bold) <= room:
        return text
    for end in range(len(text) - 1, 0, -1):
        cut = text[:end].rstrip() + "…"
        if width(cut, size, bold) <= room:
            return cut
    return ""


def wrapped(text: str, size: int, room: int, bold: bool = False) -> list[str]:
    """`text` made printable, in lines of at most `room` pixels; its own line breaks stay, longer
    words are shortened."""
    lines = []
    for part in text.splitlines():
        line = ""
        for word in printable(part).split():
            longer = f"{line} {word}".strip()
            if line and width(longer, size, bold) > room:
                lines.append(line)
                longer = word
            line = shortened(longer, size, room, bold)
        lines.append(line)
    return lines


def write(
    image: Image.Image,
    at: tuple[int, int],
    text: str,
    size: int,
    ink: tuple[int, int, int],
    bold: bool = False,
) -> None:
    """One line onto the image, from (x, y) of its base line's start.

    Drawn four times as large and reduced: at text sizes the font's hinting moves letters by whole
    pixels, and blanks close up.
    """
    if not text:
        return
    edge = FINE * (size // 2)  # room for what leans out of the first and the last letter
    mask = Image.new("L", (FINE * width(text, size, bold) + 2 * edge, FINE * 2 * size), 0)
    stroke = FINE * size * BOLD if bold else 0
    ImageDraw.Draw(mask).text(
        (edge, FINE * size), text, 255, font(FINE * size), "ls", stroke_width=stroke
    )
    image.paste(ink, (at[0] - edge // FINE, at[1] - size), mask.reduce(FINE))
