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
        regions: the regions on the clip's grid (t, h, w).
        style: a style of `draw_regions`.
        numbers: whether to label each region by its index.
        most: the number of frames shown, evenly spread, the first and the last among them.
        longest: pixels along the longer side of each.

    Raises:
        ValueError: If the regions lie on another grid than the clip's, or `most` is below 1.

    >>> import torch
    >>> clip = Clip.of(np.zeros((3, 20, 30, 3), np.uint8), fps=1)
    >>> frame = Frame.stretch((20, 30), (4, 4), (2, 2))
    >>> regions = Regions.from_labels(torch.zeros(3, 2, 2, dtype=torch.int64))
    >>> panels = draw_strip(clip, frame, regions, most=2)
    >>> [panel.title for panel in panels]
    ['0.00 s', '2.00 s']
    """
    if regions.grid != (len(clip), *frame.grid):
        raise ValueError(
            f"expected regions on the clip's grid {(len(clip), *frame.grid)}, "
            f"got {tuple(regions.grid)}"
        )
    hues = clip_colours(regions)
    panels = []
    for i in spread_frames(len(clip), most):
        frame_regions, indices = regions.on_frame(i)
        ids = indices.cpu().numpy()
        drawing = draw_regions(
            clip.frames[i],
            frame,
            frame_regions,
            style=style,
            names=[str(index) for index in ids] if numbers else None,
            hues=hues[ids],
            longest=longest,
        )
        panels.append(Panel(drawing, frame_title(clip, i)))
    return panels


def spread_frames(count: int, most: int = FRAMES) -> list[int]:
    """The indices of up to `most` of `count` frames, evenly spread.

    >>> spread_frames(20, 6), spread_frames(3, 6)
    ([0, 4, 8, 11, 15, 19], [0, 1, 2])
    """
    if most < 1:
        raise ValueError(f"a strip shows at least one frame, got most={most}")
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def frame_title(clip: Clip, index: int) -> str:
    """The time of a frame, or its index where the clip has no times."""
    return f"{clip.times[index]:.2f} s" if clip.times else f"frame {index}"


def clip_colours(regions: Regions) -> UInt8[np.ndarray, "k 3"]:
    """A colour of each region of a clip.

    Regions that touch on some frame, or follow one another at a patch, differ.
    """
    members = members_of(regions)
    earlier, later = np.broadcast_arrays(members[:-1, ..., :, None], members[1:, ..., None, :])
    follow = (earlier >= 0) & (later >= 0) & (earlier != later)
    pairs = np.sort(np.stack([earlier[follow], later[follow]], axis=1), axis=1)
    touching = np.concatenate([pairs, *(neighbours(frame) for frame in members)])
    return colours(regions.sizes.cpu().numpy(), np.unique(touching, axis=0))
