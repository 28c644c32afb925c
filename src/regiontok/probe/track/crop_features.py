"""Frozen features of template and search crops: one encoder on two canvases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regiontok.core.picture import Picture
from regiontok.probe.features import FrozenFeatures
from regiontok.probe.track.settings import TrackSettings
from regiontok.settings import registry

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from torch import Tensor


@dataclass(frozen=True)
class CropFeatures:
    """The encoder for square crops of two sizes.

    Attributes:
        template, search: the encoder on a canvas of either size.
        template_size, search_size: the sides of the crops in pixels, multiples of the patch.
    """

    template: FrozenFeatures
    search: FrozenFeatures
    template_size: int
    search_size: int

    @classmethod
    def of(cls, features: FrozenFeatures, settings: TrackSettings) -> CropFeatures:
        """The encoder on the two canvases of the settings, without a border that it does not see.

        Raises:
            ValueError: If the encoder's canvas cannot be resized, or a crop is smaller than a
                patch.
        """
        if not features.encoder.can_resize:
            raise ValueError(
                f"{features.spec} has a canvas of one size: crops of {settings.template} and "
                f"{settings.search} pixels need an encoder whose size can be set"
            )
        spec = registry.render(features.encoder.on("cpu").framed("stretch"))
        square = FrozenFeatures(spec, features.cache, features.device)
        sizes = [_whole_patches(square, side) for side in (settings.template, settings.search)]
        template, search = (square.at_size(size) for size in sizes)
        return cls(template, search, *sizes)

    @property
    def grids(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(rows, columns) of the template's map and of the search's."""
        return (
            self.template.frame((self.template_size,) * 2).grid,
            self.search.frame((self.search_size,) * 2).grid,
        )

    def of_templates(self, crops: Sequence[UInt8[np.ndarray, "t t 3"]]) -> Float[Tensor, "b d h w"]:
        """The maps of template crops."""
        return self.template.maps([Picture.of(np.ascontiguousarray(crop)) for crop in crops])

    def of_searches(self, crops: Sequence[UInt8[np.ndarray, "s s 3"]]) -> Float[Tensor, "b d h w"]:
        """The maps of search crops."""
        return self.search.maps([Picture.of(np.ascontiguousarray(crop)) for crop in crops])


def _whole_patches(features: FrozenFeatures, side: int) -> int:
    """The largest multiple of the encoder's patch that is not above a side."""
    patch = max(features.frame((side, side)).patch)
    if side < patch:
        raise ValueError(
            f"a crop of {side} pixels is smaller than a patch of {features.spec}, {patch} pixels"
        )
    return side // patch * patch
