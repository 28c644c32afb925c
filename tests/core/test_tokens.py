"""Ragged tokens that remember where they come from."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save

from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import CLS, DELIMITER, KINDS, REGION, WHOLE, Tokens, cat, interleave

IDS = ("image", "view", "region", "patch", "kind")


def tokens(image: list[int], images: int, start: float = 0.0, kind: int = REGION) -> Tokens:
    """Tokens whose values and ids count up."""
    count = torch.arange(len(image))
    return Tokens(
        values=torch.stack([count + start, count * 10.0], 1),
        image=torch.tensor(image, dtype=torch.int64),
        view=count * 0,
        region=count,
        patch=count - 1,
        kind=torch.full((len(image),), kind),
        images=images,
    )


def same(first: Tokens, second: Tokens) -> bool:
    tensors = all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in ("values", *IDS)
    )
    return tensors and first.images == second.images and first.dtype == second.dtype


def test_an_image_without_tokens_keeps_its_slot():
    batch = tokens([0, 0, 2], images=4)
    assert len(batch) == 3
    assert batch.counts.tolist() == [2, 0, 1, 0]
    assert [values.tolist() for values in batch.split()] == [[[0, 0], [1, 10]], [], [[2, 20]], []]
    assert [values.shape for values in batch.split()] == [(2, 2), (0, 2), (1, 2), (0, 2)]


def test_indexing_gives_the_tokens_of_one_image():
    batch = tokens([0, 0, 2], images=4)
    assert [len(batch[index]) for index in range(4)] == [2, 0, 1, 0]
    third = batch[2]
    assert third.images == 1
    assert third.image.tolist() == [0]
    assert third.region.tolist() == [2]
    assert same(batch[-2], third)
    for outside in (4, -5):
        with pytest.raises(IndexError, match=f"image {outside} of a batch of 4"):
            batch[outside]
    with pytest.raises(IndexError, match="image 0 of a batch of 0"):
        Tokens.empty(2)[0]


def test_slices_of_a_batch():
    batch = tokens([0, 0, 2], images=4)
    middle = batch[1:3]
    assert (middle.images, middle.image.tolist()) == (2, [1])
    assert same(middle, cat([batch[1], batch[2]]))
    assert batch[::-1].counts.tolist() == [0, 1, 0, 2]
    nothing = batch[4:]
    assert (nothing.images, len(nothing), nothing.width) == (0, 0, 2)


def test_batches_are_joined_by_the_class():
    batch = tokens([0, 0, 2], images=4)
    assert same(Tokens.cat([batch[:2], batch[2:]]), batch)
    with pytest.raises(ValueError, match=r"must have one width, got \[2, 3\]"):
        Tokens.cat([Tokens.empty(2), Tokens.empty(3)])


def test_iteration_goes_image_by_image():
    batch = tokens([0, 0, 2], images=4)
    assert [len(of_image) for of_image in batch] == [2, 0, 1, 0]
    assert same(cat(list(batch)), batch)
    assert list(Tokens.empty(2)) == []


def test_empty():
    none = Tokens.empty(5, images=3)
    assert none.values.shape == (0, 5)
    assert none.counts.tolist() == [0, 0, 0]
    assert [values.shape for values in none.split()] == [(0, 5)] * 3
    assert Tokens.empty(5).counts.tolist() == []
    assert Tokens.empty(5).split() == []
    assert none.count("region") == 0


def test_kinds():
    mixed = interleave([tokens([0, 1], 2, kind=CLS), tokens([0, 0, 1], 2)])
    assert mixed.count("cls") == 2
    assert mixed.count("region") == 3
    assert mixed.count("newline") == 0
    assert KINDS[DELIMITER] == "delimiter"
    with pytest.raises(
        ValueError, match="unknown kind of token 'regions'; known: region, whole, cls"
    ):
        mixed.count("regions")


def test_every_token_needs_an_id_of_each_sort():
    good = tokens([0, 0], 1)
    for name in IDS:
        fields = {other: getattr(good, other) for other in IDS}
        fields[name] = torch.zeros(3, dtype=torch.int64)
        with pytest.raises(ValueError, match=rf"2 tokens need {name} \[2\], got \[3\]"):
            Tokens(good.values, **fields, images=1)


def test_take():
    batch = tokens([0, 0, 1], 2)
    assert batch.take(torch.tensor([2, 0])).region.tolist() == [2, 0]
    assert same(batch.take(torch.tensor([True, False, True])), batch.take(torch.tensor([0, 2])))
    assert batch.take(torch.tensor([], dtype=torch.int64)).counts.tolist() == [0, 0]
    swapped = batch.take(torch.tensor([1, 0, 2]))  # within an image any order is fine
    assert [values[:, 0].tolist() for values in swapped.split()] == [[1, 0], [2]]


def test_a_shuffled_batch_is_neither_split_nor_padded():
    shuffled = tokens([0, 0, 1], 2).take(torch.tensor([2, 0, 1]))
    with pytest.raises(ValueError, match=r"must lie image by image, with ids 0\.\.1"):
        shuffled.split()
    with pytest.raises(ValueError, match=r"must lie image by image, with ids 0\.\.1"):
        shuffled.padded()
    with pytest.raises(ValueError, match=r"ids 0\.\.1"):
        tokens([0, 5], 2).split()


def test_padded_is_one_dense_batch_and_the_mask_of_its_tokens():
    values, mask = tokens([0, 0, 2], images=3).padded()
    assert values.tolist() == [[[0, 0], [1, 10]], [[0, 0], [0, 0]], [[2, 20], [0, 0]]]
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    filled, _ = tokens([0, 0, 2], images=3).to(torch.bfloat16).padded(fill=-1)
    assert filled[2].tolist() == [[2, 20], [-1, -1]]
    assert filled.dtype == torch.bfloat16
    for images in (0, 2):
        values, mask = Tokens.empty(4, images).padded()
        assert (values.shape, mask.shape) == ((images, 0, 4), (images, 0))


def test_padded_gives_back_what_split_gives_and_lets_gradients_through():
    learnt = torch.rand(3, 2, requires_grad=True)
    batch = tokens([0, 2, 2], images=3).but(learnt)
    values, mask = batch.padded()
    for row, real, expected in zip(values, mask, batch.split(), strict=True):
        assert torch.equal(row[real], expected)
    values.sum().backward()
    assert learnt.grad.tolist() == [[1, 1]] * 3


def test_but_and_to():
    batch = tokens([0, 1], 2)
    connected = batch.but(torch.ones(2, 9))
    assert connected.values.shape == (2, 9)
    assert torch.equal(connected.image, batch.image)
    with pytest.raises(ValueError, match=r"3 tokens need image \[3\], got \[2\]"):
        batch.but(torch.ones(3, 9))
    half = batch.to(torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.image.dtype == torch.int64
    assert same(half.to("cpu", torch.float32), batch)
    assert batch.to("meta").image.device.type == "meta"


def test_width_type_and_device_are_those_of_the_values():
    batch = tokens([0, 1], 2)
    assert (batch.width, batch.dtype, batch.device) == (2, torch.float32, torch.device("cpu"))
    moved = batch.to("meta", torch.float16)
    assert (moved.dtype, moved.device) == (torch.float16, torch.device("meta"))


def test_all_tensors_are_pinned(monkeypatch):
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor.clone()
    )
    batch = tokens([0, 1], 2)
    copy = batch.pin_memory()
    assert same(copy, batch)
    assert {id(tensor) for tensor in pinned} == {
        id(getattr(batch, name)) for name in ("values", *IDS)
    }


def test_a_repr_is_a_line_with_sizes():
    assert repr(tokens([0], 1)) == "Tokens(1 token of 1 image, width 2, float32, cpu)"
    half = tokens([0, 0, 2], 4).to(torch.bfloat16)
    assert repr(half) == "Tokens(3 tokens of 4 images, width 2, bfloat16, cpu)"


def test_a_notebook_shows_a_table_of_images_and_kinds():
    batch = interleave([tokens([0, 1], 3, kind=CLS), tokens([0, 0, 1], 3)])
    html = batch._repr_html_()
    assert html.startswith("<p>Tokens(5 tokens of 3 images")
    assert "<th>image</th><th>region</th><th>cls</th><th>tokens</th>" in html
    assert "<tr><td>0</td><td>2</td><td>1</td><td>3</td></tr>" in html
    assert "<tr><td>2</td><td>0</td><td>0</td><td>0</td></tr>" in html
    assert "more images" not in html
    many = tokens(list(range(50)), 50)._repr_html_()
    assert many.count("<tr>") == 21
    assert "and 30 more images" in many


def test_cat():
    joined = cat([tokens([0, 2], 3), Tokens.empty(2, images=2), tokens([0, 0], 1, start=5)])
    assert joined.images == 6
    assert joined.image.tolist() == [0, 2, 5, 5]
    assert joined.counts.tolist() == [1, 0, 1, 0, 0, 2]
    assert joined.values[:, 0].tolist() == [0, 1, 5, 6]
    for index in range(2):
        assert same(joined[index], tokens([0, 2], 3)[index])
    assert same(cat([joined]), joined)
    with pytest.raises(ValueError, match="nothing to join"):
        cat([])


def test_interleave():
    whole = tokens([0, 1, 2], 3, start=100, kind=WHOLE)
    regions = tokens([0, 0, 2], 3)
    joined = interleave([whole, regions])
    assert joined.image.tolist() == [0, 0, 0, 1, 2, 2]
    assert joined.values[:, 0].tolist() == [100, 0, 1, 101, 102, 2]
    assert joined.kind.tolist() == [WHOLE, REGION, REGION, WHOLE, WHOLE, REGION]
    assert same(interleave([regions]), regions)
    assert same(interleave([regions, Tokens.empty(2, images=3)]), regions)
    with pytest.raises(
        ValueError, match=r"parts must be of the same images, got batches of \[2, 3\]"
    ):
        interleave([whole, tokens([0], 2)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_through_safetensors(dtype):
    zeros = torch.zeros(3, dtype=torch.int64)
    one_tensor_for_five_ids = Tokens(torch.rand(3, 4), **dict.fromkeys(IDS, zeros), images=2)
    strided = Tokens(torch.rand(4, 3).T, *(torch.arange(6)[::2] for _ in IDS), images=7)
    learnt = tokens([0, 1], 2).but(torch.rand(2, 2, requires_grad=True) * 2)
    for batch in (
        tokens([0, 0, 2], 4),
        one_tensor_for_five_ids,
        strided,
        learnt,
        Tokens.empty(4, images=2),
        Tokens.empty(4),
    ):
        batch = batch.to(dtype)
        loaded = Tokens.from_tensors(load(save(batch.to_tensors())))
        assert same(loaded, batch)
        assert loaded.images == batch.images
        assert not loaded.values.requires_grad


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
