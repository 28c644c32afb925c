"""Where class centres start: centroids without their mean, and rows that no shard changes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from regiontok.rice.initial_centres import centred, random_centres


def test_centring_takes_the_common_part_out():
    draw = torch.Generator().manual_seed(0)
    crowded = torch.randn(500, 32, generator=draw) + 4 * torch.ones(32)
    unit = F.normalize(crowded, dim=1)
    assert (unit @ unit.T).mean() > 0.9
    spread = centred(crowded)
    assert (spread @ spread.T).mean().abs() < 0.01
    with pytest.raises(
        ValueError, match="500 centroids are not finite, or equal to the mean, the first is 0"
    ):
        centred(torch.ones(500, 32))


def test_random_centres_do_not_depend_on_the_shards():
    whole = random_centres(0, 2500, 4, seed=3)
    assert torch.equal(
        torch.cat(
            [
                random_centres(0, 900, 4, 3),
                random_centres(900, 2100, 4, 3),
                random_centres(2100, 2500, 4, 3),
            ]
        ),
        whole,
    )
    assert not torch.equal(whole, random_centres(0, 2500, 4, seed=4))
    assert not torch.equal(whole[:1024], whole[1024:2048])
    assert len(random_centres(4, 4, 4, 3)) == 0
