"""What every transform must do, whatever else it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.methods import Transform
from regiontok.testing.assertions import (
    expect,
    expect_close,
    random_state_unchanged,
    run_checks,
    seeded,
)
from regiontok.testing.contracts import check_contract, expect_masks_are_read_as_promised
from regiontok.testing.inputs import DTYPES, devices, letterboxed, view, whole_numbers


def check_transform(transform: Transform) -> None:
    """Check a transform, registered or not; views have features of width 4.

    Raises:
        AssertionError: If the transform does something that no transform may do.
    """
    check_contract("transform", transform)
    run_checks(TRANSFORM_CHECKS, transform, transform)


def a_letterboxed_view(transform: Transform) -> None:
    """Features change; all other fields, and what pools read, stay as they are."""
    for padding in ("drop", "keep"):
        grid = letterboxed(padding)
        result = transform.one(grid)
        expect(
            result.features.shape == grid.features.shape,
            f"features {list(grid.features.shape)} become {list(result.features.shape)}",
        )
        expect(not torch.equal(result.features, grid.features), "it changes no feature")
        expect(torch.equal(result.pooled, grid.pooled), "pools must read what they read before")
        for name in (field.name for field in fields(PatchGrid)):
            if name not in ("features", "values"):
                expect(getattr(result, name) is getattr(grid, name), f"it must not change {name}")


def values_that_are_already_there(transform: Transform) -> None:
    """Values beside the features stay as they are."""
    grid = view(values=whole_numbers(9, 4, 6, 3))
    expect(transform.one(grid).values is grid.values, "it must hand values on")


def features_of_every_dtype(transform: Transform) -> None:
    """Features keep their dtype, and are computed in float32 or better."""
    grid = view()
    exact = transform.one(grid.but(features=grid.features.double())).features
    for dtype in DTYPES:
        result = transform.one(grid.but(features=grid.features.to(dtype))).features
        expect(result.dtype == dtype, f"features of {dtype} become {result.dtype}")
        # The numbers are exact in every dtype; half a last bit comes from the last rounding, and
        # float32 sums stand before it.
        eps = torch.finfo(dtype).eps
        expect_close(
            result.double(), exact, f"{dtype} is not near float64", rtol=2 * eps, atol=4 * eps
        )


def views_of_every_shape(transform: Transform) -> None:
    """Views of one patch, one row, and of a clip."""
    for shape, frames in (((1, 1), None), ((1, 9), None), ((2, 7), None), ((3, 4), 2)):
        grid = view(grid=shape, frames=frames)
        result = transform.one(grid).features  # a PatchGrid refuses NaN
        expect(result.shape == grid.features.shape, f"{grid.grid} patches: another shape")


def a_uniform_view(transform: Transform) -> None:
    """A view of one colour stays one, and finite, at every level and in every dtype."""
    grid = view(Frame.letterbox((12, 24), (12, 12), (2, 2)))
    for dtype in DTYPES:
        for level in (0.0, 0.1, 6e4):
            features = torch.full_like(grid.features, level, dtype=dtype)
            features[~grid.valid] = 1
            result = transform.one(grid.but(features=features)).features[grid.valid]
            expect(
                len(result.unique(dim=0)) == 1,
                f"patches that all hold {level} in {dtype} come out different",
            )


def a_second_run(transform: Transform) -> None:
    """The transform gives the same again, and changes neither its input nor the random state."""
    grid = view()
    features = grid.features.clone()
    with seeded(0), random_state_unchanged():
        first = transform.one(grid).features
    with seeded(1):
        second = transform.one(grid).features
    expect(torch.equal(first, second), "a second run gives other features")
    expect(torch.equal(grid.features, features), "it changes the features that come in")


def a_batch_of_views(transform: Transform) -> None:
    """Views of a batch do not depend on each other: `many` gives what `one` gives each of them."""
    grids = [view(seed=1), view(seed=2), view(grid=(4, 5), seed=3)]
    batch = transform.many(grids)
    expect(len(batch) == len(grids), f"{len(grids)} views give {len(batch)} results")
    for together, grid in zip(batch, grids, strict=True):
        expect(
            torch.equal(together.features, transform.one(grid).features),
            "in a batch a view has other features than alone",
        )
    expect(len(transform.many([])) == 0, "no views give no results")


def every_device(transform: Transform) -> None:
    """Features are those of the CPU, and on the device of the input."""
    grid = view()
    expected = transform.one(grid).features
    for device in devices():
        result = transform.one(grid.but(features=grid.features.to(device))).features
        expect(result.device.type == device, f"features on {device} come out on {result.device}")
        expect_close(
            result.cpu(), expected, f"{device} is not near the CPU", rtol=1.3e-6, atol=1e-5
        )


def the_promise_reads_masks(transform: Transform) -> None:
    """A transform that reads masks refuses a view without any; another does not need them."""

    def features(grid: PatchGrid) -> Tensor:
        return transform.one(grid).features

    expect_masks_are_read_as_promised(transform.reads_masks, features, view(), torch.equal)


TRANSFORM_CHECKS: tuple[Callable[[Transform], None], ...] = (
    a_letterboxed_view,
    values_that_are_already_there,
    features_of_every_dtype,
    views_of_every_shape,
    a_uniform_view,
    a_second_run,
    a_batch_of_views,
    every_device,
    the_promise_reads_masks,
)
