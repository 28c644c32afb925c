"""Drawing a view: a random crop of an image, resized and flipped, with exactly N of its regions.

After: RICE, section 3.2, "Region Sampling" (row R3: N regions without replacement; fewer are all
kept and resampled up to N).
Differs: the paper names no augmentation. Here: a random resized crop (a crop without a region is
drawn anew, ten times, then the whole image is taken); a flip, but never of an image with text; text
that the crop cuts off is left out, half a word has another label. Of a text with more than M tokens
M are drawn at random for each view.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regiontok.shards.decode import decoding_divisor
from regiontok.shards.device_decode import EncodedCrop
from regiontok.shards.image_regions import KINDS, ImageRegions
from regiontok.shards.shares import mask_shares
from regiontok.shards.tar import ShardError
from regiontok.shards.views import Crop, Kind, LabelSpace, NoRegion, View, ViewSettings, to_view

if TYPE_CHECKING:
    from jaxtyping import Float, Int

TRIES = 10  # crops drawn before the whole image is taken, as torchvision's RandomResizedCrop does


def draw_view(
    row: ImageRegions,
    read: Callable[[], bytes],
    settings: ViewSettings,
    labels: LabelSpace,
    rng: np.random.Generator,
    *,
    shard: str,
    kind: Kind | None = None,
) -> View:
    """Draw a view of one image; every draw comes from `rng`.

    Args:
        row: the image's regions.
        read: gives the image's bytes; called when the crop is known.
        settings: the settings of the view.
        labels: the labels that regions may have.
        rng: the source of all draws.
        shard: name of the shard, for messages.
        kind: the only kind of regions that is used; None uses both.

    Raises:
        ShardError: If a label is out of range, or the image has another size than the row says;
            the message names shard and image.
        NoRegion: If no region is in view, and `empty` is not "ignore".
        PictureError: If the image cannot be decoded.
    """
    drawing = _Drawing(row, settings, labels, rng, f"{shard}, image {row.index} ({row.key})")
    usable = drawing.usable_regions(kind)
    crop, visible = drawing.crop(usable)
    drawn = drawing.regions(visible, crop)
    flipped = bool(rng.random() < settings.flip) and not (row.kinds == 1).any()
    image = EncodedCrop(read(), row.size, crop, flipped, drawing.name)
    pixels, encoded = image.pixels(settings.size, later=settings.encoded)
    width = settings.size[1]
    boxes, shares = drawn.boxes, drawn.shares
    if flipped:
        pixels = pixels[:, ::-1]
        boxes[:, 0], boxes[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
        shares = None if shares is None else shares[..., ::-1]
    return View(
        pixels=pixels,
        boxes=boxes,
        kinds=drawn.kinds,
        labels=drawn.labels,
        excluded=drawn.excluded,
        regions=drawn.regions,
        shares=shares,
        has_mask=drawn.has_mask,
        crop=crop,
        flipped=flipped,
        dropped=len(usable) - len(visible) + drawn.dropped,
        shard=shard,
        index=row.index,
        encoded=encoded,
    )


@dataclass(frozen=True, eq=False)
class _DrawnRegions:
    """N regions of a view; see `View` for the fields."""

    boxes: np.ndarray
    kinds: np.ndarray
    labels: np.ndarray
    excluded: np.ndarray
    regions: np.ndarray
    shares: np.ndarray | None
    has_mask: np.ndarray
    dropped: int


@dataclass(frozen=True, eq=False)
class _Drawing:
    """The draws of one view.

    Attributes:
        row: the image's regions.
        settings: the settings of the view.
        labels: the labels that regions may have.
        rng: the source of all draws.
        name: what messages call the image.
    """

    row: ImageRegions
    settings: ViewSettings
    labels: LabelSpace
    rng: np.random.Generator
    name: str

    def usable_regions(self, kind: Kind | None) -> Int[np.ndarray, "u"]:
        """Numbers of the regions that may be drawn if they are in view."""
        row, classes = self.row, self.labels.classes
        is_text = row.kinds == 1
        wrong = ((row.labels < -1) | (row.labels >= classes)) & ~is_text
        if wrong.any():
            region = int(wrong.argmax())
            raise ShardError(
                f"{self.name}: region {region} has the label {row.labels[region]}, "
                f"expected 0..{classes - 1} (or -1)"
            )
        usable = row.labels >= 0
        if is_text.any():
            confident = row.confidences > self.settings.min_confidence
            usable = np.where(is_text, confident & (self.labels.tokenize is not None), usable)
        if kind is not None:
            usable = usable & (row.kinds == KINDS.index(kind))
        return usable.nonzero()[0]

    def crop(self, usable: Int[np.ndarray, "u"]) -> tuple[Crop, Int[np.ndarray, "v"]]:
        """A crop (y0, x0, y1, x1), and the regions whose boxes are in view."""
        row, settings = self.row, self.settings
        height, width = row.size
        if settings.scale is None:
            return (0, 0, height, width), usable
        boxes, is_text = row.boxes[usable].astype(np.float64), row.kinds[usable] == 1
        x0, y0, x1, y1 = boxes.T
        wanted_area: np.ndarray | float = 0.0
        if is_text.any():
            wanted_area = is_text * settings.text_visible * ((x1 - x0) * (y1 - y0))
        for _ in range(TRIES):
            crop = self._random_crop()
            if crop is None:
                continue
            top, left, bottom, right = crop
            across = np.minimum(x1, right) - np.maximum(x0, left)
            down = np.minimum(y1, bottom) - np.maximum(y0, top)
            visible_area = np.maximum(across, 0) * np.maximum(down, 0)
            visible = usable[(visible_area > 0) & (visible_area >= wanted_area)]
            if len(visible) or not len(usable):
                return crop, visible
        return (0, 0, height, width), usable

    def _random_crop(self) -> Crop | None:
        """A crop of random area, shape and place; None if it does not fit into the image."""
        settings, (height, width) = self.settings, self.row.size
        assert settings.scale is not None
        (smallest, largest), ratios = settings.scale, settings.ratio
        narrowest, widest = map(math.log, ratios)
        share, stretch, down, along = self.rng.random(4).tolist()
        pixels = height * width * (smallest + share * (largest - smallest))
        view_aspect = settings.size[1] / settings.size[0]
        aspect = view_aspect * math.exp(narrowest + stretch * (widest - narrowest))
        h, w = round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))
        if not (0 < h <= height and 0 < w <= width):
            return None
        # so that a crop has whole pixels where it is decoded at a fraction
        step = decoding_divisor(h, w, settings.size)
        y = int(down * (height - h + 1)) // step * step
        x = int(along * (width - w + 1)) // step * step
        return y, x, y + h // step * step, x + w // step * step

    def regions(self, visible: Int[np.ndarray, "v"], crop: Crop) -> _DrawnRegions:
        """N of the regions whose boxes are in view.

        They are the first N of a shuffle that have a pixel of their mask in view, and a label.
        """
        row, count = self.row, self.settings.regions
        order = self.rng.permutation(visible)
        chunks: list[np.ndarray] = []
        shares_of_chunks: list[np.ndarray] = []
        token_ids: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for start in range(0, max(len(order), 1), count):
            chunk = order[start : start + count]
            fits = np.ones(len(chunk), bool)
            for place in (row.kinds[chunk] == 1).nonzero()[0].tolist():
                region = int(chunk[place])
                token_ids[region] = self._token_ids(region)
                fits[place] = len(token_ids[region][0]) > 0
            if self.settings.patch or any(self._codes(chunk)):
                shares = self._shares(chunk, crop)
                fits &= shares.any((1, 2))
                shares_of_chunks.append(shares[fits])
            chunks.append(chunk[fits])
            if sum(map(len, chunks)) >= count:
                break
        chosen = np.concatenate(chunks)[:count] if len(chunks) != 1 else chunks[0]
        dropped = len(order) - len(chosen) if len(chosen) < count else 0
        if not len(chosen):
            return self._no_regions(dropped)
        picks = np.arange(count)
        if len(chosen) < count:
            picks[len(chosen) :] = self.rng.integers(len(chosen), size=count - len(chosen))
        regions = chosen[picks]
        shares_on_patches = np.concatenate(shares_of_chunks)[picks] if self.settings.patch else None
        labels, excluded = self._label_tables(regions, token_ids)
        return _DrawnRegions(
            boxes=to_view(row.boxes[regions], crop, self.settings.size),
            kinds=row.kinds[regions],
            labels=labels,
            excluded=excluded,
            regions=regions,
            shares=shares_on_patches,
            has_mask=np.array([bool(code) for code in self._codes(regions)]),
            dropped=dropped,
        )

    def _label_tables(
        self,
        regions: Int[np.ndarray, "N"],
        token_ids: dict[int, tuple[Int[np.ndarray, "m"], Int[np.ndarray, "e"]]],
    ) -> tuple[Int[np.ndarray, "N M"], Int[np.ndarray, "N E"]]:
        """The labels of some regions, and the token ids of theirs that are no labels."""
        widest = max((len(others) for _, others in token_ids.values()), default=0)
        table = np.full((len(regions), self.settings.positives), -1, np.int64)
        excluded = np.full((len(regions), widest), -1, np.int64)
        table[:, 0] = self.row.labels[regions]
        for place in (self.row.kinds[regions] == 1).nonzero()[0].tolist():
            ids, others = token_ids[int(regions[place])]
            table[place] = -1
            table[place, : len(ids)] = ids
            excluded[place, : len(others)] = others
        return table, excluded

    def _no_regions(self, dropped: int) -> _DrawnRegions:
        settings = self.settings
        if settings.empty != "ignore":
            raise NoRegion(f"{self.name}: no region in view (see ViewSettings.empty)")
        count, (height, width) = settings.regions, settings.size
        whole_view = np.array([0, 0, width, height], np.float32)
        return _DrawnRegions(
            boxes=np.tile(whole_view, (count, 1)),
            kinds=np.zeros(count, np.int8),
            labels=np.full((count, settings.positives), -1, np.int64),
            excluded=np.full((count, 0), -1, np.int64),
            regions=np.full(count, -1, np.int64),
            shares=np.ones((count, *settings.grid), np.float32) if settings.patch else None,
            has_mask=np.zeros(count, bool),
            dropped=dropped,
        )

    def _token_ids(self, region: int) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "e"]]:
        """Up to M different token ids of a text, drawn at random from more, and the others."""
        labels, most = self.labels, self.settings.positives
        assert labels.tokenize is not None
        ids = np.array(list(dict.fromkeys(labels.tokenize(self.row.texts[region]))), np.int64)
        if len(ids) and (ids.min() < 0 or ids.max() >= labels.vocabulary):
            raise ShardError(
                f"{self.name}: the text of region {region} has token ids {ids.tolist()}, "
                f"expected 0..{labels.vocabulary - 1}"
            )
        if len(ids) <= most:
            return ids, ids[:0]
        chosen = np.sort(self.rng.choice(len(ids), most, replace=False))
        return ids[chosen], np.delete(ids, chosen)

    def _codes(self, regions: Int[np.ndarray, "k"]) -> list[bytes]:
        """The masks of some regions, b"" for none."""
        masks = self.row.masks
        return [masks[region] if self.settings.masks else b"" for region in regions.tolist()]

    def _shares(self, regions: Int[np.ndarray, "k"], crop: Crop) -> Float[np.ndarray, "k h w"]:
        """Share of each patch that a region covers."""
        row, grid = self.row, self.settings.grid
        codes = self._codes(regions)
        if codes and all(codes):
            return mask_shares(codes, row.size, crop, grid)
        x0, y0, x1, y1 = to_view(row.boxes[regions], crop, grid).T[..., None]
        rows, columns = (np.arange(side, dtype=np.float32) for side in grid)
        down = np.maximum(np.minimum(y1, rows + 1) - np.maximum(y0, rows), 0)
        along = np.maximum(np.minimum(x1, columns + 1) - np.maximum(x0, columns), 0)
        shares: np.ndarray = down[:, :, None] * along[:, None, :]
        coded = [number for number, code in enumerate(codes) if code]
        if coded:
            coded_masks = [codes[number] for number in coded]
            shares[coded] = mask_shares(coded_masks, row.size, crop, grid)
        return shares
