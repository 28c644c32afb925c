"""The measurements of one photo: its features as they are, and with a block of it greyed out.

The block. A third of the grid's height and width (of what sees the photo), its place drawn by seed
and photo, becomes mid-grey (127) in the photo's own pixels. A patch is touched if it sees any of
the block; patches more than `MARGIN` of the grid's shorter side away from all touched ones are far.

Borders. Patches take the label that covers most of them. Of several human segmentations the one
with the median number of regions counts for the borders (of two, the coarser; of equals, the
first); all count for the covering. Without any, the segmenter's borders stand in.

Padding (a letterbox) has no part in anything: features are cut to the rectangle of patches that see
the photo.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.core.regions import Regions
from regiontok.jobs.human_segmentations import read_human_segmentations
from regiontok.measures.covering import region_scores
from regiontok.measures.locality import far_change
from regiontok.measures.norms import norm_map
from regiontok.measures.smoothness import cosine_by_distance, smoothness_metrics
from regiontok.steps.merge import merge_tree
from regiontok.system.names import as_on_disk

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16)  # patches
BUDGET = 32  # regions at which coverings of different encoders can be compared
BLOCK, MARGIN, GREY = 1 / 3, 1 / 6, 127
# A measurement depends on these beside encoder and photo; a number with a new meaning needs a new
# version.
MEASURES = {
    "version": 1,
    "thresholds": list(THRESHOLDS),
    "distances": list(DISTANCES),
    "budget": BUDGET,
    "block": [BLOCK, MARGIN, GREY],
}


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo with human segmentations, or with a segmenter's where there are none.

    Attributes:
        picture: the decoded photo.
        humans: a label map for each human segmentation.
        segments: the masks of a segmenter.
    """

    picture: Picture
    humans: Sequence[np.ndarray] = ()
    segments: PixelMasks | None = None

    @classmethod
    def read(cls, path: Path, humans: Path | None) -> Photo:
        """Decode a photo and its human segmentations, where the folder has any.

        Raises:
            ValueError: If the photo or a human segmentation cannot be read, or their sizes differ.
        """
        picture = Picture.of(path)
        has_humans = humans and human_file(humans, path)
        segmentations = read_human_segmentations(humans, path) if humans and has_humans else []
        for human in segmentations:
            if human.shape != picture.size:
                raise ValueError(
                    f"{path}: a human segmentation is {human.shape}, the photo {picture.size}"
                )
        return cls(picture, segmentations)

    def labels(self, frame: Frame) -> Int[Tensor, "h w"]:
        """The label of each patch: the one that covers most of it.

        Raises:
            ValueError: If there are neither human segmentations nor segments.
        """
        if self.segments is None and not len(self.humans):
            raise ValueError(
                f"{self.picture.name}: no human drew borders, and there are no segments"
            )
        counts = [len(np.unique(human)) for human in self.humans]
        median = counts.index(sorted(counts)[(len(counts) - 1) // 2]) if counts else 0
        masks = self.segments
        if masks is None:
            masks = PixelMasks.from_labels(self.humans[median])
        return frame.to_grid(masks).argmax(0)

    def occluded(self, frame: Frame, seed: int) -> tuple[Picture, Bool[Tensor, "h w"]]:
        """The photo with a grey block, and the patches that see any of the block."""
        rng = np.random.default_rng([seed, int(self.picture.key[:8], 16)])
        inside = [frame.valid.any(1 - axis).nonzero()[:, 0].tolist() for axis in (0, 1)]
        sides = [max(1, round(len(places) * BLOCK)) for places in inside]
        top, left = (
            int(rng.choice(places[: len(places) - side + 1]))
            for places, side in zip(inside, sides, strict=True)
        )
        box = torch.tensor([[left, top, left + sides[1], top + sides[0]]], dtype=torch.float64)
        x0, y0, x1, y1 = (round(float(end)) for end in frame.boxes_to_pixels(box)[0])
        pixels = self.picture.pixels.copy()
        pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = GREY
        block = torch.zeros(self.picture.size)
        block[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = 1
        return Picture.of(pixels, name=self.picture.name), frame.to_grid(block[None])[0] > 0


def human_file(folder: Path | None, image: Path) -> Path | None:
    """The file with the human segmentations of a photo, or None."""
    names = [f"{image.stem}{suffix}" for suffix in (".mat", ".png")]
    paths = [as_on_disk(folder / name) for name in names] if folder else []
    return next((path for path in paths if path.is_file()), None)


def encode_pair(
    encoder: Any, photo: Photo, seed: int
) -> tuple[PatchGrid, PatchGrid, Bool[Tensor, "h w"]]:
    """The photo's grid, that of the photo with a grey block, and the touched patches.

    The features are on the host in float32.
    """
    occluded, touched = photo.occluded(encoder.frame(photo.picture.size), seed)
    grid, occluded_grid = (on_host(grid) for grid in encoder.encode([photo.picture, occluded]))
    return grid, occluded_grid, touched


def on_host(grid: PatchGrid) -> PatchGrid:
    """The grid with its features alone, float32 on the host."""
    return grid.but(
        features=grid.features.float().cpu(),
        values=None,
        prefix=None,
        summaries=0,
        cls_attention=None,
    )


def unpadded(grid: PatchGrid, values: Tensor | None = None) -> Tensor:
    """Features (or other values `[h w ...]`) cut to the rectangle of patches that see the photo."""
    rows, cols = grid.frame.valid.any(1), grid.frame.valid.any(0)
    return (grid.features if values is None else values)[rows][:, cols]


def measure(
    grid: PatchGrid,
    occluded_grid: PatchGrid,
    touched: Bool[Tensor, "h w"],
    photo: Photo,
    thresholds: Sequence[float],
) -> dict[str, Any]:
    """All measurements of one variant of one photo, as numbers that JSON can hold.

    Args:
        grid: the features of the photo.
        occluded_grid: the features of the photo with a grey block.
        touched: the patches that see any of the block.
        photo: the photo with its segmentations.
        thresholds: the thresholds of merging at which regions are counted.
    """
    features = unpadded(grid)
    shorter = min(features.shape[:2])
    distances = [distance for distance in DISTANCES if distance < shorter]
    margin = max(1, round(shorter * MARGIN))
    change = far_change(features, unpadded(occluded_grid), unpadded(grid, touched), margin)
    smoothness = smoothness_metrics(features, unpadded(grid, photo.labels(grid.frame)))
    cosines = cosine_by_distance(features, distances)
    return {
        "grid": list(grid.grid),
        "width": grid.features.shape[-1],
        "metrics": _finite({**smoothness, **change}),
        "decay": dict(zip(map(str, distances), map(float, cosines), strict=True)),
        "norms": pack(norm_map(features)),
        "humans": bool(len(photo.humans)),
        **_regions(grid, photo.humans, thresholds),
    }


def _regions(
    grid: PatchGrid, humans: Sequence[np.ndarray], thresholds: Sequence[float]
) -> dict[str, Any]:
    """The number of regions at each threshold, and their covering of the human segmentations.

    All are cuts of one tree. The covering of exactly `BUDGET` regions is measured too.
    """
    tree = merge_tree(Regions.singletons(grid.grid, grid.valid), grid)
    cuts = {f"{threshold:g}": tree.cut(threshold) for threshold in thresholds}
    measured: dict[str, Any] = {"regions": {name: len(cut) for name, cut in cuts.items()}}
    if len(humans):
        measured["covered"] = {name: _covered(grid, cut, humans) for name, cut in cuts.items()}
        if int(grid.valid.sum()) > BUDGET:
            measured["covered_at_budget"] = _covered(grid, tree.cut(k=BUDGET), humans)
    return measured


def _covered(grid: PatchGrid, regions: Regions, humans: Sequence[np.ndarray]) -> list[float]:
    """Numerator and denominator of the covering, in pixels; a set of photos sums both."""
    covering = region_scores(grid.frame.to_pixels(regions.labels).numpy(), humans).covering
    return [covering.covered, covering.pixels]


def _finite(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics with None for NaN: the photo has no border, or no far patch."""
    return {
        key: None if value is None or not np.isfinite(value) else float(value)
        for key, value in metrics.items()
    }


def pack(maps: Float[Tensor, "h w"]) -> dict[str, Any]:
    """A map as text that keeps every bit of it."""
    return {
        "grid": list(maps.shape),
        "data": base64.b64encode(maps.float().numpy().astype("<f4").tobytes()).decode(),
    }


def unpack(packed: Mapping[str, Any]) -> Float[Tensor, "h w"]:
    """The map that `pack` turned into text.

    >>> unpack(pack(torch.tensor([[1.0, 2.5]]))).tolist()
    [[1.0, 2.5]]
    """
    flat = np.frombuffer(base64.b64decode(packed["data"]), "<f4").astype(np.float32)
    return torch.from_numpy(flat).view(*packed["grid"])
