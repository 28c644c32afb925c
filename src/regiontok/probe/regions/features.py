"""Frozen features of labelled regions: one row a region, and patch tokens with a region's label.

After: RICE, section 4.2 (what region rows and patch tokens are worth without a head that learns);
pooling by area is this project's.
Differs: nothing known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from regiontok.core.grid import PatchGrid
from regiontok.methods import Encoder
from regiontok.probe.regions.labelled import LabelledImage

if TYPE_CHECKING:
    from jaxtyping import Float, Int

OWNED = 0.5  # share of a patch that a region covers at least, if the patch has its label


@dataclass(frozen=True, eq=False)
class ImageRows:
    """The rows of one image.

    Attributes:
        rows: `[k d]` float32, one for each region that the encoder sees any part of.
        of_region: `[k]`, number of the region of each row.
        patches: `[p d]` float32, patch tokens that lie in a region.
        of_patch: `[p]`, number of the region of each patch token.
    """

    rows: Float[Tensor, "k d"]
    of_region: Int[Tensor, "k"]
    patches: Float[Tensor, "p d"]
    of_patch: Int[Tensor, "p"]


class Subject(ABC):
    """What is judged: something that makes rows of an image's regions without learning."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What tables call it."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A text that decides its rows."""

    @abstractmethod
    def rows(self, image: LabelledImage, rng: np.random.Generator, most: int) -> ImageRows:
        """The rows of an image.

        Args:
            image: the image and its regions.
            rng: by which patch tokens are drawn.
            most: patch tokens of an image at most.
        """


@dataclass(frozen=True, eq=False)
class EncoderSubject(Subject):
    """An encoder: a region's row is the mean of its patches, weighted by the area it covers.

    Attributes:
        encoder: the encoder, at its layer.
        name: what tables call it.
        key: the hash of all that decides its features.
    """

    encoder: Encoder
    name: str
    key: str

    @property
    def title(self) -> str:
        """See `Subject`."""
        return self.name

    @property
    def fingerprint(self) -> str:
        """See `Subject`."""
        return f"means of {self.key}"

    def rows(self, image: LabelledImage, rng: np.random.Generator, most: int) -> ImageRows:
        """See `Subject`."""
        (grid,) = self.encoder.encode([image.picture])
        return rows_of_grid(grid, image, rng, most)


def rows_of_grid(
    grid: PatchGrid, image: LabelledImage, rng: np.random.Generator, most: int
) -> ImageRows:
    """The rows of an image on its grid: weighted means, and patches at least half covered.

    A patch in several regions takes the label of the one that covers most of it.
    """
    features = grid.pooled.detach().flatten(0, 1).float().cpu()
    share = (grid.frame.to_grid(image.masks) * grid.frame.valid).flatten(1)
    seen = (share.sum(1) > 0).nonzero()[:, 0]
    weights = share[seen]
    rows = weights @ features / weights.sum(1, keepdim=True)
    largest, owner = share.max(0) if len(share) else (torch.zeros(len(features)), None)
    inside = (largest >= OWNED).nonzero()[:, 0].numpy()
    drawn = np.sort(rng.permutation(inside)[:most])
    patches = torch.from_numpy(drawn)
    of_patch = owner[patches] if owner is not None else patches
    return ImageRows(rows, seen, features[patches], of_patch)
