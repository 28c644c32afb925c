from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.rice.region_attention import RegionPool, RegionTransformer, Visible
from regiontok.rice.vit import rotate
from samples.vits import mini_vit, pixels


def mini(layers: int = 2, dtype: torch.dtype = torch.float32, **options) -> RegionTransformer:
    return RegionTransformer(mini_vit(), layers=layers, **options).to(dtype)


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows).view(-1, 4)


RAGGED = [boxes((0, 0, 2, 2), (1, 0, 8, 4), (0, 0, 8, 4)), boxes((5.2, 1.1, 5.4, 1.3))]
WIDE = (32, 64)  # pixels of a 4 x 8 grid


def visible(dtype: torch.dtype = torch.float32) -> Visible:
    return Visible.from_boxes([rows.to(dtype) for rows in RAGGED], (4, 8))


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


def test_regions_change_no_image_token_and_without_any_it_is_the_plain_vit():
    model = mini()
    with torch.no_grad():
        plain = model.vit(pixels(*WIDE))
        assert torch.equal(model(pixels(*WIDE)).tokens, plain)
        assert model(pixels(*WIDE)).regions.shape == (0, 64)
        assert torch.equal(
            model(pixels(*WIDE), Visible.from_boxes([boxes(), boxes()], (4, 8))).tokens, plain
        )
        assert torch.equal(model(pixels(*WIDE), visible()).tokens, plain)


def test_ragged_regions_are_those_of_each_image_alone():
    model = mini()
    with torch.no_grad():
        together = model(pixels(*WIDE), visible()).regions
        alone = [
            model(image[None], Visible.from_boxes([rows], (4, 8))).regions
            for image, rows in zip(pixels(*WIDE), RAGGED, strict=True)
        ]
    assert together.shape == (4, 64)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2e-6)


def test_a_region_hears_nothing_of_other_regions_and_of_patches_outside_only_through_layers():
    # every layer is a region layer: what lies outside reaches a region only through patches inside
    model = mini(layers=4)
    with torch.no_grad():
        first = model(pixels(*WIDE), visible()).regions[0]
        order = [RAGGED[0][[2, 0, 1]], RAGGED[1]]
        other = model(pixels(*WIDE), Visible.from_boxes(order, (4, 8))).regions[1]
    torch.testing.assert_close(first, other, rtol=0, atol=1e-6)
    single = mini(layers=1)
    x = torch.randn(1, 33, 64, generator=torch.Generator().manual_seed(2))
    changed = x.clone()
    mask = Visible.from_boxes([RAGGED[0][:1]], (4, 8)).mask
    changed[0, 1:][~mask[0, 0]] = 7.0
    changed[0, 0] = 7.0  # nor of CLS, once the row has started
    rotary, block = single.vit.rotary((4, 8)), single.vit.blocks[3]
    rows = [block(tokens, rotary, x[:, :1], mask[:, None])[1] for tokens in (x, changed)]
    assert torch.equal(*rows)


def repeated(model: RegionTransformer, images: torch.Tensor, visibility: Visible) -> torch.Tensor:
    """Regions by brute force: every image once a region, its row as one more token.

    The mask is a full [t t] one, and softmax is written out.
    """
    vit, rows = model.vit, []
    for image, masks, count in zip(images, visibility.mask, visibility.counts, strict=True):
        x, rotary = vit.embed(image[None].expand(count, -1, -1, -1))
        t = x.shape[1]
        row = None
        for number, block in enumerate(vit.blocks):
            if number == vit.config.depth - model.layers:
                row = x[:, :1] if model.query is None else model.query.expand(count, 1, -1)
                x = torch.cat([x, row], 1)
                rotary = tuple(torch.cat([table, table[:1]]) for table in rotary)
            may = torch.ones(count, x.shape[1], x.shape[1], dtype=torch.bool)
            if row is not None:
                may[:, :, t] = False  # nobody sees the row
                may[:, t, 0] = False  # the row does not see CLS
                may[:, t, 1:t] = masks[:count]
            normed, attention = block.norm1(x), block.attention
            q, k, v = (
                attention.split(table(normed))
                for table in (attention.query, attention.key, attention.value)
            )
            scores = rotate(q, rotary) @ rotate(k, rotary).transpose(2, 3) / q.shape[-1] ** 0.5
            weights = scores.masked_fill(~may[:, None], -torch.inf).softmax(-1)
            x = x + attention.out((weights @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        rows.append(vit.norm_out(x[:, t]))
    return torch.cat(rows)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("query", ["cls", "learned"])
@pytest.mark.parametrize("layers", [1, 3])
def test_values_and_gradients_are_those_of_the_image_repeated_for_each_region(
    layers, query, checkpointing
):
    model, reference = (mini(layers, torch.float64, query=query) for _ in range(2))
    model.vit.checkpointing = checkpointing
    images, visibility = pixels(*WIDE, dtype=torch.float64), visible(torch.float64)
    mix = torch.randn(4, 64, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours, theirs = model(images, visibility).regions, repeated(reference, images, visibility)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    (ours * mix).sum().backward()
    (theirs * mix).sum().backward()
    for (name, parameter), other in zip(
        model.named_parameters(), reference.parameters(), strict=True
    ):
        torch.testing.assert_close(
            parameter.grad,
            other.grad,
            rtol=1e-10,
            atol=1e-10,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def test_padded_rows_pass_no_gradient():
    model = mini(dtype=torch.float64)
    images = pixels(*WIDE, dtype=torch.float64).requires_grad_()
    model(
        images, Visible.from_boxes([RAGGED[0], boxes()], (4, 8))
    ).regions.square().sum().backward()
    assert images.grad[0].abs().sum() > 0
    assert images.grad[1].abs().sum() == 0


def test_pooling_is_softmax_over_the_regions_patches_by_cls():
    tokens = torch.randn(2, 33, 64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    pooled = RegionPool()(tokens, visible(torch.float64))
    inside = visible().mask[0, 1].nonzero()[:, 0] + 1
    weights = (tokens[0, inside] @ tokens[0, 0] / 8).softmax(0)
    torch.testing.assert_close(pooled[0, 1], weights @ tokens[0, inside])
    assert not list(RegionPool().parameters())
    assert torch.allclose(pooled[1, 0], tokens[1, 1 + 1 * 8 + 5])  # one patch: itself


def test_without_region_layers_regions_are_pooled_after_the_last_block():
    model = mini(layers=0)
    with torch.no_grad():
        features = model(pixels(*WIDE), visible())
        expected = model.vit.norm_out(
            visible().flat(RegionPool()(model.vit(pixels(*WIDE)), visible()))
        )
    assert torch.equal(features.regions, expected)


def test_pooling_takes_any_encoders_grids_of_any_sizes():
    def grid(h: int, w: int, **fields) -> PatchGrid:
        frame = Frame.stretch((h * 8, w * 8), (h * 8, w * 8), (8, 8))
        values = torch.randn(h, w, 16, generator=torch.Generator().manual_seed(h))
        return PatchGrid(values, frame, prefix=torch.ones(2, 16), summaries=1, **fields)

    grids = [grid(2, 3), grid(4, 4), grid(3, 3)]
    none = Regions.from_masks(torch.zeros(0, 3, 3, dtype=torch.bool))
    regions = [
        Regions.from_labels(torch.tensor([[0, 0, 1], [0, -1, 1]])),
        Regions.singletons((4, 4)),
        none,
    ]
    pooled = RegionPool().of_grids(grids, regions)
    assert [len(rows) for rows in pooled] == [2, 16, 0]
    features = grids[0].features[[0, 1], [2, 2]]
    torch.testing.assert_close(pooled[0][1], (features.sum(1) / 4).softmax(0) @ features)
    torch.testing.assert_close(pooled[1], grids[1].features.flatten(0, 1))
    with pytest.raises(ValueError, match="asks by the CLS token, and this encoder has none"):
        RegionPool().of_grids([grids[0].but(prefix=None, summaries=0)], regions[:1])
    with pytest.raises(ValueError, match=r"regions on the grid \(2, 3\), features on \(4, 4\)"):
        RegionPool().of_grids(grids[1:2], regions[:1])


def test_region_blocks_compile_without_a_break():
    model = mini()
    expected = model(pixels(*WIDE), visible()).regions
    for block in model.vit.blocks:
        block.compile(backend="eager", fullgraph=True)
    assert torch.equal(model(pixels(*WIDE), visible()).regions, expected)


def test_regions_in_bfloat16_are_near():
    model = mini()
    with torch.no_grad():
        exact = model(pixels(*WIDE), visible()).regions
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(pixels(*WIDE), visible()).regions
        low = mini(dtype=torch.bfloat16)(pixels(*WIDE), visible()).regions
    for other in (mixed, low):
        assert F.cosine_similarity(other.float(), exact).min() > 0.999


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
        (lambda: mini(layers=5), r"0 \(attention pooling after the last block\) to 4, got 5"),
        (lambda: mini(query="mean"), "'cls' or 'learned', got 'mean'"),
        (lambda: mini(layers=0, query="learned"), "needs a region layer"),
        # height and width exchanged, the classic bug
        (
            lambda: mini()(pixels(*WIDE), Visible.from_boxes([boxes((0, 0, 2, 2))] * 2, (8, 4))),
            "images on 8 x 4 patches, but 2 images on a grid of 4 x 8",
        ),
        (
            lambda: mini()(pixels(*WIDE, images=3), visible()),
            "regions of 2 images on 4 x 8 patches, but 3 images",
        ),
        (lambda: RegionPool()(torch.zeros(2, 30, 64), visible()), "2 images on 29 patches"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
