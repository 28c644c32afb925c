"""What `check_step` finds: steps that hold, and one for each thing that no step may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.testing import check_step
from samples.methods import variant


@dataclass(frozen=True)
class Same(RegionStep):
    """Hand the regions on as they are."""

    def one(self, regions, grid):
        return regions


@dataclass(frozen=True)
class Few(RegionStep):
    """Keep the first `k` regions, or refuse a view that has fewer."""

    k: int

    def one(self, regions, grid):
        if len(regions) < self.k:
            raise ValueError(f"few needs {self.k} regions, got {len(regions)}")
        return regions.take(range(self.k))


def test_steps_that_hold():
    check_step(Same())
    check_step(
        Few(2),
        partition=False,
        refuses={"one patch": "needs 2 regions, got 1", "no regions": "got 0"},
    )


def test_a_refusal_must_be_announced_and_say_what_it_promises():
    with pytest.raises(AssertionError, match=r"few needs 2 .* say refuses=\{'one patch': PATTERN"):
        check_step(Few(2), partition=False, refuses={"no regions": "got 0"})
    with pytest.raises(AssertionError, match=r"and say 'too few'; it says 'few needs 2 regions"):
        check_step(Few(2), partition=False, refuses={"one patch": "too few", "no regions": ""})
    with pytest.raises(AssertionError, match="it should refuse the situation 'clip'"):
        check_step(Same(), refuses={"clip": "no clips"})
    with pytest.raises(AssertionError, match=r"situations out of .* got \['gaps'\]"):
        check_step(Same(), refuses={"gaps": ""})


def test_a_class_of_its_own_is_no_step():
    @dataclass(frozen=True)
    class Own:
        def one(self, regions, grid):
            return regions

    with pytest.raises(AssertionError, match=r"must derive from regiontok\.methods\.RegionStep"):
        check_step(Own())


def test_a_step_must_be_frozen():
    @dataclass(eq=False)
    class Loose(RegionStep):
        k: int = 1

        def one(self, regions, grid):
            return regions

    with pytest.raises(AssertionError, match=r"must be frozen: @dataclass\(frozen=True\)"):
        check_step(Loose())


@dataclass(frozen=True)
class Wrong(RegionStep):
    """A step that does one thing wrong."""

    fault: str

    def one(self, regions, grid):
        return getattr(self, f"_{self.fault}")(regions, grid)

    def _raises(self, regions, grid):
        raise KeyError("k")

    def _padding(self, regions, grid):
        return Regions.singletons(grid.grid)

    def _loses(self, regions, grid):
        return regions.take(range(len(regions) - 1))

    def _another_grid(self, regions, grid):
        return Regions.singletons((1, 1))

    def _draws(self, regions, grid):
        torch.rand(1)
        return regions

    def _draws_from_numpy(self, regions, grid):
        np.random.rand(1)  # noqa: NPY002
        return regions

    def _writes(self, regions, grid):
        grid.features.add_(1)
        return regions

    def _dtype(self, regions, grid):
        return regions if grid.features.dtype.itemsize >= 4 else regions.take(range(1))

    def _ignores(self, regions, grid):
        return Regions.singletons(grid.grid, grid.valid)

    def _reads_masks(self, regions, grid):
        return regions.take(range(len(grid.masks.counts) and len(regions)))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", r"Wrong\(fault='raises'\), a letterboxed view: it raises KeyError: 'k'"),
        ("padding", "a letterboxed view: a region holds a patch that sees padding only"),
        ("loses", r"no partition afterwards; if that is right, say partition=False"),
        ("another_grid", r"regions lie on \(1, 1\), the view on \(6, 6\)"),
        ("draws", "a second run: it must leave the global random state of torch and NumPy alone"),
        ("draws_from_numpy", "it must leave the global random state"),
        ("writes", "it changes the features that come in"),
        ("dtype", "torch.bfloat16 gives another result than torch.float32"),
        ("ignores", "it ignores the regions that come in: source must be True"),
        ("reads_masks", "it fails on a view without masks .*: reads_masks must be True"),
    ],
)
def test_what_no_step_may_do_is_named(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_step(Wrong(fault))


@pytest.mark.parametrize(
    ("promises", "message"),
    [
        ({"source": True}, "source is True, but the regions that come in make a difference"),
        ({"exact_count": 3}, "exact_count is 3, but single patches of 9 patches give 9 regions"),
        ({"reads_masks": True}, "so it must refuse a view without masks"),
    ],
)
def test_a_promise_that_is_not_true_is_named(promises, message):
    with pytest.raises(AssertionError, match=message):
        check_step(variant(Same, "Promising", **promises))


def test_a_count_that_is_not_kept_is_named():
    @dataclass(frozen=True)
    class Halved(RegionStep):
        keeps_count: ClassVar[bool] = True

        def one(self, regions, grid):
            return regions.take(range((len(regions) + 1) // 2))

    with pytest.raises(AssertionError, match="single patches: 24 regions become 12"):
        check_step(Halved(), partition=False)


def test_a_batch_that_mixes_its_views_is_named():
    mixing = variant(Same, "Mixing", many=lambda self, regions, grids: list(regions)[::-1])
    with pytest.raises(AssertionError, match="in a batch a view has other regions than alone"):
        check_step(mixing)
