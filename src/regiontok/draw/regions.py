"""Regions drawn on their photo: as borders, as translucent colours, or each in its mean colour.

Everything is drawn at the drawing's own resolution: the frame is scaled to it, so lines are crisp
on a photo of any size. A patch in several regions shows stripes of all of them, one in none is
dimmed and hatched, and pixels that no patch sees are greyed.
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
    """The photo with its regions, RGB; small photos are enlarged.

    Args:
        picture: the decoded photo.
        frame: how the photo lies under the grid.
        regions: the regions; they may overlap and leave gaps.
        style: "borders" on the photo, translucent "colours" (touching regions differ in hue), or
            "means", each region in the mean colour of its pixels.
        names: a label for each region, None for none. Labels stand at their region's most interior
            point, never outside the photo or on one another, nor over most of a region: the largest
            regions come first, and a label that finds no room is left out. The font has no accents
            and only Latin letters: "café" reads "cafe", and a name that loses all its letters gives
            way to the index.
        numbers: whether to label regions by their index, in front of the name if there is one.
        longest: pixels along the longer side.
        hues: the colour of each region for "colours", to have the same ones in several drawings;
            None chooses them.

    Raises:
        ValueError: If the style is unknown, or if the arguments do not belong together.

    >>> photo = Picture.of(np.zeros((20, 30, 3), np.uint8))
    >>> frame = Frame.stretch((20, 30), (4, 4), (2, 2))
    >>> draw_regions(photo, frame, Regions.singletons((2, 2)), style="means", longest=300).size
    (300, 200)
    """
    _check_style(style, longest)
    _check_parts(picture, frame, regions, names, hues)
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


def _check_style(style: str, longest: int) -> None:
    if style not in get_args(Style):
        raise ValueError(f"unknown style {style!r}; expected one of {', '.join(get_args(Style))}")
    if longest < 1:
        raise ValueError(f"expected at least 1 pixel along the longer side, got longest={longest}")


def _check_parts(
    picture: Picture,
    frame: Frame,
    regions: Regions,
    names: Sequence | None,
    hues: UInt8[np.ndarray, "k 3"] | None,
) -> None:
    if picture.size != tuple(frame.image):
        raise ValueError(
            f"the frame is of an image {frame.image}, the picture {picture.name} has size "
            f"{picture.size}"
        )
    if tuple(regions.grid) != frame.grid:
        raise ValueError(
            f"regions on the grid {regions.grid} do not lie on the frame's grid {frame.grid}; "
            "draw one view, one frame"
        )
    if names is not None and len(names) != len(regions):
        raise ValueError(
            f"expected a name (or None) for each of {len(regions)} regions, got {len(names)}"
        )
    if hues is not None and hues.shape != (len(regions), 3):
        raise ValueError(
            f"expected a colour for each of {len(regions)} regions, got shape {list(hues.shape)}"
        )


@dataclass(frozen=True, eq=False)
class _Scene:
    """The photo and the regions at the drawing's size.

    Attributes:
        photo: the pixels `[H W 3]`, float32, 0 to 255.
        patch: the index of the patch that sees each pixel `[H W]`, -1 for none.
        members: the regions of each patch `[h w m]`, the smallest first, -1 behind the last.
        sizes: the number of patches of each region `[k]`.
    """

    photo: Float[np.ndarray, "H W 3"]
    patch: Int[np.ndarray, "H W"]
    members: Int[np.ndarray, "h w m"]
    sizes: Int[np.ndarray, "k"]

    @classmethod
    def of(cls, picture: Picture, frame: Frame, regions: Regions, longest: int) -> _Scene:
        height, width = picture.size
        size = (
            max(1, round(height * longest / max(height, width))),
            max(1, round(width * longest / max(height, width))),
        )
        photo = picture.resized(size, (0, 0, height, width), "bicubic").astype(np.float32)
        y0, x0, y1, x1 = frame.crop
        down, right = size[0] / height, size[1] / width
        scaled = replace(frame, image=size, crop=(y0 * down, x0 * right, y1 * down, x1 * right))
        patch = scaled.to_pixels(torch.arange(regions.patches).view(regions.grid)).numpy()
        return cls(photo, patch, members_of(regions), regions.sizes.cpu().numpy())

    @property
    def scale(self) -> float:
        """How much larger than usual the drawing is.

        It is never below a half, where lines and letters would vanish.
        """
        return max(0.5, max(self.patch.shape) / USUAL)

    @property
    def extent(self) -> float:
        """Side in pixels of a region of mean area, if it were a square."""
        return ((self.patch >= 0).sum() / max(1, len(self.sizes))) ** 0.5

    @cached_property
    def top(self) -> Int[np.ndarray, "H W"]:
        """The smallest region at each pixel; -1 in no region, -2 where no patch sees the photo."""
        return self._spread(self.members[..., 0], -2)

    @cached_property
    def striped(self) -> Int[np.ndarray, "H W"]:
        """The region whose colour each pixel shows: stripes of all that lie on its patch.

        Numbers below 0 are those of `top`.
        """
        if self.members.shape[-1] == 1:
            return self.top
        y, x = np.ogrid[: self.patch.shape[0], : self.patch.shape[1]]
        stripe = (y + x) // max(2, round(STRIPE * self.scale))
        counts = np.maximum(self._spread((self.members >= 0).sum(-1), 0), 1)
        members = self.members.reshape(-1, self.members.shape[-1])
        return np.where(self.top >= 0, members[self.patch, stripe % counts], self.top)

    @cached_property
    def sets(self) -> Int[np.ndarray, "H W"]:
        """Numbers that are equal where the same regions lie; those below 0 are those of `top`."""
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
    patch, region = regions.patch.cpu().numpy(), regions.region.cpu().numpy()
    sizes = regions.sizes.cpu().numpy()
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
    """The photo in the style's colours; `_mark_unseen` paints over pixels in no region."""
    if style == "borders":
        return scene.photo.copy()
    nothing = np.zeros((2, 3), np.float32)  # rows -1 and -2
    if style == "means":
        return np.concatenate([_means(scene), nothing])[scene.striped]
    hues = colours(scene.sizes, neighbours(scene.members)) if hues is None else hues
    paint = TINT * hues.astype(np.float32)
    pixels = np.concatenate([paint, nothing])[scene.striped]
    pixels += ((1 - TINT) * _grey(scene.photo))[..., None]
    return pixels


def _grey(photo: Float[np.ndarray, "*rest 3"]) -> Float[np.ndarray, "*rest"]:
    return photo @ np.array([0.299, 0.587, 0.114], np.float32)


def _means(scene: _Scene) -> Float[np.ndarray, "k 3"]:
    """The mean colour of each region over all its pixels, shared ones included."""
    n, m = scene.members.shape[0] * scene.members.shape[1], scene.members.shape[2]
    bins = scene.patch.ravel() + 1  # bin 0 takes the pixels that no patch sees
    sums_by_patch = [
        np.bincount(bins, weights=weights, minlength=n + 1)[1:]
        for weights in (None, *scene.photo.reshape(-1, 3).T)
    ]
    members = scene.members.reshape(n, m)
    patch, place = (members >= 0).nonzero()
    region = members[patch, place]
    pixels, *colour = (
        np.bincount(region, weights=sums[patch], minlength=len(scene.sizes))
        for sums in sums_by_patch
    )
    return (np.stack(colour, axis=1) / np.maximum(pixels, 1)[:, None]).astype(np.float32)


def _mark_unseen(scene: _Scene, pixels: Float[np.ndarray, "H W 3"]) -> None:
    """Dim and hatch patches in no region, and grey pixels that no patch sees."""
    for mask, tone, contrast in ((scene.top == -1, 52, 0.5), (scene.top == -2, 226, 0.25)):
        if mask.any():
            pixels[mask] = (tone + contrast * (_grey(scene.photo[mask]) - tone))[:, None]
    if (scene.top == -1).any():
        y, x = np.ogrid[: scene.top.shape[0], : scene.top.shape[1]]
        line = (y - x) % max(4, round(HATCH * scene.scale)) < max(1, round(scene.scale))
        _blend(pixels, line & (scene.top == -1), LIGHT, 0.25)


def _draw_borders(scene: _Scene, pixels: Float[np.ndarray, "H W 3"], style: str) -> None:
    """Draw a light line with a dark halo wherever the regions change, the fewer the thicker."""
    edge = _changes(scene.sets)
    widest = 1 if style == "means" else 3  # flat colours need less to be told apart
    width = max(1, round(min(scene.extent / 40, widest * scene.scale)))
    halo = max(1, round(width / 2))
    back = (width - 1) // 2
    line = _grown(edge, back, width - 1 - back)
    with_halo = _grown(edge, back + halo, width - 1 - back + halo)
    # A fine grid must not hide the photo.
    strength = 0.6 if style == "means" else min(1.0, scene.extent / (48 * scene.scale))
    _blend(pixels, with_halo & ~line, DARK, 0.5 * strength**2)
    _blend(pixels, line, LIGHT, 0.45 + 0.5 * strength)


def _changes(sets: Int[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """True at pixels whose right or lower neighbour lies in other regions.

    Between two pixels that lie in no region there is no change.
    """
    edge = np.zeros(sets.shape, bool)
    edge[:, :-1] = (sets[:, :-1] != sets[:, 1:]) & (np.maximum(sets[:, :-1], sets[:, 1:]) >= 0)
    edge[:-1] |= (sets[:-1] != sets[1:]) & (np.maximum(sets[:-1], sets[1:]) >= 0)
    return edge


def _grown(mask: Bool[np.ndarray, "H W"], back: int, ahead: int) -> Bool[np.ndarray, "H W"]:
    """The mask with every point grown `back` pixels up and left, `ahead` pixels down and right."""
    for axis in (0, 1):
        grown = np.moveaxis(mask.copy(), axis, 0)
        source = np.moveaxis(mask, axis, 0)
        for step in range(1, back + 1):
            grown[:-step] |= source[step:]
        for step in range(1, ahead + 1):
            grown[step:] |= source[:-step]
        mask = np.moveaxis(grown, 0, axis)
    return mask


def _blend(
    pixels: Float[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    colour: tuple[int, int, int],
    share: float,
) -> None:
    pixels[mask] += share * (np.array(colour, np.float32) - pixels[mask])


def _texts(count: int, names: Sequence[str | None] | None, numbers: bool) -> list[str]:
    """The label of each region, "" for none.

    A name that the font cannot show at all gives way to the number.
    """
    texts = []
    for region in range(count):
        name = printable((names[region] if names else None) or "")
        if name and not name.strip("? "):
            name = "" if numbers else str(region)
        texts.append(f"{region} {name}".strip() if numbers else name)
    return texts
