"""Frozen features of any encoder for the probes: pictures to maps, from disk where they are kept.

What pools read of a grid (`PatchGrid.pooled`) is what a probe reads: the features that visual
tokens are made of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.data.cache import FeatureCache
from regiontok.methods import Encoder
from regiontok.runs.errors import OtherRun
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings
from regiontok.system.strict_json import strict_json
from regiontok.tokenizer.regionizer import build_encoder

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class FrozenFeatures:
    """An encoder that does not learn, and the cache of what it gave.

    Attributes:
        spec: the encoder: a spec, a short name, a hub name, or a folder such as a pretraining run's
            `encoder/`.
        cache: a folder in which grids are kept, shared by any number of runs and encoders; "" keeps
            none.
        device: where the encoder runs, and where maps are.

    Raises:
        SpecError: If the spec cannot be built.
        ValueError: If the spec names an encoder that shuffles its patches, whose maps are no maps.

    >>> features = FrozenFeatures("lite(size=64)")
    >>> features.width, features.stride_of((128, 128))
    (192, (32.0, 32.0))
    """

    spec: str = "lite"
    cache: str = ""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.encoder.shuffle is not None:
            raise ValueError(
                f"{self.spec} shuffles its patches: a probe reads maps, leave shuffle out"
            )

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, on the device."""
        return build_encoder(self.spec).on(self.device)

    @property
    def width(self) -> int:
        """d, the length of a feature."""
        return self.encoder.width

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the features: the whole spec, and the identity of the weights.

        It is kept in the folder of a run; see `require_same_encoder`.
        """
        return {
            "spec": registry.render(self.encoder, full=True),
            "weights": self.encoder.identity,
        }

    def at_size(self, size: int | Pair) -> FrozenFeatures:
        """The same encoder on another canvas, in pixels.

        Raises:
            ValueError: If the encoder's canvas cannot be resized.
        """
        spec = registry.render(build_encoder(self.spec).at_size(size))
        return FrozenFeatures(spec, self.cache, self.device)

    def frame(self, size: Pair) -> Frame:
        """How a picture of `size` = (height, width) pixels lies under the grid."""
        return self.encoder.frame(size)

    def stride_of(self, size: Pair) -> tuple[float, float]:
        """Pixels of a picture of this size from one column of its map to the next: (y, x)."""
        frame = self.frame(size)
        y0, x0, y1, x1 = frame.crop
        rows, columns = (
            patch * (end - start) / resized
            for patch, start, end, resized in zip(
                frame.patch, (y0, x0), (y1, x1), frame.resized, strict=True
            )
        )
        return rows, columns

    def grids(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """The grid of each picture, from the cache where it is kept."""
        with torch.no_grad():
            if self._cache is None:
                return self.encoder.encode(pictures)
            grids = self._cache.views(list(pictures))
        return [
            grid.but(features=grid.features.to(self.device), values=_moved(grid, self.device))
            for grid in grids
        ]

    def maps(self, pictures: Sequence[Picture]) -> Float[Tensor, "b d h w"]:
        """The maps of pictures whose grids have one size, float32, without gradient.

        Raises:
            ValueError: If the grids differ in size; the message says how.
        """
        grids = self.grids(pictures)
        if len({grid.grid for grid in grids}) > 1:
            sizes = ", ".join(sorted({f"{grid.grid[0]} x {grid.grid[1]}" for grid in grids}))
            raise ValueError(
                f"{self.spec} gives grids of several sizes ({sizes}) for one batch: use an encoder "
                "with a canvas of one size, or a batch of one picture"
            )
        return torch.stack([map_of(grid) for grid in grids])

    @cached_property
    def _cache(self) -> FeatureCache | None:
        if not self.cache:
            return None
        settings = TokenizerSettings(encoder=registry.render(build_encoder(self.spec)))
        return FeatureCache(Path(self.cache), settings, device=self.device)


def map_of(grid: PatchGrid) -> Float[Tensor, "d h w"]:
    """What pools read of a grid, channels first, float32."""
    return grid.pooled.detach().permute(2, 0, 1).float()


def require_same_encoder(begun: dict[str, Any], features: FrozenFeatures, where: str) -> None:
    """Raise if a head was trained on another encoder than the one that it is used with.

    Args:
        begun: the `identity` that the run's folder holds.
        features: the encoder that is there now.
        where: the run's folder, for the message.

    Raises:
        OtherRun: If they differ.
    """
    now = json.loads(strict_json(features.identity))
    if begun != now:
        raise OtherRun(
            f"{where} was trained on the encoder {begun.get('spec')} with weights "
            f"{str(begun.get('weights'))[:60]!r}, and this one is {now['spec']} with "
            f"{str(now['weights'])[:60]!r}: take the same encoder, or train another head"
        )


def _moved(grid: PatchGrid, device: str) -> Tensor | None:
    return None if grid.values is None else grid.values.to(device)
