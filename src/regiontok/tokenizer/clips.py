"""Pictures and clips through an encoder: one grid `[t h w d]` a clip, beside those of pictures."""

from __future__ import annotations

from collections.abc import Sequence

from regiontok.core.clip import Clip
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.methods import Encoder


def encode(encoder: Encoder, sources: Sequence[Picture | Clip]) -> list[PatchGrid]:
    """One grid a source: pictures are encoded together, clips one by one.

    An encoder that standardises over a picture does so over all frames of a clip
    (`Encoder.encode_clip`); of any other encoder the frames' own grids are stacked.
    """
    pictures = [source for source in sources if isinstance(source, Picture)]
    picture_grids = iter(encode_pictures(encoder, pictures) if pictures else ())
    return [
        encoder.encode_clip(source.frames).but(key=source.key)
        if isinstance(source, Clip)
        else next(picture_grids)
        for source in sources
    ]


def encode_pictures(encoder: Encoder, pictures: Sequence[Picture]) -> list[PatchGrid]:
    """The grid of each picture, with the key of the picture, whatever key the encoder gave it.

    Raises:
        ValueError: If the encoder gives another number of grids than there are pictures.
    """
    grids = encoder.encode(pictures)
    if len(grids) != len(pictures):
        raise ValueError(
            f"{type(encoder).__name__}.encode gives {len(grids)} grids for {len(pictures)} "
            "pictures; it must give one for each"
        )
    return [
        grid if grid.key == picture.key else grid.but(key=picture.key)
        for grid, picture in zip(grids, pictures, strict=True)
    ]
