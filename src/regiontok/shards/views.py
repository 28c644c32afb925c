"""One training view of an image: a random crop, resized and flipped, with exactly N of its regions.

After: RICE, section 3.2, "Region Sampling" (row R3: N regions without replacement; fewer are all
kept and resampled up to N).
Differs: the paper names no augmentation. Here: a random resized crop (a crop without a region is
drawn anew, ten times, then the whole image is taken); a flip, but never of an image with text; text
that the crop cuts off is left out, half a word has another label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from regiontok.shards.decode import crop_of, fraction_of
from regiontok.shards.shares import mask_shares
from regiontok.shards.sidecar import KINDS, ImageRegions
from regiontok.shards.tar import ShardError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

Kind = Literal["object", "text"]
Crop = tuple[int, int, int, int]
TRIES = 10  # crops drawn before the whole image is taken, as torchvision's RandomResizedCrop does


@dataclass(frozen=True)
class ViewSettings:
    """What a view is.

    Attributes:
        size: (H, W) of the view in pixels.
        regions: N.
        scale: share of the image's area that a crop has, from .. to; None takes the whole image,
            stretched (for evaluation).
        ratio: the crop's width over height, against the view's own, from .. to.
        flip: how often an image without text is mirrored.
        positives: M, at most so many token ids of a text region; objects have one label.
        patch: side of the patches on which `View.shares` lies; None leaves it out.
        min_confidence: of text that is used (R2: 0.7).
        text_visible: share of a text box that must lie within the crop.
        empty: an image without a region in view is passed over ("next"), gets N times the whole
            view with label -1 ("ignore"), or is an error.

    Raises:
        ValueError: a size that the patch does not divide, or a value out of its range.
    """

    size: tuple[int, int]
    regions: int = 10
    scale: tuple[float, float] | None = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    positives: int = 10
    patch: int | None = None
    min_confidence: float = 0.7
    text_visible: float = 0.8
    empty: Literal["next", "ignore", "error"] = "next"

    def __post_init__(self) -> None:
        if min(*self.size, self.regions, self.positives) < 1:
            raise ValueError(
                f"size {self.size}, regions {self.regions} and positives {self.positives} must be at least 1"
            )
        if self.patch is not None and (
            self.patch < 1 or self.size[0] % self.patch or self.size[1] % self.patch
        ):
            raise ValueError(
                f"a view of {self.size} is not made of whole patches of {self.patch} pixels"
            )
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be (from, to) within (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be (from, to) above 0, got {self.ratio}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is a probability, got {self.flip}")
        if self.empty not in ("next", "ignore", "error"):
            raise ValueError(f"empty must be 'next', 'ignore' or 'error', not {self.empty!r}")


@dataclass(frozen=True)
class Labels:
    """What labels mean: object classes 0..classes-1; text as the ids below `vocabulary` that
    `tokenize` gives (None: no text is used)."""

    classes: int
    vocabulary: int = 0
    tokenize: Callable[[str], Sequence[int]] | None = None


@dataclass(frozen=True, eq=False)
class View:
    """One view with N regions.

    Attributes:
        pixels: `[H W 3]` uint8.
        boxes: `[N 4]` float32, xyxy in pixels of the view, cut to it.
        kinds: `[N]` int8: 0 object, 1 text.
        labels: `[N M]` int64: an object's class first, a text's token ids; -1 where there is none.
        regions: `[N]` int64, which region of the image; a number that comes twice was resampled; -1
            under `empty="ignore"`.
        shares: `[N h w]` float32, share of each patch that the region's mask (its box, where it has
            none) covers; or None.
        crop: (y0, x0, y1, x1) of the image in its pixels.
        flipped: whether left is right.
        dropped: regions that are left out: outside the crop, without a pixel of their mask in it,
            text without a token.
        shard, index: which image.
        skipped: images that stood here and could not be used, as "shard, image: reason".
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    boxes: Float[np.ndarray, "N 4"]
    kinds: Int[np.ndarray, "N"]
    labels: Int[np.ndarray, "N M"]
    regions: Int[np.ndarray, "N"]
    shares: Float[np.ndarray, "N h w"] | None
    crop: Crop
    flipped: bool
    dropped: int
    shard: str
    index: int
    skipped: tuple[str, ...] = ()


class NoRegion(ShardError):
    """An image without a region in view."""


def view_of(
    row: ImageRegions,
    read: Callable[[], bytes],
    settings: ViewSettings,
    labels: Labels,
    rng: np.random.Generator,
    *,
    shard: str,
    kind: Kind | None = None,
) -> View:
    """Draw a view of one image; every draw comes from `rng`.

    Args:
        row: its regions.
        read: gives its bytes; called when the crop is known.
        kind: use only regions of this kind.

    Raises:
        ShardError: a label out of range, or pixels of another size than the row says; names shard
            and image.
        NoRegion: no region in view, and `empty` is not "ignore".
        PictureError: the image cannot be decoded.
    """
    where = f"{shard}, image {row.index} ({row.key})"
    usable = _usable(row, settings, labels, kind, where)
    crop, seen = _crop(row, usable, settings, rng)
    found = _draw(row, seen, crop, settings, labels, rng, where)
    mirror = bool(rng.random() < settings.flip) and not (row.kinds == 1).any()
    pixels = crop_of(read(), row.size, crop, settings.size, where)
    wide = settings.size[1]
    boxes, shares = found.boxes, found.shares
    if mirror:
        pixels = pixels[:, ::-1]
        boxes[:, 0], boxes[:, 2] = wide - boxes[:, 2], wide - boxes[:, 0]
        shares = None if shares is None else shares[..., ::-1]
    dropped = len(usable) - len(seen) + found.dropped
    return View(
        pixels,
        boxes,
        found.kinds,
        found.labels,
        found.regions,
        shares,
        crop,
        mirror,
        dropped,
        shard=shard,
        index=row.index,
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    boxes: np.ndarray
    kinds: np.ndarray
    labels: np.ndarray
    regions: np.ndarray
    shares: np.ndarray | None
    dropped: int


def _usable(
    row: ImageRegions, settings: ViewSettings, labels: Labels, kind: Kind | None, where: str
) -> np.ndarray:
    """Indices of the regions that may be drawn if they are in view."""
    text = row.kinds == 1
    bad = ((row.labels < -1) | (row.labels >= labels.classes)) & ~text
    if bad.any():
        region = int(bad.argmax())
        raise ShardError(
            f"{where}: region {region} has the label {row.labels[region]}, expected 0..{labels.classes - 1} (or -1)"
        )
    use = row.labels >= 0
    if text.any():
        use = np.where(
            text, (row.confidences >= settings.min_confidence) & (labels.tokenize is not None), use
        )
    if kind is not None:
        use = use & (row.kinds == KINDS.index(kind))
    return use.nonzero()[0]


def _crop(
    row: ImageRegions, usable: np.ndarray, settings: ViewSettings, rng: np.random.Generator
) -> tuple[Crop, np.ndarray]:
    """(y0, x0, y1, x1), and the regions whose boxes are in view."""
    high, wide = row.size
    if settings.scale is not None:
        (least, most), (low, top) = settings.scale, map(math.log, settings.ratio)
        boxes = row.boxes[usable].astype(np.float64)
        (x0, y0, x1, y1), text = boxes.T, row.kinds[usable] == 1
        wanted = text * settings.text_visible * ((x1 - x0) * (y1 - y0)) if text.any() else 0
        for _ in range(TRIES):
            share, stretch, down, along = rng.random(4).tolist()
            pixels = high * wide * (least + share * (most - least))
            aspect = settings.size[1] / settings.size[0] * math.exp(low + stretch * (top - low))
            h, w = round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))
            if not (0 < h <= high and 0 < w <= wide):
                continue
            step = fraction_of(
                h, w, settings.size
            )  # so that a crop has whole pixels where it is decoded at a fraction
            y, x = (
                int(down * (high - h + 1)) // step * step,
                int(along * (wide - w + 1)) // step * step,
            )
            h, w = h // step * step, w // step * step
            across, tall = (
                np.minimum(x1, x + w) - np.maximum(x0, x),
                np.minimum(y1, y + h) - np.maximum(y0, y),
            )
            inside = np.maximum(across, 0) * np.maximum(tall, 0)
            seen = usable[(inside > 0) & (inside >= wanted)]
            if len(seen) or not len(usable):
                return (y, x, y + h, x + w), seen
    return (0, 0, high, wide), usable


def _draw(
    row: ImageRegions,
    seen: np.ndarray,
    crop: Crop,
    settings: ViewSettings,
    labels: Labels,
    rng: np.random.Generator,
    where: str,
) -> _Drawn:
    """N of the regions in view: the first N of a shuffle that have a pixel of their mask in view,
    and a label."""
    order, count = rng.permutation(seen), settings.regions
    kept: list[np.ndarray] = []
    cells: list[np.ndarray] = []
    texts: dict[int, np.ndarray] = {}
    for part in (order[at : at + count] for at in range(0, max(len(order), 1), count)):
        fit = np.ones(len(part), bool)
        for at in (row.kinds[part] == 1).nonzero()[0].tolist():
            ids = texts[int(part[at])] = _token_ids(
                row, int(part[at]), settings, labels, rng, where
            )
            fit[at] = len(ids) > 0
        if settings.patch or any(row.masks[region] for region in part.tolist()):
            shares = _shares(row, part, crop, settings)
            fit &= shares.any((1, 2))
            cells.append(shares[fit])
        kept.append(part[fit])
        if sum(map(len, kept)) >= count:
            break
    chosen = np.concatenate(kept)[:count] if len(kept) != 1 else kept[0]
    dropped = len(order) - len(chosen) if len(chosen) < count else 0
    if not len(chosen):
        return _nothing(settings, dropped, where)
    picks = np.arange(count)
    if len(chosen) < count:
        picks[len(chosen) :] = rng.integers(len(chosen), size=count - len(chosen))
    regions = chosen[picks]
    table = np.full((count, settings.positives), -1, np.int64)
    table[:, 0] = row.labels[regions]
    for at in (row.kinds[regions] == 1).nonzero()[0].tolist():
        ids = texts[int(regions[at])]
        table[at] = -1
        table[at, : len(ids)] = ids
    on_patches = np.concatenate(cells)[picks] if settings.patch else None
    boxes = to_view(row.boxes[regions], crop, settings.size)
    return _Drawn(boxes, row.kinds[regions], table, regions, on_patches, dropped)


def _nothing(settings: ViewSettings, dropped: int, where: str) -> _Drawn:
    if settings.empty != "ignore":
        raise NoRegion(f"{where}: no region in view (see ViewSettings.empty)")
    count, (high, wide) = settings.regions, settings.size
    whole = np.tile(np.array([0, 0, wide, high], np.float32), (count, 1))
    none = np.full((count, settings.positives), -1, np.int64)
    shares = np.ones((count, *_grid(settings)), np.float32) if settings.patch else None
    return _Drawn(
        whole, np.zeros(count, np.int8), none, np.full(count, -1, np.int64), shares, dropped
    )


def _token_ids(
    row: ImageRegions,
    region: int,
    settings: ViewSettings,
    labels: Labels,
    rng: np.random.Generator,
    where: str,
) -> np.ndarray:
    """Up to M different token ids of a text, in its order."""
    assert labels.tokenize is not None
    ids = np.array(list(dict.fromkeys(labels.tokenize(row.texts[region]))), np.int64)
    if len(ids) and (ids.min() < 0 or ids.max() >= labels.vocabulary):
        raise ShardError(
            f"{where}: the text of region {region} has token ids {ids.tolist()}, expected 0..{labels.vocabulary - 1}"
        )
    if len(ids) > settings.positives:
        ids = ids[np.sort(rng.choice(len(ids), settings.positives, replace=False))]
    return ids


def to_view(
    boxes: Float[np.ndarray, "k 4"], crop: Crop, size: tuple[int, int]
) -> Float[np.ndarray, "k 4"]:
    """xyxy boxes in pixels of the image -> xyxy in pixels of a view of `size` that shows `crop`,
    cut to it.

    `Frame.boxes_to_grid` with patches of one pixel, without its way through tensors (20 us instead
    of 300; a test compares them).

    >>> to_view(np.array([[0, 5, 30, 10]]), (0, 10, 20, 20), (40, 40)).tolist()
    [[0.0, 10.0, 40.0, 20.0]]
    """
    y0, x0, y1, x1 = crop
    low, high = np.array([x0, y0, x0, y0], np.float64), np.array([x1, y1, x1, y1], np.float64)
    inside = np.minimum(np.maximum(boxes, low), high) - low
    return (inside * (np.array([size[1], size[0]] * 2) / (high - low))).astype(np.float32)


def _grid(settings: ViewSettings) -> tuple[int, int]:
    """(h, w) patches of a view; without patches one cell, to see what is in view at all."""
    patch = settings.patch
    return (settings.size[0] // patch, settings.size[1] // patch) if patch else (1, 1)


def _shares(row: ImageRegions, part: np.ndarray, crop: Crop, settings: ViewSettings) -> np.ndarray:
    """`[k h w]` float32: share of each cell that a region covers."""
    grid, codes = _grid(settings), [row.masks[region] for region in part.tolist()]
    if codes and all(codes):
        return mask_shares(codes, row.size, crop, grid)
    x0, y0, x1, y1 = to_view(row.boxes[part], crop, grid).T[..., None]
    rows, cols = (np.arange(side, dtype=np.float32) for side in grid)
    down = np.maximum(np.minimum(y1, rows + 1) - np.maximum(y0, rows), 0)
    along = np.maximum(np.minimum(x1, cols + 1) - np.maximum(x0, cols), 0)
    shares = down[:, :, None] * along[:, None, :]
    coded = [at for at, code in enumerate(codes) if code]
    if coded:
        shares[coded] = mask_shares([codes[at] for at in coded], row.size, crop, grid)
    return shares
