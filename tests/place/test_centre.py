"""Positions of regions at their centres: by hand, and those of patches where a region is one."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.regions import Members, Regions
from regiontok.place.posenc import sinusoid
from regiontok.settings import registry
from regiontok.tokenizer.head import VisualHead
from samples.grids import grid_of

D = 8
# an L of three patches at (0, 0), (0, 1), (1, 0), and the patch at (1, 2)
MASKS = Regions.from_masks(torch.tensor([[[1, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 1]]]))


def added(text, regions, *, pool="mean", sides=((2, 3),), **options):
    """What a place adds to tokens of features of zero, and the head."""
    torch.manual_seed(0)
    places = [registry.build("place", text)]
    head = VisualHead(D, pool=registry.build("pool", pool), place_tokens=places, **options)
    grids = [grid_of(torch.zeros(*side, D)) for side in sides]
    return head, head(grids, Members.of(regions))


def test_sinusoids_of_the_mean_row_and_column():
    _, tokens = added("centre(scale=0.5)", [MASKS])
    places = torch.tensor([1 / 3, 1.0]), torch.tensor([1 / 3, 2.0])
    expected = 0.5 * torch.cat([sinusoid(place, D // 2) for place in places], 1)
    assert torch.allclose(tokens.values, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["sin2d", "learn2d"])
def test_a_region_of_one_patch_has_the_position_of_its_patch(kind):
    single = Regions.singletons((2, 3))
    _, by_centre = added(f"centre('{kind}')", [single], sides=[(2, 3)])
    _, by_patch = added(f"posenc('{kind}')", [single], pool="select")
    assert torch.allclose(by_centre.values, by_patch.values, atol=1e-6)


def test_a_learned_table_is_read_between_patches_and_learns():
    head, tokens = added("centre('learn2d', grid=(2, 3))", [MASKS])
    table = head.place_tokens[0].table
    corners = table[0, 0] * 4 / 9 + (table[0, 1] + table[1, 0]) * 2 / 9 + table[1, 1] / 9
    assert torch.allclose(tokens.values[0], corners, atol=1e-6)
    tokens.values[0].sum().backward()
    assert torch.allclose(table.grad.sum((0, 1)), torch.ones(D))
    assert not table.grad[:, 2].any()
    with pytest.raises(ValueError, match=r"2 x 3 patches, but centre\('learn2d'\) has positions"):
        added("centre('learn2d', grid=(1, 3))", [MASKS])


def test_views_and_other_tokens_keep_apart():
    lone = Regions.from_masks(torch.tensor([[[0, 0], [0, 1]]]))
    _, tokens = added("centre()", [MASKS, lone], sides=[(2, 3), (2, 2)], whole=True)
    assert tokens.counts.tolist() == [3, 2]
    assert not tokens.values[[0, 3]].any()
    ones = torch.tensor([1.0])
    last = torch.cat([sinusoid(ones, D // 2), sinusoid(ones, D // 2)], 1)
    assert torch.allclose(tokens.values[4], last[0])
    none = Regions.from_masks(torch.zeros(0, 2, 3, dtype=torch.bool))
    assert len(added("centre()", [none])[1]) == 0
