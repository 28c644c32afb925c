"""A clip's frames side by side, each region in one colour on all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.clip import Clip
from regiontok.core.frame import Frame
from regiontok.core.regions import Regions
from regiontok.draw._palette import colours, neighbours
from regiontok.draw.regions import Style, draw_regions, members_of
from regiontok.draw.sheet import Panel, column_width

if TYPE_CHECKING:
    from jaxtyping import UInt8

FRAMES = 6  # on one strip


def draw_strip(
    clip: Clip,
    frame: Frame,
    regions: Regions,
    *,
    style: Style = "colours",
    numbers: bool = False,
    most: int = FRAMES,
    longest: int = column_width(FRAMES),
) -> list[Panel]:
    """Frames of a clip with their regions: one row for `contact_sheet`.

    A region has its colour and its number on every frame where it lies; regions that touch on any
    frame differ in colour.

    Args:
        clip: the frames.
        frame: how each of them lies under the grid.
        regions: on the clip's grid (t, h, w).
        style: as in `draw_regions`.
        numbers: label each region by its index.
        most: frames shown, evenly spread, the first and the last among them.
        longest: pixels along the longer side of each.

    Raises:
        ValueError: regions on another grid than the clip's, or less than one frame.

    >>> import torch
    >>> clip, frame = Clip.of(np.zeros((3, 20, 30, 3), np.uint8), fps=1), Frame.stretch((20, 30), (4, 4), (2, 2))
    >>> panels = draw_strip(clip, frame, Regions.from_labels(torch.zeros(3, 2, 2, dtype=torch.int64)), most=2)
    >>> [panel.title for panel in panels]
    ['0.00 s', '2.00 s']
    """
    if regions.grid != (len(clip), *frame.grid):
        raise ValueError(
            f"expected regions on the clip's grid {(len(clip), *frame.grid)}, got {tuple(regions.grid)}"
        )
    hues = clip_colours(regions)
    panels = []
    for at in shown(len(clip), most):
        own, found = regions.on_frame(at)
        ids = found.cpu().numpy()
        names = [str(index) for index in ids] if numbers else None
        drawn = draw_regions(
            clip.frames[at], frame, own, style=style, names=names, hues=hues[ids], longest=longest
        )
        panels.append(Panel(drawn, title(clip, at)))
    return panels


def shown(count: int, most: int = FRAMES) -> list[int]:
    """Up to `most` of `count` frames, evenly spread.

    >>> shown(20, 6), shown(3, 6)
    ([0, 4, 8, 11, 15, 19], [0, 1, 2])
    """
    if most < 1:
        raise ValueError(f"a strip shows at least one frame, got most={most}")
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def title(clip: Clip, at: int) -> str:
    """When a frame is, or which it is."""
    return f"{clip.times[at]:.2f} s" if clip.times else f"frame {at}"


def clip_colours(regions: Regions) -> UInt8[np.ndarray, "k 3"]:
    """A colour of each region of a clip: those that touch on some frame, or follow one another at a
    patch, differ."""
    members = members_of(regions)
    before, after = np.broadcast_arrays(members[:-1, ..., :, None], members[1:, ..., None, :])
    follow = (before >= 0) & (after >= 0) & (before != after)
    pairs = np.sort(np.stack([before[follow], after[follow]], axis=1), axis=1)
    touching = np.concatenate([pairs, *(neighbours(frame) for frame in members)])
    return colours(regions.sizes.cpu().numpy(), np.unique(touching, axis=0))
