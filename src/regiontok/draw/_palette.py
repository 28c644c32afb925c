"""Colours for regions: the same regions, the same colours, and neighbours far apart in hue.

Greedy graph colouring, largest region first, on twelve hues: a region with fewer than twelve
neighbours never shares a colour with one; where it touches all twelve hues, it takes the one it
touches least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8

# Twelve hues of OKLCH, 30 degrees apart, light and deep in turn so that they also differ without
# colour vision.
HUES = np.array(
    [
        [152, 191, 254], [136, 107, 238], [235, 154, 253], [212, 73, 150],
        [253, 161, 160], [207, 99, 13], [245, 176, 5], [140, 140, 1],
        [116, 218, 92], [16, 157, 123], [12, 215, 224], [18, 146, 192],
    ],
    np.uint8,
)  # fmt: skip
APART = 3  # hue steps (90 degrees) beyond which two colours count as equally different


def neighbours(members: Int[np.ndarray, "h w m"]) -> Int[np.ndarray, "p 2"]:
    """Pairs of regions (a < b) on one patch, or on patches that touch at sides or corners.

    `members` lists the regions of each patch, -1 behind the last.

    >>> neighbours(np.array([[[0], [1], [-1], [2]]])).tolist()
    [[0, 1]]
    """
    h, w, _ = members.shape
    count = int(members.max(initial=-1)) + 1
    codes = []
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1)):
        patch = members[: h - down, max(0, -right) : w - max(0, right), :, None]
        neighbour = members[down:, max(0, right) : w + min(0, right), None, :]
        code = np.minimum(patch, neighbour) * count + np.maximum(patch, neighbour)
        codes.append(np.unique(code[(patch >= 0) & (neighbour >= 0) & (patch != neighbour)]))
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), max(1, count)), axis=1)


def colours(sizes: Int[np.ndarray, "k"], pairs: Int[np.ndarray, "p 2"]) -> UInt8[np.ndarray, "k 3"]:
    """A colour of each region.

    Neighbours are 90 degrees of hue apart where that can be, and all hues are used about equally.

    Args:
        sizes: patches of each region.
        pairs: neighbouring regions, as `neighbours` lists them.
    """
    count = len(HUES)
    steps = np.abs(np.arange(count)[:, None] - np.arange(count))
    steps = np.minimum(np.minimum(steps, count - steps), APART)
    hue = np.full(len(sizes), -1)
    used = np.zeros(count)
    directed = np.concatenate([pairs, pairs[:, ::-1]])
    directed = directed[np.argsort(directed[:, 0], kind="stable")]
    start = np.searchsorted(directed[:, 0], np.arange(len(sizes) + 1))
    for region in np.argsort(-sizes, kind="stable"):
        neighbour_hues = hue[directed[start[region] : start[region + 1], 1]]
        times_taken = np.bincount(neighbour_hues[neighbour_hues >= 0], minlength=count)
        nearest = np.where(times_taken[None, :] > 0, steps, APART).min(axis=1)
        # By how far the nearest neighbour's hue is, then by how few neighbours have it, then by how
        # rarely it is used.
        hue[region] = np.lexsort((used, times_taken, -nearest))[0]
        used[hue[region]] += 1
    return HUES[hue]
