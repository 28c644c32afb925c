"""Features of regions: of their crops, one by one, or pooled from one pass over the image.

After: RICE, section 3.1 (row R1: CLIP's features of the regions' crops).
Differs: any encoder may stand in for CLIP. One that has CLS or summary tokens gives a crop those;
of any other, and of a pass over the whole image, patches are averaged. Vectors have length 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.methods import Encoder
from regiontok.system.errors import UnusableModel, first_line

if TYPE_CHECKING:
    from jaxtyping import Float

CROPS = 64  # that go to the encoder together, so that 1,000 images' crops never lie in memory


@dataclass(frozen=True, eq=False)
class RegionImage:
    """An image whose regions are to be described.

    Attributes:
        number: its number, by which its features are found again.
        picture: its pixels.
        boxes: `[k 4]` xyxy, in its pixels; k is at least 1.
        masks: the regions' masks; None where a region is its box.
    """

    number: int
    picture: Picture
    boxes: Float[np.ndarray, "k 4"]
    masks: PixelMasks | None = None


@dataclass(frozen=True)
class FeaturesFailed:
    """Why an image's regions have no features."""

    reason: str


Outcome = Tensor | FeaturesFailed


class RegionFeatures(ABC):
    """How the regions of images become vectors of length 1.

    Args:
        encoder: the encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @property
    @abstractmethod
    def width(self) -> int:
        """Length of a vector."""

    @abstractmethod
    def of(self, images: Iterator[RegionImage]) -> Iterator[tuple[int, Outcome]]:
        """The features `[k width]` float32 of each image, by its number, in their order."""


class CropFeatures(RegionFeatures):
    """Every region by itself, as the encoder sees its crop."""

    @property
    def width(self) -> int:
        """Length of a vector: that of all summary tokens, or of a patch."""
        return self.encoder.width * max(1, self.encoder.summaries)

    def of(self, images: Iterator[RegionImage]) -> Iterator[tuple[int, Outcome]]:
        """See `RegionFeatures`; crops of several images go to the encoder together."""
        crops = ((image.number, crop) for image in images for crop in crops_of(image))
        vectors: list[Tensor] = []
        current, failed = -1, ""
        while chunk := list(islice(crops, CROPS)):
            for (number, _), vector in zip(
                chunk, self._vectors([c for _, c in chunk]), strict=True
            ):
                if number != current and current >= 0:
                    yield current, _outcome(vectors, failed)
                    vectors, failed = [], ""
                current = number
                if isinstance(vector, FeaturesFailed):
                    failed = failed or vector.reason
                else:
                    vectors.append(vector)
        if current >= 0:
            yield current, _outcome(vectors, failed)

    def _vectors(self, crops: Sequence[Picture]) -> list[Outcome]:
        """The vector of each crop; one that spoils its batch is found by encoding them singly."""
        try:
            return [unit(self._summary(grid)) for grid in self.encoder.encode(crops)]
        except UnusableModel:
            raise
        except (ValueError, RuntimeError, MemoryError) as error:
            if len(crops) == 1:
                return [FeaturesFailed(first_line(error))]
        return [vector for crop in crops for vector in self._vectors([crop])]

    def _summary(self, grid: PatchGrid) -> Tensor:
        if self.encoder.has_cls and grid.prefix is not None:
            return grid.prefix[: grid.summaries].flatten().float()
        return grid.pooled[grid.valid].float().mean(0)


class DenseFeatures(RegionFeatures):
    """One pass over the image, and the average of the patches under each region."""

    @property
    def width(self) -> int:
        """Length of a vector: that of a patch."""
        return self.encoder.width

    def of(self, images: Iterator[RegionImage]) -> Iterator[tuple[int, Outcome]]:
        """See `RegionFeatures`."""
        for image in images:
            try:
                (grid,) = self.encoder.encode([image.picture])
                yield image.number, unit(region_means(grid, image))
            except UnusableModel:
                raise
            except (ValueError, RuntimeError, MemoryError) as error:
                yield image.number, FeaturesFailed(first_line(error))


def crops_of(image: RegionImage) -> Iterator[Picture]:
    """The part of an image that each box holds, in whole pixels, at least one."""
    height, width = image.picture.size
    for number, (x0, y0, x1, y1) in enumerate(image.boxes.tolist()):
        left, top = min(int(x0), width - 1), min(int(y0), height - 1)
        right, bottom = max(left + 1, int(np.ceil(x1))), max(top + 1, int(np.ceil(y1)))
        pixels = image.picture.pixels[top:bottom, left:right]
        yield Picture.of(pixels, f"{image.picture.name}, region {number}")


def region_means(grid: PatchGrid, image: RegionImage) -> Float[Tensor, "k d"]:
    """The mean of the patches under each region, weighted by the area that it covers of each.

    A region that no patch sees (it lies in what the frame crops away) takes the patch next to its
    centre.
    """
    values = grid.pooled.float().flatten(0, 1)
    shares = (
        _box_shares(grid, image.boxes) if image.masks is None else grid.frame.to_grid(image.masks)
    )
    shares = shares.to(values.device).flatten(1) * grid.valid.flatten()
    unseen = shares.sum(1) == 0
    if unseen.any():
        shares[unseen] = _central_patch(grid, image.boxes[unseen.cpu().numpy()]).to(shares)
    return shares @ values / shares.sum(1, keepdim=True)


def unit(vectors: Float[Tensor, "*k d"]) -> Float[Tensor, "*k d"]:
    """Vectors brought to length 1; zeros stay zeros."""
    return torch.nn.functional.normalize(vectors, dim=-1)


def _box_shares(grid: PatchGrid, boxes: np.ndarray) -> Float[Tensor, "k h w"]:
    """The share of each patch that each box covers."""
    edges = grid.frame.boxes_to_grid(torch.from_numpy(np.asarray(boxes, np.float32))).double()
    columns, rows = (
        _covered(edges[:, axis], edges[:, axis + 2], grid.grid[1 - axis]) for axis in (0, 1)
    )
    return (rows[:, :, None] * columns[:, None, :]).float()


def _covered(start: Tensor, stop: Tensor, count: int) -> Float[Tensor, "k count"]:
    """The share of each of `count` cells between two places along an axis."""
    cell = torch.arange(count, dtype=torch.float64)
    overlap = stop[:, None].minimum(cell + 1) - start[:, None].maximum(cell)
    return overlap.clamp(min=0)


def _central_patch(grid: PatchGrid, boxes: np.ndarray) -> Float[Tensor, "k n"]:
    """1 for the patch next to each box's centre, 0 for all others."""
    edges = grid.frame.boxes_to_grid(torch.from_numpy(np.asarray(boxes, np.float32)))
    height, width = grid.grid
    column = ((edges[:, 0] + edges[:, 2]) / 2).long().clamp(0, width - 1)
    row = ((edges[:, 1] + edges[:, 3]) / 2).long().clamp(0, height - 1)
    return torch.nn.functional.one_hot(row * width + column, height * width).float()


def _outcome(vectors: Sequence[Tensor], failed: str) -> Outcome:
    return FeaturesFailed(failed) if failed else torch.stack(list(vectors))
