"""Ragged tokens that remember where they come from."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save

from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import CLS, DELIMITER, KINDS, REGION, WHOLE, Tokens, cat, interleave

IDS = ("image", "view", "region", "patch", "kind")


def tokens(image: list[int], images: int, start: float = 0.0, kind: int = REGION) -> Tokens:
    count = len(image)
    numbers = torch.arange(count)
    values = torch.stack([numbers + start, numbers * 10.0], 1)
    return Tokens(
        values,
        torch.tensor(image, dtype=torch.int64),
        numbers * 0,
        numbers,
        numbers - 1,
        torch.full((count,), kind),
        images,
    )


def same(first: Tokens, second: Tokens) -> bool:
    tensors = all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in ("values", *IDS)
    )
    return tensors and first.images == second.images and first.values.dtype == second.values.dtype


def test_an_image_without_tokens_keeps_its_slot():
    batch = tokens([0, 0, 2], images=4)
    assert len(batch) == 3
    assert batch.counts.tolist() == [2, 0, 1, 0]
    assert [values.tolist() for values in batch.split()] == [[[0, 0], [1, 10]], [], [[2, 20]], []]
    assert [values.shape for values in batch.split()] == [(2, 2), (0, 2), (1, 2), (0, 2)]
    assert [len(batch.of(i)) for i in range(4)] == [2, 0, 1, 0]
    third = batch.of(2)
    assert third.images == 1
    assert third.image.tolist() == [0]
    assert third.region.tolist() == [2]
    for outside in (4, -1):
        with pytest.raises(IndexError, match=f"image {outside} of a batch of 4"):
            batch.of(outside)


def test_empty():
    none = Tokens.empty(5, images=3)
    assert none.values.shape == (0, 5)
    assert none.counts.tolist() == [0, 0, 0]
    assert [values.shape for values in none.split()] == [(0, 5)] * 3
    assert Tokens.empty(5).counts.tolist() == []
    assert Tokens.empty(5).split() == []
    assert none.count("region") == 0


def test_kinds():
    both = interleave([tokens([0, 1], 2, kind=CLS), tokens([0, 0, 1], 2)])
    assert both.count("cls") == 2
    assert both.count("region") == 3
    assert both.count("newline") == 0
    assert KINDS[DELIMITER] == "delimiter"
    with pytest.raises(
        ValueError, match="unknown kind of token 'regions'; known: region, whole, cls"
    ):
        both.count("regions")


def test_ids_for_every_token():
    good = tokens([0, 0], 1)
    for name in IDS:
        fields = {other: getattr(good, other) for other in IDS} | {
            name: torch.zeros(3, dtype=torch.int64)
        }
        with pytest.raises(ValueError, match=rf"2 tokens need {name} \[2\], got \[3\]"):
            Tokens(good.values, **fields, images=1)


def test_take():
    batch = tokens([0, 0, 1], 2)
    assert batch.take(torch.tensor([2, 0])).region.tolist() == [2, 0]
    assert same(batch.take(torch.tensor([True, False, True])), batch.take(torch.tensor([0, 2])))
    assert batch.take(torch.tensor([], dtype=torch.int64)).counts.tolist() == [0, 0]
    swapped = batch.take(torch.tensor([1, 0, 2]))  # within an image any order is fine
    assert [values[:, 0].tolist() for values in swapped.split()] == [[1, 0], [2]]


def test_split_refuses_a_shuffled_batch():
    batch = tokens([0, 0, 1], 2)
    with pytest.raises(ValueError, match=r"must lie image by image, with ids 0\.\.1"):
        batch.take(torch.tensor([2, 0, 1])).split()
    with pytest.raises(ValueError, match=r"ids 0\.\.1"):
        tokens([0, 5], 2).split()


def test_but_and_to():
    batch = tokens([0, 1], 2)
    wider = batch.but(torch.ones(2, 9))
    assert wider.values.shape == (2, 9)
    assert torch.equal(wider.image, batch.image)
    with pytest.raises(ValueError, match=r"3 tokens need image \[3\], got \[2\]"):
        batch.but(torch.ones(3, 9))
    half = batch.to(torch.bfloat16)
    assert half.values.dtype == torch.bfloat16
    assert half.image.dtype == torch.int64
    assert same(half.to("cpu", torch.float32), batch)
    assert batch.to("meta").image.device.type == "meta"


def test_cat():
    joined = cat([tokens([0, 2], 3), Tokens.empty(2, images=2), tokens([0, 0], 1, start=5)])
    assert joined.images == 6
    assert joined.image.tolist() == [0, 2, 5, 5]
    assert joined.counts.tolist() == [1, 0, 1, 0, 0, 2]
    assert joined.values[:, 0].tolist() == [0, 1, 5, 6]
    for i, image_tokens in enumerate([tokens([0, 2], 3).of(0), tokens([0, 2], 3).of(1)]):
        assert same(joined.of(i), image_tokens)
    assert same(cat([joined]), joined)
    with pytest.raises(ValueError, match="nothing to join"):
        cat([])


def test_interleave():
    front = tokens([0, 1, 2], 3, start=100, kind=WHOLE)
    rest = tokens([0, 0, 2], 3)
    both = interleave([front, rest])
    assert both.image.tolist() == [0, 0, 0, 1, 2, 2]
    assert both.values[:, 0].tolist() == [100, 0, 1, 101, 102, 2]
    assert both.kind.tolist() == [WHOLE, REGION, REGION, WHOLE, WHOLE, REGION]
    assert same(interleave([rest]), rest)
    assert same(interleave([rest, Tokens.empty(2, images=3)]), rest)
    with pytest.raises(
        ValueError, match=r"parts must be of the same images, got batches of \[2, 3\]"
    ):
        interleave([front, tokens([0], 2)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_through_safetensors(dtype):
    zeros = torch.zeros(3, dtype=torch.int64)
    # one tensor for five ids
    shared = Tokens(torch.rand(3, 4), zeros, zeros, zeros, zeros, zeros, 2)
    strided = Tokens(torch.rand(4, 3).T, *(torch.arange(6)[::2] for _ in IDS), images=7)
    learnt = tokens([0, 1], 2).but(torch.rand(2, 2, requires_grad=True) * 2)
    for batch in (
        tokens([0, 0, 2], 4),
        shared,
        strided,
        learnt,
        Tokens.empty(4, images=2),
        Tokens.empty(4),
    ):
        batch = batch.to(dtype)
        back = Tokens.from_tensors(load(save(batch.to_tensors())))
        assert same(back, batch)
        assert back.images == batch.images
        assert not back.values.requires_grad


def test_tokens_of_regions():
    views = [
        Regions.from_labels(torch.tensor([[0, 1], [1, -1]])),
        Regions.from_labels(torch.full((2, 2), -1)),
        Regions.singletons((1, 3)),
    ]
    members = Members.of(views, image=[0, 0, 1])
    pooled = Tokens.of_regions(torch.arange(5.0)[:, None], members)
    assert pooled.image.tolist() == [0, 0, 1, 1, 1]
    assert pooled.view.tolist() == [0, 0, 0, 0, 0]
    assert pooled.region.tolist() == [0, 1, 0, 1, 2]
    assert pooled.patch.tolist() == [-1] * 5
    assert pooled.counts.tolist() == [2, 3]
    patches = Tokens.of_patches(torch.arange(6.0)[:, None], members)
    assert patches.region.tolist() == [0, 1, 1, 0, 1, 2]
    assert patches.patch.tolist() == [0, 1, 2, 0, 1, 2]
    assert patches.image.tolist() == [0, 0, 0, 1, 1, 1]
    tiles = Members.of([views[0], views[2], views[2]], image=[0, 0, 1])
    assert Tokens.of_regions(torch.zeros(8, 1), tiles).view.tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    whole = Tokens.of_regions(torch.zeros(5, 1), members, kind=WHOLE)
    assert whole.region.tolist() == [-1] * 5
    assert whole.count("whole") == 5


def test_the_last_image_may_have_no_region():
    members = Members.of(
        [Regions.singletons((1, 2)), Regions.from_labels(torch.tensor([[-1, -1]]))]
    )
    assert Tokens.of_regions(torch.zeros(2, 1), members).counts.tolist() == [2, 0]
    assert Tokens.of_regions(torch.zeros(0, 1), Members.of([])).counts.tolist() == []
