from __future__ import annotations

import pytest
import torch

from regiontok.rice.export import load, save, write_config
from regiontok.rice.vit import SIZES, ViT, ViTConfig
from samples.vits import mini_vit, pixels

hub = pytest.importorskip("transformers")


def theirs(vit: ViT, folder, **options) -> torch.nn.Module:
    """transformers' MLCD with the same weights."""
    return hub.MLCDVisionModel.from_pretrained(save(vit, folder / "saved"), **options).eval()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (64, 128), (128, 64), (35, 50)])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_tokens_are_those_of_mlcd(tmp_path, size, activation):
    vit = mini_vit(activation=activation)
    with torch.no_grad():
        ours, other = vit(pixels(*size)), theirs(vit, tmp_path)(pixels(*size))
    assert ours.shape == (2, 1 + (size[0] // 8) * (size[1] // 8), 64)
    torch.testing.assert_close(
        ours, other.last_hidden_state, rtol=0, atol=1e-6 * ours.abs().max().item()
    )
    torch.testing.assert_close(vit.norm_out(ours[:, 0]), other.pooler_output, rtol=0, atol=1e-5)


def test_gradients_are_those_of_mlcd_on_a_wide_image(tmp_path):
    vit = mini_vit()
    other = theirs(vit, tmp_path)
    mix = torch.randn(33, 64, generator=torch.Generator().manual_seed(1))
    (vit(pixels(32, 64)) * mix).sum().backward()
    (other(pixels(32, 64)).last_hidden_state * mix).sum().backward()
    assert vit.cls_angle.grad is not None
    torch.testing.assert_close(
        vit.cls_angle.grad, other.class_pos_emb.grad[0], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        vit.cls.grad, other.embeddings.class_embedding.grad, rtol=1e-4, atol=1e-4
    )
    key = vit.blocks[2].attention.key.weight
    torch.testing.assert_close(
        key.grad, other.encoder.layers[2].self_attn.k_proj.weight.grad, rtol=1e-4, atol=1e-5
    )


def test_rows_and_columns_turn_by_their_own_index():
    vit = mini_vit()
    cos, sin = vit.rotary((2, 3))
    assert cos.shape == (7, 16)
    torch.testing.assert_close(cos[0, :8], vit.cls_angle.cos())
    # patch (row 1, column 2): frequencies 1, 0.1, 0.01, 0.001 times 1, then times 2; then the
    # partners of the same pairs
    speed = torch.tensor([1.0, 0.1, 0.01, 0.001])
    torch.testing.assert_close(sin[1 + 1 * 3 + 2], torch.cat([speed, 2 * speed]).sin().repeat(2))


def test_rows_are_not_columns():
    vit = mini_vit()
    with torch.no_grad():
        landscape, portrait = vit(pixels(32, 64)), vit(pixels(32, 64).transpose(2, 3))
    assert (landscape[:, 0] - portrait[:, 0]).abs().max() > 1e-2


def test_a_batch_is_its_images():
    vit = mini_vit()
    with torch.no_grad():
        torch.testing.assert_close(
            vit(pixels(64, 32, images=3))[1:2],
            vit(pixels(64, 32, images=3)[1:2]),
            rtol=0,
            atol=2e-6,
        )


def test_checkpointing_changes_no_gradient():
    plain, spare = mini_vit(), mini_vit()
    spare.checkpointing = True
    for vit in (plain, spare):
        vit(pixels(32, 32)).square().mean().backward()
    for (name, parameter), other in zip(plain.named_parameters(), spare.parameters(), strict=True):
        if not name.startswith("norm_out"):
            assert torch.equal(parameter.grad, other.grad), name


def test_bfloat16_is_near_and_its_angles_stay_exact():
    vit = mini_vit()
    with torch.no_grad():
        exact = vit(pixels(64, 64))
        low = mini_vit().to(torch.bfloat16)(pixels(64, 64))
        with torch.autocast("cpu", torch.bfloat16):
            mixed = vit(pixels(64, 64))
    assert low.dtype == torch.bfloat16
    assert mixed.dtype == torch.float32
    for other in (low.float(), mixed):
        assert (other - exact).abs().max() < 0.05 * exact.abs().max()
    assert torch.equal(
        mini_vit().to(torch.bfloat16).rotary((8, 8))[0][1:], vit.rotary((8, 8))[0][1:]
    )


@pytest.mark.slow
def test_blocks_compile_without_a_break():
    vit = mini_vit()
    expected = vit(pixels(32, 64))
    for block in vit.blocks:
        block.compile(backend="eager", fullgraph=True)
    assert torch.equal(vit(pixels(32, 64)), expected)


def test_weights_follow_the_seed_and_leave_the_global_state_alone():
    state = torch.random.get_rng_state()
    first, same, other = (ViT(ViTConfig.named("mini"), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True)
    )
    assert not torch.equal(first.cls, other.cls)


def test_random_weights_are_spread_as_mlcds(tmp_path):
    config = ViTConfig.named("ti16", depth=2)
    mlcd = hub.MLCDVisionModel(hub.MLCDVisionConfig(**write_config(config))).state_dict()
    save(ViT(config), tmp_path / "saved")
    for key, value in hub.MLCDVisionModel.from_pretrained(tmp_path / "saved").state_dict().items():
        assert (
            value.std().item() == pytest.approx(mlcd[key].std().item(), rel=0.15, abs=1e-6)
            or value.numel() < 200
        ), key


@pytest.mark.parametrize(("name", "millions"), [("b16", 85.7), ("l14", 303.0)])
def test_sizes_have_the_parameters_of_the_papers_models(name, millions):
    with torch.device("meta"):
        vit = ViT(SIZES[name])
    assert sum(parameter.numel() for parameter in vit.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.3
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ViTConfig.named("b17"), "no size 'b17'; there are mini, ti16"),
        (lambda: ViTConfig(width=60, depth=2, heads=4, mlp=8, patch=8), "multiple of 4"),
        (
            lambda: ViTConfig(width=64, depth=2, heads=4, mlp=8, patch=8, activation="relu"),
            "gelu, quick_gelu, got 'relu'",
        ),
        (lambda: ViTConfig(width=64, depth=0, heads=4, mlp=8, patch=8), "at least 1"),
        (
            lambda: mini_vit()(torch.zeros(1, 3, 7, 64)),
            "7 x 64 pixels is smaller than one patch of 8",
        ),
        (
            lambda: mini_vit()(torch.zeros(1, 1, 64, 64)),
            r"expected pixels \[b 3 H W\], got \[1, 1, 64, 64\]",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_it_loads_what_it_saved(tmp_path):
    vit = mini_vit()
    loaded = load(save(vit, tmp_path / "saved"))
    assert torch.equal(loaded(pixels(32, 64)), vit(pixels(32, 64)))
