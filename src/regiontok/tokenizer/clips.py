"""Clips through an encoder: one grid `[t h w d]` a clip, beside the grids of single pictures."""

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
    picture_grids = iter(encoder.encode(pictures) if pictures else ())
    return [
        encoder.encode_clip(source.frames).but(key=source.key)
        if isinstance(source, Clip)
        else next(picture_grids)
        for source in sources
    ]
