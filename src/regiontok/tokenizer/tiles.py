"""Tiles through an encoder: of each picture the base view, then its tiles, each a view or stitched
to one grid.

After: LLaVA-NeXT (`process_anyres_image`, `pack_image_features`); RICE, row R9 (2x2+1).
Differs: the canvas of all tiles is resized with Pillow's bicubic filter, LLaVA's choice, whatever
filter the encoder names for its own. A tile that shows nothing but padding is no view of its own.
An encoder that standardises over a picture (`lite`, `filters`) does so over all tiles of it
together, padding included; there padding has the picture's mean colour, elsewhere it is black, as
LLaVA has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.tile_frames import canvas_frame, unpadded_patches, window_frame
from regiontok.core.tiling import Tiling
from regiontok.methods import Encoder

if TYPE_CHECKING:
    from jaxtyping import Shaped


@dataclass(frozen=True, eq=False)
class Cutting:
    """One picture on the canvas of all its tiles.

    Attributes:
        frame: of that canvas.
        tile: size of one tile in pixels: the encoder's own canvas.
        tiles: pictures of exactly that size, row by row.
    """

    frame: Frame
    tile: tuple[int, int]
    tiles: list[Picture]

    @classmethod
    def of(
        cls, picture: Picture, tiling: Tiling, base: Frame, fill: tuple[int, int, int] = (0, 0, 0)
    ) -> Cutting:
        """Cut a picture for an encoder whose frame of the whole picture is `base`; padding has the
        colour `fill`."""
        frame = canvas_frame(tiling, picture.size, base.canvas, base.patch)
        pixels, (high, wide) = frame.place(picture, fill=fill), base.canvas
        parts = []
        for number, (y, x) in enumerate(_corners(frame, base.canvas), 1):
            part = np.ascontiguousarray(pixels[y : y + high, x : x + wide])
            part.flags.writeable = False
            parts.append(Picture(part, f"{picture.key}/{number}", f"{picture.name}, tile {number}"))
        return cls(frame, base.canvas, parts)


def views_of(
    encoder: Encoder,
    pictures: Sequence[Picture | Clip],
    tiling: Tiling,
    *,
    cut: str = "stitched",
    padding: str = "drop",
) -> list[PatchGrid]:
    """The views of each picture, picture by picture: the base view, then the stitched grid, or its
    tiles row by row.

    CLS, summary tokens and registers are those of the base view. `padding="drop"` takes LLaVA's
    unpadding off the stitched grid.

    Args:
        encoder: as `Encoder.for_tiles` gives it.
        pictures: of any sizes.
        tiling: the grids to choose from.
        cut: "stitched", one view of all tiles, or "tile", a view a tile.
        padding: "drop" or "keep".

    Raises:
        ValueError: a clip; tiles that are not whole patches and so cannot be stitched.
    """
    own = [picture for picture in pictures if isinstance(picture, Picture)]
    if len(own) < len(pictures):
        raise ValueError("a clip's frames are not cut into tiles: set tiles=''")
    fills = [_mean_colour(picture) if encoder.standardises else (0, 0, 0) for picture in own]
    cuttings = [
        Cutting.of(one, tiling, encoder.frame(one.size), fill)
        for one, fill in zip(own, fills, strict=True)
    ]
    views = []
    for base, tiles, cutting in zip(*_encoded(encoder, own, cuttings), cuttings, strict=True):
        rest = (
            [_stitched(tiles, cutting, padding, base.key)]
            if cut == "stitched"
            else _apart(tiles, cutting)
        )
        views += [base, *(view.but(view=number) for number, view in enumerate(rest, 1))]
    return views


def _encoded(
    encoder: Encoder, pictures: Sequence[Picture], cuttings: Sequence[Cutting]
) -> tuple[list[PatchGrid], list[list[PatchGrid]]]:
    """The base view of each picture, and its tiles."""
    if hasattr(
        encoder, "encode_clip"
    ):  # it standardises over what it is given: the tiles are one picture
        return encoder.encode(pictures), [
            _of_clip(encoder.encode_clip(cutting.tiles), cutting) for cutting in cuttings
        ]
    grids = encoder.encode([*pictures, *(tile for cutting in cuttings for tile in cutting.tiles)])
    rest = iter(grids[len(pictures) :])
    return grids[: len(pictures)], [[next(rest) for _ in cutting.tiles] for cutting in cuttings]


def _of_clip(clip: PatchGrid, cutting: Cutting) -> list[PatchGrid]:
    values = [None] * len(clip.features) if clip.values is None else clip.values
    return [
        PatchGrid(own, clip.frame, values=read, key=tile.key)
        for own, read, tile in zip(clip.features, values, cutting.tiles, strict=True)
    ]


def _apart(tiles: Sequence[PatchGrid], cutting: Cutting) -> list[PatchGrid]:
    frames = (
        window_frame(cutting.frame, corner, cutting.tile)
        for corner in _corners(cutting.frame, cutting.tile)
    )
    return [
        tile.but(frame=frame, prefix=None, summaries=0)
        for tile, frame in zip(tiles, frames, strict=True)
        if frame is not None
    ]


def _stitched(tiles: Sequence[PatchGrid], cutting: Cutting, padding: str, key: str) -> PatchGrid:
    frame, patch, tile = cutting.frame, cutting.frame.patch, cutting.tile
    if tile[0] % patch[0] or tile[1] % patch[1]:
        fitting = tuple(side // one * one for side, one in zip(tile, patch, strict=True))
        raise ValueError(
            f"tiles of {tile[0]} x {tile[1]} pixels are not whole patches of {patch[0]} x {patch[1]} and cannot be stitched: take a size "
            f"of {fitting[0]} x {fitting[1]}, or cut='tile'"
        )
    rows, columns = (
        unpadded_patches(frame)
        if padding == "drop"
        else (slice(0, frame.grid[0]), slice(0, frame.grid[1]))
    )

    def joined(parts: list[Tensor | None]) -> Shaped[Tensor, "h w *rest"] | None:
        present = [part for part in parts if part is not None]
        return (
            _laid(present, frame.canvas[1] // tile[1])[rows, columns].contiguous()
            if present
            else None
        )

    features = joined([grid.features for grid in tiles])
    start = rows.start * patch[0], columns.start * patch[1]
    left = window_frame(
        frame,
        start,
        ((rows.stop - rows.start) * patch[0], (columns.stop - columns.start) * patch[1]),
    )
    assert features is not None
    assert left is not None  # unpadding leaves part of the image
    return PatchGrid(
        features,
        left,
        values=joined([grid.values for grid in tiles]),
        cls_attention=joined([grid.cls_attention for grid in tiles]),
        key=f"{key}/1",
    )


def _laid(parts: Sequence[Tensor], columns: int) -> Shaped[Tensor, "h w *rest"]:
    """Grids row by row, `columns` in a row, as one."""
    return torch.cat(
        [torch.cat(list(parts[at : at + columns]), 1) for at in range(0, len(parts), columns)]
    )


def _mean_colour(picture: Picture) -> tuple[int, int, int]:
    red, green, blue = picture.pixels.mean((0, 1)).round().astype(int).tolist()
    return red, green, blue


def _corners(frame: Frame, tile: tuple[int, int]) -> list[tuple[int, int]]:
    """(y, x) of each tile's upper left corner on the canvas, row by row."""
    return [
        (y, x)
        for y in range(0, frame.canvas[0], tile[0])
        for x in range(0, frame.canvas[1], tile[1])
    ]
