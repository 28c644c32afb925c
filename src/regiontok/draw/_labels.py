"""Labels on a drawing: where each region's text may stand, and which texts fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from regiontok.draw._text import font

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# Points along the longer side where a label may stand: every 4 pixels of a 640 pixel drawing.
LATTICE = 160
# Points this near to the deepest one count as deep; of them the one nearest the middle is taken.
PLATEAU = 0.85
SMALLEST, LARGEST = 11, 19  # letters in pixels on a drawing of 640
LEGIBLE = 10  # letters are never smaller
PLATE, DARK = 185, (14, 16, 20)  # opacity of 255, and colour
GAP = 2  # pixels between two labels


@dataclass(frozen=True)
class Label:
    """One text on a drawing.

    Attributes:
        region: the index of the region that it names.
        text: the text.
        size: the font size in pixels.
        box: the box behind the text, (x0, y0, x1, y1) in pixels of the drawing.
    """

    region: int
    text: str
    size: int
    box: tuple[int, int, int, int]


def depth(labels: Int[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Distance of each point to the nearest point of another label; the map's edge counts as one.

    >>> depth(np.zeros((3, 5), int)).tolist()
    [[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 2.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0]]
    """
    labels = np.pad(labels, 1, constant_values=labels.min() - 1)
    from_left, from_right = _since_change(labels), _since_change(labels[:, ::-1])[:, ::-1]
    across = np.minimum(from_left, from_right).astype(np.float64) ** 2
    nearest = across.copy()
    step = 1
    while step < len(labels) and step**2 < nearest[1:-1].max(initial=0):
        for rows, others in ((np.s_[:-step], np.s_[step:]), (np.s_[step:], np.s_[:-step])):
            reach = np.where(labels[rows] == labels[others], across[others], 0) + step**2
            np.minimum(nearest[rows], reach, out=nearest[rows])
        step += 1
    return np.sqrt(nearest[1:-1, 1:-1])


def _since_change(labels: Int[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Steps to the left until the label is another; the edge counts as another label."""
    column = np.arange(labels.shape[1])
    change = np.zeros(labels.shape, np.int64)
    change[:, 1:] = np.where(labels[:, 1:] != labels[:, :-1], column[1:], 0)
    return column - np.maximum.accumulate(change, axis=1) + 1


def poles(top: Int[np.ndarray, "H W"], count: int) -> Float[np.ndarray, "k 3"]:
    """(y, x, depth) in pixels of each region's most interior point.

    The depth is 0 for a region that does not show.

    Args:
        top: the region on top at each pixel, negative for none.
        count: the number of regions.
    """
    step = max(1, -(-max(top.shape) // LATTICE))
    rows, cols = (np.minimum(np.arange(0, side, step) + step // 2, side - 1) for side in top.shape)
    points = top[np.ix_(rows, cols)]
    deep = depth(points)
    y, x = (axis[points >= 0] for axis in np.meshgrid(rows, cols, indexing="ij"))
    region, deep = points[points >= 0], deep[points >= 0]
    order = np.argsort(region, kind="stable")
    bounds = np.searchsorted(region[order], np.arange(count + 1))
    interior = np.zeros((count, 3))
    for index in range(count):
        inside = order[bounds[index] : bounds[index + 1]]
        if len(inside):
            deepest = inside[deep[inside] >= PLATEAU * deep[inside].max()]
            dy, dx = y[deepest] - y[inside].mean(), x[deepest] - x[inside].mean()
            best = deepest[np.argmin(dy**2 + dx**2)]
            interior[index] = y[best], x[best], deep[best] * step
    return interior


def fitted(
    texts: Sequence[str],
    top: Int[np.ndarray, "H W"],
    order: Sequence[int],
    scale: float,
    plates: bool,
) -> list[Label]:
    """The labels that fit into the picture without touching one another.

    Letters grow with the region's depth. A text that finds no room at its region's pole is left
    out; so is a plate that would hide more than half of any region that shows, its own included.

    Args:
        texts: the label of each region, "" for none.
        top: the region on top at each pixel, negative for none.
        order: regions; those that come first are served first.
        scale: how much larger than usual the drawing is.
        plates: whether the labels get plates behind them.
    """
    interior = poles(top, len(texts))
    areas = np.bincount(top[top >= 0], minlength=len(texts))
    placed: list[Label] = []
    taken = np.zeros(top.shape, bool)
    for region in order:
        y, x, deep = interior[region]
        if not texts[region] or not deep:
            continue
        size = max(LEGIBLE, round(scale * min(max(0.6 * deep / scale, SMALLEST), LARGEST)))
        box = _box(texts[region], size, (y, x), top.shape)
        if box is None or not _free(taken, box) or (plates and _hides(top, areas, box)):
            continue
        taken[box[1] : box[3], box[0] : box[2]] = True
        placed.append(Label(int(region), texts[region], size, box))
    return placed


def _box(
    text: str, size: int, middle: tuple[float, float], picture: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """The text's box around `middle`, moved into the picture; None if the picture is smaller."""
    side = max(3, round(0.32 * size))
    width, height = math.ceil(font(size).getlength(text)) + 2 * side, round(1.3 * size)
    if height > picture[0] or width > picture[1]:
        return None
    top = min(max(0, round(middle[0] - height / 2)), picture[0] - height)
    left = min(max(0, round(middle[1] - width / 2)), picture[1] - width)
    return left, top, left + width, top + height


def _free(taken: Bool[np.ndarray, "H W"], box: tuple[int, int, int, int]) -> bool:
    return not taken[max(0, box[1] - GAP) : box[3] + GAP, max(0, box[0] - GAP) : box[2] + GAP].any()


def _hides(
    top: Int[np.ndarray, "H W"], areas: Int[np.ndarray, "k"], box: tuple[int, int, int, int]
) -> bool:
    under = top[box[1] : box[3], box[0] : box[2]]
    return bool((2 * np.bincount(under[under >= 0], minlength=len(areas)) > areas).any())


def write_labels(image: Image.Image, labels: Sequence[Label], plates: bool) -> None:
    """Write white letters onto the image, on dark translucent plates or with a dark halo.

    A halo hides less of the photo.
    """
    if plates:
        mask = Image.new("L", image.size, 0)
        pen = ImageDraw.Draw(mask)
        for label in labels:
            x0, y0, x1, y1 = label.box
            pen.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=(y1 - y0) // 4, fill=PLATE)
        image.paste(DARK, mask=mask)
    pen = ImageDraw.Draw(image)
    for label in labels:
        x0, y0, x1, y1 = label.box
        # Capitals of Aileron are 0.7 of its size high: this base line puts them in the middle of
        # the box.
        base = round((y0 + y1) / 2 + 0.35 * label.size)
        halo = 0 if plates else max(1, 0.11 * label.size)
        outline: dict[str, Any] = {"stroke_width": halo, "stroke_fill": DARK}
        pen.text(((x0 + x1) / 2, base), label.text, "white", font(label.size), "ms", **outline)
