"""Regions as sorted lists of patches, and a batch of them laid flat."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.core.regions import Members, Regions

# two regions that share patch 4, and patches 2 and 3 in none:   0 0 .
#                                                                 . * 1
DRAWN = torch.tensor([[[1, 1, 0], [0, 1, 0]], [[0, 0, 0], [0, 1, 1]]])
EMPTY = Regions.from_labels(torch.full((2, 3), -1))


def ids(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


@st.composite
def masks(draw) -> torch.Tensor:
    grid = draw(st.sampled_from([(1, 1), (2, 3), (4, 4), (1, 7), (2, 3, 2)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return torch.rand(draw(st.integers(0, 5)), *grid, generator=generator) < draw(
        st.sampled_from([0.0, 0.2, 0.6])
    )


def test_by_hand():
    regions = Regions.from_masks(DRAWN)
    assert len(regions) == 2
    assert regions.patch.tolist() == [0, 1, 4, 4, 5]
    assert regions.region.tolist() == [0, 0, 0, 1, 1]
    assert regions.grid == (2, 3)
    assert regions.patches == 6
    assert regions.sizes.tolist() == [3, 2]
    assert regions.starts.tolist() == [0, 3]
    assert regions.patch[regions.starts].tolist() == [0, 4]
    assert regions.counts.tolist() == [[1, 1, 0], [0, 2, 1]]
    assert regions.masks.tolist() == DRAWN.bool().tolist()
    assert regions.source.tolist() == [0, 1]
    assert regions.overlap
    assert not regions.is_partition()
    assert torch.allclose(
        regions.centroids, torch.tensor([[1 / 3, 2 / 3], [1, 1.5]], dtype=torch.float64)
    )
    with pytest.raises(ValueError, match=r"1 patches lie in several regions.*resolve='smallest'"):
        _ = regions.labels


def test_from_labels():
    regions = Regions.from_labels(torch.tensor([[7, 7, -1], [3, 7, 9]]))
    assert regions.patch.tolist() == [3, 0, 1, 4, 5]
    assert regions.region.tolist() == [0, 1, 1, 1, 2]
    assert regions.source.tolist() == [-1, -1, -1]
    assert regions.labels.tolist() == [[1, 1, -1], [0, 1, 2]]
    assert not regions.overlap
    assert not regions.is_partition()
    assert regions.is_partition(torch.tensor([[True, True, False], [True, True, True]]))
    assert not regions.is_partition(torch.tensor([[True, True, False], [True, True, False]]))
    sourced = Regions.from_labels(torch.tensor([[7, 7, -1], [3, 7, 9]]), source=ids(30, 70, 90))
    assert sourced.source.tolist() == [30, 70, 90]
    with pytest.raises(ValueError, match=r"numbered 0\.\.1"):
        Regions.from_labels(torch.tensor([[0, 1, 2]]), source=ids(1, 2))
    assert Regions.from_labels(torch.tensor([[0, 1]], dtype=torch.int32)).patch.dtype == torch.int64


def test_from_masks_leaves_empty_ones_out():
    stack = torch.zeros(4, 2, 3)
    stack[1, 0, 2] = stack[3, 1, 1] = 0.5  # anything but 0 is inside
    regions = Regions.from_masks(stack)
    assert regions.source.tolist() == [1, 3]
    assert regions.patch.tolist() == [2, 4]
    assert Regions.from_masks(stack, source=ids(9, 8, 7, 6)).source.tolist() == [8, 6]


def test_singletons():
    regions = Regions.singletons((2, 3))
    assert regions.patch.tolist() == regions.region.tolist() == [0, 1, 2, 3, 4, 5]
    assert regions.is_partition()
    valid = torch.tensor([[False, True, True], [False, False, True]])
    some = Regions.singletons((2, 3), valid)
    assert some.patch.tolist() == [1, 2, 5]
    assert some.region.tolist() == [0, 1, 2]
    assert some.is_partition(valid)
    assert not some.is_partition()
    assert len(Regions.singletons((2, 3), torch.zeros(2, 3, dtype=torch.bool))) == 0
    with pytest.raises(ValueError, match=r"valid \[3, 2\] lies on another grid than \(2, 3\)"):
        Regions.singletons((2, 3), valid.T)


def test_clips():
    labels = torch.tensor([[[0, 0], [1, -1]], [[0, 2], [1, 2]]])
    regions = Regions.from_labels(labels)
    assert regions.grid == (2, 2, 2)
    assert regions.labels.tolist() == labels.tolist()
    assert regions.masks.shape == (3, 2, 2, 2)
    assert torch.allclose(
        regions.centroids,
        torch.tensor([[1 / 3, 0, 1 / 3], [0.5, 1, 0], [1, 0.5, 1]], dtype=torch.float64),
    )
    assert Regions.singletons((2, 2, 2)).is_partition()
    assert regions.is_partition(labels >= 0)


def test_without_a_region():
    for empty in (
        EMPTY,
        Regions.from_masks(torch.zeros(0, 2, 3)),
        Regions.from_masks(torch.zeros(4, 2, 3)),
    ):
        assert len(empty) == 0
        assert empty.grid == (2, 3)
        assert empty.sizes.shape == empty.starts.shape == (0,)
        assert empty.centroids.shape == (0, 2)
        assert empty.masks.shape == (0, 2, 3)
        assert empty.counts.sum() == 0
        assert (empty.labels == -1).all()
        assert not empty.overlap
        assert not empty.is_partition()
        assert empty.is_partition(torch.zeros(2, 3, dtype=torch.bool))
        assert len(empty.take([])) == 0


@pytest.mark.parametrize(
    ("patch", "region", "source", "message"),
    [
        (ids(0, 1), ids(0), ids(-1), r"patch and region must be \[m\], got \[2\] and \[1\]"),
        (ids(0)[None], ids(0)[None], ids(-1), r"must be \[m\]"),
        (ids(), ids(), ids(-1, -1), "2 regions without a patch"),
        (ids(0, 6), ids(0, 0), ids(-1), r"patch indices must lie in 0\.\.5 on the grid \(2, 3\)"),
        (ids(-1, 0), ids(0, 0), ids(-1), r"patch indices must lie in 0\.\.5"),
        (ids(1, 0), ids(0, 0), ids(-1), "sorted by region, then patch"),
        (ids(0, 0), ids(0, 0), ids(-1), "without repeats"),
        (ids(0, 0), ids(1, 0), ids(-1, -1), "sorted by region"),
        (ids(0, 0), ids(0, 2), ids(-1, -1, -1), r"numbered 0\.\.2, each with at least one patch"),
        (ids(0, 0), ids(1, 2), ids(-1, -1), r"numbered 0\.\.1"),
        (ids(0, 0), ids(0, 1), ids(-1), r"numbered 0\.\.0"),
        (ids(0, 0), ids(0, 1), ids(-1, -1, -1), r"numbered 0\.\.2"),
        (ids(0, 0), ids(-1, 0), ids(-1), r"numbered 0\.\.0"),
        (torch.tensor([0.0]), ids(0), ids(-1), "ids must be int64, got torch.float32"),
        (ids(0).int(), ids(0), ids(-1), "ids must be int64, got torch.int32"),
        (ids(0), ids(0), ids(-1).int(), "ids must be int64"),
    ],
)
def test_what_are_no_regions(patch, region, source, message):
    with pytest.raises(ValueError, match=message):
        Regions(patch, region, (2, 3), source)


@settings(max_examples=80, deadline=None)
@given(masks())
def test_masks_come_back(stack):
    regions = Regions.from_masks(stack)
    nonempty = stack.flatten(1).any(1)
    assert torch.equal(regions.masks, stack[nonempty])
    assert torch.equal(regions.source, nonempty.nonzero()[:, 0])
    assert torch.equal(regions.counts, stack.sum(0))
    assert regions.sizes.tolist() == stack[nonempty].flatten(1).sum(1).tolist()
    assert regions.overlap == bool((stack.sum(0) > 1).any())
    assert regions.is_partition() == bool((stack.sum(0) == 1).all())
    for mask, centre in zip(stack[nonempty], regions.centroids, strict=True):
        assert torch.allclose(mask.nonzero().double().mean(0), centre)
    if not regions.overlap:
        assert torch.equal(Regions.from_labels(regions.labels, regions.source).patch, regions.patch)
        for i, mask in enumerate(regions.masks):
            assert torch.equal(regions.labels == i, mask)


@settings(max_examples=60, deadline=None)
@given(masks(), st.randoms(use_true_random=False))
def test_take_in_any_order(stack, random):
    regions = Regions.from_masks(stack)
    order = random.sample(range(len(regions)), random.randint(0, len(regions)))
    taken = regions.take(order)
    assert torch.equal(taken.masks, regions.masks[order])
    assert torch.equal(taken.source, regions.source[order])
    assert torch.equal(regions.take(torch.tensor(order, dtype=torch.int64)).patch, taken.patch)
    chosen = torch.tensor([i in order for i in range(len(regions))], dtype=torch.bool)
    assert torch.equal(regions.take(chosen).masks, regions.masks[chosen])
    # What was taken from is as before.
    assert regions.masks.tolist() == stack[stack.flatten(1).any(1)].tolist()


def test_take_by_hand():
    regions = Regions.from_labels(torch.tensor([[0, 0, 1], [2, 2, 1]]))
    for order in itertools.permutations(range(3)):
        assert (
            regions.take(order).take(torch.tensor(order).argsort()).patch.tolist()
            == regions.patch.tolist()
        )
    assert regions.take([True, False, True]).patch.tolist() == [0, 1, 3, 4]
    assert regions.take([-1]).patch.tolist() == [3, 4]
    for wrong in ([0, 0], [0, 1, 0], [1, 1, 2]):
        with pytest.raises(ValueError, match="each with at least one patch"):
            regions.take(wrong)
    with pytest.raises(IndexError):
        regions.take([3])


def test_to_a_device():
    moved = Regions.from_masks(DRAWN).to("cpu")
    assert moved.patch.tolist() == [0, 1, 4, 4, 5]
    assert moved.grid == (2, 3)


def test_members():
    views = [Regions.from_masks(DRAWN), EMPTY, Regions.singletons((1, 2))]
    members = Members.of(views)
    assert len(members) == 4
    assert members.patch.tolist() == [0, 1, 4, 4, 5, 12, 13]
    assert members.region.tolist() == [0, 0, 0, 1, 1, 2, 3]
    assert members.patches.tolist() == [0, 6, 12, 14]
    assert members.regions.tolist() == [0, 2, 2, 4]
    assert members.view.tolist() == [0, 0, 2, 2]
    assert members.sizes.tolist() == [3, 2, 1, 1]
    assert members.image.tolist() == [0, 1, 2]
    tiles = Members.of(views, image=[0, 0, 1])
    assert tiles.image.tolist() == [0, 0, 1]
    assert tiles.view.tolist() == [0, 0, 2, 2]
    assert Members.of(views, image=torch.tensor([4, 4, 7])).image.tolist() == [4, 4, 7]


def test_members_of_nothing():
    for members, views in (
        (Members.of([]), 0),
        (Members.of([EMPTY]), 1),
        (Members.of([EMPTY, EMPTY]), 2),
    ):
        assert len(members) == 0
        assert (
            members.patch.shape
            == members.region.shape
            == members.view.shape
            == members.sizes.shape
            == (0,)
        )
        assert members.patches.tolist() == [6 * i for i in range(views + 1)]
        assert members.regions.tolist() == [0] * (views + 1)
        assert members.image.tolist() == list(range(views))
        assert members.view.dtype == members.image.dtype == torch.int64


def test_members_whose_image():
    for wrong in ([0], [1, 0], [0, 0, 1]):
        with pytest.raises(ValueError, match="one ascending image id for each of 2 views"):
            Members.of([EMPTY, EMPTY], image=wrong)


@settings(max_examples=50, deadline=None)
@given(st.lists(masks(), max_size=5))
def test_members_give_back_each_view(stacks):
    views = [Regions.from_masks(stack) for stack in stacks]
    members = Members.of(views)
    for i, view in enumerate(views):
        start, end = members.regions[i], members.regions[i + 1]
        inside = (members.region >= start) & (members.region < end)
        assert torch.equal(members.patch[inside] - members.patches[i], view.patch)
        assert torch.equal(members.region[inside] - start, view.region)
    assert members.sizes.tolist() == [size for view in views for size in view.sizes.tolist()]
    assert members.view.tolist() == [i for i, view in enumerate(views) for _ in range(len(view))]
