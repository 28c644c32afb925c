"""Above: a step for large views alone."""

from __future__ import annotations

import pytest

from regiontok.core.regions import Regions
from regiontok.settings import registry
from regiontok.steps.above import Above
from samples.grids import blank_grid


@pytest.mark.parametrize("step", ["stride(6)", "merge(k=6)"])
def test_small_views_stay_and_large_ones_come_to_the_budget(step):
    grids = [blank_grid(2, 3), blank_grid(4, 6), blank_grid(1, 5), blank_grid(3, 6)]
    starts = [Regions.singletons(grid.grid) for grid in grids]
    assert [len(regions) for regions in Above(6, step).many(starts, grids)] == [6, 6, 5, 6]


def test_it_counts_the_regions_that_come_in_unless_the_step_makes_its_own():
    grid = blank_grid(4, 6)
    halves = registry.build("step", "windows(2)").one(Regions.singletons(grid.grid), grid)
    assert len(Above(6, "merge(k=6)").one(halves, grid)) == 2
    assert len(Above(6, "stride(6)").one(halves, grid)) == 6


def test_what_it_does_is_part_of_cache_keys():
    assert Above(6, "tome(6)").identity == "tome(k=6, r=None, version=1)"
    assert registry.render(Above(6, "tome(6)")) == "above(6, step='tome(6)')"


def test_what_cannot_be():
    with pytest.raises(ValueError, match="at least one region, got most=0"):
        Above(0, "tome(6)")
    with pytest.raises(ValueError, match="tomme"):
        Above(6, "tomme(6)")
