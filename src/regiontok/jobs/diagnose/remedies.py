"""The remedies of a diagnosis: transforms of an encoder's features, by variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regiontok.core.grid import PatchGrid
from regiontok.settings import registry
from regiontok.transform.denoise import Denoise

DENOISE = "denoise"
# The pipeline of each variant. That of `denoise` is estimated on the photos themselves.
VARIANTS = {
    "raw": "",
    "rms": "rms",
    "outliers filled": "fill_outliers",
    "global filter": "globalfilter",
    DENOISE: "",
}
# By variant, the transforms of photos in half 0 and in half 1 of the set.
Remedies = Mapping[str, Mapping[int, tuple[Any, ...]]]


def transformed(grid: PatchGrid, transforms: Sequence[Any]) -> PatchGrid:
    """The grid after all transforms."""
    for transform in transforms:
        grid = transform.one(grid)
    return grid


def identities(transforms: Sequence[Any]) -> list[str]:
    """All that decides the transforms, as text: an artifact by its content, not by its path."""
    return [
        f"denoise {transform.version} {transform.identity}"
        if isinstance(transform, Denoise)
        else registry.render(transform, full=True)
        for transform in transforms
    ]
