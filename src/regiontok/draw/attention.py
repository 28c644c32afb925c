"""Which regions an answer looked at, on their photo: each tinted by its share, the whole image and
CLS as letters in the top left corner.

After: diagnostic study, figures 1 and 8 (row D18): attention over regions with the global token as
the letter G.
Differs: the tint is that of a region's share of attention against the largest share, letters
included; the numbers stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw._labels import fitted, write_labels
from regiontok.draw._text import font, printable
from regiontok.draw.maps import borders, laid_out
from regiontok.draw.regions import USUAL, members_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int

INK = np.array(
    [255, 92, 0], np.float32
)  # apart from grey in light and in hue, also without colour vision
STRONGEST = 0.8  # opacity at the largest share: the photo stays to be seen
DIMMED = 0.75  # of the photo in grey, so that a tint stands out on white
LINE = (255, 255, 255)
LETTER = 26  # pixels on a drawing of 640


def draw_attention(
    picture: Picture,
    frame: Frame,
    regions: Regions,
    shares: Sequence[float] | Float[np.ndarray, "k"],
    *,
    letters: Mapping[str, float] | None = None,
    named: int = 3,
    longest: int = USUAL,
) -> Image.Image:
    """The photo in grey, its regions in orange as strong as their shares, RGB, `longest` pixels on
    its longer side.

    Args:
        picture: the decoded photo.
        frame: how the photo lies under the grid.
        regions: what was looked at; where several overlap, the largest share shows.
        shares: of each region, 0 or more; only their ratios matter for the tint.
        letters: shares of what is no region: {"G": 0.2, "CLS": 0.1}.
        named: so many regions with the largest shares get their index and share written on them,
            where there is room.
        longest: pixels along the longer side.

    Raises:
        ValueError: another number of shares than of regions, a negative or infinite one, or parts
            that do not belong together.

    >>> photo, frame = Picture.of(np.zeros((20, 30, 3), np.uint8)), Frame.stretch((20, 30), (4, 4), (2, 2))
    >>> drawn = draw_attention(photo, frame, Regions.singletons((2, 2)), [0, 0, 0, 1], named=0, longest=300)
    >>> drawn.getpixel((40, 40)), drawn.getpixel((250, 150))
    ((0, 0, 0), (204, 74, 0))
    """
    letters = dict(letters or {})
    shares = _checked(frame, regions, shares, letters)
    highest = max([*shares.tolist(), *letters.values()], default=0) or 1
    photo, patch = laid_out(picture, frame, longest)
    grey = DIMMED * (photo @ np.array([0.299, 0.587, 0.114], np.float32))
    members = members_of(regions).reshape(regions.patches, -1)
    strength = (
        np.append(shares, 0)[members].max(1) / highest
    )  # -1 reads the last: no region, no share
    opacity = STRONGEST * np.append(strength, 0)[patch][..., None].astype(np.float32)
    pixels = (1 - opacity) * grey[..., None] + opacity * INK
    image = Image.fromarray(np.round(pixels).astype(np.uint8))
    _lines(image, frame, regions)
    taken = _letters(image, {name: (value, value / highest) for name, value in letters.items()})
    order = np.argsort(-shares, kind="stable")[:named]
    texts = ["" for _ in shares]
    for region in order.tolist():
        if shares[region] > 0:
            texts[region] = f"{region}: {percent(float(shares[region]))}"
    top = np.append(members[:, 0], -2)[patch]
    write_labels(
        image,
        fitted(texts, _below(top, taken), order.tolist(), max(image.size) / USUAL, False),
        False,
    )
    return image


def percent(share: float) -> str:
    """A share as a reader wants it.

    >>> percent(0.123), percent(0.004), percent(0)
    ('12 %', '0.4 %', '0 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0095 or not share else f"{100 * share:.1g} %"


def _checked(
    frame: Frame, regions: Regions, shares: Sequence | np.ndarray, letters: Mapping[str, float]
) -> Float[np.ndarray, "k"]:
    found = np.asarray(shares, np.float64)
    if found.shape != (len(regions),):
        raise ValueError(
            f"expected a share for each of {len(regions)} regions, got shape {list(found.shape)}"
        )
    every = np.append(found, list(letters.values()))
    if not np.isfinite(every).all() or (every < 0).any():
        raise ValueError("shares of attention are finite and not negative; these are not")
    if tuple(regions.grid) != frame.grid:
        raise ValueError(
            f"regions on the grid {regions.grid} do not lie on the frame's grid {frame.grid}; draw one view, one frame"
        )
    return found


def _lines(image: Image.Image, frame: Frame, regions: Regions) -> None:
    """Borders as thin translucent lines: a fine grid must not hide the photo."""
    over = image.copy()
    pen = ImageDraw.Draw(over)
    wide, high = image.size
    for x0, y0, x1, y1 in borders(frame, regions):
        pen.line(
            (x0 * wide, y0 * high, x1 * wide, y1 * high),
            LINE,
            max(1, round(max(image.size) / USUAL)),
        )
    image.paste(Image.blend(image, over, 0.35))


def _letters(image: Image.Image, letters: Mapping[str, tuple[float, float]]) -> tuple[int, int]:
    """Plates from the top left corner on, tinted as regions are; (right, bottom) of what they
    cover."""
    pen = ImageDraw.Draw(image)
    size = max(10, round(LETTER * max(image.size) / USUAL))
    small, gap = max(8, round(0.5 * size)), max(2, round(0.2 * size))
    x, bottom = gap, 0
    for name, (share, strength) in letters.items():
        name, number = printable(name), percent(share)
        wide = round(max(font(size).getlength(name), font(small).getlength(number))) + 2 * gap
        bottom = gap + round(1.2 * size) + round(1.3 * small)
        fill = tuple(
            np.round(
                STRONGEST * strength * INK + (1 - STRONGEST * strength) * np.array([40, 40, 40])
            )
            .astype(int)
            .tolist()
        )
        pen.rounded_rectangle((x, gap, x + wide, bottom), radius=gap, fill=fill, outline=LINE)
        stroke = max(1, round(0.06 * size))
        for text, letter, base in (
            (name, size, gap + round(0.95 * size)),
            (number, small, bottom - round(0.35 * small)),
        ):
            pen.text(
                (x + wide / 2, base),
                text,
                "white",
                font(letter),
                "ms",
                stroke_width=stroke,
                stroke_fill=(14, 16, 20),
            )
        x += wide + gap
    return (x, bottom + gap) if letters else (0, 0)


def _below(top: Int[np.ndarray, "H W"], taken: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """`top` without the corner that the letters cover, so that no label stands there."""
    top = top.copy()
    top[: taken[1], : taken[0]] = -2
    return top
