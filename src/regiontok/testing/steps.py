"""What every region step must do, whatever else it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.testing.assertions import (
    expect,
    expect_refusal,
    expect_same_regions,
    random_state_unchanged,
    run_checks,
    same_regions,
    seeded,
)
from regiontok.testing.contracts import check_contract, expect_masks_are_read_as_promised
from regiontok.testing.inputs import (
    DTYPES,
    devices,
    letterboxed,
    no_regions,
    regions_with_gaps,
    scored_masks,
    starting_regions,
    view,
)

SITUATIONS = ("one patch", "no regions", "overlap", "clip")


@dataclass(frozen=True)
class StepCase:
    """A step and what may be expected of it.

    Attributes:
        step: the step.
        partition: True if it makes a partition of a partition of the valid patches.
        refuses: situations that it refuses, each with a pattern of the ValueError's text.
    """

    step: RegionStep
    partition: bool = True
    refuses: Mapping[str, str] = field(default_factory=dict)

    def regions(self, regions: Regions, grid: PatchGrid, situation: str = "") -> Regions | None:
        """The step's regions, checked; None if it refuses the situation as it should."""
        if situation in self.refuses:
            expect_refusal(
                lambda: self.step.one(regions, grid),
                self.refuses[situation],
                f"it should refuse the situation {situation!r} with a ValueError",
            )
            return None
        try:
            result = self.step.one(regions, grid)
        except ValueError as error:
            if not situation:
                raise
            raise AssertionError(
                f"it raises ValueError: {error}. If that is right, say "
                f"refuses={{{situation!r}: PATTERN}}"
            ) from error
        expect_sound(result, grid)
        return result

    def outcome(self, regions: Regions, grid: PatchGrid) -> Regions | str:
        """The step's regions, or the text of the ValueError with which it refuses."""
        try:
            return self.step.one(regions, grid)
        except ValueError as error:
            return str(error)


def check_step(
    step: RegionStep, *, partition: bool = True, refuses: Mapping[str, str] | None = None
) -> None:
    """Check a region step, registered or not.

    Args:
        step: the step; numbers of regions should be small, for the largest view has 36 patches.
        partition: True if the step makes a partition of a partition: it neither loses valid patches
            nor lets regions overlap.
        refuses: situations that the step refuses with a ValueError, each with a pattern of its
            text: "one patch", "no regions", "overlap" (regions that overlap) or "clip".

    Raises:
        AssertionError: If the step does something that no step may do.
    """
    refuses = refuses or {}
    expect(
        set(refuses) <= set(SITUATIONS),
        f"refuses names situations out of {SITUATIONS}, got {sorted(refuses)}",
    )
    check_contract("step", step)
    run_checks(STEP_CHECKS, StepCase(step, partition, refuses), step)


def expect_sound(regions: Regions, grid: PatchGrid) -> None:
    """Raise unless regions lie on the view's grid and device, and on valid patches only."""
    expect(isinstance(regions, Regions), f"it must give Regions, not {type(regions).__name__}")
    expect(regions.grid == grid.grid, f"regions lie on {regions.grid}, the view on {grid.grid}")
    dtypes = {regions.patch.dtype, regions.region.dtype, regions.source.dtype}
    expect(dtypes == {torch.int64}, f"ids must be int64, got {dtypes}")
    expect(
        regions.patch.device == grid.features.device,
        f"regions lie on {regions.patch.device}, the features on {grid.features.device}",
    )
    expect(not regions.counts[~grid.valid].any(), "a region holds a patch that sees padding only")


def a_letterboxed_view(case: StepCase) -> None:
    """Padding belongs to no region unless the view keeps it."""
    for padding in ("drop", "keep"):
        grid = letterboxed(padding)
        result = case.regions(Regions.singletons(grid.grid, grid.valid), grid)
        _expect_partition(case, result, grid)


def regions_that_leave_gaps(case: StepCase) -> None:
    """Regions need not cover all patches."""
    grid = letterboxed("drop")
    case.regions(regions_with_gaps(grid), grid)


def a_view_without_regions(case: StepCase) -> None:
    """There may be no region at all."""
    grid = view()
    case.regions(no_regions(grid), grid, "no regions")


def a_view_of_one_patch(case: StepCase) -> None:
    """The smallest view."""
    grid = view(grid=(1, 1))
    result = case.regions(Regions.singletons((1, 1)), grid, "one patch")
    expect(
        result is None or result.patch.unique().tolist() in ([0], []),
        "a view of one patch has no other patch",
    )


def oblong_views(case: StepCase) -> None:
    """Views with sides of other lengths, and of one row or column."""
    for shape in ((1, 9), (9, 1), (2, 7)):
        grid = view(grid=shape)
        _expect_partition(case, case.regions(Regions.singletons(shape), grid), grid)


def regions_that_overlap(case: StepCase) -> None:
    """Three regions, and three masks, of all patches each."""
    grid = view().but(masks=scored_masks(torch.ones(3, 24, 36)))
    case.regions(Regions.from_masks(torch.ones(3, *grid.grid)), grid, "overlap")


def a_clip(case: StepCase) -> None:
    """A view (t, h, w)."""
    grid = view(grid=(3, 4), frames=2)
    result = case.regions(Regions.singletons(grid.grid), grid, "clip")
    if result is not None:
        _expect_partition(case, result, grid)


def features_of_every_dtype(case: StepCase) -> None:
    """The same numbers give the same regions, or the same refusal, in every dtype."""
    grid = view()
    for name, regions in starting_regions(grid).items():
        results = [
            case.outcome(regions, grid.but(features=grid.features.to(dtype))) for dtype in DTYPES
        ]
        for dtype, result in zip(DTYPES, results, strict=True):
            expect(
                _same_outcome(result, results[0]),
                f"from {name}, {dtype} gives another result than {DTYPES[0]}",
            )


def a_second_run(case: StepCase) -> None:
    """The step gives the same regions again, and leaves the global random state alone."""
    grid = view()
    with seeded(0), random_state_unchanged():
        first = case.step.one(regions_with_gaps(grid), grid)
    with seeded(1):
        second = case.step.one(regions_with_gaps(grid), grid)
    expect_same_regions(second, first, "a second run gives other regions")


def inputs_stay_unchanged(case: StepCase) -> None:
    """A step writes into none of its inputs."""
    grid, regions, copy = view(), regions_with_gaps(view()), regions_with_gaps(view())
    features, masks = grid.features.clone(), view().masks
    assert grid.masks is not None
    assert masks is not None
    case.step.one(regions, grid)
    expect_same_regions(regions, copy, "it changes the regions that come in")
    expect(torch.equal(grid.features, features), "it changes the features that come in")
    expect(torch.equal(grid.masks.dense(), masks.dense()), "it changes the masks that come in")


def features_with_gradients(case: StepCase) -> None:
    """Features may require gradients."""
    grid = view()
    case.regions(regions_with_gaps(grid), grid.but(features=grid.features.clone().requires_grad_()))


def a_batch_of_views(case: StepCase) -> None:
    """Views of a batch do not depend on each other: `many` gives what `one` gives each of them."""
    grids = [view(seed=1), view(seed=2), view(grid=(4, 5), seed=3)]
    regions = [regions_with_gaps(grid) for grid in grids]
    alone = [case.step.one(*pair) for pair in zip(regions, grids, strict=True)]
    batch = case.step.many(regions, grids)
    expect(len(batch) == len(grids), f"{len(grids)} views give {len(batch)} results")
    for together, single in zip(batch, alone, strict=True):
        expect_same_regions(together, single, "in a batch a view has other regions than alone")
    expect(len(case.step.many([], [])) == 0, "no views give no results")


def every_device(case: StepCase) -> None:
    """Regions are those of the CPU, and on the device of the input."""
    grid = view()
    expected = case.step.one(regions_with_gaps(grid), grid)
    for device in devices():
        moved = grid.but(features=grid.features.to(device))
        result = case.regions(regions_with_gaps(grid).to(device), moved)
        assert result is not None
        expect_same_regions(
            result.to("cpu"), expected, f"{device} gives other regions than the CPU"
        )


def the_promise_source(case: StepCase) -> None:
    """A source ignores the regions that come in, and a step that ignores them is a source."""
    grid = view()
    results = [case.outcome(regions, grid) for regions in starting_regions(grid).values()]
    ignores = all(_same_outcome(result, results[0]) for result in results)
    if case.step.source:
        expect(ignores, "source is True, but the regions that come in make a difference")
    else:
        expect(not ignores, "it ignores the regions that come in: source must be True")


def the_promise_exact_count(case: StepCase) -> None:
    """With `exact_count` there are so many regions of every view with as many patches."""
    count = case.step.exact_count
    if count is None:
        return
    shapes = [(1, 1), (1, 9), (9, 1), (2, 7), (4, 6)]
    grids = [view(grid=shape) for shape in shapes]
    grids += [letterboxed("drop"), letterboxed("keep"), view(grid=(3, 4), frames=2)]
    for grid in grids:
        patches = int(grid.valid.sum())
        for name, regions in starting_regions(grid).items():
            result = case.outcome(regions, grid)
            if patches >= count and not isinstance(result, str):
                expect(
                    len(result) == count,
                    f"exact_count is {count}, but {name} of {patches} patches give "
                    f"{len(result)} regions",
                )


def the_promise_keeps_count(case: StepCase) -> None:
    """With `keeps_count` there are as many regions as before."""
    if not case.step.keeps_count:
        return
    for grid in (view(), letterboxed("drop")):
        overlapping = Regions.from_masks(torch.ones(3, *grid.grid).bool() & grid.valid)
        for name, regions in {**starting_regions(grid), "overlap": overlapping}.items():
            result = case.step.one(regions, grid)
            expect(
                len(result) == len(regions),
                f"keeps_count is True, but {name}: {len(regions)} regions become {len(result)}",
            )


def the_promise_reads_masks(case: StepCase) -> None:
    """A step that reads masks refuses a view without any; another does not need them."""
    expect_masks_are_read_as_promised(
        case.step.reads_masks,
        lambda masked: case.step.one(regions_with_gaps(masked), masked),
        view(),
        same_regions,
    )


def _expect_partition(case: StepCase, regions: Regions | None, grid: PatchGrid) -> None:
    expect(
        regions is not None and (not case.partition or regions.is_partition(grid.valid)),
        f"{tuple(grid.grid)} patches are no partition afterwards; if that is right, say "
        "partition=False",
    )


def _same_outcome(result: Regions | str, other: Regions | str) -> bool:
    if isinstance(result, str) or isinstance(other, str):
        return result == other
    return same_regions(result, other)


STEP_CHECKS: tuple[Callable[[StepCase], None], ...] = (
    a_letterboxed_view,
    regions_that_leave_gaps,
    a_view_without_regions,
    a_view_of_one_patch,
    oblong_views,
    regions_that_overlap,
    a_clip,
    features_of_every_dtype,
    a_second_run,
    inputs_stay_unchanged,
    features_with_gradients,
    a_batch_of_views,
    every_device,
    the_promise_source,
    the_promise_exact_count,
    the_promise_keeps_count,
    the_promise_reads_masks,
)
