"""Regions as the page gets them: the whole merge tree of a view, or one fixed set of regions.

The tree is sent once, and the page cuts it by itself: by number of regions, or by threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps.kernels.greedy import ONE
from regiontok.steps.merge import Merge, MergeTree, merge_tree
from regiontok.steps.sort import Sort
from regiontok.view.arrays import packed

ORDERS = ("com", "raster", "area")  # those that the page computes by itself


def regions_data(steps: Sequence[RegionStep], grid: PatchGrid) -> dict[str, Any]:
    """The regions of one view.

    A spec whose last step but orders is a merge gives "tree", any other one "fixed".

    Args:
        steps: the built steps of the spec.
        grid: the view's grid, with all transforms applied.
    """
    regions = Regions.singletons(grid.grid, grid.valid)
    place = _last_merge(steps)
    order = None if place is None else _order(steps[place + 1 :])
    if place is None or order is None:
        for step in steps:
            regions = step.many([regions], [grid])[0]
        return {"fixed": fixed_data(regions)}
    for step in steps[:place]:
        regions = step.many([regions], [grid])[0]
    merge = steps[place]
    assert isinstance(merge, Merge)
    tree = merge_tree(regions, grid)
    return {"tree": tree_data(tree, merge, order)}


def tree_data(tree: MergeTree, merge: Merge, order: str) -> dict[str, Any]:
    """A merge tree: where each patch starts, every merge in its order, and the spec's own cut.

    "heights" are cosines in multiples of 2^-20, as the sequence holds them: both sides compare the
    same numbers.

    Args:
        tree: the whole tree.
        merge: the step, whose threshold or number of regions is where the slider stands first.
        order: order of the tokens, one of `ORDERS`.
    """
    sequence = tree.sequence
    return {
        "start": packed(sequence.start, "int32"),
        "pairs": packed(sequence.pairs, "int32"),
        "heights": packed((sequence.heights * ONE).round(), "int32"),
        "one": ONE,
        "order": order,
        "threshold": merge.threshold,
        "k": merge.k,
    }


def fixed_data(regions: Regions) -> dict[str, Any]:
    """Regions as memberships, which may overlap and leave gaps."""
    return {
        "patch": packed(regions.patch, "int32"),
        "region": packed(regions.region, "int32"),
        "k": len(regions),
    }


def _last_merge(steps: Sequence[RegionStep]) -> int | None:
    places = [place for place, step in enumerate(steps) if isinstance(step, Merge)]
    return places[-1] if places else None


def _order(steps: Sequence[RegionStep]) -> str | None:
    """The order that the steps behind a merge give; None if the page cannot follow them."""
    if not steps:
        return "raster"
    last = steps[-1]
    if isinstance(last, Sort) and last.order in ORDERS and all(isinstance(s, Sort) for s in steps):
        return last.order
    return None
