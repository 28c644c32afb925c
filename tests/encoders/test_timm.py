"""Timm: tiny random checkpoints in timm's hub format, saved and read as a user would.

They are held against timm's own forward pass.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from regiontok.core.canvas import canvases
from regiontok.core.picture import Picture
from regiontok.encoders import timm as ours
from regiontok.encoders.timm import Timm
from regiontok.settings.registry import build, names, render, summary
from regiontok.settings.spec import SpecError
from samples.models import shake
from samples.pictures import waves

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 42, "patch_size": 14}
# architecture, its arguments, then the prefix tokens, and how many of them are summaries
CASES: dict[str, SimpleNamespace] = {}


def case(
    name: str, arch: str, *, prefix: int = 1, summaries: int = 1, norm: bool = True, **more: Any
) -> None:
    """`norm`: the model norms its tokens, not only what it pools."""
    CASES[name] = SimpleNamespace(
        arch=arch, args=TINY | more, prefix=prefix, summaries=summaries, norm=norm
    )


case("vit", "vit_tiny_patch16_224")
case("vit-registers", "vit_small_patch14_reg4_dinov2", prefix=5)
case(
    "vit-registers-no-cls",
    "vit_small_patch16_224",
    class_token=False,
    reg_tokens=4,
    global_pool="avg",
    prefix=4,
    summaries=0,
    norm=False,
)
case("clip", "vit_base_patch16_clip_224")
# 40 pixels at patch 14: a 2 x 2 grid over the first 28
case("siglip", "vit_base_patch16_siglip_224", prefix=0, summaries=0, img_size=40)
case("aimv2", "aimv2_large_patch14_224", prefix=0, summaries=0)
case("pe-core", "vit_pe_core_tiny_patch16_384", ref_feat_shape=(3, 3))
case("pe-spatial", "vit_pe_spatial_tiny_patch16_512", norm=False, ref_feat_shape=(4, 4))
case("dinov3", "vit_small_patch16_dinov3", prefix=5)
case("eva02", "eva02_tiny_patch14_224", norm=False)
case("eva-no-cls", "eva02_tiny_patch14_224", prefix=0, summaries=0, class_token=False, norm=False)
case("radio", "vit_base_patch16_radio_v3", prefix=8, norm=False)
FAMILIES = pytest.mark.parametrize("name", list(CASES))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    for name, case in CASES.items():
        model = timm.create_model(case.arch, pretrained=False, **case.args).eval()
        shake(model)
        case.model = model
        size = case.args["img_size"]
        model.pretrained_cfg = dict(model.pretrained_cfg) | {
            "input_size": (3, size, size),
            "crop_pct": 1.0,
        }
        save_for_hf(model, root / name, model_args=case.args, safe_serialization=True)
    return {name: root / name for name in CASES}


@pytest.fixture
def copied(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the ViT folder that a test may spoil."""
    return Path(shutil.copytree(checkpoints["vit"], tmp_path / "copy"))


def encoder(path: Path, more: str = "") -> Timm:
    return build("encoder", f"timm({str(path)!r}{more})")


def evaluation_pixels(read: Timm, image: Picture) -> torch.Tensor:
    """A picture as timm's own evaluation transform gives it, `[1 3 H W]`."""
    config = timm.data.resolve_model_data_config(read._shell)
    return timm.data.create_transform(**config, is_training=False)(image.pil)[None]


def tokens(grid: Any) -> torch.Tensor:
    patches = grid.features.flatten(0, 1)
    return patches if grid.prefix is None else torch.cat([grid.prefix, patches])


@pytest.mark.slow
@FAMILIES
def test_the_output_equals_timms_own_forward(checkpoints, name):
    case, image = CASES[name], waves(42, 70)
    read = encoder(checkpoints[name])
    [grid] = read.encode([image])
    side = 2 if name == "siglip" else 3
    assert grid.grid == (side, side)
    assert (0 if grid.prefix is None else len(grid.prefix), grid.summaries) == (
        case.prefix,
        case.summaries,
    )
    assert (read.width, read.has_cls) == (32, case.summaries > 0)
    with torch.no_grad():
        expected = case.model.forward_features(evaluation_pixels(read, image))[0]
    torch.testing.assert_close(tokens(grid), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@FAMILIES
@pytest.mark.parametrize(("layer", "block"), [(2, 1), (1, 0), (-2, 0), (0, None), (-3, None)])
def test_layers_are_the_blocks_outputs_without_the_norm(checkpoints, name, layer, block):
    """Hidden state k is what block k-1 gives; hooks on timm's own model say what that is."""
    case, image = CASES[name], waves(42, 42)
    read, outputs = encoder(checkpoints[name], f", layer={layer}"), []
    module = case.model.blocks[block or 0]
    handle = (
        module.register_forward_pre_hook(lambda _m, inputs: outputs.append(inputs[0]))
        if block is None
        else None
    )
    handle = handle or module.register_forward_hook(lambda _m, _given, out: outputs.append(out))
    with torch.no_grad():
        case.model.forward_features(evaluation_pixels(read, image))
    handle.remove()
    [grid] = read.encode([image])
    torch.testing.assert_close(tokens(grid), outputs[0][0], rtol=0, atol=1e-5)
    assert not read._module.blocks[0]._forward_pre_hooks


@pytest.mark.slow
@FAMILIES
def test_minus_one_is_the_last_block_behind_the_final_norm(checkpoints, name):
    image = waves(60, 60)
    [last], [blocks] = (
        encoder(checkpoints[name]).encode([image]),
        encoder(checkpoints[name], ", layer=2").encode([image]),
    )
    with torch.no_grad():
        torch.testing.assert_close(
            CASES[name].model.norm(blocks.features), last.features, rtol=0, atol=1e-6
        )
    assert torch.equal(blocks.features, last.features) is not CASES[name].norm


@pytest.mark.slow
@FAMILIES
@pytest.mark.parametrize(
    "size", [(72, 72), (28, 56), (70, 35)]
)  # 70 of the 72 pixels; 2:1 and 1:2 show height and width swapped
def test_another_size_is_what_timm_itself_does_there(checkpoints, name, size):
    case, image = CASES[name], waves(*size)
    read = encoder(checkpoints[name], f", size={size}, framing='stretch'")
    pixels = canvases([image], [read.frame(size)])[0]
    values = torch.stack([read._preprocess.table()[c][pixels[c].long()] for c in range(3)])[None]
    h, w = size[0] // 14, size[1] // 14
    # another model, made for this size: timm resizes the positions of the checkpoint while loading
    resized = timm.create_model(
        case.arch, pretrained=False, num_classes=0, **(case.args | {"img_size": (14 * h, 14 * w)})
    ).eval()
    adapt = __import__(type(resized).__module__, fromlist=["x"]).checkpoint_filter_fn
    resized.load_state_dict(
        adapt(load_file(checkpoints[name] / "model.safetensors"), resized), strict=False
    )
    with torch.no_grad():
        expected = resized.forward_features(values[..., : 14 * h, : 14 * w])[0]
    [grid] = read.encode([image])
    assert grid.grid == (h, w)
    assert grid.frame.covered == (0.0, 0.0, 14.0 * h, 14.0 * w)
    torch.testing.assert_close(tokens(grid), expected, rtol=0, atol=1e-5)


def test_aimv2_is_the_same_network_in_timm_and_transformers_at_any_size(tmp_path):
    """Ours interpolates AIMv2's positions for `transformers`, which cannot, as timm does."""
    hub = pytest.importorskip("transformers")
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 14,
        "intermediate_size": 64,
    }
    theirs = hub.Aimv2VisionModel(
        hub.Aimv2VisionConfig(**vision, image_size=42, use_head=False)
    ).eval()
    shake(theirs)
    theirs.save_pretrained(tmp_path / "hub")
    hub.CLIPImageProcessorPil(
        size={"shortest_edge": 42}, crop_size={"height": 42, "width": 42}
    ).save_pretrained(tmp_path / "hub")
    args = TINY | {"mlp_ratio": 2.0, "num_classes": 0}
    model = timm.create_model("aimv2_large_patch14_224", pretrained=False, **args)
    weights = theirs.state_dict()
    moved = {
        "pos_embed": weights["embeddings.position_embedding.weight"][None],
        "norm.weight": weights["rms_norm.weight"],
    }
    moved |= {
        f"patch_embed.proj.{kind}": weights[f"embeddings.patch_embed.{kind}"]
        for kind in ("weight", "bias")
    }
    moved["patch_embed.norm.weight"] = weights["embeddings.rms_norm.weight"]
    for i in range(2):
        of, to = f"encoder.layers.{i}", f"blocks.{i}"
        moved[f"{to}.attn.qkv.weight"] = torch.cat(
            [weights[f"{of}.attention.{letter}_proj.weight"] for letter in "qkv"]
        )
        moved[f"{to}.attn.proj.weight"] = weights[f"{of}.attention.out_proj.weight"]
        moved |= {f"{to}.norm{k}.weight": weights[f"{of}.rms_norm{k}.weight"] for k in (1, 2)}
        names_of = {"fc1_g": "gate_proj", "fc1_x": "up_proj", "fc2": "down_proj"}
        moved |= {
            f"{to}.mlp.{new}.weight": weights[f"{of}.ffn.{old}.weight"]
            for new, old in names_of.items()
        }
    model.load_state_dict(moved)
    model.pretrained_cfg = dict(model.pretrained_cfg) | {"input_size": (3, 42, 42), "crop_pct": 1.0}
    save_for_hf(model, tmp_path / "timm", model_args=args, safe_serialization=True)
    for size in (None, 84, 28, (28, 56), (70, 42)):
        image = waves(60, 100)
        specs = [
            f"{kind}({str(tmp_path / where)!r}, size={size})"
            for kind, where in (("transformers", "hub"), ("timm", "timm"))
        ]
        [ours], [timms] = (build("encoder", spec).encode([image]) for spec in specs)
        assert ours.frame == timms.frame
        torch.testing.assert_close(ours.features, timms.features, rtol=0, atol=2e-5)


# framing -> (size of the picture, of the canvas, where the canvas's corner lies in the picture):
# nothing is resized
FRAMINGS = {
    "stretch": ((42, 42), 42, (0, 0)),
    "letterbox": ((14, 42), 42, (-14, 0)),
    "crop": ((42, 98), 42, (0, 28)),
    "stretch-wide": ((28, 70), (28, 70), (0, 0)),
    "letterbox-wide": ((28, 42), (28, 70), (0, -14)),
    "crop-tall": ((98, 28), (70, 28), (14, 0)),
}


@FAMILIES
@pytest.mark.slow
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_bright_square_lights_its_own_patches(checkpoints, name, framing):
    (height, width), size, (top, left) = FRAMINGS[framing]
    read = encoder(checkpoints[name], f", layer=0, size={size}, framing={framing.split('-')[0]!r}")
    object.__setattr__(read, "_preprocess", replace(read._preprocess, canvas=(42, 42), edge=42))
    black = np.zeros((height, width, 3), np.uint8)
    [dark] = read.encode([Picture.of(black)])
    lit_patches = [(1, 0), (1, 1)] if framing != "letterbox-wide" else [(1, 1), (1, 2)]
    bright = black.copy()
    for row, column in lit_patches:
        y, x = 14 * row + top, 14 * column + left
        bright[y + 3 : y + 11, x + 3 : x + 11] = 255
    [light] = read.encode([Picture.of(bright)])
    lit = (light.features - dark.features).abs().amax(-1) > 1e-4
    assert lit.nonzero().tolist() == [list(patch) for patch in lit_patches]
    assert torch.equal(light.frame.to_grid(torch.from_numpy(bright[None, :, :, 0] > 0))[0] > 0, lit)
    if light.prefix is not None:
        assert torch.equal(light.prefix, dark.prefix)


def test_a_model_of_one_size_takes_that_alone():
    beit = Timm("beit_base_patch16_224", weights="random")
    assert beit.frame((300, 300)).grid == (14, 14)
    for size in (448, (224, 448)):
        with pytest.raises(
            ValueError,
            match=r"beit_base_patch16_224: Beit takes its own size \(224, 224\) only, got size=",
        ):
            replace(beit, size=size).frame((300, 300))


# ---- pixels -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [(300, 450), (98, 203), (450, 300), (224, 224), (64, 600)])
@pytest.mark.parametrize(
    "model", ["vit_base_patch16_clip_224.openai", "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k"]
)
def test_pixels_are_timms_evaluation_transform(model, size):
    """A shortest edge beyond the crop (crop_pct 0.9), and a squash."""
    read, image = Timm(model, weights="random"), waves(*size)
    look, frame = read._preprocess, read.frame(size)
    pixels = canvases([image], [frame], resample=look.resample)[0]
    mine = torch.stack([look.table()[c][pixels[c].long()] for c in range(3)])
    torch.testing.assert_close(mine, evaluation_pixels(read, image)[0], rtol=0, atol=1e-6)


def test_crop_modes_that_are_no_framing_are_refused(copied):
    config = json.loads((copied / "config.json").read_text())
    config["pretrained_cfg"] |= {"crop_mode": "squash", "crop_pct": 0.9}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ValueError,
        match=r"crop_mode 'squash' with crop_pct 0\.9 is no framing .* name one: framing='stretch'",
    ):
        encoder(copied).frame((50, 50))
    assert encoder(copied, ", framing='stretch'").frame((50, 50)).crop == (0.0, 0.0, 50.0, 50.0)
    config["pretrained_cfg"] |= {"crop_mode": "border", "crop_pct": 1.0}
    (copied / "config.json").write_text(json.dumps(config))
    assert encoder(copied).frame((21, 42)).resized == (21, 42)
    assert encoder(copied).frame((21, 42)).offset == (10, 0)


# ---- loading ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_random_weights_are_a_control_that_a_seed_names():
    image = waves(48, 48)
    read = build("encoder", "timm('vit_tiny_patch16_224', size=48, weights='random')")
    state = torch.random.get_rng_state()
    [first], [again] = read.encode([image]), replace(read).encode([image])
    assert torch.equal(torch.random.get_rng_state(), state)  # no global random state is touched
    assert torch.equal(first.features, again.features)
    other = replace(read, seed=1)
    assert not torch.equal(other.encode([image])[0].features, first.features)
    assert len({read.identity, other.identity}) == 2
    assert replace(read).identity == read.identity
    assert render(other) == "timm('vit_tiny_patch16_224', size=48, weights='random', seed=1)"


def test_every_weight_is_what_was_saved_and_a_model_is_loaded_once(checkpoints):
    for name, case in CASES.items():
        first, second = encoder(checkpoints[name]), encoder(checkpoints[name], ", layer=-2")
        state, saved = first._module.state_dict(), case.model.state_dict()
        assert set(state) <= set(saved)
        assert all(torch.equal(value, saved[key]) for key, value in state.items())
        assert first._module is second._module
        assert not first._module.training


def test_batches_dtypes_and_shuffle(checkpoints):
    pictures = [waves(50 + 7 * i, 91 - 9 * i, seed=i) for i in range(3)]
    read = encoder(checkpoints["pe-core"], ", batch=2")
    for image, grid in zip(pictures, read.encode(pictures), strict=True):
        torch.testing.assert_close(
            grid.features, read.encode([image])[0].features, rtol=0, atol=5e-6
        )
        assert grid.key == image.key
    [half] = replace(read, dtype="bfloat16").encode(pictures[:1])
    assert half.features.dtype == half.prefix.dtype == torch.bfloat16
    [moved], [plain] = replace(read, shuffle=1).encode(pictures[:1]), read.encode(pictures[:1])
    assert not torch.equal(moved.features, plain.features)
    assert read.encode([]) == []
    # no view that keeps the batch
    assert plain.features.untyped_storage().nbytes() == plain.features.nbytes


def test_weights_that_are_missing_or_of_another_model_are_an_error(checkpoints, copied):
    weights = load_file(copied / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if key != "blocks.1.mlp.fc1.weight"},
        copied / "model.safetensors",
    )
    with pytest.raises(
        ValueError,
        match=r"1 weights of VisionTransformer are not .* would be random: "
        r"blocks\.1\.mlp\.fc1\.weight$",
    ):
        encoder(copied).encode([waves(42, 42)])
    save_file(weights | {"blocks.1.mlp.fc1.bias": torch.zeros(7)}, copied / "model.safetensors")
    with pytest.raises(
        ValueError,
        match=r"of other shapes than config\.json says \(size mismatch for "
        r"blocks\.1\.mlp\.fc1\.bias",
    ):
        encoder(copied).encode([waves(42, 42)])
    shutil.copy(checkpoints["dinov3"] / "model.safetensors", copied)
    with pytest.raises(
        ValueError, match=r"3 weights of VisionTransformer .* would be random: .*pos_embed$"
    ):
        encoder(copied).encode([waves(42, 42)])
    save_file(
        {"vision_model." + key: value for key, value in weights.items()},
        copied / "model.safetensors",
    )
    with pytest.raises(
        ValueError,
        match=r"would be random: .*; the file holds vision_model.* \.\.\.: is it of another "
        r"family\?$",
    ):
        encoder(copied).encode([waves(42, 42)])


def test_pickled_tensors_are_read_with_a_note_and_nothing_else(checkpoints, copied):
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    image = waves(42, 42)
    with pytest.warns(UserWarning, match="is a pickle, read as tensors only"):
        [grid] = encoder(copied).encode([image])
    assert torch.equal(grid.features, encoder(checkpoints["vit"]).encode([image])[0].features)
    torch.save({"weight": json.JSONEncoder()}, copied / "pytorch_model.bin")
    with pytest.raises(
        ValueError,
        match=r"pytorch_model\.bin was not read: .*To convert it once, only if you trust",
    ):
        encoder(copied).encode([image])


@pytest.mark.parametrize(
    "model",
    [
        "samvit_base_patch16",
        "swin_tiny_patch4_window7_224",
        "naflexvit_base_patch16_siglip",
        "resnet18",
    ],
)
def test_models_without_one_grid_of_tokens_are_refused(model):
    with pytest.raises(
        ValueError,
        match=rf"{model}: \w+ is no plain vision transformer .* take a ViT or EVA of timm",
    ):
        Timm(model, weights="random").frame((50, 50))


def test_names_and_folders_that_are_none(checkpoints, copied, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"has no model 'vit_pe_core_larg_patch14_336' \(did you mean "
        r"'vit_pe_core_large_patch14_336'\?\)",
    ):
        Timm("vit_pe_core_larg_patch14_336.fb").frame((4, 4))
    with pytest.raises(
        ValueError, match=r"vit_tiny_patch16_224\.nope: Invalid pretrained tag \(nope\)"
    ):
        Timm("vit_tiny_patch16_224.nope").frame((4, 4))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"has no config\.json: it is no folder in timm's hub format"
    ):
        encoder(tmp_path / "empty").frame((4, 4))
    (copied / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(
        ValueError,
        match=r"config\.json names no architecture; a checkpoint of transformers is transformers\(",
    ):
        encoder(copied).frame((4, 4))
    (copied / "config.json").write_text('{"architecture": "vit_of_tomorrow"}')
    with pytest.raises(
        ValueError, match=r"names the architecture 'vit_of_tomorrow', unknown to timm"
    ):
        encoder(copied).frame((4, 4))
    with pytest.raises(ValueError, match="x/y/z: no such folder"):
        Timm("x/y/z").frame((4, 4))
    for layer in (3, -4):
        with pytest.raises(
            ValueError,
            match=rf"has 2 blocks: layer must be 0 .* to 2, or -1 .* down to -3; got {layer}",
        ):
            encoder(checkpoints["vit"], f", layer={layer}").encode([waves(42, 42)])
    with pytest.raises(SpecError, match="batch and size must be at least 1, got batch=8, size=0"):
        encoder(checkpoints["vit"], ", size=0")
    with pytest.raises(
        ValueError, match="dtype must be one of float32, bfloat16, float16, got 'half'"
    ):
        Timm("x", dtype="half")  # type: ignore[arg-type]


def test_a_timm_name_is_fetched_by_its_hub_name_without_pickles(monkeypatch, checkpoints):
    asked = {}

    def snapshot(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(checkpoints["pe-core"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    read = Timm("vit_pe_core_large_patch14_336.fb", revision="abc")
    assert read.identity == encoder(checkpoints["pe-core"]).identity
    assert (asked["name"], asked["revision"]) == ("timm/vit_pe_core_large_patch14_336.fb", "abc")
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in asked["patterns"])
    assert Timm("vit_pe_core_large_patch14_336").identity == read.identity
    assert asked["name"] == "timm/vit_pe_core_large_patch14_336.fb"  # the default tag
    assert Timm("some/vit").width == 32
    assert asked["name"] == "some/vit"
    monkeypatch.setattr(ours.timm, "get_pretrained_cfg", lambda _name: None)
    with pytest.raises(
        ValueError,
        match=r"timm names no hub checkpoint for 'vit_tiny_patch16_224'; weights='random' is its "
        r"arch",
    ):
        _ = Timm("vit_tiny_patch16_224").identity


def test_what_an_encoder_says_of_itself(checkpoints):
    read = encoder(checkpoints["vit"], ", size=(28, 56)")
    assert read.size == (28, 56)
    assert build("encoder", render(read)) == read
    assert "timm" in names("encoder")
    assert "Perception Encoder" in summary("encoder", "timm")


def test_a_layer_is_a_hidden_state_and_the_canvas_has_any_size(checkpoints):
    read = encoder(checkpoints["vit"])
    assert (read.layers, read.layer_name) == (range(read.blocks + 1), "-1")
    assert read.at_layer(-2) == encoder(checkpoints["vit"], ", layer=-2")
    assert read.at_layer(-2).at_layer(None) == read
    with pytest.raises(ValueError, match=r"blocks: layer must be 0 .* got 99"):
        read.at_layer(99)
    assert read.at_size((28, 56)) == encoder(checkpoints["vit"], ", size=(28, 56)")


def test_the_untrained_copy_has_random_weights(checkpoints):
    read = encoder(checkpoints["vit"])
    random = read.untrained()
    assert (read.is_untrained, random.is_untrained) == (False, True)
    assert random == encoder(checkpoints["vit"], ", weights='random'")
    assert random.identity != read.identity
