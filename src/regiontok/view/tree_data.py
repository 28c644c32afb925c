"""Regions as the page gets them: the whole merge tree of a view, or one fixed set of regions.

The tree is sent once, and the page cuts it by itself: by number of regions, or by threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.methods import RegionStep
from regiontok.steps.kernels.greedy import ONE
from regiontok.steps.merge import Merge, MergeTree, merge_tree
from regiontok.steps.sort import Sort, mask_scores
from regiontok.system.arrays import packed

SPARE = 256  # draws beyond two a region: numpy passes over less than every second one


def regions_data(steps: Sequence[RegionStep], grid: PatchGrid) -> dict[str, Any]:
    """The regions of one view.

    A spec whose last step but orders is a merge gives "tree", any other one "fixed".

    Args:
        steps: the built steps of the spec.
        grid: the view's grid, with all transforms applied.

    Raises:
        ValueError: If a step cannot do this view.
    """
    regions = Regions.singletons(grid.grid, grid.valid)
    place = _last_merge(steps)
    sorts = [] if place is None else [s for s in steps[place + 1 :] if isinstance(s, Sort)]
    if place is None or len(sorts) < len(steps) - place - 1:
        for step in steps:
            regions = step.many([regions], [grid])[0]
        return {"fixed": fixed_data(regions)}
    for step in steps[:place]:
        regions = step.many([regions], [grid])[0]
    merge = steps[place]
    assert isinstance(merge, Merge)
    tree = merge_tree(regions, grid)
    return {"tree": tree_data(tree, merge, order_data(sorts, tree.start, grid))}


def tree_data(tree: MergeTree, merge: Merge, order: dict[str, Any]) -> dict[str, Any]:
    """A merge tree: where each patch starts, every merge in its order, and the spec's own cut.

    "heights" are cosines in multiples of 2^-20, as the sequence holds them: both sides compare the
    same numbers.

    Args:
        tree: the whole tree.
        merge: the step, whose threshold or number of regions is where the slider stands first.
        order: see `order_data`.
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


def order_data(sorts: Sequence[Sort], start: Regions, grid: PatchGrid) -> dict[str, Any]:
    """How the page orders the regions of any cut as the steps behind a merge do.

    "by" is the last order that is not random, and "shuffles" are those behind it: the numbers that
    each draws, the same ones for any number of regions. By "score" there are the source of each
    patch's region at the start, and the rank of each mask.

    Args:
        sorts: the steps behind the merge.
        start: the regions before the first merge.
        grid: the view's grid.

    Raises:
        ValueError: If "score" meets a view without masks, or masks without scores.
    """
    places = [place for place, sort in enumerate(sorts) if sort.order != "random"]
    last = places[-1] if places else -1
    order: dict[str, Any] = {
        "by": sorts[last].order if places else "raster",
        "shuffles": [packed(_draws(sort, start, grid), "uint32") for sort in sorts[last + 1 :]],
    }
    if order["by"] == "score":
        source = np.full(start.patches, -1)
        source[start.patch.cpu().numpy()] = start.source[start.region].cpu().numpy()
        _, ranks = np.unique(-mask_scores(grid), return_inverse=True)
        order |= {"source": packed(source, "int32"), "ranks": packed(ranks, "int32")}
    return order


def _draws(sort: Sort, start: Regions, grid: PatchGrid) -> np.ndarray:
    """The 32-bit numbers that numpy's `permutation` draws, the lower half of 64 bits first."""
    raw = sort.generator(grid).bit_generator.random_raw(len(start) + SPARE // 2)
    return raw.astype("<u8").view("<u4")
