"""Sort: four orders on a drawn grid, and what the random one depends on."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Regions
from regiontok.steps.sort import Sort
from samples.grids import blank_grid

# region 0 is large and low, 1 a frame around 2, 3 the upper right corner
LABELS = [
    [1, 1, 1, 3],
    [1, 2, 1, 3],
    [1, 1, 1, 0],
    [0, 0, 0, 0],
]
# sizes 5, 8, 1, 2; first patches 11, 0, 5, 3; centres (y, x): (2.8, 1.8), (1, 1), (1, 1), (0.5, 3)


def regions():
    return Regions.from_labels(torch.tensor(LABELS), source=torch.arange(4))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("com", [3, 1, 2, 0]),  # 1 and 2 share their centre exactly: the first patch decides
        ("raster", [1, 3, 2, 0]),
        ("area", [1, 0, 3, 2]),
    ],
)
def test_orders_by_hand(order, expected):
    assert Sort(order).one(regions(), blank_grid(4, 4)).source.tolist() == expected


def test_centres_of_one_height_go_by_column():
    labels = torch.tensor([[2, 1, 0], [2, 1, 0]])
    assert Sort().one(
        Regions.from_labels(labels, source=torch.arange(3)), blank_grid(2, 3)
    ).source.tolist() == [2, 1, 0]


def test_centre_of_mass_is_not_the_first_patch():
    # region 0 starts first, but its mass lies below region 1
    labels = torch.tensor([[0, 1, 1], [0, 1, 1], [0, 0, 0]])
    sort = {
        order: Sort(order).one(
            Regions.from_labels(labels, source=torch.arange(2)), blank_grid(3, 3)
        )
        for order in ("com", "raster")
    }
    assert sort["com"].source.tolist() == [1, 0]
    assert sort["raster"].source.tolist() == [0, 1]


def test_equal_centres_computed_over_different_sizes_are_equal():
    masks = torch.zeros(2, 7, 1)
    masks[0, 1:4] = 1  # rows 1, 2, 3
    masks[1, 0:5] = 1  # rows 0 to 4: the same centre, an earlier first patch
    assert Sort().one(Regions.from_masks(masks), blank_grid(7, 1)).source.tolist() == [1, 0]


def test_a_clip_sorts_by_time_first():
    labels = torch.tensor([[[1, 1]], [[0, 0]]])
    grid = PatchGrid(torch.zeros(2, 1, 2, 1), Frame.stretch((1, 2), (1, 2), (1, 1)))
    assert Sort().one(
        Regions.from_labels(labels, source=torch.arange(2)), grid
    ).source.tolist() == [1, 0]


def test_equal_regions_keep_their_order():
    same = Regions.from_masks(torch.ones(3, 2, 2))
    for order in ("com", "raster", "area"):
        assert Sort(order).one(same, blank_grid(2, 2)).source.tolist() == [0, 1, 2]


@pytest.mark.parametrize("order", ["com", "raster", "random", "area"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_regions_stay_the_same_ones(order, seed):
    masks = torch.from_numpy(np.random.default_rng(seed).random((6, 4, 5)) < 0.3)
    before = Regions.from_masks(masks)
    after = Sort(order).one(before, blank_grid(4, 5, key="k"))
    assert sorted(after.source.tolist()) == sorted(before.source.tolist())
    assert torch.equal(after.masks, masks[after.source])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_com_ascends_by_row_then_column(seed):
    masks = torch.from_numpy(np.random.default_rng(seed).random((8, 5, 6)) < 0.1)
    after = Sort().one(Regions.from_masks(masks), blank_grid(5, 6))
    keys = [
        (*centre, int(first))
        for centre, first in zip(after.centroids.tolist(), after.patch[after.starts], strict=True)
    ]
    assert keys == sorted(keys)


def shuffled(seed=0, key="cat.jpg", draw=0):
    order = Sort("random", seed=seed).one(
        Regions.singletons((8, 8)), blank_grid(8, 8, key=key, draw=draw)
    )
    return order.patch.tolist()


def test_random_depends_on_seed_image_and_epoch_and_on_nothing_else():
    orders = [shuffled(), shuffled(seed=1), shuffled(key="dog.jpg"), shuffled(draw=1)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(64)) for order in orders)
    torch.manual_seed(5)
    assert shuffled() == orders[0]


def test_seed_image_and_epoch_are_not_run_together():
    assert (
        len(
            {
                tuple(shuffled(1, "1", 11)),
                tuple(shuffled(11, "1", 1)),
                tuple(shuffled(1, "11", 1)),
                tuple(shuffled(1, "1 1", 1)),
            }
        )
        == 4
    )


@pytest.mark.slow
def test_random_is_the_same_in_another_process():
    code = (
        "import torch\n"
        "from regiontok.core.frame import Frame\n"
        "from regiontok.core.grid import PatchGrid\n"
        "from regiontok.core.regions import Regions\n"
        "from regiontok.steps.sort import Sort\n"
        "frame = Frame.stretch((8, 8), (8, 8), (1, 1))\n"
        "grid = PatchGrid(torch.zeros(8, 8, 1), frame, key='cat.jpg', draw=2)\n"
        "print(Sort('random', seed=3).one(Regions.singletons((8, 8)), grid).patch.tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert run.stdout.strip() == str(shuffled(3, "cat.jpg", 2))


def test_no_regions_stay_none():
    nothing = Regions.from_masks(torch.zeros(0, 2, 2))
    assert all(
        len(Sort(order).one(nothing, blank_grid(2, 2))) == 0
        for order in ("com", "raster", "random", "area")
    )


def scored(scores):
    masks = PixelMasks.from_dense(torch.ones(4, 4, 4), scores=scores)
    return blank_grid(4, 4, masks=masks)


def test_scores_go_down_ties_by_first_patch_and_regions_of_no_mask_last():
    assert Sort("score").one(regions(), scored([0.5, 0.9, 0.5, 0.7])).source.tolist() == [
        1,
        3,
        2,
        0,
    ]
    some = Regions.from_labels(torch.tensor(LABELS), source=torch.tensor([-1, 1, 2, -1]))
    first = Sort("score").one(some, scored([0.0, -3.0, 0.1, 0.0]))
    assert first.source.tolist() == [2, 1, -1, -1]
    assert first.patch[first.starts].tolist()[2:] == [3, 11]
    assert Sort("score").one(regions(), scored([float("nan"), 0.1, 0.2, 0.3])).source.tolist() == [
        3,
        2,
        1,
        0,
    ]


def test_only_the_order_by_score_wants_masks():
    assert [Sort(order).reads_masks for order in ("com", "score")] == [False, True]
    for grid in (blank_grid(4, 4), scored(None)):
        with pytest.raises(ValueError, match=r"sort\('score'\) needs masks with scores"):
            Sort("score").one(regions(), grid)
