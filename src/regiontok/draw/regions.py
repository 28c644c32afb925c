"""Regions drawn on their photo: as borders, as translucent colours, or each in its mean colour
(what k tokens are given to see).

Everything is drawn at the drawing's own resolution: the frame is scaled to it, so lines are crisp
on a photo of any size. A patch in several regions shows stripes of all of them, one in none is
dimmed and hatched, and what no patch sees is greyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from PIL import Image

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.draw._labels import fitted, write_labels
from regiontok.draw._palette import colours, neighbours
from regiontok.draw._text import printable

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

Style = Literal["borders", "colours", "means"]
USUAL = 640  # longer side in pixels of the drawing that line widths and letters are meant for
LIGHT, DARK = (255, 255, 255), (10, 12, 16)
TINT = 0.55  # opacity of "colours"
STRIPE, HATCH = 9, 13  # pixels on a drawing of 640


def draw_regions(
    picture: Picture,
    frame: Frame,
    regions: Regions,
    *,
    style: Style = "borders",
    names: Sequence[str | None] | None = None,
    numbers: bool = False,
    longest: int = USUAL,
    hues: UInt8[np.ndarray, "k 3"] | None = None,
) -> Image.Image:
    """The photo with its regions, RGB, `longest` pixels on its longer side (small photos are
    enlarged).

    Args:
        picture: the decoded photo.
        frame: how the photo lies under the grid.
        regions: what to draw; they may overlap and leave gaps.
        style: "borders" on the photo, translucent "colours" (touching regions differ in hue), or
            "means".
        names: a label for each region, None for none. They stand at their region's most interior
            point, never outside the photo or on one another, nor over most of a region: the largest
                regions come first, and what finds no room is left out. The font has
            no accents and only Latin letters: "café" reads "cafe", and a name of which nothing is
                left gives way to the index.
        numbers: label regions by their index, in front of the name if there is one.
        longest: pixels along the longer side.
        hues: the colour of each region for "colours", to have the same ones in several drawings;
            None chooses them.

    Raises:
        ValueError: an unknown style, or parts that do not belong together.

    >>> photo, frame = Picture.of(np.zeros((20, 30, 3), np.uint8)), Frame.stretch((20, 30), (4, 4), (2, 2))
    >>> draw_regions(photo, frame, Regions.singletons((2, 2)), style="means", longest=300).size
    (300, 200)
    """
    _check(picture, frame, regions, style, names, longest, hues)
    scene = _Scene.of(picture, frame, regions, longest)
    pixels = _filled(scene, style, hues)
    _mark_unseen(scene, pixels)
    _draw_borders(scene, pixels, style)
    image = Image.fromarray(np.round(np.clip(pixels, 0, 255)).astype(np.uint8))
    texts = _texts(len(regions), names, numbers)
    if any(texts):
        order = np.argsort(-scene.sizes, kind="stable").tolist()
        plates = names is not None
        write_labels(image, fitted(texts, scene.top, order, scene.scale, plates), plates)
    return image


def _check(
    picture: Picture,
    frame: Frame,
    regions: Regions,
    style: str,
    names: Sequence | None,
    longest: int,
    hues: UInt8[np.ndarray, "k 3"] | None,
) -> None:
    if style not in get_args(Style):
        raise ValueError(f"unknown style {style!r}; expected one of {', '.join(get_args(Style))}")
    if picture.size != tuple(frame.image):
        raise ValueError(
            f"the frame is of an image {frame.image}, the picture {picture.name} has size {picture.size}"
        )
    if tuple(regions.grid) != frame.grid:
        raise ValueError(
            f"regions on the grid {regions.grid} do not lie on the frame's grid {frame.grid}; draw one view, one frame"
        )
    if names is not None and len(names) != len(regions):
        raise ValueError(
            f"expected a name (or None) for each of {len(regions)} regions, got {len(names)}"
        )
    if hues is not None and hues.shape != (len(regions), 3):
        raise ValueError(
            f"expected a colour for each of {len(regions)} regions, got shape {list(hues.shape)}"
        )
    if longest < 1:
        raise ValueError(f"expected at least 1 pixel along the longer side, got longest={longest}")


@dataclass(frozen=True, eq=False)
class _Scene:
    """The photo and the regions at the drawing's size.

    Attributes:
        photo: `[H W 3]` float32, 0 to 255.
        patch: `[H W]` index of the patch that sees each pixel, -1 for none.
        members: `[h w m]` the regions of each patch, the smallest first, -1 behind the last.
        sizes: `[k]` patches of each region.
    """

    photo: Float[np.ndarray, "H W 3"]
    patch: Int[np.ndarray, "H W"]
    members: Int[np.ndarray, "h w m"]
    sizes: Int[np.ndarray, "k"]

    @classmethod
    def of(cls, picture: Picture, frame: Frame, regions: Regions, longest: int) -> _Scene:
        high, wide = picture.size
        size = (
            max(1, round(high * longest / max(high, wide))),
            max(1, round(wide * longest / max(high, wide))),
        )
        photo = picture.resized(size, (0, 0, high, wide), "bicubic").astype(np.float32)
        y0, x0, y1, x1 = frame.crop
        down, right = size[0] / high, size[1] / wide
        small = replace(frame, image=size, crop=(y0 * down, x0 * right, y1 * down, x1 * right))
        patch = small.to_pixels(torch.arange(regions.patches).view(regions.grid)).numpy()
        return cls(photo, patch, members_of(regions), regions.sizes.cpu().numpy())

    @property
    def scale(self) -> float:
        """How much larger than usual the drawing is; never below a half, where lines and letters
        would vanish."""
        return max(0.5, max(self.patch.shape) / USUAL)

    @property
    def extent(self) -> float:
        """Side in pixels of a region of mean area, if it were a square."""
        return ((self.patch >= 0).sum() / max(1, len(self.sizes))) ** 0.5

    @cached_property
    def top(self) -> Int[np.ndarray, "H W"]:
        """The smallest region at each pixel; -1 where there is none, -2 where no patch sees the
        photo."""
        return self._spread(self.members[..., 0], -2)

    @cached_property
    def shown(self) -> Int[np.ndarray, "H W"]:
        """The region whose colour each pixel shows: diagonal stripes of all that lie there; below 0
        as `top`."""
        if self.members.shape[-1] == 1:
            return self.top
        y, x = np.ogrid[: self.patch.shape[0], : self.patch.shape[1]]
        stripe = (y + x) // max(2, round(STRIPE * self.scale))
        several = np.maximum(self._spread((self.members >= 0).sum(-1), 0), 1)
        members = self.members.reshape(-1, self.members.shape[-1])
        return np.where(self.top >= 0, members[self.patch, stripe % several], self.top)

    @cached_property
    def sets(self) -> Int[np.ndarray, "H W"]:
        """Equal where the same regions lie; below 0 as `top`."""
        if self.members.shape[-1] == 1:
            return self.top
        rows, index = np.unique(
            self.members.reshape(-1, self.members.shape[-1]), axis=0, return_inverse=True
        )
        return self._spread(np.where(rows[:, 0] >= 0, np.arange(len(rows)), -1)[index], -2)

    def _spread(self, values: Int[np.ndarray, "h w"], unseen: int) -> Int[np.ndarray, "H W"]:
        """A value of each patch on the pixels that see it."""
        return np.append(values.ravel(), unseen)[self.patch]  # patch -1 reads the last


def members_of(regions: Regions) -> Int[np.ndarray, "*grid m"]:
    """The regions of each patch, the smallest first, -1 behind the last."""
    patch, region, sizes = (
        part.cpu().numpy() for part in (regions.patch, regions.region, regions.sizes)
    )
    order = np.lexsort((region, sizes[region], patch))
    patch, region = patch[order], region[order]
    counts = np.bincount(patch, minlength=regions.patches)
    place = np.arange(len(patch)) - (counts.cumsum() - counts)[patch]
    members = np.full((regions.patches, max(1, counts.max())), -1)
    members[patch, place] = region
    return members.reshape(*regions.grid, -1)


def _filled(
    scene: _Scene, style: str, hues: UInt8[np.ndarray, "k 3"] | None
) -> Float[np.ndarray, "H W 3"]:
    """The photo in the style's colours; what lies in no region is left for `_mark_unseen`, which
    paints over it."""
    if style == "borders":
        return scene.photo.copy()
    nothing = np.zeros((2, 3), np.float32)  # rows -1 and -2
    if style == "means":
        return np.concatenate([_means(scene), nothing])[scene.shown]
    hues = colours(scene.sizes, neighbours(scene.members)) if hues is None else hues
    paint = TINT * hues.astype(np.float32)
    pixels = np.concatenate([paint, nothing])[scene.shown]
    pixels += ((1 - TINT) * _grey(scene.photo))[..., None]
    return pixels


def _grey(photo: Float[np.ndarray, "*rest 3"]) -> Float[np.ndarray, "*rest"]:
    return photo @ np.array([0.299, 0.587, 0.114], np.float32)


def _means(scene: _Scene) -> Float[np.ndarray, "k 3"]:
    """The mean colour of each region over all its pixels, shared ones included."""
    n, m = scene.members.shape[0] * scene.members.shape[1], scene.members.shape[2]
    seen = scene.patch.ravel() + 1
    sums = [
        np.bincount(seen, weights=part, minlength=n + 1)[1:]
        for part in (None, *scene.photo.reshape(-1, 3).T)
    ]
    members = scene.members.reshape(n, m)
    patch, place = (members >= 0).nonzero()
    region = members[patch, place]
    pixels, *colour = (
        np.bincount(region, weights=part[patch], minlength=len(scene.sizes)) for part in sums
    )
    return (np.stack(colour, axis=1) / np.maximum(pixels, 1)[:, None]).astype(np.float32)


def _mark_unseen(scene: _Scene, pixels: Float[np.ndarray, "H W 3"]) -> None:
    """Patches in no region are dimmed and hatched, what no patch sees is greyed."""
    for where, tone, keep in ((scene.top == -1, 52, 0.5), (scene.top == -2, 226, 0.25)):
        if where.any():
            pixels[where] = (tone + keep * (_grey(scene.photo[where]) - tone))[:, None]
    if (scene.top == -1).any():
        y, x = np.ogrid[: scene.top.shape[0], : scene.top.shape[1]]
        line = (y - x) % max(4, round(HATCH * scene.scale)) < max(1, round(scene.scale))
        _blend(pixels, line & (scene.top == -1), LIGHT, 0.25)


def _draw_borders(scene: _Scene, pixels: Float[np.ndarray, "H W 3"], style: str) -> None:
    """A light line with a dark halo wherever the regions change; thin for many regions, thicker for
    few."""
    edge = _changes(scene.sets)
    widest = 1 if style == "means" else 3  # flat colours need less to be told apart
    width = max(1, round(min(scene.extent / 40, widest * scene.scale)))
    halo = max(1, round(width / 2))
    before = (width - 1) // 2
    line = _grown(edge, before, width - 1 - before)
    around = _grown(edge, before + halo, width - 1 - before + halo)
    strength = (
        0.6 if style == "means" else min(1.0, scene.extent / (48 * scene.scale))
    )  # a fine grid must not hide the photo
    _blend(pixels, around & ~line, DARK, 0.5 * strength**2)
    _blend(pixels, line, LIGHT, 0.45 + 0.5 * strength)


def _changes(sets: Int[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """True at pixels whose right or lower neighbour lies in other regions; not between two that lie
    in none."""
    edge = np.zeros(sets.shape, bool)
    edge[:, :-1] = (sets[:, :-1] != sets[:, 1:]) & (np.maximum(sets[:, :-1], sets[:, 1:]) >= 0)
    edge[:-1] |= (sets[:-1] != sets[1:]) & (np.maximum(sets[:-1], sets[1:]) >= 0)
    return edge


def _grown(mask: Bool[np.ndarray, "H W"], before: int, behind: int) -> Bool[np.ndarray, "H W"]:
    """The mask with every point grown to a square from `before` pixels up and left to `behind`
    pixels down and right."""
    for axis in (0, 1):
        grown = np.moveaxis(mask.copy(), axis, 0)
        source = np.moveaxis(mask, axis, 0)
        for step in range(1, before + 1):
            grown[:-step] |= source[step:]
        for step in range(1, behind + 1):
            grown[step:] |= source[:-step]
        mask = np.moveaxis(grown, 0, axis)
    return mask


def _blend(
    pixels: Float[np.ndarray, "H W 3"],
    where: Bool[np.ndarray, "H W"],
    colour: tuple[int, int, int],
    share: float,
) -> None:
    pixels[where] += share * (np.array(colour, np.float32) - pixels[where])


def _texts(count: int, names: Sequence[str | None] | None, numbers: bool) -> list[str]:
    """The label of each region, "" for none; a name of which the font can show nothing gives way to
    the number."""
    texts = []
    for region in range(count):
        name = printable((names[region] if names else None) or "")
        if name and not name.strip("? "):
            name = "" if numbers else str(region)
        texts.append(f"{region} {name}".strip() if numbers else name)
    return texts
