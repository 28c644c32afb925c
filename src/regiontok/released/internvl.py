"""InternVL: an image stretched over R x C square tiles, then a thumbnail of the whole; a token is a
cell of 2 x 2 patches.

After: the family's code in transformers.
Differs: `cut="stitched"` lays the tiles side by side again, so that a region may cross their
borders; nothing else known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.released.family import Cut, Family, ImageTokens, Pair, Seen, View, tapped

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class InternVL(Family):
    """See `Family`. Views: the tiles row by row (or stitched), then the thumbnail if there is more
    than one tile.

    Raises:
        ValueError: a model that keeps CLS among the patches.
    """

    consumed: ClassVar[tuple[str, ...]] = ("pixel_values", "num_patches")

    def __init__(self, model: Any, processor: Any) -> None:
        strategy = model.config.vision_feature_select_strategy
        if strategy != "default":
            raise ValueError(
                f"vision_feature_select_strategy={strategy!r} keeps CLS among the patches, which then lie on no grid: this family "
                "takes 'default'"
            )
        self.model, self.processor = model, processor
        self._projector = model.model.multi_modal_projector

    def see(self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut) -> list[Seen]:
        """Each image's tiles; the processor says how many it has, its rule for the size says in how
        many rows."""
        pixels = inputs["pixel_values"]
        counts = torch.as_tensor(inputs["num_patches"]).tolist()
        tiles = [
            self._tiles(size, count, tuple(pixels.shape[-2:]))
            for size, count in zip(sizes, counts, strict=True)
        ]
        with torch.no_grad(), tapped(self._projector) as calls:
            self.model.model.get_image_features(pixels, return_dict=True)
        ((read, gave),) = calls
        parts = zip(read.split(counts), gave.split(counts), strict=True)
        edge = pixels.shape[-1]
        return [
            _seen(*part, grid, size, edge, cut)
            for part, grid, size in zip(parts, tiles, sizes, strict=True)
        ]

    def _tiles(self, size: Pair, count: int, tile: Pair) -> Pair:
        """(rows, columns) of tiles of one image."""
        if tile[0] != tile[1]:
            raise ValueError(
                f"the model's own code takes square tiles, the processor makes {tile[0]} x {tile[1]} pixels"
            )
        if count == 1:
            return 1, 1
        rule = self.processor.image_processor
        columns, rows = get_optimal_tiled_canvas(size, tile, rule.min_patches, rule.max_patches)
        if rows * columns + 1 != count:
            raise ValueError(
                f"the processor made {count} tiles of an image of {size[0]} x {size[1]} pixels, its own rule makes {rows} x "
                f"{columns} and a thumbnail: set min_patches and max_patches on the image processor itself"
            )
        return rows, columns

    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """The model's own projector."""
        return self._projector(rows.to(self._projector.linear_1.weight))

    def positions(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> None:
        """The model counts tokens."""


def _seen(read: Tensor, gave: Tensor, tiles: Pair, size: Pair, edge: int, cut: Cut) -> Seen:
    """One image from what the projector read and gave, `[tiles cells d]` and `[tiles cells e]`."""
    side = math.isqrt(read.shape[1])
    cell = edge // side
    before, after = (rows.unflatten(1, (side, side)) for rows in (read, gave))
    count = tiles[0] * tiles[1]
    if cut == "stitched" or count == 1:
        frame = Frame.stretch(size, (tiles[0] * edge, tiles[1] * edge), (cell, cell))
        views = [_view(_stitched(before[:count], tiles), _stitched(after[:count], tiles), frame)]
    else:
        views = [
            _view(before[i], after[i], _tile(size, tiles, i, edge, cell)) for i in range(count)
        ]
    if count > 1:
        views.append(_view(before[-1], after[-1], Frame.stretch(size, (edge, edge), (cell, cell))))
    return Seen(tuple(views), (gave.flatten(0, 1),))


def _stitched(cells: Float[Tensor, "n g g d"], tiles: Pair) -> Float[Tensor, "h w d"]:
    """Tiles, row by row, as one grid."""
    return cells.unflatten(0, tiles).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _view(before: Float[Tensor, "h w d"], after: Float[Tensor, "h w e"], frame: Frame) -> View:
    return View(PatchGrid(before.float(), frame), (before,), (after,))


def _tile(size: Pair, tiles: Pair, place: int, edge: int, cell: int) -> Frame:
    """The part of the image under one tile; `place` counts row by row."""
    row, column = divmod(place, tiles[1])
    high, wide = size[0] / tiles[0], size[1] / tiles[1]
    crop = (row * high, column * wide, (row + 1) * high, (column + 1) * wide)
    return Frame(size, crop, (edge, edge), (0, 0), (edge, edge), (cell, cell))
