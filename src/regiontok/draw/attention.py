"""Attention to regions, on their photo: each region tinted by its share.

Tokens that are no region (the whole image, CLS) are letters in the top left corner.

After: diagnostic study, figures 1 and 8 (row D18): attention over regions with the global token as
the letter G.
Differs: the tint is that of a region's share of attention by its area, against the largest of all
regions: a region of half the photo is not strong because it is large. Letters are tinted by their
share against the largest share. The numbers stand beside it, and are shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw._labels import DARK, fitted, write_labels
from regiontok.draw._text import font, printable
from regiontok.draw.maps import borders, laid_out
from regiontok.draw.regions import USUAL, members_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Apart from grey in light and in hue, also without colour vision.
INK = np.array([255, 92, 0], np.float32)
STRONGEST = 0.8  # opacity at the largest share: the photo stays visible
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
    """The photo in grey, RGB, with its regions in orange as strong as their shares by area.

    Args:
        picture: the decoded photo.
        frame: how the photo lies under the grid.
        regions: the regions; where several overlap, the strongest shows.
        shares: the attention of each region, 0 or more; by area, only the ratios matter for the
            tint.
        letters: shares of tokens that are no region: {"G": 0.2, "CLS": 0.1}.
        named: so many regions with the largest shares get their index and share written on them,
            where there is room.
        longest: pixels along the longer side.

    Raises:
        ValueError: If the shares are not one for each region, or one is negative or infinite, or
            if picture, frame and regions do not belong together.

    >>> photo = Picture.of(np.zeros((20, 30, 3), np.uint8))
    >>> frame, patches = Frame.stretch((20, 30), (4, 4), (2, 2)), Regions.singletons((2, 2))
    >>> drawn = draw_attention(photo, frame, patches, [0, 0, 0, 1], named=0, longest=300)
    >>> drawn.getpixel((40, 40)), drawn.getpixel((250, 150))
    ((0, 0, 0), (204, 74, 0))
    """
    letters = dict(letters or {})
    shares = _checked(frame, regions, shares, letters)
    highest = max([*shares.tolist(), *letters.values()], default=0) or 1
    densities = shares / np.maximum(regions.sizes.cpu().numpy(), 1)
    photo, patch = laid_out(picture, frame, longest)
    grey = DIMMED * (photo @ np.array([0.299, 0.587, 0.114], np.float32))
    members = members_of(regions).reshape(regions.patches, -1)
    # Member -1, no region, reads the share 0 at the end.
    strength = np.append(densities, 0)[members].max(1) / (densities.max(initial=0) or 1)
    opacity = STRONGEST * np.append(strength, 0)[patch][..., None].astype(np.float32)
    pixels = (1 - opacity) * grey[..., None] + opacity * INK
    image = Image.fromarray(np.round(pixels).astype(np.uint8))
    _draw_borders(image, frame, regions)
    taken = _draw_letters(
        image, {name: (value, value / highest) for name, value in letters.items()}
    )
    order = np.argsort(-shares, kind="stable")[:named]
    texts = ["" for _ in shares]
    for region in order.tolist():
        if shares[region] > 0:
            texts[region] = f"{region}: {percent(float(shares[region]))}"
    top = np.append(members[:, 0], -2)[patch]
    top = _without_corner(top, taken)
    labels = fitted(texts, top, order.tolist(), max(image.size) / USUAL, plates=False)
    write_labels(image, labels, plates=False)
    return image


def percent(share: float) -> str:
    """A share as a percentage, as precise as a reader wants it.

    >>> percent(0.123), percent(0.004), percent(0)
    ('12 %', '0.4 %', '0 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0095 or not share else f"{100 * share:.1g} %"


def _checked(
    frame: Frame, regions: Regions, shares: Sequence | np.ndarray, letters: Mapping[str, float]
) -> Float[np.ndarray, "k"]:
    region_shares = np.asarray(shares, np.float64)
    if region_shares.shape != (len(regions),):
        raise ValueError(
            f"expected a share for each of {len(regions)} regions, got shape "
            f"{list(region_shares.shape)}"
        )
    all_shares = np.append(region_shares, list(letters.values()))
    if not np.isfinite(all_shares).all() or (all_shares < 0).any():
        raise ValueError("shares of attention are finite and not negative; these are not")
    if tuple(regions.grid) != frame.grid:
        raise ValueError(
            f"regions on the grid {regions.grid} do not lie on the frame's grid {frame.grid}; "
            "draw one view, one frame"
        )
    return region_shares


def _draw_borders(image: Image.Image, frame: Frame, regions: Regions) -> None:
    """Borders as thin translucent lines: a fine grid must not hide the photo."""
    overlay = image.copy()
    pen = ImageDraw.Draw(overlay)
    width, height = image.size
    thickness = max(1, round(max(image.size) / USUAL))
    for x0, y0, x1, y1 in borders(frame, regions):
        pen.line((x0 * width, y0 * height, x1 * width, y1 * height), LINE, thickness)
    image.paste(Image.blend(image, overlay, 0.35))


def _draw_letters(
    image: Image.Image, letters: Mapping[str, tuple[float, float]]
) -> tuple[int, int]:
    """Draw plates from the top left corner on, tinted as regions are.

    Args:
        image: the drawing.
        letters: (share, strength of the tint) by text.

    Returns:
        (right, bottom) of what the plates cover.
    """
    pen = ImageDraw.Draw(image)
    size = max(10, round(LETTER * max(image.size) / USUAL))
    small, gap = max(8, round(0.5 * size)), max(2, round(0.2 * size))
    x, bottom = gap, 0
    for name, (share, strength) in letters.items():
        name, number = printable(name), percent(share)
        width = round(max(font(size).getlength(name), font(small).getlength(number))) + 2 * gap
        bottom = gap + round(1.2 * size) + round(1.3 * small)
        opacity = STRONGEST * strength
        fill = tuple(np.round(opacity * INK + (1 - opacity) * 40).astype(int).tolist())
        pen.rounded_rectangle((x, gap, x + width, bottom), radius=gap, fill=fill, outline=LINE)
        halo: dict[str, Any] = {"stroke_width": max(1, round(0.06 * size)), "stroke_fill": DARK}
        for text, text_size, base in (
            (name, size, gap + round(0.95 * size)),
            (number, small, bottom - round(0.35 * small)),
        ):
            pen.text((x + width / 2, base), text, "white", font(text_size), "ms", **halo)
        x += width + gap
    return (x, bottom + gap) if letters else (0, 0)


def _without_corner(top: Int[np.ndarray, "H W"], taken: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """`top` without the corner that the letters cover, so that no label stands there."""
    top = top.copy()
    top[: taken[1], : taken[0]] = -2
    return top
