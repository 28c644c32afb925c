"""What `check_transform` finds: transforms that hold, and things that no transform may do."""

from __future__ import annotations

import pytest

from regiontok.core.grid import PatchGrid
from regiontok.methods import Transform
from regiontok.testing import check_transform
from regiontok.transform.rms import Rms
from samples.methods import variant


def test_a_transform_must_leave_what_pools_read_and_need_masks_only_if_it_says_so():
    check_transform(Rms())
    loud = variant(Rms, "Loud", one=lambda self, grid: grid.but(features=2 * grid.features))
    with pytest.raises(AssertionError, match="pools must read what they read before"):
        check_transform(loud)
    with pytest.raises(AssertionError, match="must refuse a view without masks"):
        check_transform(variant(Rms, "Masked", reads_masks=True))
    with pytest.raises(AssertionError, match="in a batch a view has other features than alone"):
        check_transform(
            variant(Rms, "Mixing", many=lambda self, grids: [Rms().one(g) for g in grids][::-1])
        )


def test_a_transform_of_half_precision_must_compute_in_float32():
    def one(self: Transform, grid: PatchGrid) -> PatchGrid:
        offset = 0 if grid.features.dtype.itemsize >= 4 else 300  # where half precision is coarse
        features = 1.5 * grid.features + offset - offset
        return grid.but(features=features, values=grid.pooled)

    with pytest.raises(AssertionError, match=r"torch\.bfloat16 is not near float64"):
        check_transform(variant(Rms, "Coarse", one=one))
