from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from regiontok.rice.region_attention import RegionLayer, RegionTransformer
from regiontok.rice.visible import Visible
from regiontok.rice.vit import ViT, ViTConfig, rotate
from samples.vits import mini_vit, pixels


def mini(
    layers: int = 2, dtype: torch.dtype = torch.float32, form: str = "shared", **options
) -> RegionTransformer:
    layer = RegionLayer(form=form, layers=layers, **options)
    return RegionTransformer(mini_vit(), layer).to(dtype)


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows).view(-1, 4)


RAGGED = [boxes((0, 0, 2, 2), (1, 0, 8, 4), (0, 0, 8, 4)), boxes((5.2, 1.1, 5.4, 1.3))]
WIDE = (32, 64)  # pixels of a 4 x 8 grid


def visible(dtype: torch.dtype = torch.float32) -> Visible:
    return Visible.from_boxes([rows.to(dtype) for rows in RAGGED], (4, 8))


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
            if number == vit.config.depth - model.layer.layers:
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


def authors_region_rows(model: RegionTransformer, images: torch.Tensor) -> torch.Tensor:
    """The region branch of the authors' code, restated region by region and head by head.

    Behind the last norm CLS asks as it is; a patch is turned by its angle, as key and as value; the
    softmax runs over the patches of the region; heads are joined and projected.
    """
    vit, rows = model.vit, []
    (cos, sin), width = vit.rotary((4, 8)), vit.config.width // vit.config.heads
    visibility = visible()
    normed = vit.norm_out(vit(images))
    for tokens, masks, count in zip(normed, visibility.mask, visibility.counts, strict=True):
        for mask in masks[:count]:
            heads = []
            for head in tokens.unflatten(1, (vit.config.heads, width)).unbind(1):
                left, right = head.chunk(2, 1)
                turned = head * cos + torch.cat([-right, left], 1) * sin
                inside = turned[1:][mask]
                weights = (inside @ head[0] / width**0.5).softmax(0)
                heads.append(weights @ inside)
            rows.append(torch.cat(heads) @ model.projection)
    return torch.stack(rows)


def test_pooled_regions_are_those_of_the_authors_code():
    model = mini(0, torch.float64, form="pool", projection=48)
    images = pixels(*WIDE, dtype=torch.float64)
    ours, theirs = model(images, visible()).regions, authors_region_rows(model, images)
    assert ours.shape == (4, 48)
    assert model.width == 48
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    parameters = list(model.parameters())
    pairs = zip(
        torch.autograd.grad(ours.square().sum(), parameters),
        torch.autograd.grad(theirs.square().sum(), parameters),
        strict=True,
    )
    for ours_gradient, theirs_gradient in pairs:
        torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-9, atol=1e-10)


def last_block_gradient(**options) -> float:
    """The gradient that the last block of the exported encoder gets through its patch tokens."""
    model = mini(options.pop("layers", 1), **options)
    outputs = {}
    model.vit.blocks[-1].register_forward_hook(lambda block, args, out: outputs.update(x=out[0]))
    regions = model(pixels(*WIDE), visible()).regions
    [gradient] = torch.autograd.grad(regions[:, :9].sum(), outputs["x"], allow_unused=True)
    return 0.0 if gradient is None else float(gradient[:, 1:].abs().sum())


def test_exported_patches_learn_from_regions_but_not_where_the_last_block_is_shared():
    assert last_block_gradient(form="pool", layers=0) > 0.1
    assert last_block_gradient(form="blocks") > 0.1
    assert last_block_gradient(form="shared") == 0


def test_blocks_on_top_are_those_of_a_deeper_shared_encoder():
    """Blocks of their own on top of 3 are 4 blocks of which the last is shared."""
    deep = mini(1)
    model = RegionTransformer(
        ViT(ViTConfig.named("mini", depth=3)), RegionLayer(form="blocks", layers=1)
    )
    weights = {
        key.replace("vit.blocks.3.", "region_blocks.0."): value
        for key, value in deep.state_dict().items()
    }
    model.load_state_dict(weights)
    with torch.no_grad():
        features, expected = model(pixels(*WIDE), visible()), deep(pixels(*WIDE), visible())
        assert torch.equal(features.regions, expected.regions)
        assert torch.equal(features.tokens, model.vit(pixels(*WIDE)))


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mini(5), "takes 1 to 4 of the encoder's blocks, got 5"),
        (lambda: mini(0), "'shared' needs region_layers of 1 or more"),
        (lambda: mini(query="mean"), "'cls' or 'learned', got 'mean'"),
        (lambda: mini(2, form="pool"), "'pool' has no region layers and asks by CLS"),
        (lambda: mini(0, form="pool", query="learned"), "belong to 'blocks' and 'shared'"),
        (lambda: mini(form="mean"), "one of pool, blocks, shared, got 'mean'"),
        # height and width exchanged, the classic bug
        (
            lambda: mini()(pixels(*WIDE), Visible.from_boxes([boxes((0, 0, 2, 2))] * 2, (8, 4))),
            "images on 8 x 4 patches, but 2 images on a grid of 4 x 8",
        ),
        (
            lambda: mini()(pixels(*WIDE, images=3), visible()),
            "regions of 2 images on 4 x 8 patches, but 3 images",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
