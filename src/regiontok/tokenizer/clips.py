"""Clips through an encoder: one grid `[t h w d]` a clip, beside the grids of single pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regiontok.core.clip import Clip
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture


def encode(encoder: Any, sources: Sequence[Picture | Clip]) -> list[PatchGrid]:
    """A grid a source: pictures are encoded together, clips one by one.

    An encoder that standardises over a picture offers `encode_clip(pictures) -> PatchGrid`, which
    does so over the clip; of any other the frames' own grids are stacked, as each feature stays
    what the network gave.
    """
    pictures = [source for source in sources if isinstance(source, Picture)]
    single = iter(encoder.encode(pictures) if pictures else ())
    return [
        _clip(encoder, source) if isinstance(source, Clip) else next(single) for source in sources
    ]


def _clip(encoder: Any, clip: Clip) -> PatchGrid:
    if hasattr(encoder, "encode_clip"):
        return encoder.encode_clip(list(clip.frames)).but(key=clip.key)
    return stacked(encoder.encode(list(clip.frames)), clip.key)


def stacked(grids: Sequence[PatchGrid], key: str) -> PatchGrid:
    """The grids of a clip's frames as one, `[t h w d]`.

    CLS and summary tokens of all frames stand in front of the prefix in time order, so that
    `summaries` counts them all; registers follow.

    Raises:
        ValueError: no grids, or frames that do not lie alike under it.
    """
    if not grids:
        raise ValueError("a clip has at least one frame, got no grids")
    first = grids[0]
    if any(grid.frame != first.frame or grid.grid != first.grid for grid in grids):
        raise ValueError("the frames of a clip must have one size and one grid")
    front = _joined(
        [grid.prefix[: grid.summaries] if grid.prefix is not None else None for grid in grids]
    )
    back = _joined(
        [grid.prefix[grid.summaries :] if grid.prefix is not None else None for grid in grids]
    )
    return PatchGrid(
        torch.stack([grid.features for grid in grids]),
        first.frame,
        values=_stack([grid.values for grid in grids]),
        prefix=None if front is None or back is None else torch.cat([front, back]),
        summaries=first.summaries * len(grids),
        cls_attention=_stack([grid.cls_attention for grid in grids]),
        padding=first.padding,
        key=key,
        draw=first.draw,
    )


def _stack(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.stack(present) if present else None


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
