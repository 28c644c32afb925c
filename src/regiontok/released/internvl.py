"""InternVL: an image stretched over R x C square tiles, then a thumbnail of the whole.

A token is a cell of 2 x 2 patches of the tower.

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

from regiontok.core.frame import Frame, Pair
from regiontok.released.family import Cut, EncodedImage, Family, View, recorded_calls
from regiontok.released.server_form import ServerForm

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class InternVL(Family):
    """Views: the tiles row by row (or stitched), then the thumbnail if there are several tiles.

    Raises:
        ValueError: If the model keeps CLS among the patches.
    """

    tower_inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "num_patches")
    server_form: ClassVar[ServerForm] = ServerForm(video=True)

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        strategy = model.config.vision_feature_select_strategy
        if strategy != "default":
            raise ValueError(
                f"vision_feature_select_strategy={strategy!r} keeps CLS among the patches, which "
                "then lie on no grid: this family takes 'default'"
            )
        self._projector = model.model.multi_modal_projector

    def encode(
        self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut
    ) -> list[EncodedImage]:
        """Each image with its tiles.

        The processor says how many tiles an image has, its rule for the size in how many rows.
        """
        pixels = inputs["pixel_values"]
        counts = torch.as_tensor(inputs["num_patches"]).tolist()
        tile_counts = [
            self._tile_counts(size, count, tuple(pixels.shape[-2:]))
            for size, count in zip(sizes, counts, strict=True)
        ]
        with torch.no_grad(), recorded_calls(self._projector) as calls:
            self.model.model.get_image_features(pixels, return_dict=True)
        ((projector_inputs, projector_outputs),) = calls
        by_image = zip(
            projector_inputs.split(counts),
            projector_outputs.split(counts),
            tile_counts,
            sizes,
            strict=True,
        )
        return [_encoded_image(*image, pixels.shape[-1], cut) for image in by_image]

    def _tile_counts(self, size: Pair, count: int, tile_size: Pair) -> Pair:
        """(rows, columns) of tiles of one image."""
        if tile_size[0] != tile_size[1]:
            raise ValueError(
                "the model's own code takes square tiles, the processor makes "
                f"{tile_size[0]} x {tile_size[1]} pixels"
            )
        if count == 1:
            return 1, 1
        rule = self.processor.image_processor
        columns, rows = get_optimal_tiled_canvas(
            size, tile_size, rule.min_patches, rule.max_patches
        )
        if rows * columns + 1 != count:
            raise ValueError(
                f"the processor made {count} tiles of an image of {size[0]} x {size[1]} pixels, "
                f"its own rule makes {rows} x {columns} and a thumbnail: set min_patches and "
                "max_patches on the image processor itself"
            )
        return rows, columns

    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """Rows through the model's own projector."""
        projected: Tensor = self._projector(rows.to(self._projector.linear_1.weight))
        return projected


def _encoded_image(
    projector_inputs: Float[Tensor, "tiles cells d"],
    projector_outputs: Float[Tensor, "tiles cells e"],
    tile_counts: Pair,
    size: Pair,
    edge: int,
    cut: Cut,
) -> EncodedImage:
    """One image from what the projector read and gave; a tile is `edge` pixels wide and high."""
    side = math.isqrt(projector_inputs.shape[1])
    cell = edge // side
    grids = projector_inputs.unflatten(1, (side, side))
    projected = projector_outputs.unflatten(1, (side, side))
    count = math.prod(tile_counts)
    if cut == "stitched" or count == 1:
        canvas = tile_counts[0] * edge, tile_counts[1] * edge
        frame = Frame.stretch(size, canvas, (cell, cell))
        stitched = _stitched(grids[:count], tile_counts), _stitched(projected[:count], tile_counts)
        views = [View.of(frame, *stitched)]
    else:
        frames = [_tile_frame(size, tile_counts, index, edge, cell) for index in range(count)]
        views = [View.of(frames[i], grids[i], projected[i]) for i in range(count)]
    if count > 1:
        thumbnail = Frame.stretch(size, (edge, edge), (cell, cell))
        views.append(View.of(thumbnail, grids[-1], projected[-1]))
    places = _own_places(tile_counts, side) if cut == "stitched" and count > 1 else None
    return EncodedImage(tuple(views), (projector_outputs.flatten(0, 1),), token_places=places)


def _own_places(tile_counts: Pair, side: int) -> Int[Tensor, "t 2"]:
    """(view, patch) of the model's own tokens: tiles on the stitched view, then thumbnail."""
    grid = torch.arange(math.prod(tile_counts) * side**2)
    grid = grid.view(tile_counts[0] * side, tile_counts[1] * side)
    tiles = grid.unflatten(0, (tile_counts[0], side)).unflatten(2, (tile_counts[1], side))
    stitched = tiles.transpose(1, 2).flatten()
    thumbnail = torch.arange(side**2)
    view = torch.cat([torch.zeros_like(stitched), torch.ones_like(thumbnail)])
    return torch.stack([view, torch.cat([stitched, thumbnail])], 1)


def _stitched(cells: Float[Tensor, "n g g d"], tile_counts: Pair) -> Float[Tensor, "h w d"]:
    """Tiles, row by row, as one grid."""
    tiles: Tensor = cells.unflatten(0, tile_counts)
    return tiles.transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _tile_frame(size: Pair, tile_counts: Pair, index: int, edge: int, cell: int) -> Frame:
    """The part of the image under one tile; `index` counts row by row."""
    row, column = divmod(index, tile_counts[1])
    height, width = size[0] / tile_counts[0], size[1] / tile_counts[1]
    crop = (row * height, column * width, (row + 1) * height, (column + 1) * width)
    return Frame(
        image=size,
        crop=crop,
        resized=(edge, edge),
        offset=(0, 0),
        canvas=(edge, edge),
        patch=(cell, cell),
    )
