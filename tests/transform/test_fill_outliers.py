"""Outliers filled from their neighbours: by hand, in groups, and without padding.

The cut is the one that the diagnosis counts with.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.measures.norms import norm_map, outliers
from regiontok.transform.fill_outliers import FillOutliers
from samples.grids import grid_of


def scalars(*rows):
    return torch.tensor(rows)[..., None]


def test_by_hand():
    """The 90 has eight neighbours with the sum 16.

    The corner's 80 has three, of which one is the 90.
    """
    before = scalars([80.0, 1.0, 2.0], [3.0, 90.0, 2.0], [2.0, 1.0, 2.0], [2.0, 2.0, 2.0])
    after = FillOutliers().one(grid_of(before)).features
    expected = scalars([2.0, 1.0, 2.0], [3.0, 13 / 7, 2.0], [2.0, 1.0, 2.0], [2.0, 2.0, 2.0])
    torch.testing.assert_close(after, expected)


def test_a_group_is_filled_from_its_rim_inwards():
    before = torch.ones(7, 7, 2)
    before[2:5, 2:5] = 50
    assert bool((FillOutliers().one(grid_of(before)).features == 1).all())


def test_direction_does_not_matter_only_the_norm():
    before = torch.eye(6).view(2, 3, 6)
    assert torch.equal(FillOutliers().one(grid_of(before)).features, before)


@pytest.mark.parametrize("seed", range(5))
def test_the_cut_is_the_one_the_diagnosis_counts_with(seed):
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.lognormal(sigma=1.5, size=(9, 8, 3)))
    changed = (FillOutliers().one(grid_of(features)).features != features).any(-1)
    expected = outliers(norm_map(features)[None])[0]
    assert expected.any()
    assert torch.equal(changed, expected)


def test_padding_is_neither_outlier_nor_neighbour():
    frame = Frame.letterbox((12, 24), (12, 12), (2, 2))
    before = torch.ones(6, 6, 1)
    before[~frame.valid] = 1000
    before[2, 2] = 40
    after = FillOutliers().one(grid_of(before, frame)).features
    assert bool((after[frame.valid] == 1).all())
    assert bool((after[~frame.valid] == 1000).all())


def test_a_clip_goes_frame_by_frame():
    before = torch.stack([torch.ones(3, 3, 1), 100 * torch.ones(3, 3, 1)])
    assert torch.equal(FillOutliers().one(grid_of(before)).features, before)


def test_lower_cuts_fill_more():
    features = torch.from_numpy(np.random.default_rng(0).lognormal(size=(9, 8, 3)))
    changed = [
        int(
            (FillOutliers(deviations, ratio).one(grid_of(features)).features != features)
            .any(-1)
            .sum()
        )
        for deviations, ratio in ((6, 1.5), (2, 1.5), (2, 1.0), (0, 1.0))
    ]
    assert changed == sorted(changed)
    assert changed[-1] == 36  # all above the median


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deviations": -1.0}, "deviations must be 0 or more, got -1"),
        (
            {"ratio": 0.9},
            r"ratio must be 1 or more, or patches below the median are outliers; got 0\.9",
        ),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        FillOutliers(**options)
