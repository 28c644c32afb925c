"""RADIO: tiny random checkpoints in NVlabs' and in transformers' layout of keys.

They are held against transformers' and timm's own forward passes.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from regiontok.core.canvas import canvases
from regiontok.core.picture import Picture
from regiontok.encoders._radio_tower import positions
from regiontok.encoders.radio import Radio
from regiontok.settings.registry import build, render, summary
from regiontok.settings.spec import SpecError
from regiontok.system import pretrained
from samples.pictures import noise

hub = pytest.importorskip("transformers")

# 5 tokens in front: 3 CLS, of which the first and the last make the summary, and 2 registers;
# positions on 8 x 8 patches
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 4.0,
    "patch_size": 8,
    "max_img_size": 64,
}
TOKENS = {"num_cls_tokens": 3, "num_registers": 2, "summary_idxs": [0, 2]}
CONFIG = {
    "architectures": ["RADIOModel"],
    "auto_map": {"AutoConfig": "hf_model.RADIOConfig", "AutoModel": "hf_model.RADIOModel"},
    "version": "radio_v2.5-l",
    "preferred_resolution": [48, 48],
    "args": {"model": "vit_large_patch16_224", "model_kwargs": {"num_heads": 2}},
}
TO_RELEASED = {
    "embeddings.patch_projection.": "radio_model.model.patch_generator.embedder.",
    "embeddings.position_embedding": "radio_model.model.patch_generator.pos_embed",
    "embeddings.cls_register_token": "radio_model.model.patch_generator.cls_token.token",
    "encoder.layer.": "radio_model.model.blocks.",
    "attention.o_proj.": "attn.proj.",
    "input_conditioner.": "radio_model.input_conditioner.",
    "summary_idxs": "radio_model.summary_idxs",
    "layer_scale1.lambda1": "ls1.grandma",
    "layer_scale2.lambda1": "ls2.grandma",
}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    radio = hub.RadioModel(hub.RadioConfig(**SIZES, **TOKENS)).eval()
    # layer scales of 1 would hide that they were forgotten
    for name, parameter in radio.named_parameters():
        parameter.data.normal_(0.5 if "scale" in name else 0, 0.2)
    return radio


def released(model: Any, folder: Path, config: dict[str, Any] = CONFIG, **more: Tensor) -> Path:
    """Write the model as NVlabs releases it.

    It has NVlabs' names, queries, keys and values in one, and parts that patch features need not.
    """
    state, weights = model.state_dict(), {}
    for key, tensor in state.items():
        if ".q_proj." in key:
            whole = torch.cat(
                [state[key.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"]
            )
            weights[key.replace("attention.q_proj.", "attn.qkv.")] = whole
        elif ".k_proj." not in key and ".v_proj." not in key:
            weights[key] = tensor
    for old, new in TO_RELEASED.items():
        weights = {key.replace(old, new): tensor for key, tensor in weights.items()}
    weights["radio_model.adaptors.clip.head_mlp.fc1.weight"] = torch.ones(3, 3)
    weights["radio_model.model.reg_token"] = torch.ones(1, 4, 32)
    weights |= {key.replace("__", "."): tensor for key, tensor in more.items()}
    folder.mkdir(exist_ok=True)
    save_file(
        {key: tensor.contiguous().clone() for key, tensor in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def folders(model, tmp_path_factory) -> Iterator[dict[str, Path]]:
    root = tmp_path_factory.mktemp("radio")
    paths = {
        "released": released(model, root / "released"),
        "saved": root / "saved",
        "bare": root / "bare",
    }
    # NVlabs' names for some, transformers' for the layer scales
    model.save_pretrained(root / "saved")
    model.save_pretrained(root / "bare", save_original_format=False)
    keys = {name: set(load_file(path / "model.safetensors")) for name, path in paths.items()}
    assert "radio_model.model.blocks.0.ls1.grandma" in keys["released"]
    assert "radio_model.model.blocks.0.layer_scale1.lambda1" in keys["saved"]
    assert "encoder.layer.0.attention.q_proj.weight" in keys["bare"]
    held = [encoder(path)._tower for path in paths.values()]
    yield paths
    held.clear()


@pytest.fixture
def copied(folders, tmp_path) -> Path:
    """A copy of the released folder that a test may spoil."""
    return Path(shutil.copytree(folders["released"], tmp_path / "copy"))


def encoder(path: Path, more: str = "") -> Radio:
    return build("encoder", f"radio({str(path)!r}{more})")


def values(read: Radio, image: Picture) -> Tensor:
    """The canvas as NVlabs' readme feeds it: bytes / 255."""
    return canvases([image], [read.frame(image.size)], fill=(122, 116, 104)).float() / 255


def tokens(grid: Any) -> Tensor:
    return torch.cat([grid.prefix, grid.features.flatten(0, 1)])


ORDER = [0, 2, 1, 3, 4]  # the two summary tokens, the other CLS token, the registers


@pytest.mark.parametrize("name", ["released", "saved", "bare"])
@pytest.mark.parametrize("layer", [-1, -2, 0, 1, 2])
@pytest.mark.parametrize(
    "size",
    [(64, 32), *(pytest.param(size, marks=pytest.mark.slow) for size in (48, 64, (16, 80), 88))],
)
def test_features_equal_transformers_own_forward(model, folders, name, layer, size):
    image = noise(50, 70)
    read = encoder(folders[name], f", size={size}, layer={layer}, align_corners=False")
    with torch.no_grad():
        output = model(values(read, image), output_hidden_states=True)
    [grid] = read.encode([image])
    expected = output.hidden_states[layer][0]
    torch.testing.assert_close(
        tokens(grid), torch.cat([expected[ORDER], expected[5:]]), rtol=0, atol=1e-5
    )
    assert grid.grid == tuple(
        side // 8 for side in (size if isinstance(size, tuple) else (size, size))
    )
    assert grid.summaries == read.summaries == 2
    if layer == -1:
        torch.testing.assert_close(grid.prefix[:2].flatten(), output.summary[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(48, 48), (64, 64), (64, 32), (32, 64), (40, 80)])
def test_released_positions_are_interpolated_with_corners_aligned(model, folders, size):
    # A model whose own table is the interpolated one: transformers' interpolation then has nothing
    # to do but to cut the window.
    longest = max(size) // 8
    table = model.embeddings.position_embedding.data.reshape(1, 8, 8, 32).permute(0, 3, 1, 2)
    table = torch.nn.functional.interpolate(
        table, (longest, longest), mode="bilinear", align_corners=True
    )
    larger = hub.RadioModel(
        hub.RadioConfig(**SIZES | {"max_img_size": longest * 8}, **TOKENS)
    ).eval()
    state = model.state_dict() | {
        "embeddings.position_embedding": table.permute(0, 2, 3, 1).reshape(1, -1, 32)
    }
    larger.load_state_dict(state)
    image = noise(61, 47)
    read = encoder(folders["released"], f", size={size}")
    with torch.no_grad():
        expected = larger(values(read, image)).features[0]
    [grid] = read.encode([image])
    torch.testing.assert_close(grid.features.flatten(0, 1), expected, rtol=0, atol=1e-5)
    [other] = encoder(folders["released"], f", size={size}, align_corners=False").encode([image])
    # the table as it is: nothing to interpolate
    assert torch.equal(other.features, grid.features) == (longest == 8)


def test_positions_of_wide_and_high_windows_are_cut_from_one_square():
    table = torch.arange(64.0).reshape(1, 64, 1)  # row * 8 + column
    landscape, portrait = (
        positions(table, grid, align_corners=True).reshape(grid) for grid in ((2, 4), (4, 2))
    )
    # 8 positions onto 4 with corners aligned: 0, 7/3, 14/3, 7
    steps = torch.tensor([0, 7 / 3, 14 / 3, 7])
    torch.testing.assert_close(landscape, steps[:2, None] * 8 + steps)
    torch.testing.assert_close(portrait, steps[:, None] * 8 + steps[:2])
    [[first, *_]] = positions(table, (4, 4), align_corners=False).reshape(1, 16)
    assert first == 0.5 * 8 + 0.5  # between the first two rows and columns


def test_released_features_equal_timms_naflex_radio(model, tmp_path):
    timm = pytest.importorskip("timm")
    from timm.models.naflexvit import checkpoint_filter_fn

    ours_path = released(model, tmp_path / "three", CONFIG | {"version": "c-radio_v3-b"})
    theirs = timm.create_model(
        "naflexvit_base_patch16_radio_v3",
        **{
            "patch_size": 8,
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "reg_tokens": 4,
            "pos_embed_grid_size": (8, 8),
        },
    ).eval()
    weights = load_file(ours_path / "model.safetensors")
    theirs.load_state_dict(checkpoint_filter_fn(weights, theirs))
    image, read = noise(70, 90), encoder(ours_path, ", size=(40, 56)")
    mean, std = (weights[f"radio_model.input_conditioner.norm_{name}"] for name in ("mean", "std"))
    with torch.no_grad():
        expected = theirs.forward_features((values(read, image) - mean) / std)
    expected = expected["patches"] if isinstance(expected, dict) else expected
    [grid] = read.encode([image])
    torch.testing.assert_close(
        tokens(grid), torch.cat([expected[0, ORDER], expected[0, 5:]]), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("version", "aligned"),
    [
        ("radio_v2.5-b", True),
        ("c-radio_v2-vlm-h", True),
        ("c-radio_v3-l", True),
        ("c-radio_v4-h", False),
        ("radio_v1", True),
    ],
)
def test_the_version_says_how_positions_were_interpolated(copied, version, aligned):
    (copied / "config.json").write_text(json.dumps(CONFIG | {"version": version}))
    assert encoder(copied)._corners_aligned is aligned
    assert encoder(copied, f", align_corners={not aligned}")._corners_aligned is not aligned


def test_without_a_version_nothing_is_guessed(copied, folders):
    (copied / "config.json").write_text(
        json.dumps({key: value for key, value in CONFIG.items() if key != "version"})
    )
    with pytest.raises(
        ValueError, match=r"config\.json does not say its version, so give align_corners=True"
    ):
        encoder(copied).encode([noise(48, 48)])
    assert encoder(copied, ", align_corners=True").encode([noise(48, 48)])[0].grid == (6, 6)
    assert encoder(folders["saved"])._corners_aligned is False  # as transformers computes


@pytest.mark.parametrize(
    ("framing", "size"), [("stretch", (64, 48)), ("letterbox", (32, 48)), ("crop", (64, 96))]
)
def test_a_bright_square_lights_its_patches(folders, framing, size):
    # Sizes that need no resizing, so that the square ends where patches end: it covers rows 1 and
    # 2, columns 2 to 4 of the grid.
    read = encoder(folders["released"], f", size=(64, 48), framing={framing!r}")
    # shortest edge 64: nothing to resize, 24 columns of pixels go on either side
    if framing == "crop":
        assert read.frame(size).crop == (0.0, 24.0, 64.0, 72.0)
    y, x = {"stretch": (0, 0), "letterbox": (-16, 0), "crop": (0, 24)}[framing]
    top, expected = max(8 + y, 0), torch.zeros(8, 6, dtype=torch.bool)
    rows = slice(2, 4) if framing == "letterbox" else slice(1, 3)
    expected[rows, 2:5] = True
    pixels = np.zeros((*size, 3), np.uint8)
    black = Picture.of(pixels)
    bright = pixels.copy()
    bright[top : top + 16, 16 + x : 40 + x] = 255
    for layer in (0, -1):
        read = encoder(folders["released"], f", size=(64, 48), framing={framing!r}, layer={layer}")
        [lit], [dark] = read.encode([Picture.of(bright)]), read.encode([black])
        change = (lit.features - dark.features).norm(dim=-1)
        if layer == 0:  # an embedding sees its own patch alone
            assert torch.equal(change > 1e-6, expected)
        else:
            assert change[expected].min() > 3 * change[~expected].max()
    mask = torch.from_numpy(bright[None, ..., 0] > 0)
    assert torch.equal(lit.frame.to_grid(mask)[0] > 0.5, expected)


def test_a_resized_square_lights_its_patches_on_a_wide_canvas(folders):
    # canvas (48, 128): half as large, 6 x 16 patches of 16 x 16 pixels
    pixels = np.zeros((96, 256, 3), np.uint8)
    pixels[16:48, 160:224] = 255
    read = encoder(folders["released"], ", size=(48, 128), layer=0")
    [lit], [dark] = (
        read.encode([Picture.of(pixels)]),
        read.encode([Picture.of(np.zeros_like(pixels))]),
    )
    change = (lit.features - dark.features).norm(dim=-1)
    expected = torch.zeros(6, 16, dtype=torch.bool)
    expected[1:3, 10:14] = True
    # bicubic resizing bleeds a pixel or two
    assert change[expected].min() > 5 * change[~expected].max()


def test_feature_normaliser_is_applied_to_patches_of_the_output_alone(model, folders, tmp_path):
    mean, turn = torch.randn(32), torch.linalg.qr(torch.randn(32, 32))[0]
    path = released(
        model,
        tmp_path / "n",
        **{
            "radio_model__feature_normalizer__mean": mean,
            "radio_model__feature_normalizer__tx": turn,
        },
    )
    image = noise(48, 48)
    for layer, moved in ((-1, True), (2, False)):
        [plain], [turned] = (
            encoder(folder, f", layer={layer}").encode([image])
            for folder in (folders["released"], path)
        )
        expected = (plain.features - mean) @ turn.T if moved else plain.features
        torch.testing.assert_close(turned.features, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(turned.prefix, plain.prefix)


def test_a_checkpoint_without_layer_scales_has_scales_of_one(model, tmp_path):
    plain = hub.RadioModel(hub.RadioConfig(**SIZES, **TOKENS)).eval()
    plain.load_state_dict(
        {
            key: torch.ones_like(tensor) if "scale" in key else tensor
            for key, tensor in model.state_dict().items()
        }
    )
    path = released(plain, tmp_path / "plain")
    weights = {
        key: tensor
        for key, tensor in load_file(path / "model.safetensors").items()
        if "grandma" not in key
    }
    save_file(weights, path / "model.safetensors")
    read = encoder(path, ", align_corners=False")
    image = noise(48, 48)
    with torch.no_grad():
        expected = plain(values(read, image)).features[0]
    torch.testing.assert_close(
        read.encode([image])[0].features.flatten(0, 1), expected, rtol=0, atol=1e-5
    )


def test_shards_and_a_projection_for_clips(model, folders, tmp_path):
    clips = hub.RadioModel(hub.RadioConfig(**SIZES, **TOKENS, video_temporal_patch_size=2))
    clips.load_state_dict(model.state_dict(), strict=False)
    clips.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    image = noise(40, 40)
    [whole], [sharded] = (
        encoder(path, ", size=48").encode([image]) for path in (folders["saved"], tmp_path)
    )
    assert torch.equal(whole.features, sharded.features)
    shards[0].unlink()
    with pytest.raises(ValueError, match=rf"lacks 1 of its {len(shards)} weight files"):
        encoder(tmp_path).frame((4, 4))


@pytest.mark.parametrize(
    ("width", "rows", "heads"), [(768, 3072, 12), (1152, 4304, 16), (1280, 5120, 16)]
)
def test_sizes_are_read_off_the_shapes(tmp_path, width, rows, heads):
    radio = hub.RadioModel(
        hub.RadioConfig(**SIZES | {"patch_size": 16, "max_img_size": 2048, "num_hidden_layers": 1})
    )
    path = released(
        radio,
        tmp_path / "wide",
        CONFIG | {"args": {"model_kwargs": {}}, "preferred_resolution": [768, 768]},
    )
    # what is as wide as the network, as queries, keys and values, as the MLP
    swollen = {32: width, 96: 3 * width, 128: rows}
    weights = {
        key: torch.zeros(
            [swollen.get(side, side) for side in tensor.shape]
            if "pos_embed" not in key
            else tensor.shape
        )
        for key, tensor in load_file(path / "model.safetensors").items()
    }
    save_file(weights, path / "model.safetensors")
    read = encoder(path)
    config = read._config
    assert rows == weights["radio_model.model.blocks.0.mlp.fc1.weight"].shape[0]
    assert (read.width, config.num_attention_heads, config.patch_size, config.max_img_size) == (
        width,
        heads,
        16,
        2048,
    )
    assert config.num_summary_tokens == 10
    assert int(width * config.mlp_ratio) == rows
    assert read.frame((480, 640)).grid == (48, 48)
    assert "_tower" not in vars(read)  # headers alone


def test_every_weight_is_what_was_saved(model, folders):
    for path in folders.values():
        loaded = encoder(path)._tower.model.state_dict()
        assert set(loaded) == set(model.state_dict())
        assert all(torch.equal(tensor, loaded[key]) for key, tensor in model.state_dict().items())


@pytest.mark.slow
def test_batches_dtype_shuffle_and_sharing(folders):
    images = [noise(40 + 9 * i, 80 - 7 * i, seed=i) for i in range(3)]
    read = encoder(folders["released"], ", batch=2")
    for image, grid in zip(images, read.encode(images), strict=True):
        torch.testing.assert_close(
            grid.features, read.encode([image])[0].features, rtol=0, atol=5e-6
        )
        assert grid.key == image.key
        assert not grid.features.requires_grad
        assert grid.features.untyped_storage().nbytes() == grid.features.nbytes
    assert read.encode([]) == []
    half = encoder(folders["released"], ", dtype='bfloat16'")
    [rough], [exact] = half.encode(images[:1]), read.encode(images[:1])
    assert rough.features.dtype == rough.prefix.dtype == torch.bfloat16
    assert half._tower.model.input_conditioner.norm_mean.dtype == torch.float32
    # 0.03 measured, on features of size 3
    assert 0 < (rough.features.float() - exact.features).abs().max() < 0.1
    assert encoder(folders["released"], ", size=64, layer=0")._tower is read._tower
    [still], [moved] = (
        encoder(folders["released"], f", layer=0, size=48, shuffle={seed}").encode([noise(48, 48)])
        for seed in (None, 3)
    )
    place = positions(read._tower.model.embeddings.position_embedding, (6, 6), True)[0]
    far = torch.cdist(moved.features.flatten(0, 1) - place, still.features.flatten(0, 1) - place)
    assert sorted(far.argmin(1).tolist()) == list(range(36))
    assert far.argmin(1).tolist() != list(range(36))
    held = len(pretrained._LOADED)
    del half
    gc.collect()
    assert len(pretrained._LOADED) < held


def test_what_is_no_radio_is_refused(copied, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"has no config\.json: it is no folder that NVlabs released or save_pretrained wrote",
    ):
        encoder(tmp_path).frame((4, 4))
    (copied / "config.json").write_text('{"model_type": "clip", "architectures": ["CLIPModel"]}')
    with pytest.raises(
        ValueError,
        match=r"expected a RADIO checkpoint .* got model_type 'clip', architectures "
        r"\['CLIPModel'\]",
    ):
        encoder(copied).frame((4, 4))
    (copied / "config.json").write_text(json.dumps(CONFIG))
    save_file({"radio_model.model.levels.0.weight": torch.ones(2)}, copied / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"E-RADIO and RADIOv2\.5-g are other networks, which are not read"
    ):
        encoder(copied).frame((4, 4))


def spoil(folder: Path, drop: str = "", **more: Tensor) -> None:
    weights = load_file(folder / "model.safetensors")
    remaining = {key: tensor for key, tensor in weights.items() if not drop or drop not in key}
    save_file(
        remaining | {key.replace("__", "."): tensor for key, tensor in more.items()},
        folder / "model.safetensors",
    )


def test_weights_that_are_absent_or_have_no_place(copied):
    spoil(copied, "blocks.1.mlp.fc1.weight")
    with pytest.raises(
        ValueError,
        match=r"1 weights are not in the checkpoint: encoder\.layer\.1\.mlp\.fc1\.weight",
    ):
        encoder(copied).encode([noise(48, 48)])
    spoil(copied, "blocks.0.ls2")
    with pytest.raises(
        ValueError, match=r"2 weights are not in .* encoder\.layer\.0\.layer_scale2\.lambda1"
    ):
        encoder(copied).encode([noise(48, 48)])


@pytest.mark.parametrize(
    "key",
    ["radio_model__model__norm__weight", "radio_model__model__patch_generator__embedder__bias"],
)
def test_a_weight_with_no_place_is_named(copied, key):
    spoil(copied, **{key: torch.ones(32)})
    with pytest.raises(
        ValueError,
        match="1 weights have no place in RADIO's vision transformer.*: "
        f"{key.replace('__', '[.]')}",
    ):
        encoder(copied).frame((4, 4))


def test_a_summary_of_tokens_that_are_not_there(copied):
    spoil(copied, radio_model__summary_idxs=torch.tensor([0, 5]))
    with pytest.raises(ValueError, match=r"summary_idxs \[0, 5\] of 5 tokens"):
        encoder(copied).encode([noise(48, 48)])


def test_letterbox_pads_with_the_mean_of_the_networks_own_conditioner(model, folders):
    read, image = (
        encoder(folders["released"], ", framing='letterbox', align_corners=False"),
        noise(24, 48),
    )
    [grid] = read.encode([image])
    assert grid.valid.tolist() == [[0 < row < 5] * 6 for row in range(6)]  # 24 of 48 rows: 12 to 36
    with torch.no_grad():
        expected = model(values(read, image)).features[0]
    torch.testing.assert_close(grid.features.flatten(0, 1), expected, rtol=0, atol=1e-5)


def test_shapes_files_and_heads_that_do_not_fit(copied, folders, tmp_path):
    spoil(copied, radio_model__model__blocks__1__mlp__fc1__bias=torch.zeros(7))
    with pytest.raises(
        ValueError,
        match=r"weights of other shapes than config\.json says \(size mismatch for "
        r"encoder\.layer\.1",
    ):
        encoder(copied).encode([noise(48, 48)])
    (copied / "config.json").write_text(json.dumps(CONFIG | {"args": {}}))
    with pytest.raises(
        ValueError,
        match=r"cannot tell the number of attention heads: expected a width of 192, .*got width 32",
    ):
        encoder(copied).frame((4, 4))
    (copied / "config.json").write_text(
        json.dumps(CONFIG | {"args": {"model_kwargs": {"num_heads": 2, "scaled_ln": True}}})
    )
    with pytest.raises(ValueError, match="norms are scaled by depth"):
        encoder(copied).frame((4, 4))
    with (copied / "model.safetensors").open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        encoder(copied).frame((4, 4))
    other = Path(shutil.copytree(folders["bare"], tmp_path / "other"))
    said = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(said | {"num_hidden_layers": 1}))
    with pytest.raises(ValueError, match=r"config\.json knows no place for encoder\.layer\.1\."):
        encoder(other, ", size=48").encode([noise(48, 48)])


@pytest.mark.parametrize("name", ["radio-v2.5-l_half.pth.tar", "pytorch_model.bin"])
def test_pickles_are_refused(copied, name):
    torch.save(load_file(copied / "model.safetensors"), copied / name)
    (copied / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        encoder(copied).frame((4, 4))


def test_settings_out_of_range(folders):
    path = folders["released"]
    for size, near in ((50, (48, 48)), ((48, 3), (48, 8))):
        nearest = rf"the nearest is \({near[0]}, {near[1]}\)"
        message = rf"size must be a multiple of the patch, 8; got .*, {nearest}"
        with pytest.raises(ValueError, match=message):
            encoder(path, f", size={size}").frame((40, 40))
    for layer in (3, -4):
        with pytest.raises(
            ValueError,
            match=rf"has 2 blocks: layer must be 0 .* to 2, or -1 .* down to -3; got {layer}",
        ):
            encoder(path, f", layer={layer}").encode([noise(48, 48)])
    with pytest.raises(SpecError, match="batch and size must be at least 1, got batch=8, size=0"):
        encoder(path, ", size=0")
    with pytest.raises(
        ValueError, match="dtype must be one of float32, bfloat16, float16, got 'half'"
    ):
        Radio("x", dtype="half")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="framing must be one of stretch, letterbox, crop, got 'pad'"
    ):
        Radio("x", framing="pad")  # type: ignore[arg-type]


def test_identity_and_spec(folders, copied):
    read = encoder(folders["released"])
    assert read.identity == encoder(copied).identity
    assert (read.width, read.has_cls, read.frame((20, 30)).canvas) == (32, True, (48, 48))
    weights = load_file(copied / "model.safetensors")
    weights["radio_model.model.patch_generator.pos_embed"][0, 0, 0] += 1
    save_file(weights, copied / "model.safetensors")
    assert encoder(copied).identity != read.identity
    text = (
        "radio('nvidia/RADIO-L', size=768, layer=-2, framing='letterbox', "
        "align_corners=False, shuffle=1)"
    )
    assert render(build("encoder", text)) == text
    assert build(
        "encoder", render(build("encoder", text), full=True).replace(", version=1", "")
    ) == build("encoder", text)
    assert "C-RADIO" in summary("encoder", "radio")


def test_a_layer_is_a_hidden_state_and_the_canvas_has_any_size(folders):
    read = encoder(folders["released"])
    assert (read.layers, read.layer_name) == (range(read.blocks + 1), "-1")
    assert read.at_layer(-2) == encoder(folders["released"], ", layer=-2")
    with pytest.raises(ValueError, match=r"blocks: layer must be 0 .* got 99"):
        read.at_layer(99)
    assert read.can_resize
    assert read.at_size(64).frame((10, 10)).canvas == (64, 64)
    assert (read.is_untrained, read.untrained()) == (False, None)
