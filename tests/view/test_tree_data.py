"""The page orders the tokens of every cut as the steps behind the merge do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Regions
from regiontok.settings import registry
from regiontok.view.tree_data import regions_data
from samples.grids import grid_of
from samples.page_scripts import in_node

HEIGHT, WIDTH = 10, 13
# Prints the region of each patch after each cut, in the order that the page computes.
SCRIPT = """
import { readFileSync } from "node:fs";
import { cutOf } from "./partition.js";
import { Tree } from "./tree.js";
const { tree: data, grid, budgets } = JSON.parse(readFileSync(process.argv[2]));
const tree = new Tree(data, grid);
const labels = (k) => Array.from(cutOf(tree, tree.mergesFor(k)).labels);
console.log(JSON.stringify(budgets.map(labels)));
"""


@pytest.fixture(scope="module")
def grid():
    """Random features under five masks, two of which score alike and one not at all."""
    features = torch.randn(HEIGHT, WIDTH, 4, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(5, HEIGHT, WIDTH)
    masks[0, :4, :6] = masks[1, 5:, 7:] = masks[2, :4, 7:] = masks[3, 6:, :5] = masks[4, 4, 5] = 1
    scores = np.array([0.5, 0.9, 0.5, np.nan, 0.7])
    return grid_of(features, masks=PixelMasks.from_dense(masks, scores=scores), key="a")


def labels_of(steps, grid):
    """The region of each patch as the steps make them."""
    regions = Regions.singletons(grid.grid, grid.valid)
    for step in steps:
        regions = step.one(regions, grid)
    return regions.labels.flatten().tolist()


@pytest.mark.parametrize(
    "sorts",
    [
        "",
        "sort('com')",
        "sort('area')",
        "sort('random')",
        "sort('random', seed=7)",
        "sort('random') | sort('com')",
        "sort('com') | sort('random', seed=3) | sort('random', seed=4)",
        "sort('score')",
        "sort('score') | sort('random')",
    ],
)
@pytest.mark.parametrize(
    ("start", "budgets"),
    [
        ("", (1, 2, 3, 17, 64, 130)),
        ("segments(0.5) | cover('singletons')", (1, 2, 3, 17, 36)),
    ],
)
def test_the_page_orders_every_cut_as_the_steps_do(tmp_path, grid, start, budgets, sorts):
    def steps(k):
        spec = " | ".join(filter(None, [start, f"merge(k={k})", sorts]))
        return registry.build_pipeline("step", spec)

    tree = regions_data(steps(17), grid)["tree"]
    content = {"tree": tree, "grid": grid.grid, "budgets": budgets}
    assert in_node(tmp_path, SCRIPT, content) == [labels_of(steps(k), grid) for k in budgets]


def test_an_order_by_score_without_scores_is_refused_as_the_step_refuses_it():
    steps = registry.build_pipeline("step", "merge(k=3) | sort('score')")
    with pytest.raises(ValueError, match="needs masks with scores"):
        regions_data(steps, grid_of(torch.randn(2, 3, 4)))


def test_regions_that_another_step_makes_of_a_merge_stand_still(grid):
    data = regions_data(registry.build_pipeline("step", "merge(k=9) | split(eps=0.5)"), grid)
    assert list(data) == ["fixed"]
