"""Cross-attention pooling over lists: equal to padded attention, gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regiontok.core.regions import Members, Regions
from regiontok.pool.attend import Attend, segment_softmax

WIDTH = 32
# float64: two orders of summation, measured 2e-14 over results and gradients up to 20
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


def batch(seed=0):
    """Two views with overlapping regions of 1 to 144 patches, and an empty view between them."""
    generator = torch.Generator().manual_seed(seed)
    masks = (
        torch.rand(6, 12, 12, generator=generator)
        < torch.tensor([1.0, 0.5, 0.2, 0.05, 0.9, 0.01])[:, None, None]
    )
    masks[5, 3, 3] = True
    single = torch.zeros(1, 12, 12, dtype=torch.bool)
    single[0, 7, 2] = True
    views = [
        Regions.from_masks(masks),
        Regions.from_masks(masks[:0]),
        Regions.from_masks(torch.cat([single, masks[1:3]])),
    ]
    members = Members.of(views)
    assert {1, 144} <= set(members.sizes.tolist())
    return torch.randn(3 * 144, WIDTH, generator=generator, dtype=torch.float64), members


def module(heads=16, residual=False, width=WIDTH):
    torch.manual_seed(0)
    pool = Attend(heads, residual).build(width).double()
    for parameter in pool.parameters():  # zeros would hide a bias that is not used
        nn.init.normal_(parameter, std=0.3)
    return pool


def padded(values, members, bias):
    """Queries `[k 1 d]`, and patches padded to the largest region `[k n d]`.

    The mask `[k n]` tells which of them are real.
    """
    patches_by_region = [
        values[members.patch[members.region == region]] for region in range(len(members))
    ]
    queries = torch.stack([patches.mean(0) for patches in patches_by_region])[:, None] + bias
    real = torch.arange(int(members.sizes.max())) < members.sizes[:, None]
    return queries, nn.utils.rnn.pad_sequence(patches_by_region, batch_first=True), real


def by_sdpa(pool, values, members):
    queries, patches, real = padded(values, members, pool.query_bias)
    q, k, v = (
        layer(rows).unflatten(-1, (pool.heads, -1)).transpose(1, 2)
        for layer, rows in ((pool.query, queries), (pool.key, patches), (pool.value, patches))
    )
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :])
    pooled = pool.out(mixed.transpose(1, 2).flatten(2))
    return (pooled + queries if pool.residual else pooled)[:, 0]


def gradients(pool, values, members, forward):
    """The result, and gradients of a fixed weighting of it for all parameters and the values."""
    values = values.clone().requires_grad_()
    result = forward(pool, values, members)
    weights = torch.randn(
        result.shape, generator=torch.Generator().manual_seed(1), dtype=result.dtype
    )
    names, parameters = zip(*pool.named_parameters(), strict=True)
    grads = torch.autograd.grad((result * weights).sum(), [values, *parameters])
    return {
        "result": result.detach(),
        "values": grads[0],
        **dict(zip(names, grads[1:], strict=True)),
    }


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("heads", [1, 4, 16])
def test_equals_padded_attention_with_gradients(heads, residual):
    pool, (values, members) = module(heads, residual), batch()
    ours = gradients(pool, values, members, lambda *arguments: pool(*arguments[1:]).values)
    theirs = gradients(pool, values, members, by_sdpa)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(
            ours[name], theirs[name], **CLOSE, msg=lambda text, name=name: f"{name}: {text}"
        )
        # a bias of all keys changes no softmax
        assert name == "key.bias" or float(theirs[name].abs().max()) > 1e-3


def test_equals_torchs_multihead_attention_with_copied_weights_and_gradients():
    pool, (values, members) = module(), batch()
    torchs = nn.MultiheadAttention(WIDTH, 16, batch_first=True).double()
    with torch.no_grad():
        torchs.in_proj_weight.copy_(
            torch.cat([pool.query.weight, pool.key.weight, pool.value.weight])
        )
        torchs.in_proj_bias.copy_(torch.cat([pool.query.bias, pool.key.bias, pool.value.bias]))
        torchs.out_proj.load_state_dict(pool.out.state_dict())
    bias = pool.query_bias.detach().clone().requires_grad_()
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    queries, patches, real = padded(theirs, members, bias)
    expected = torchs(queries, patches, patches, key_padding_mask=~real, need_weights=False)[0][
        :, 0
    ]
    result = pool(ours, members).values
    torch.testing.assert_close(result, expected, **CLOSE)
    result.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, **CLOSE)
    torch.testing.assert_close(pool.query_bias.grad, bias.grad, **CLOSE)
    for suffix in ("weight", "bias"):
        parts = [getattr(layer, suffix).grad for layer in (pool.query, pool.key, pool.value)]
        torch.testing.assert_close(
            torch.cat(parts), getattr(torchs, f"in_proj_{suffix}").grad, **CLOSE
        )
        torch.testing.assert_close(
            getattr(pool.out, suffix).grad, getattr(torchs.out_proj, suffix).grad, **CLOSE
        )


def test_weights_of_a_region_add_up_to_one_and_equal_softmax():
    _, members = batch()
    scores = 30 * torch.randn(
        len(members.patch), 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    weights = segment_softmax(scores, members)
    for region in range(len(members)):
        in_region = members.region == region
        torch.testing.assert_close(
            weights[in_region], scores[in_region].softmax(0), rtol=1e-12, atol=1e-15
        )


def test_a_region_of_one_patch_is_its_value_projected():
    pool, values = module(), torch.randn(4, WIDTH, dtype=torch.float64)
    tokens = pool(values, Members.of([Regions.singletons((2, 2))]))
    torch.testing.assert_close(tokens.values, pool.out(pool.value(values)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_scores_stay_finite_and_pick_the_best_patch(dtype):
    pool = Attend(heads=1).build(2).to(dtype)
    for layer in (pool.query, pool.key, pool.value, pool.out):
        nn.init.eye_(layer.weight)
    # scores 225 * (100, 350) / sqrt(2): their exp is beyond every float; 225 * 350 is beyond
    # float16, the score is not
    values = torch.tensor([[100.0, 0.0], [350.0, 0.0]], dtype=dtype, requires_grad=True)
    tokens = pool(values, Members.of([Regions.from_masks(torch.ones(1, 1, 2))])).values
    assert tokens.tolist() == [[float(values[1, 0].detach()), 0.0]]
    tokens.sum().backward()
    assert bool(values.grad.isfinite().all())
    assert all(bool(parameter.grad.isfinite().all()) for parameter in pool.parameters())


@pytest.mark.parametrize(("side", "value"), [((24, 24), 1.0), ((15, 33), 255 / 128)])
def test_equal_patches_in_bfloat16_are_neither_lost_nor_blown_up(side, value):
    # products of weights of 1/495 rounded to bfloat16 add up to 253/128 instead of 255/128
    values = torch.full((side[0] * side[1], 1), value, dtype=torch.bfloat16)
    pool = Attend(heads=1).build(1).to(torch.bfloat16)
    nn.init.ones_(pool.value.weight)
    nn.init.ones_(pool.out.weight)
    assert pool(values, Members.of([Regions.from_masks(torch.ones(1, *side))])).values.tolist() == [
        [value]
    ]


def test_bfloat16_is_as_close_as_its_own_rounding():
    values, members = batch()
    pool = module().bfloat16()
    rounded = pool(values.bfloat16(), members).values.double()
    exact = pool.double()(values.bfloat16().double(), members).values
    error = float(((rounded - exact).norm() / exact.norm()).detach())
    assert error < 2 * torch.finfo(torch.bfloat16).eps  # measured 0.5


def test_starts_as_attention_without_a_bias():
    pool = Attend().build(32)
    for name, parameter in pool.named_parameters():
        assert bool(parameter.any()) == name.endswith("weight"), name


def test_heads_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"16 heads do not divide the width 12; these would: \[1, 2, 3, 4, 6, 12\]"
    ):
        Attend().build(12)
    with pytest.raises(ValueError, match="at least one head, got 0"):
        Attend(heads=0)
