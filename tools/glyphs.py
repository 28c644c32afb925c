"""Draw the letters of the generated world's printed words once, into the package.

    python tools/glyphs.py src/regiontok/miniworld/glyphs.npz

Fonts are those that come with matplotlib (DejaVu, a free licence that allows it) and with Pillow
(Aileron, public domain). The world prints from this sheet, so that its pictures have the same bytes
whatever versions of FreeType, matplotlib or Pillow are installed.
"""

from __future__ import annotations

import argparse
import string
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

CHARACTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits
EM = 56  # pixels an em: at 768 pixels, the largest picture, letters are hardly enlarged
PAD = 4  # columns on either side of a letter's advance, for what slants out of it
FONTS = {
    "sans": "DejaVuSans",
    "bold": "DejaVuSans-Bold",
    "oblique": "DejaVuSans-Oblique",
    "serif": "DejaVuSerif",
    "italic": "DejaVuSerif-Italic",
    "mono": "DejaVuSansMono",
    "aileron": "",
}


def font_of(file: str) -> ImageFont.FreeTypeFont:
    """The font of a file of matplotlib's, or Pillow's own for ""."""
    if not file:
        return ImageFont.load_default(size=EM)
    path = Path(get_data_path(), "fonts", "ttf", f"{file}.ttf")
    return ImageFont.truetype(BytesIO(path.read_bytes()), EM)


def letter(font: ImageFont.FreeTypeFont, character: str, height: int) -> np.ndarray:
    """`[height, advance + 2 PAD]` uint8 coverage of a letter on its line."""
    advance = round(font.getlength(character))
    image = Image.new("L", (advance + 2 * PAD, height))
    ImageDraw.Draw(image).text((PAD, 0), character, fill=255, font=font)
    return np.asarray(image)


def main() -> None:
    """Write the sheet: `[fonts height columns]`, and each letter's first column and width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    fonts = [font_of(file) for file in FONTS.values()]
    height = max(sum(font.getmetrics()) for font in fonts)
    rows = [[letter(font, character, height) for character in CHARACTERS] for font in fonts]
    widths = np.array([[cell.shape[1] for cell in row] for row in rows], np.int64)
    sheet = np.zeros((len(fonts), height, int(widths.sum(1).max())), np.uint8)
    for number, row in enumerate(rows):
        sheet[number, :, : widths[number].sum()] = np.concatenate(row, axis=1)
    np.savez_compressed(
        out,
        sheet=sheet,
        starts=widths.cumsum(1) - widths,
        widths=widths,
        pad=np.int64(PAD),
        characters=np.array(CHARACTERS),
        fonts=np.array(list(FONTS)),
    )
    print(f"{out}: {len(FONTS)} fonts, {len(CHARACTERS)} letters, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
