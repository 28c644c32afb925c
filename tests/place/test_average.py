"""The whole image's rows as their mean: by hand, beside other tokens, and without masks."""

from __future__ import annotations

import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import DELIMITER, REGION, WHOLE, Tokens
from regiontok.settings.registry import build, build_pipeline
from regiontok.tokenizer.head import VisualHead


def tokens_of(masks: list[list[list[int]]], places: str = "average", whole: bool = True) -> Tokens:
    """Tokens of images of 1 x 4 patches; `masks[i]` lists the patches of each mask.

    The values are 1, 2, 3, 4, and 10, 20 ... for the second image.
    """
    grids = [
        PatchGrid(
            torch.tensor([1.0, 2, 3, 4])[None, :, None] * 10**image,
            Frame.stretch((1, 4), (1, 4), (1, 1)),
        )
        for image in range(len(masks))
    ]
    regions = []
    for grid, image_masks in zip(grids, masks, strict=True):
        table = torch.zeros(len(image_masks), 1, 4, dtype=torch.bool)
        for index, patches in enumerate(image_masks):
            table[index, 0, patches] = True
        regions.append(
            Regions.from_masks(table) if image_masks else Regions.singletons(grid.grid).take([])
        )
    head = VisualHead(
        1, pool=build("pool", "select"), whole=whole, place_features=build_pipeline("place", places)
    )
    return head(grids, Members.of(regions))


def test_the_mean_stands_in_front_of_the_rows_of_masks():
    tokens = tokens_of([[[0, 1], [1, 2]], [[3]]])
    assert tokens.values[:, 0].tolist() == [2.5, 1, 2, 2, 3, 25, 40]
    assert tokens.kind.tolist() == [WHOLE, REGION, REGION, REGION, REGION, WHOLE, REGION]
    assert tokens.patch.tolist() == [-1, 0, 1, 1, 2, -1, 3]
    assert tokens.counts.tolist() == [5, 2]


def test_an_image_without_masks_keeps_its_rows():
    tokens = tokens_of([[], [[3]]])
    assert tokens.values[:, 0].tolist() == [1, 2, 3, 4, 25, 40]
    assert tokens.patch.tolist() == [0, 1, 2, 3, -1, 3]


def test_without_the_whole_image_it_does_nothing():
    assert tokens_of([[[0, 1]], [[3]]], whole=False).values[:, 0].tolist() == [1, 2, 40]


def test_with_a_delimiter_it_is_what_the_release_lays():
    tokens = tokens_of([[[0, 1], [3]]], "average | delimiter('begin')")
    assert tokens.kind.tolist() == [WHOLE, DELIMITER, REGION, REGION, DELIMITER, REGION]


def test_gradients_reach_every_row():
    values = torch.arange(5.0, requires_grad=True)
    place = build("place", "average").build(1)
    ids = torch.zeros(5, dtype=torch.int64)
    kind = torch.tensor([WHOLE, WHOLE, WHOLE, WHOLE, REGION])
    out = place(Tokens(values[:, None] * 1.0, ids, ids, ids, torch.arange(5), kind, images=1), [])
    out.values.sum().backward()
    assert values.grad.tolist() == [0.25, 0.25, 0.25, 0.25, 1]
