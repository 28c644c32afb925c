from __future__ import annotations

import pytest
import torch

from regiontok.core.regions import Regions
from regiontok.rice.visible import Visible


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows).view(-1, 4)


def drawn(visibility: Visible, image: int, row: int) -> list[str]:
    return [
        "".join(".#"[int(cell)] for cell in line)
        for line in visibility.mask[image, row].view(visibility.grid)
    ]


def test_a_box_sees_the_patches_whose_centres_it_holds():
    visibility = Visible.from_boxes(
        [boxes((1, 0, 3, 2), (0.6, 1.4, 3.6, 2.9), (3.1, 2.1, 3.2, 2.2), (0, 1.6, 4, 1.7))], (3, 4)
    )
    assert drawn(visibility, 0, 0) == [".##.", ".##.", "...."]
    assert drawn(visibility, 0, 1) == ["....", ".###", ".###"]
    # smaller than a patch: the one under its centre
    assert drawn(visibility, 0, 2) == [
        "....",
        "....",
        "...#",
    ]
    assert drawn(visibility, 0, 3) == ["....", "####", "...."]  # thin: the line under its middle


def test_every_box_sees_the_patch_under_its_centre_and_no_patch_it_does_not_touch():
    draw = torch.rand(
        500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ) * torch.tensor([8, 4, 8, 4])
    start, end = draw[:, :2].minimum(draw[:, 2:]), draw[:, :2].maximum(draw[:, 2:])
    visibility = Visible.from_boxes([torch.cat([start, end], 1)], (4, 8)).mask[0]
    x, y = ((start + end) / 2).long().unbind(1)
    assert visibility[torch.arange(500), y * 8 + x].all()
    corner = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(4), indexing="xy"), -1).view(
        -1, 2
    )
    touched = ((start[:, None] < corner + 1) & (end[:, None] > corner)).all(-1)
    assert not (visibility & ~touched).any()


def test_a_box_is_cut_to_the_grid():
    visibility = Visible.from_boxes([boxes((-3, -3, 1, 1), (3, 2, 99, 99))], (3, 4))
    assert drawn(visibility, 0, 0) == ["#...", "....", "...."]
    assert drawn(visibility, 0, 1) == ["....", "....", "...#"]


def test_a_mask_sees_half_covered_patches_or_the_one_it_covers_most():
    shares = torch.tensor([[[0.5, 0.49, 1.0], [0, 0, 0.6]], [[0, 0.1, 0.3], [0, 0, 0]]])
    visibility = Visible.from_masks([shares])
    assert drawn(visibility, 0, 0) == ["#.#", "..#"]
    assert drawn(visibility, 0, 1) == ["..#", "..."]
    ring = torch.ones(1, 3, 3, dtype=torch.bool)
    ring[0, 1, 1] = False
    assert drawn(Visible.from_masks([ring]), 0, 0) == ["###", "#.#", "###"]
    again = Visible.from_regions([Regions.from_masks(ring)])
    assert torch.equal(again.mask, Visible.from_masks([ring]).mask)


def test_views_see_by_the_rules_of_use_a_box_by_its_centres_and_a_mask_by_its_shares():
    """A line 0.4 patches high: by shares one patch, by the rule of boxes its whole line."""
    line = torch.tensor([[[0.0, 1.1, 6.0, 1.5], [0.0, 1.1, 6.0, 1.5], [1.0, 0.0, 3.0, 2.0]]])
    shares = torch.zeros(1, 3, 3, 6)
    shares[0, :2, 1] = 0.4
    shares[0, 2, 0, 1] = 0.5
    has_mask = torch.tensor([[False, True, True]])
    visibility = Visible.from_views(line, shares, has_mask)
    assert drawn(visibility, 0, 0) == ["......", "######", "......"]
    assert drawn(visibility, 0, 1) == ["......", "#.....", "......"]
    assert drawn(visibility, 0, 2) == [".#....", "......", "......"]
    use = Visible.from_boxes([line[0]], (3, 6)), Visible.from_masks([shares[0, 1:]])
    assert torch.equal(visibility.mask[0, 0], use[0].mask[0, 0])
    assert torch.equal(visibility.mask[0, 1:], use[1].mask[0])


OFF = [
    torch.tensor([[9.0, 0.0, 10.0, 2.0]]),
    torch.tensor([[0.0, 0.0, 0.0, 2.0]]),
    torch.full((1, 4), torch.nan),
]


@pytest.mark.parametrize("box", OFF)
def test_a_box_that_covers_nothing_is_named(box):
    with pytest.raises(ValueError, match=r"image 1: box \[.*\] covers nothing of the 4 x 8 grid"):
        Visible.from_boxes([boxes((0, 0, 1, 1)), box], (4, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Visible.from_masks([torch.zeros(1, 2, 2)]), "image 0: mask 0 covers nothing"),
        (
            lambda: Visible.from_masks([torch.ones(1, 2, 2), torch.ones(1, 2, 3)]),
            r"expected masks \[k 2 2\]",
        ),
        (lambda: Visible.from_masks([]), "at least one image"),
        (lambda: Visible.from_boxes([], (2, 2)), "at least one image"),
        (lambda: Visible.from_boxes([torch.ones(4)], (2, 2)), r"expected boxes \[k 4\]"),
    ],
)
def test_bad_regions_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
