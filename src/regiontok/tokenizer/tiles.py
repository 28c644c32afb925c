"""Tiles through an encoder: the base view of each picture, then its tiles, stitched or apart.

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
from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.tile_frames import canvas_frame, unpadded_patches, window_frame
from regiontok.core.tiling import Tiling
from regiontok.methods import Encoder
from regiontok.tokenizer.clips import encode_pictures

if TYPE_CHECKING:
    from jaxtyping import Shaped

BLACK = (0, 0, 0)


@dataclass(frozen=True, eq=False)
class TiledPicture:
    """One picture on the canvas of all its tiles.

    Attributes:
        frame: how the picture lies on the canvas of all tiles.
        tile_size: (height, width) of one tile in pixels: the encoder's own canvas.
        tiles: pictures of exactly that size, row by row.
    """

    frame: Frame
    tile_size: Pair
    tiles: list[Picture]

    @classmethod
    def of(
        cls, picture: Picture, tiling: Tiling, base: Frame, fill: tuple[int, int, int] = BLACK
    ) -> TiledPicture:
        """Cut a picture into tiles.

        Args:
            picture: the picture.
            tiling: the grids of tiles to choose from.
            base: the encoder's frame of the whole picture.
            fill: colour of the padding.
        """
        frame = canvas_frame(tiling, picture.size, base.canvas, base.patch)
        pixels, (height, width) = frame.place(picture, fill=fill), base.canvas
        tiles = []
        for number, (top, left) in enumerate(_corners(frame, base.canvas), 1):
            tile_pixels = np.ascontiguousarray(pixels[top : top + height, left : left + width])
            tile_pixels.flags.writeable = False
            name = f"{picture.name}, tile {number}"
            tiles.append(Picture(tile_pixels, f"{picture.key}/{number}", name))
        return cls(frame, base.canvas, tiles)


def views_of(
    encoder: Encoder,
    pictures: Sequence[Picture | Clip],
    tiling: Tiling,
    *,
    cut: str = "stitched",
    padding: str = "drop",
) -> list[PatchGrid]:
    """The views of each picture, picture by picture.

    The base view comes first, then the stitched grid, or the tiles row by row. CLS, summary tokens
    and registers are those of the base view. `padding="drop"` takes LLaVA's unpadding off the
    stitched grid.

    Args:
        encoder: an encoder as `Encoder.for_tiles` gives it.
        pictures: pictures of any sizes.
        tiling: the grids of tiles to choose from.
        cut: "stitched" makes one view of all tiles, "tile" one view of each.
        padding: "drop" or "keep".

    Raises:
        ValueError: If there is a clip, or tiles are to be stitched that are not whole patches.
    """
    stills = [picture for picture in pictures if isinstance(picture, Picture)]
    if len(stills) < len(pictures):
        raise ValueError("a clip's frames are not cut into tiles: set tiles=''")
    tiled_pictures = [
        TiledPicture.of(
            picture,
            tiling,
            encoder.frame(picture.size),
            _mean_colour(picture) if encoder.standardises else BLACK,
        )
        for picture in stills
    ]
    base_grids, tile_grids = _encoded(encoder, stills, tiled_pictures)
    views = []
    for base, tiles, tiled_picture in zip(base_grids, tile_grids, tiled_pictures, strict=True):
        further_views = (
            [_stitched(tiles, tiled_picture, padding, base.key)]
            if cut == "stitched"
            else _apart(tiles, tiled_picture)
        )
        views += [base, *(view.but(view=number) for number, view in enumerate(further_views, 1))]
    return views


def count_views(encoder: Encoder, image: Pair, tiling: Tiling, *, cut: str = "stitched") -> int:
    """How many views `views_of` gives of a picture, without encoding any.

    Args:
        encoder: an encoder as `Encoder.for_tiles` gives it.
        image: size of the picture in pixels.
        tiling: the grids of tiles to choose from.
        cut: see `views_of`.
    """
    if cut == "stitched":
        return 2
    base = encoder.frame(image)
    frame = canvas_frame(tiling, image, base.canvas, base.patch)
    tiles = (window_frame(frame, corner, base.canvas) for corner in _corners(frame, base.canvas))
    return 1 + sum(tile is not None for tile in tiles)


def _encoded(
    encoder: Encoder, pictures: Sequence[Picture], tiled_pictures: Sequence[TiledPicture]
) -> tuple[list[PatchGrid], list[list[PatchGrid]]]:
    """The base view of each picture, and the grids of its tiles."""
    if encoder.standardises:  # over all tiles of a picture, as if they were the frames of a clip
        return encode_pictures(encoder, pictures), [
            _frames_apart(encoder.encode_clip(picture.tiles), picture) for picture in tiled_pictures
        ]
    tiles = [tile for picture in tiled_pictures for tile in picture.tiles]
    grids = encode_pictures(encoder, [*pictures, *tiles])
    tile_grids = iter(grids[len(pictures) :])
    return grids[: len(pictures)], [
        [next(tile_grids) for _ in picture.tiles] for picture in tiled_pictures
    ]


def _frames_apart(clip_grid: PatchGrid, tiled_picture: TiledPicture) -> list[PatchGrid]:
    """The grid of a clip whose frames are tiles, as one grid a tile."""
    features, values = clip_grid.features, clip_grid.values
    values_by_tile = [None] * len(features) if values is None else list(values)
    return [
        PatchGrid(tile_features, clip_grid.frame, values=tile_values, key=tile.key)
        for tile_features, tile_values, tile in zip(
            features, values_by_tile, tiled_picture.tiles, strict=True
        )
    ]


def _apart(tiles: Sequence[PatchGrid], tiled_picture: TiledPicture) -> list[PatchGrid]:
    """Each tile as a view by itself, but for those that show nothing but padding."""
    frame, tile_size = tiled_picture.frame, tiled_picture.tile_size
    tile_frames = (window_frame(frame, corner, tile_size) for corner in _corners(frame, tile_size))
    return [
        tile.but(frame=tile_frame, prefix=None, summaries=0)
        for tile, tile_frame in zip(tiles, tile_frames, strict=True)
        if tile_frame is not None
    ]


def _stitched(
    tiles: Sequence[PatchGrid], tiled_picture: TiledPicture, padding: str, key: str
) -> PatchGrid:
    """All tiles as one grid, without LLaVA's unpadding if padding is dropped."""
    frame, tile_size = tiled_picture.frame, tiled_picture.tile_size
    patch = frame.patch
    _check_whole_patches(tile_size, patch)
    rows, columns = (
        unpadded_patches(frame)
        if padding == "drop"
        else (slice(0, frame.grid[0]), slice(0, frame.grid[1]))
    )

    def joined(tensors: list[Tensor | None]) -> Shaped[Tensor, "h w *rest"] | None:
        present = [tensor for tensor in tensors if tensor is not None]
        if not present:
            return None
        return _side_by_side(present, frame.canvas[1] // tile_size[1])[rows, columns].contiguous()

    features = joined([grid.features for grid in tiles])
    start = rows.start * patch[0], columns.start * patch[1]
    size = (rows.stop - rows.start) * patch[0], (columns.stop - columns.start) * patch[1]
    stitched_frame = window_frame(frame, start, size)
    assert features is not None
    assert stitched_frame is not None  # unpadding leaves part of the image
    return PatchGrid(
        features,
        stitched_frame,
        values=joined([grid.values for grid in tiles]),
        cls_attention=joined([grid.cls_attention for grid in tiles]),
        key=f"{key}/1",
    )


def _check_whole_patches(tile_size: Pair, patch: Pair) -> None:
    if tile_size[0] % patch[0] or tile_size[1] % patch[1]:
        height, width = (
            length // side * side for length, side in zip(tile_size, patch, strict=True)
        )
        raise ValueError(
            f"tiles of {tile_size[0]} x {tile_size[1]} pixels are not whole patches of "
            f"{patch[0]} x {patch[1]} and cannot be stitched: take a size of {height} x {width}, "
            "or cut='tile'"
        )


def _side_by_side(tiles: Sequence[Tensor], columns: int) -> Shaped[Tensor, "h w *rest"]:
    """Tiles that came row by row, `columns` in a row, as one tensor."""
    starts = range(0, len(tiles), columns)
    return torch.cat([torch.cat(list(tiles[start : start + columns]), 1) for start in starts])


def _mean_colour(picture: Picture) -> tuple[int, int, int]:
    red, green, blue = picture.pixels.mean((0, 1)).round().astype(int).tolist()
    return red, green, blue


def _corners(frame: Frame, tile_size: Pair) -> list[Pair]:
    """(y, x) of each tile's upper left corner on the canvas, row by row."""
    return [
        (top, left)
        for top in range(0, frame.canvas[0], tile_size[0])
        for left in range(0, frame.canvas[1], tile_size[1])
    ]
