"""Row selection: which patches, in which order, and where they came from."""

from __future__ import annotations

import torch

from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import WHOLE
from regiontok.pool.select import Select

# patch 1 lies in both
LEFT = Regions.from_masks(torch.tensor([[[0, 1], [1, 1]], [[1, 1], [0, 0]]]))
NONE = Regions.from_masks(torch.zeros(0, 1, 3))
RIGHT = Regions.from_masks(torch.tensor([[[1, 0, 1]]]))


def selected(*views, **options):
    values = torch.arange(float(sum(view.patches for view in views)))[:, None]
    return Select().build(1)(values, Members.of(views, **options))


def test_rows_come_mask_by_mask_in_raster_order_and_twice_where_masks_overlap():
    tokens = selected(LEFT)
    assert tokens.values[:, 0].tolist() == [1, 2, 3, 0, 1]
    assert tokens.region.tolist() == [0, 0, 0, 1, 1]
    assert tokens.patch.tolist() == [1, 2, 3, 0, 1]


def test_patches_are_counted_on_their_own_view():
    tokens = selected(LEFT, NONE, RIGHT)
    assert tokens.values[:, 0].tolist() == [1, 2, 3, 0, 1, 7, 9]
    assert tokens.patch.tolist() == [1, 2, 3, 0, 1, 0, 2]
    assert tokens.region.tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert tokens.image.tolist() == [0] * 5 + [2] * 2
    assert tokens.counts.tolist() == [5, 0, 2]


def test_views_of_one_image_are_told_apart():
    tokens = selected(RIGHT, LEFT, image=[0, 0])
    assert tokens.view.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert tokens.patch.tolist() == [0, 2, 1, 2, 3, 0, 1]


def test_the_whole_image_keeps_patches_and_has_no_region():
    members = Members.of([Regions.from_masks(torch.ones(1, 2, 2))])
    tokens = Select().build(1)(torch.zeros(4, 1), members, kind=WHOLE)
    assert (tokens.region.tolist(), tokens.patch.tolist()) == ([-1] * 4, [0, 1, 2, 3])
    assert tokens.count("whole") == 4


def test_gradient_counts_how_often_a_patch_was_taken():
    values = torch.zeros(4, 1, requires_grad=True)
    Select().build(1)(values, Members.of([LEFT])).values.sum().backward()
    assert values.grad[:, 0].tolist() == [1, 2, 1, 1]
