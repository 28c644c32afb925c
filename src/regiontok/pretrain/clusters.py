"""Classes without labels: k-means clusters of what `lite` says of regions.

After: RICE, section 3.1 (row R1) in small.
Differs: features are `lite`'s and not CLIP's, and k-means is flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.encoders.lite import Lite
from regiontok.kmeans.lloyd import lloyd
from regiontok.kmeans.nearest import NearestCentres
from regiontok.kmeans.rows import ArrayRows
from regiontok.kmeans.start import random_rows
from regiontok.system.files import replacing

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

ITERATIONS = 12  # of k-means


def region_features(
    pixels: UInt8[np.ndarray, "H W 3"], masks: Bool[np.ndarray, "k H W"], encoder: Lite
) -> Float[np.ndarray, "k d"]:
    """Mean `lite` features under each mask, of length 1."""
    (grid,) = encoder.encode([Picture.of(pixels)])
    shares = grid.frame.to_grid(PixelMasks.from_dense(masks)).flatten(1)
    pooled = shares.to(grid.features.dtype) @ grid.features.flatten(0, 1)
    return torch.nn.functional.normalize(pooled, dim=1).numpy()


def picture_features(pixels: UInt8[np.ndarray, "H W 3"], encoder: Lite) -> Float[np.ndarray, "1 d"]:
    """The mean of `lite`'s values over a picture, of length 1.

    Its features have a mean of nearly 0 in every picture, and so nothing to tell pictures apart by.
    """
    (grid,) = encoder.encode([Picture.of(pixels)])
    mean = grid.pooled[grid.valid].mean(0, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=1).numpy()


def cluster_labels(
    table: Float[np.ndarray, "n d"], classes: int, counts: Sequence[int]
) -> list[Int[np.ndarray, "k"]]:
    """The cluster of each region, picture by picture.

    Args:
        table: features of the regions of all pictures.
        classes: number of clusters.
        counts: number of regions of each picture.

    Raises:
        ValueError: If there are fewer regions than clusters.
    """
    if len(table) < classes:
        raise ValueError(
            f"{len(table)} regions do not make {classes} clusters: more scenes, or fewer clusters"
        )
    rows = ArrayRows(table)
    *_, last = lloyd(rows, random_rows(rows, classes, seed=0), ITERATIONS)
    nearest = NearestCentres(torch.from_numpy(last.centres))
    return np.split(nearest(torch.from_numpy(table)).ids[:, 0], np.cumsum(counts)[:-1])


def save_features(path: Path, features: Sequence[Float[np.ndarray, "k d"]]) -> None:
    """Write the features of all pictures as one table; the file appears when it is whole."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate(features))
