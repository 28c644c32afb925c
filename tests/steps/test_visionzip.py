"""VisionZip-like selection and merging, by eye."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps.visionzip import Visionzip
from samples.grids import attended_grid

ANGLES = torch.tensor([[0.0, 0.1, 1.5, 1.6, 0.2, 3.0]])
FAN = torch.stack([ANGLES.cos(), ANGLES.sin()], -1)
ATTENTION = [[0.5, 0.1, 0.0, 0.3, 0.05, 0.05]]


def labels(step, grid):
    regions = step.one(Regions.singletons(grid.grid), grid)
    assert regions.is_partition(grid.valid)
    return regions.labels.tolist()


def test_dominant_patches_stay_alone_and_the_rest_joins_evenly_spaced_targets():
    # 0 and 3 stay; of 1, 2, 4, 5 the targets are 1 and 4; 2 (angle 1.5) and 5 are nearer to 4 (0.2)
    # than to 1 (0.1)
    assert labels(Visionzip(4, 2), attended_grid(ATTENTION, FAN)) == [[0, 1, 2, 3, 2, 2]]


def test_targets_that_are_alike_stay_apart():
    assert labels(Visionzip(4, 4), attended_grid([[0.25] * 4])) == [[0, 1, 2, 3]]
    assert labels(Visionzip(2, 2), attended_grid([[0.25] * 4])) == [[0, 0, 1, 0]]


@pytest.mark.parametrize(("k", "contextual"), [(64, 10), (128, 20), (192, 30), (1, 1), (2, 1)])
def test_default_share_of_contextual_tokens_is_the_papers(k, contextual):
    generator = torch.Generator().manual_seed(0)
    grid = attended_grid(
        torch.rand(20, 20, generator=generator).tolist(),
        torch.randn(20, 20, 8, generator=generator),
    )
    regions = Visionzip(k).one(Regions.singletons(grid.grid), grid)
    assert len(regions) == k
    top = grid.cls_attention.flatten().argsort(descending=True)[: k - contextual]
    assert set(top.tolist()) <= set(regions.patch[regions.starts][regions.sizes == 1].tolist())
    assert regions.is_partition()


def test_exact_budgets_up_to_all_patches():
    for k in range(1, 7):
        assert max(labels(Visionzip(k), attended_grid(ATTENTION, FAN))[0]) == k - 1
    with pytest.raises(ValueError, match="cannot make 7 regions of 6 patches"):
        labels(Visionzip(7), attended_grid(ATTENTION, FAN))


def test_padding_stays_out():
    frame = Frame.letterbox((4, 8), (8, 8), (2, 2))
    grid = PatchGrid(torch.ones(4, 4, 2), frame, cls_attention=torch.arange(16.0).view(4, 4))
    regions = Visionzip(5, 2).one(Regions.singletons(grid.grid, grid.valid), grid)
    assert regions.is_partition(grid.valid)
    assert regions.sizes.tolist() == [4, 1, 1, 1, 1]


def test_what_cannot_be():
    with pytest.raises(ValueError, match="at least one region, got k=0"):
        Visionzip(0)
    with pytest.raises(ValueError, match=r"contextual must lie in 1..4, got 5"):
        Visionzip(4, 5)
    with pytest.raises(
        ValueError, match=r"visionzip chooses by the attention of CLS .* cls_attention=True"
    ):
        labels(Visionzip(2), attended_grid(ATTENTION, FAN).but(cls_attention=None))
