"""Transformers: tiny random checkpoints, saved and read as a user would.

They are held against the library's own forward pass.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regiontok.core.canvas import canvases
from regiontok.core.picture import Picture
from regiontok.core.preprocess import Preprocess
from regiontok.encoders import transformers as ours
from regiontok.encoders.transformers import Transformers
from regiontok.settings.registry import build, names, render, summary
from regiontok.settings.spec import SpecError
from regiontok.system import pretrained
from regiontok.system.checkpoint import fingerprint
from regiontok.system.need import MissingPackage
from regiontok.system.pretrained import load_pretrained
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from samples.models import shake
from samples.pictures import waves

hub = pytest.importorskip("transformers")

BODY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
VISION = BODY | {"intermediate_size": 64}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 64,
}
EDGE = {"shortest_edge": 42}
SIDE = {"height": 42, "width": 42}
# folder: what is saved, its image processor; then the grid, prefix tokens and summaries that must
# come out, and the model's final norm
CASES: dict[str, SimpleNamespace] = {}


def case(
    name: str, make, processor, *, grid=(3, 3), prefix=1, summaries=1, norm="layernorm"
) -> None:
    CASES[name] = SimpleNamespace(
        make=make, processor=processor, grid=grid, prefix=prefix, summaries=summaries, norm=norm
    )


def bit() -> Any:
    """DINOv2's: shortest edge 48, then a crop of 42; ImageNet's mean."""
    return hub.BitImageProcessorPil(
        size={"shortest_edge": 48},
        crop_size=SIDE,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )


def clip_processor() -> Any:
    return hub.CLIPImageProcessorPil(size=EDGE, crop_size=SIDE)


case(
    "clip",
    lambda: hub.CLIPModel(
        hub.CLIPConfig(vision_config=VISION | {"image_size": 42}, text_config=TEXT)
    ),
    clip_processor,
    norm=None,
)
case(
    "clip-vision",
    lambda: hub.CLIPVisionModel(hub.CLIPVisionConfig(**VISION, image_size=42)),
    clip_processor,
    norm=None,
)
# 40 pixels at patch 14: a 2 x 2 grid over the first 28 pixels, as 384 at 14 is 27 x 27 over 378
case(
    "siglip",
    lambda: hub.SiglipModel(
        hub.SiglipConfig(vision_config=VISION | {"image_size": 40}, text_config=TEXT)
    ),
    lambda: hub.SiglipImageProcessorPil(size={"height": 40, "width": 40}),
    grid=(2, 2),
    prefix=0,
    summaries=0,
    norm="post_layernorm",
)
case("dinov2", lambda: hub.Dinov2Model(hub.Dinov2Config(**BODY, image_size=56)), bit)
case(
    "dinov2-registers",
    lambda: hub.Dinov2WithRegistersModel(
        hub.Dinov2WithRegistersConfig(**BODY, image_size=56, num_register_tokens=4)
    ),
    bit,
    prefix=5,
)
case(
    "dinov3",
    lambda: hub.DINOv3ViTModel(hub.DINOv3ViTConfig(**VISION, image_size=56, num_register_tokens=4)),
    lambda: hub.DINOv3ViTImageProcessor(size=SIDE),
    prefix=5,
    norm="norm",
)
# a classification checkpoint: no pooler in it, its weights under "vit."
case(
    "vit",
    lambda: hub.ViTForImageClassification(hub.ViTConfig(**VISION, image_size=42)),
    lambda: hub.ViTImageProcessorPil(size=SIDE),
)
case(
    "metaclip2",
    lambda: hub.MetaClip2VisionModel(hub.MetaClip2VisionConfig(**VISION, image_size=42)),
    clip_processor,
    norm=None,
)
case(
    "aimv2",
    lambda: hub.Aimv2Model(
        hub.Aimv2Config(
            vision_config=VISION | {"image_size": 42}, text_config=TEXT, projection_dim=16
        )
    ),
    clip_processor,
    prefix=0,
    summaries=0,
    norm="rms_norm",
)
case(
    "aimv2-vision",
    lambda: hub.Aimv2VisionModel(hub.Aimv2VisionConfig(**VISION, image_size=42)),
    clip_processor,
    prefix=0,
    summaries=0,
    norm="rms_norm",
)
case(
    "aimv2-native",
    lambda: hub.Aimv2VisionModel(
        hub.Aimv2VisionConfig(**VISION, image_size=42, is_native=True, use_head=False)
    ),
    clip_processor,
    prefix=0,
    summaries=0,
    norm="rms_norm",
)
case(
    "mlcd",
    lambda: hub.MLCDVisionModel(hub.MLCDVisionConfig(**VISION, image_size=42)),
    clip_processor,
    norm=None,
)
case(
    "vit-msn",
    lambda: hub.ViTMSNModel(hub.ViTMSNConfig(**VISION, image_size=42)),
    lambda: hub.ViTImageProcessorPil(size=SIDE),
)
case(
    "ijepa",
    lambda: hub.IJepaModel(hub.IJepaConfig(**VISION, image_size=42)),
    lambda: hub.ViTImageProcessorPil(size=SIDE),
    prefix=0,
    summaries=0,
)
case(
    "pixio",
    lambda: hub.PixioModel(hub.PixioConfig(**BODY, image_size=42, n_cls_tokens=3)),
    bit,
    prefix=3,
    summaries=3,
)
TIPS = BODY | {"image_size": 42, "num_register_tokens": 1}
case(
    "tipsv2",
    lambda: hub.Tipsv2Model(hub.Tipsv2Config(vision_config=TIPS, text_config=TEXT)),
    lambda: hub.Tipsv2ImageProcessor(size=SIDE),
    prefix=2,
)
case(
    "tipsv2-vision",
    lambda: hub.Tipsv2VisionModel(hub.Tipsv2VisionConfig(**TIPS)),
    lambda: hub.Tipsv2ImageProcessor(size=SIDE),
    prefix=2,
)
TORCHVISION = ("dinov3", "tipsv2", "tipsv2-vision")  # whose processors have no PIL backend
FAMILIES = pytest.mark.parametrize("name", list(CASES))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for name, case in CASES.items():
        model = case.make()
        shake(model)
        case.model = model
        model.save_pretrained(root / name)
        case.processor().save_pretrained(root / name)
    # so that most tests share one model in memory
    held = [encoder(root / name)._module for name in CASES]
    yield {name: root / name for name in CASES}
    held.clear()


@pytest.fixture
def copied(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the CLIP folder that a test may spoil."""
    return Path(shutil.copytree(checkpoints["clip"], tmp_path / "copy"))


def encoder(path: Path, more: str = "") -> Transformers:
    return build("encoder", f"transformers({str(path)!r}{more})")


def family(path: Path) -> ours.Family:
    return ours.FAMILIES[json.loads((path / "config.json").read_text())["model_type"]]


@lru_cache
def own_model(path: Path, **options: Any) -> torch.nn.Module:
    """The vision tower as the library loads it.

    The towers of AIMv2 and TIPSv2 with a text tower are taken out of the whole model.
    """
    row = family(path)
    whole = getattr(hub, row.tower).from_pretrained(path, **options).eval()
    return getattr(whole, row.within) if row.within else whole


def library(path: Path, pixels: torch.Tensor, **options: Any) -> Any:
    """The library's own forward pass of the vision tower, all hidden states."""
    with torch.no_grad():
        return own_model(path)(pixel_values=pixels, output_hidden_states=True, **options)


def processed(path: Path, image: Picture, **options: Any) -> torch.Tensor:
    return hub.AutoImageProcessor.from_pretrained(path, backend="pil")(
        image.pil, return_tensors="pt", **options
    )["pixel_values"]


@FAMILIES
@pytest.mark.parametrize("layer", [-1, -2, 0, 2])
def test_features_equal_the_librarys_own_forward(checkpoints, name, layer):
    case, path = CASES[name], checkpoints[name]
    # DINOv3's and TIPSv2's own processors have no PIL backend: a picture that needs no resize shows
    # the same pixels to both
    image = (
        waves(42, 42)
        if name in TORCHVISION
        else waves(48, 71)
        if case.processor is bit
        else waves(42, 71)
    )
    output = library(path, processed(path, image))
    expected = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
    [grid] = encoder(path, f", layer={layer}").encode([image])
    assert grid.grid == case.grid
    assert grid.summaries == case.summaries
    assert grid.key == image.key
    tokens = (
        grid.features.flatten(0, 1)
        if grid.prefix is None
        else torch.cat([grid.prefix, grid.features.flatten(0, 1)])
    )
    assert (0 if grid.prefix is None else len(grid.prefix)) == case.prefix
    # torchvision's backend normalises in other steps: 5e-6 measured on DINOv3's
    torch.testing.assert_close(tokens, expected[0], rtol=0, atol=2e-5 if name in TORCHVISION else 0)


@FAMILIES
def test_minus_one_is_the_last_block_behind_the_final_norm(checkpoints, name):
    path, image = checkpoints[name], waves(60, 60)
    [last], [blocks] = encoder(path).encode([image]), encoder(path, ", layer=2").encode([image])
    norm = (
        getattr(own_model(path), CASES[name].norm)
        if CASES[name].norm
        else lambda features: features
    )
    with torch.no_grad():
        torch.testing.assert_close(norm(blocks.features), last.features, rtol=0, atol=1e-6)


def normalised_pixels(read: Transformers, image: Picture) -> torch.Tensor:
    """`[1 3 H W]`: a picture of the canvas's own size, normalised."""
    table = read._preprocess.table()
    return torch.stack(
        [table[c][torch.from_numpy(image.pixels[..., c].astype(np.int64))] for c in range(3)]
    )[None]


def at_size(path: Path, pixels: torch.Tensor, asks: bool) -> torch.Tensor:
    """The library's own output at another size, where it interpolates.

    AIMv2 cannot, so its blocks run over a table of ours.
    """
    tower = own_model(path)
    table = getattr(tower.embeddings, "position_embedding", None)
    if "aimv2" not in path.name or table is None:
        return library(
            path, pixels, **({"interpolate_pos_encoding": True} if asks else {})
        ).last_hidden_state[0]
    h, w = pixels.shape[2] // 14, pixels.shape[3] // 14
    square = table.weight.unflatten(0, (3, 3)).permute(2, 0, 1)[None]
    grown = torch.nn.functional.interpolate(square, (h, w), mode="bicubic", antialias=True)
    with torch.no_grad():
        tokens = (
            tower.embeddings.rms_norm(tower.embeddings.patch_embed(pixels).flatten(2).mT)
            + grown.flatten(2).mT
        )
        for block in tower.encoder.layers:
            tokens = block(tokens)
        return tower.rms_norm(tokens)[0]


@FAMILIES
@pytest.mark.parametrize(
    # 70 of the 72 pixels; 2:1 and 1:2 show height and width swapped
    "size",
    [pytest.param((72, 72), marks=pytest.mark.slow), (28, 56), (70, 35)],
)
def test_another_size_interpolates_positions_as_the_library_does(checkpoints, name, size):
    path, image = checkpoints[name], waves(*size)
    read = encoder(path, f", size={size}, framing='stretch'")
    expected = at_size(path, normalised_pixels(read, image), family(path).asks)
    [grid] = read.encode([image])
    assert grid.grid == (size[0] // 14, size[1] // 14)
    assert grid.frame.covered == (0.0, 0.0, size[0] // 14 * 14.0, size[1] // 14 * 14.0)
    tokens = grid.features.flatten(0, 1)
    # the reference for AIMv2 adds up in other steps
    torch.testing.assert_close(
        tokens, expected[CASES[name].prefix :], rtol=0, atol=1e-5 if "aimv2" in name else 0
    )
    assert not own_model(path)._forward_hooks


@FAMILIES
def test_positions_of_a_wide_canvas_follow_rows_and_columns(checkpoints, name, tmp_path):
    """A table that depends on the row alone must do so on any canvas.

    Black pictures then differ from row to row, and never along one.
    """
    model = own_model(checkpoints[name])
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    table = next((key for key in weights if "position_embedding" in key), None)
    if table is None:
        pytest.skip("no learned positions: rotary, or sines")
    flat = weights[table].view(-1, 32)
    side = int(len(flat) ** 0.5)
    first = len(flat) - side * side
    flat[first:] = torch.arange(side).repeat_interleave(side)[:, None] * torch.linspace(-1, 1, 32)
    black = Picture.of(np.zeros((42, 84, 3), np.uint8))
    read = encoder(checkpoints[name], ", layer=0, size=(42, 84), framing='stretch'")
    object.__setattr__(read, "_module", copy.deepcopy(model))
    read._module.load_state_dict(weights)
    [grid] = read.encode([black])
    assert grid.grid == (3, 6)
    torch.testing.assert_close(
        grid.features, grid.features[:, :1].expand(3, 6, 32), rtol=0, atol=1e-4
    )
    assert (grid.features[:-1] - grid.features[1:]).abs().amax(-1).min() > 0.01


# ---- where a square lights up -------------------------------------------------------------------

# framing -> (size of the picture, of the canvas, where the canvas's corner lies in the picture):
# nothing is resized, so that a square stays within its patches
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
    # The checkpoint's processor may resize to more than its canvas and cut that off: here it shall
    # not.
    object.__setattr__(read, "_preprocess", replace(read._preprocess, edge=42))
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
    mask = torch.from_numpy(bright[None, :, :, 0] > 0)
    assert torch.equal(light.frame.to_grid(mask)[0] > 0, lit)
    if light.prefix is not None:
        assert torch.equal(light.prefix, dark.prefix)  # embeddings of prefix tokens see no pixel


def test_a_folder_with_a_text_tower_reads_like_its_vision_tower_alone(checkpoints, tmp_path):
    tower = hub.CLIPVisionModel.from_pretrained(checkpoints["clip"])
    tower.save_pretrained(tmp_path)
    clip_processor().save_pretrained(tmp_path)
    image = waves(50, 90)
    [both], [alone] = (
        encoder(checkpoints["clip"]).encode([image]),
        encoder(tmp_path).encode([image]),
    )
    assert torch.equal(both.features, alone.features)


@FAMILIES
def test_cls_is_given_or_refused_before_anything_is_encoded(checkpoints, name):
    read, count = encoder(checkpoints[name]), CASES[name].summaries
    assert (read.summaries, read.has_cls) == (count, count > 0)
    if count:
        tokens = RegionTokenizer(render(read), regions="windows(2)", cls=True)([waves(42, 42)])
        assert tokens.values.shape == (2 + count, 32)
    else:
        with pytest.raises(ValueError, match=r"has no CLS or summary token; set cls=False"):
            RegionTokenizer(render(read), regions="windows(2)", cls=True)


def test_a_family_that_this_transformers_lacks_is_named(checkpoints, monkeypatch):
    monkeypatch.setattr(
        ours, "FAMILIES", {"mlcd_vision_model": ours.TowerFamily("ModelOfTomorrow")}
    )
    with pytest.raises(
        ValueError, match=r"transformers \d+\.\d+\.\S+ has no ModelOfTomorrow; a newer one has"
    ):
        encoder(checkpoints["mlcd"]).frame((42, 42))


def test_what_an_encoder_says_of_itself(checkpoints):
    clip, siglip = encoder(checkpoints["clip"]), encoder(checkpoints["siglip"])
    assert (clip.width, clip.has_cls, clip.summaries, clip.threshold) == (32, True, 1, 0.7)
    assert (siglip.width, siglip.has_cls, siglip.summaries) == (32, False, 0)
    assert encoder(checkpoints["dinov2-registers"]).summaries == 1
    assert siglip.frame((80, 160)).covered == (0.0, 0.0, 56.0, 112.0)  # 28 of 40 pixels
    assert "transformers" in names("encoder")
    assert "CLIP, SigLIP" in summary("encoder", "transformers")


# ---- pixels -------------------------------------------------------------------------------------

SIZES = [(300, 451), (97, 203), (31, 53), (336, 336), (64, 601), (224, 225)]
PROCESSORS = {
    "clip": lambda: hub.CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    ),
    "dinov2": lambda: hub.BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}
    ),
    "siglip": lambda: hub.SiglipImageProcessorPil(size={"height": 384, "width": 384}),
    "vit": lambda: hub.ViTImageProcessorPil(),
    "wide": lambda: hub.ViTImageProcessorPil(size={"height": 98, "width": 210}),
}


def both_pixels(processor: Any, image: Picture) -> tuple[np.ndarray, np.ndarray]:
    """`[3 H W]` as we make them and as transformers does, in levels of a byte."""
    look = Preprocess.of(processor, "test")
    frame = look.frame(image.size, (14, 14), framing=None, size=None)
    placed = canvases([image], [frame], resample=look.resample, fill=look.fill)[0].numpy()
    table = look.table().numpy()
    mine = np.stack([table[c][placed[c]] for c in range(3)])
    theirs = processor(image.pil, return_tensors="np")["pixel_values"][0]
    assert theirs.dtype == np.float32
    levels = np.asarray(look.std)[:, None, None] / look.factor
    return mine * levels, theirs * levels


@pytest.mark.parametrize("size", SIZES + [(w, h) for h, w in SIZES])
@pytest.mark.parametrize("name", ["siglip", "vit", "wide"])
def test_stretched_pixels_equal_the_pil_backend_bit_for_bit(name, size):
    mine, theirs = both_pixels(PROCESSORS[name](), waves(*size))
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("size", SIZES + [(w, h) for h, w in SIZES])
@pytest.mark.parametrize("name", ["clip", "dinov2"])
def test_cropped_pixels_are_the_processors_own(name, size):
    mine, theirs = both_pixels(PROCESSORS[name](), waves(*size))
    assert np.abs(mine - theirs).max() < 1e-3  # of 255 levels


def test_legacy_and_nested_processor_files_are_read(checkpoints, copied):
    image = waves(42, 71)
    [expected] = encoder(checkpoints["clip"]).encode([image])
    saved = json.loads((copied / "preprocessor_config.json").read_text())
    old = {
        k: v
        for k, v in saved.items()
        if k not in ("image_processor_type", "rescale_factor", "do_rescale")
    }
    old |= {"size": 42, "crop_size": 42, "feature_extractor_type": "CLIPFeatureExtractor"}
    (copied / "preprocessor_config.json").write_text(json.dumps(old))
    assert torch.equal(encoder(copied).encode([image])[0].features, expected.features)
    (copied / "preprocessor_config.json").unlink()
    (copied / "processor_config.json").write_text(
        json.dumps({"processor_class": "CLIPProcessor", "image_processor": saved})
    )
    assert torch.equal(encoder(copied).encode([image])[0].features, expected.features)


@pytest.mark.parametrize(
    "changed",
    [
        {"do_center_crop": False},
        {"do_resize": False},
        {"do_rescale": False},
        {"size": {"shortest_edge": 42, "longest_edge": 99}},
    ],
)
def test_a_processor_without_one_fixed_canvas_is_refused(copied, changed):
    path = copied / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(
        ValueError,
        match="expected an image processor that rescales, and resizes to height and width or to "
        "the shortest",
    ):
        encoder(copied).frame((50, 50))


@pytest.mark.parametrize(
    "changed",
    [
        {"resample": 99},
        {"image_processor_type": 5},
        {"image_mean": ["a", "b", "c"]},
        {"size": "x"},
        {"rescale_factor": None},
    ],
    ids=str,
)
def test_a_processor_of_wrong_types_is_one_error_that_names_the_model(copied, changed):
    path = copied / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(ValueError, match=f"{re.escape(str(copied))}.* cannot be loaded"):
        encoder(copied).frame((50, 50))


def test_processor_without_normalisation_feeds_zero_to_one(copied):
    path = copied / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_normalize": False}))
    look = encoder(copied)._preprocess
    assert look.table()[:, [0, 255]].tolist() == [[0.0, 1.0]] * 3
    assert look.fill == (0, 0, 0)


def test_a_canvas_of_two_sides_goes_through_the_spec_text(checkpoints):
    read = encoder(checkpoints["clip"], ", size=(28, 56)")
    assert read.size == (28, 56)
    assert render(read) == f"transformers({str(checkpoints['clip'])!r}, size=(28, 56))"
    assert build("encoder", render(read)) == read
    assert "size=(28, 56)" in render(read, full=True)
    assert encoder(checkpoints["clip"], ", size=[28, 56]") == read


def test_a_crop_to_a_wide_canvas_takes_its_own_shape(checkpoints):
    clip, dino = (encoder(checkpoints[name], ", size=(42, 84)") for name in ("clip", "dinov2"))
    assert clip.frame((100, 200)).crop == (0.0, 0.0, 100.0, 200.0)  # 2:1 under 2:1: nothing is lost
    assert clip.frame((100, 100)).crop == (25.0, 0.0, 75.0, 100.0)
    assert clip.frame((100, 400)).crop == (0.0, 100.0, 100.0, 300.0)
    # 42 of 48, as its square crop
    assert dino.frame((96, 192)).crop == pytest.approx((6.0, 12.0, 90.0, 180.0))


def test_letterbox_pads_with_the_mean_and_marks_padding(checkpoints):
    read = encoder(checkpoints["clip"], ", framing='letterbox'")
    image = Picture.of(np.full((30, 90, 3), 255, np.uint8))
    frame = read.frame(image.size)
    assert frame.resized == (14, 42)
    assert frame.valid.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert read._preprocess.fill == (122, 116, 104)  # int(255 * CLIP's mean): LLaVA's colour
    [grid] = read.encode([image])
    assert torch.equal(grid.valid, frame.valid)
    pixels = canvases([image], [frame], fill=read._preprocess.fill)[0]
    output = library(
        checkpoints["clip"],
        torch.stack([read._preprocess.table()[c][pixels[c].long()] for c in range(3)])[None],
    )
    torch.testing.assert_close(
        grid.features.flatten(0, 1), output.last_hidden_state[0, 1:], rtol=0, atol=0
    )


def test_the_shortest_edge_grows_with_the_canvas(checkpoints):
    read = encoder(checkpoints["dinov2"], ", size=84")
    # 48 before a crop of 42 becomes 96 before a crop of 84
    assert read.frame((96, 96)).crop == (6.0, 6.0, 90.0, 90.0)
    assert encoder(checkpoints["dinov2"], ", framing='stretch'").frame((96, 50)).crop == (
        0.0,
        0.0,
        96.0,
        50.0,
    )


# ---- batches, numbers, autograd -----------------------------------------------------------------


@FAMILIES
def test_a_picture_does_not_feel_its_batch(checkpoints, name):
    pictures = [waves(50 + 7 * i, 91 - 9 * i, seed=i) for i in range(5)]
    read = encoder(checkpoints[name], ", batch=2")
    together = read.encode(pictures)
    for image, grid in zip(pictures, together, strict=True):
        [alone] = read.encode([image])
        # Matrix products of another shape may add in another order: with two threads 6e-7 at most,
        # on features of size 1 to 3.
        torch.testing.assert_close(grid.features, alone.features, rtol=0, atol=5e-6)
        assert grid.key == image.key
        assert grid.frame.image == image.size
    assert read.encode([]) == []


def test_features_are_plain_frozen_tensors_that_can_be_trained_on(checkpoints):
    [first, second] = encoder(checkpoints["clip"]).encode([waves(42, 42, 1), waves(42, 42, 2)])
    assert not first.features.requires_grad
    # no view that keeps the batch
    assert first.features.untyped_storage().nbytes() == first.features.nbytes
    layer = torch.nn.Linear(32, 4)
    layer(first.features).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad[0], first.features.sum((0, 1)))
    assert not torch.equal(first.features, second.features)


@pytest.mark.parametrize(("dtype", "near"), [("bfloat16", 0.06), ("float16", 0.006)])
def test_half_precision_comes_out_in_its_own_dtype(checkpoints, dtype, near):
    image = waves(60, 60)
    [exact] = encoder(checkpoints["clip"]).encode([image])
    [half] = encoder(checkpoints["clip"], f", dtype='{dtype}'").encode([image])
    assert half.features.dtype == half.prefix.dtype == getattr(torch, dtype)
    off = (half.features.float() - exact.features).abs().max()
    assert 0 < off < near  # 0.02 and 0.002 measured


def test_eager_attention_gives_the_same_numbers(checkpoints):
    image = waves(60, 60)
    read = encoder(checkpoints["siglip"], ", attention='eager'")
    torch.testing.assert_close(
        read.encode([image])[0].features,
        encoder(checkpoints["siglip"]).encode([image])[0].features,
        rtol=0,
        atol=5e-6,
    )
    assert read._module.config._attn_implementation == "eager"


def test_shuffle_moves_patches_and_a_model_without_positions_only_sees_them_move(
    checkpoints, tmp_path
):
    model = hub.SiglipVisionModel.from_pretrained(checkpoints["siglip"])
    model.embeddings.position_embedding.weight.data.zero_()
    model.save_pretrained(tmp_path)
    hub.SiglipImageProcessorPil(size={"height": 56, "width": 56}).save_pretrained(tmp_path)
    image = waves(56, 56)
    [plain], [moved], [again] = (
        encoder(tmp_path, more).encode([image]) for more in ("", ", shuffle=1", ", shuffle=1")
    )
    assert torch.equal(moved.features, again.features)
    far = torch.cdist(moved.features.flatten(0, 1), plain.features.flatten(0, 1))
    nearest = far.argmin(1)
    assert sorted(nearest.tolist()) == list(range(16))
    assert nearest.tolist() != list(range(16))
    assert far.min(1).values.max() < 1e-4
    [elsewhere] = encoder(tmp_path, ", shuffle=2").encode([image])
    assert not torch.equal(elsewhere.features, moved.features)
    [placed], [displaced] = (
        encoder(checkpoints["clip"], more).encode([image]) for more in ("", ", shuffle=1")
    )
    far = torch.cdist(displaced.features.flatten(0, 1), placed.features.flatten(0, 1))
    assert far.min(1).values.max() > 0.1


# ---- loading ------------------------------------------------------------------------------------


def test_every_parameter_and_buffer_is_what_was_saved(checkpoints):
    for name in ("clip-vision", "dinov2", "dinov2-registers", "dinov3", "metaclip2"):
        saved, module = CASES[name].model, encoder(checkpoints[name])._module
        for kind in ("named_parameters", "named_buffers"):
            expected, loaded = dict(getattr(saved, kind)()), dict(getattr(module, kind)())
            assert set(expected) == set(loaded)
            assert all(torch.equal(expected[key], loaded[key]) for key in expected)
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.slow
def test_a_model_is_loaded_once_and_let_go(copied, capfd):
    level = hub.logging.get_verbosity()
    first, second = encoder(copied, ", layer=-1"), encoder(copied, ", layer=-2")
    assert first._module is second._module
    assert first._module is not encoder(copied, ", dtype='bfloat16'")._module
    assert capfd.readouterr().err == ""  # neither a bar nor the text tower's weights
    assert hub.logging.get_verbosity() == level
    held = len(pretrained._LOADED)
    del first, second
    gc.collect()
    assert len(pretrained._LOADED) < held


def test_missing_weights_are_an_error(copied):
    weights = load_file(copied / "model.safetensors")
    del weights["vision_model.encoder.layers.1.mlp.fc1.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError,
        match=r"1 weights of CLIPVisionModel are not .* would be random: .*layers\.1\.mlp\.fc1",
    ):
        encoder(copied).encode([waves(42, 42)])


def test_weights_of_another_shape_or_cut_off_are_an_error(copied):
    weights = load_file(copied / "model.safetensors")
    weights["vision_model.encoder.layers.1.mlp.fc1.bias"] = torch.zeros(7)
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"damaged, or of other shapes than config\.json says"):
        encoder(copied).encode([waves(42, 42)])
    with (copied / "model.safetensors").open("r+b") as file:
        file.truncate(4000)
    with pytest.raises(
        ValueError, match=r"damaged, or of other shapes than config\.json says \(.*header"
    ):
        encoder(copied).encode([waves(42, 42)])


@pytest.mark.parametrize("file", ["pytorch_model.bin", "weights.pth"])
@pytest.mark.parametrize("around", [None, "state_dict"])
def test_pickled_tensors_are_read_with_a_note(checkpoints, copied, file, around):
    weights = load_file(copied / "model.safetensors")
    torch.save({around: weights} if around else weights, copied / file)
    (copied / "model.safetensors").unlink()
    image = waves(42, 42)
    [expected] = encoder(checkpoints["clip"]).encode([image])
    with pytest.warns(
        UserWarning,
        match=rf"{file} is a pickle, read as tensors only\. To convert it once: python -c "
        r".*=True\)",
    ):
        [grid] = encoder(copied).encode([image])
    assert torch.equal(grid.features, expected.features)
    assert torch.equal(grid.prefix, expected.prefix)
    assert encoder(copied).identity != encoder(checkpoints["clip"]).identity


def test_safetensors_beside_a_pickle_are_what_is_read(checkpoints, copied):
    (copied / "pytorch_model.bin").write_bytes(b"never read")
    image = waves(42, 42)
    assert torch.equal(
        encoder(copied).encode([image])[0].features,
        encoder(checkpoints["clip"]).encode([image])[0].features,
    )
    assert encoder(copied).identity == encoder(checkpoints["clip"]).identity


class Trap:
    """A pickle of it makes a file when it is loaded by something that trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_something_is_refused_and_nothing_runs(
    copied, tmp_path, monkeypatch
):
    copied = copied.rename(tmp_path / 'it\'s $(touch INJECTED) `x` "y"')
    weights, mark = load_file(copied / "model.safetensors"), tmp_path / "ran"
    (copied / "model.safetensors").unlink()
    torch.save(weights | {"trap": Trap(mark)}, copied / "pytorch_model.bin")
    with pytest.raises(
        ValueError,
        match=r"pytorch_model\.bin was not read: .*To convert it once, only if you trust",
    ) as caught:
        encoder(copied).encode([waves(42, 42)])
    assert not mark.exists()
    # the command of the message is whole: on a machine that trusts the file it makes the
    # safetensors (and springs the trap)
    words = shlex.split(str(caught.value).partition(" is in it: ")[2])
    assert words[:2] == ["python", "-c"]
    assert words[3:] == [str(copied / file) for file in ("pytorch_model.bin", "model.safetensors")]
    monkeypatch.setattr(sys, "argv", words[2:])
    exec(words[2])
    assert mark.exists()
    assert set(load_file(copied / "model.safetensors")) == set(weights)
    assert encoder(copied).encode([waves(42, 42)])[0].grid == (3, 3)


def test_a_pickle_that_holds_more_than_tensors_or_is_cut_off_is_refused(copied):
    (copied / "model.safetensors").unlink()
    file = copied / "pytorch_model.bin"
    torch.save({"epoch": 3, "weight": torch.zeros(2)}, file)
    with pytest.raises(
        ValueError, match=r"holds Tensor, int, expected tensors by name\. To convert it once"
    ):
        encoder(copied).encode([waves(42, 42)])
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"pytorch_model\.bin was not read: "):
        encoder(copied).encode([waves(42, 42)])
    file.rename(copied / "one.pth")
    shutil.copy(copied / "one.pth", copied / "two.pth")
    read = encoder(copied)
    with pytest.raises(
        ValueError,
        match=r"has no model\.safetensors, and no pytorch_model\.bin either; of the pickled "
        r"files \(one",
    ):
        read.encode([waves(42, 42)])
    for name in ("one", "two"):
        (copied / f"{name}.pth").unlink()
    with pytest.raises(
        ValueError, match=r"has no model\.safetensors, and no pytorch_model\.bin either$"
    ):
        _ = read.identity


def test_sharded_pickles_are_read_whole(checkpoints, copied):
    weights = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    half = len(weights) // 2
    shards = {
        f"pytorch_model-0000{i + 1}-of-00002.bin": dict(
            list(weights.items())[i * half :][: half + i]
        )
        for i in (0, 1)
    }
    for file, shard in shards.items():
        torch.save(shard, copied / file)
    index = {"weight_map": {key: file for file, shard in shards.items() for key in shard}}
    (copied / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    image = waves(42, 42)
    with pytest.warns(UserWarning, match="read as tensors only"):
        [grid] = encoder(copied).encode([image])
    assert torch.equal(grid.features, encoder(checkpoints["clip"]).encode([image])[0].features)


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        ("clip", "dinov2"),
        ("dinov2", "siglip"),
        ("vit", "clip"),
        ("mlcd", "vit"),
        ("aimv2", "clip"),
        ("aimv2-vision", "dinov3"),
    ],
)
def test_weights_of_another_family_are_one_clear_error(checkpoints, tmp_path, config, weights):
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(checkpoints[config] / name, tmp_path)
    shutil.copy(checkpoints[weights] / "model.safetensors", tmp_path)
    random = r"weights of \w+ are not in the checkpoint and would be random: .*"
    shapes = (
        r"of other shapes than config\.json says \(\w+\..* is \[10, 32\] in the file, "
        r"\[9, 32\] by config\.json\); "
    )
    # AIMv2 and CLIP call their weights alike
    expected = shapes if (config, weights) == ("aimv2", "clip") else random
    with pytest.raises(ValueError, match=rf"{expected}.*of another family\?$"):
        encoder(tmp_path).encode([waves(42, 42)])


@pytest.mark.parametrize("name", ["aimv2-vision", "tipsv2-vision"])
def test_a_tower_alone_under_the_whole_models_type_is_read_as_the_tower(
    checkpoints, tmp_path, name
):
    """Apple's first AIMv2 repositories have such a config.

    Read as the whole model's, it would be nothing but defaults.
    """
    shutil.copytree(checkpoints[name], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": name.split("-")[0]}))
    image = waves(42, 42)
    [grid], [expected] = (
        encoder(tmp_path).encode([image]),
        encoder(checkpoints[name]).encode([image]),
    )
    assert torch.equal(grid.features, expected.features)
    weights = {
        "trunk." + key: value for key, value in load_file(tmp_path / "model.safetensors").items()
    }
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError,
        match=r"would be random: .*; the file holds trunk\..* \.\.\.: is it of another family\?$",
    ):
        encoder(tmp_path).encode([image])


def test_a_tower_in_a_whole_checkpoint_is_never_random(checkpoints):
    """The library's own class for AIMv2's tower keeps random weights, and only reports it."""
    saved, module = CASES["aimv2"].model.vision_model, encoder(checkpoints["aimv2"])._module
    assert type(module).__name__ == "Aimv2VisionModel"
    assert all(
        torch.equal(value, module.state_dict()[key]) for key, value in saved.state_dict().items()
    )
    _, report = hub.Aimv2VisionModel.from_pretrained(
        checkpoints["aimv2"], config=saved.config, output_loading_info=True
    )
    assert report["missing_keys"]  # the trap is still there; without it the row needs no `within`


@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_mlcd_reads_both_layouts_of_its_keys(checkpoints, tmp_path, prefix):
    shutil.copytree(checkpoints["mlcd"], tmp_path, dirs_exist_ok=True)
    weights = {
        prefix + key.removeprefix("vision_model."): v
        for key, v in load_file(tmp_path / "model.safetensors").items()
    }
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    # as DeepGlint's hub repositories have it
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "mlcd"}))
    image = waves(42, 42)
    [grid] = encoder(tmp_path).encode([image])
    assert torch.equal(grid.features, encoder(checkpoints["mlcd"]).encode([image])[0].features)


def test_sharded_weights_are_read_and_none_may_be_absent(checkpoints, tmp_path):
    hub.CLIPModel.from_pretrained(checkpoints["clip"]).save_pretrained(
        tmp_path, max_shard_size="40KB"
    )
    clip_processor().save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    image = waves(42, 42)
    [whole], [parts] = (
        encoder(checkpoints["clip"]).encode([image]),
        encoder(tmp_path).encode([image]),
    )
    assert torch.equal(whole.features, parts.features)
    before = encoder(tmp_path).identity
    shards[0].unlink()
    with pytest.raises(
        ValueError, match=rf"lacks 1 of its {len(shards)} weight files: {shards[0].name}"
    ):
        encoder(tmp_path).encode([image])
    assert before != encoder(checkpoints["clip"]).identity


def test_folders_that_are_no_checkpoint(checkpoints, tmp_path, copied):
    with pytest.raises(
        ValueError,
        match=r"has no config\.json: it is no folder that transformers' save_pretrained wrote",
    ):
        encoder(tmp_path).frame((4, 4))
    (copied / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        ValueError, match="model_type 'bert' is not one of clip, clip_vision_model, siglip"
    ):
        encoder(copied).frame((4, 4))
    (copied / "config.json").write_text('{"model_type": "siglip2"}')
    with pytest.raises(
        ValueError,
        match=r"model_type 'siglip2' \(that is read by naflex\('.*copy'\)\) is not one of clip",
    ):
        encoder(copied).frame((4, 4))
    (copied / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    with pytest.raises(
        ValueError, match=r"model_type None \(that is read by timm\('.*copy'\)\) is not one of clip"
    ):
        encoder(copied).frame((4, 4))
    (copied / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not json"):
        encoder(copied).frame((4, 4))
    shutil.copy(checkpoints["clip"] / "config.json", copied)
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(
        ValueError, match=r"has no preprocessor_config\.json, which says how pixels are resized"
    ):
        encoder(copied).frame((4, 4))


def test_layers_and_settings_out_of_range(checkpoints):
    for layer in (3, -4):
        with pytest.raises(
            ValueError,
            match=rf"has 2 blocks: layer must be 0 .* to 2, or -1 .* down to -3; got {layer}",
        ):
            encoder(checkpoints["clip"], f", layer={layer}").encode([waves(42, 42)])
    with pytest.raises(
        SpecError, match="dtype must be one of 'float32', 'bfloat16', 'float16', not 'half'"
    ):
        encoder(checkpoints["clip"], ", dtype='half'")
    with pytest.raises(
        ValueError, match="dtype must be one of float32, bfloat16, float16, got 'half'"
    ):
        Transformers("x", dtype="half")  # type: ignore[arg-type]
    with pytest.raises(
        SpecError, match="batch and size must be at least 1, got batch=0, size=None"
    ):
        encoder(checkpoints["clip"], ", batch=0")
    with pytest.raises(
        SpecError, match=r"batch and size must be at least 1, got batch=8, size=\(42, 0\)"
    ):
        encoder(checkpoints["clip"], ", size=(42, 0)")
    with pytest.raises(SpecError, match=r"size must be int or tuple.* or None, not \(42, 42, 3\)"):
        encoder(checkpoints["clip"], ", size=(42, 42, 3)")
    with pytest.raises(ValueError, match="smaller than one patch"):
        encoder(checkpoints["siglip"], ", size=13").frame((40, 40))


def test_a_name_that_is_nowhere_is_one_clear_line(monkeypatch, tmp_path):
    # huggingface_hub reads HF_HUB_OFFLINE when it is imported, into this constant
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "nobody/no-such-encoder"
    with pytest.raises(ValueError) as caught:
        Transformers(name).encode([waves(42, 42)])
    assert str(caught.value).startswith(
        f"{name!r} is neither a folder nor a model that the hub or its cache gives ("
    )
    assert f"run 'hf download {name}' on a machine that has one, and give the folder" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    for path in (str(tmp_path / "not"), "./not", "a/folder/not"):
        with pytest.raises(ValueError, match="not: no such folder"):
            Transformers(path).frame((4, 4))


def test_a_hub_name_is_fetched_without_pickles(monkeypatch, checkpoints):
    asked = {}

    def snapshot(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(checkpoints["clip"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    read = build("encoder", "transformers('some/clip', revision='refs/pr/1')")
    assert read.width == 32
    assert (asked["name"], asked["revision"]) == ("some/clip", "refs/pr/1")
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in asked["patterns"])
    with pytest.raises(ValueError, match="revision='main' belongs to a hub name"):
        encoder(checkpoints["clip"], ", revision='main'").frame((4, 4))


def test_a_hub_name_without_safetensors_is_asked_for_its_pickles(monkeypatch, copied):
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    asked: list[list[str]] = []

    def snapshot(_name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(list(allow_patterns))
        return str(copied)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.warns(UserWarning, match="read as tensors only"):
        assert Transformers("some/clip").encode([waves(42, 42)])[0].grid == (3, 3)
    first, second = asked
    assert not any(pattern.endswith(".bin") for pattern in first)
    assert set(second) - set(first) == {
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "pytorch_model-*.bin",
    }


def test_a_missing_package_names_the_extra(monkeypatch, checkpoints):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MissingPackage,
        match=r"needs transformers, which is not installed: pip install 'regiontok\[hub\]'",
    ):
        encoder(checkpoints["clip"]).frame((4, 4))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackage, match=r"needs huggingface_hub"):
        _ = Transformers("some/clip").identity


# ---- attention of CLS ---------------------------------------------------------------------------

WITH_CLS = [name for name in CASES if CASES[name].summaries and name not in ("dinov3", "mlcd")]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CLS)
@pytest.mark.parametrize(("layer", "block"), [(-1, 1), (-2, 0), (2, 1)])
def test_attention_of_cls_equals_the_librarys_eager_one(checkpoints, name, layer, block):
    path = checkpoints[name]
    images = [waves(48, 71), waves(60, 50, seed=1)]
    grids = encoder(path, f", layer={layer}, cls_attention=True").encode(images)
    eager = own_model(path, attn_implementation="eager")
    for image, grid in zip(images, grids, strict=True):
        with torch.no_grad():
            weights = eager(pixel_values=processed(path, image), output_attentions=True).attentions[
                block
            ]
        expected = weights[0, :, 0, CASES[name].prefix :].mean(0).view(grid.grid)
        # torchvision's resize is not Pillow's: 2e-5 measured on TIPSv2
        torch.testing.assert_close(
            grid.cls_attention, expected, rtol=1e-5, atol=1e-4 if name in TORCHVISION else 1e-6
        )
        assert 0 < float(grid.cls_attention.sum()) < 1


def test_attention_of_cls_changes_no_feature_and_leaves_no_hook(checkpoints):
    image = waves(42, 42)
    watching, plain = (
        encoder(checkpoints["clip"], ", cls_attention=True"),
        encoder(checkpoints["clip"]),
    )
    [seen], [unseen] = watching.encode([image]), plain.encode([image])
    assert unseen.cls_attention is None
    assert torch.equal(seen.features, unseen.features)
    assert watching._module is plain._module
    names = dict(plain._module.named_modules())
    assert not any(
        module._forward_hooks
        for name, module in names.items()
        if name.endswith(("q_proj", "k_proj"))
    )


def test_attention_of_cls_where_there_is_none(checkpoints):
    image = [waves(42, 42)]
    with pytest.raises(
        ValueError,
        match="SiglipVisionModel has no CLS token, so cls_attention=True has nothing to give",
    ):
        encoder(checkpoints["siglip"], ", cls_attention=True").encode(image)
    with pytest.raises(
        ValueError, match="DINOv3ViTModel turns queries and keys by position, so cls_attention=True"
    ):
        encoder(checkpoints["dinov3"], ", cls_attention=True").encode(image)
    with pytest.raises(
        ValueError,
        match="MLCDVisionModel turns queries and keys by position, so cls_attention=True",
    ):
        encoder(checkpoints["mlcd"], ", cls_attention=True").encode(image)
    for name in ("aimv2", "aimv2-native"):
        with pytest.raises(
            ValueError, match="has no CLS token, so cls_attention=True has nothing to give"
        ):
            encoder(checkpoints[name], ", cls_attention=True").encode(image)
    for layer in (0, -3):
        with pytest.raises(
            ValueError,
            match=f"layer={layer} is before the first block, where there is no attention",
        ):
            encoder(checkpoints["clip"], f", layer={layer}, cls_attention=True").encode(image)


# ---- identity -----------------------------------------------------------------------------------


def test_identity_follows_the_files_and_loads_no_model(checkpoints, copied):
    read = encoder(checkpoints["clip"])
    assert read.identity == encoder(copied).identity
    assert len(read.identity) == 32
    assert "_module" not in vars(read)
    weights = load_file(copied / "model.safetensors")
    weights["vision_model.embeddings.class_embedding"][0] += 1
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    other = encoder(copied).identity
    assert other != read.identity
    path = copied / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.48145466", "0.5"))
    assert len({read.identity, other, encoder(copied).identity}) == 3


def test_the_hubs_cache_has_the_identity_of_a_plain_copy_without_reading_weights(
    checkpoints, tmp_path, monkeypatch
):
    source, blobs, snapshot = (
        checkpoints["clip"],
        tmp_path / "blobs",
        tmp_path / "snapshots" / "abc",
    )
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    (blobs / digest).write_bytes(b"never read")
    (snapshot / "model.safetensors").symlink_to(blobs / digest)
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(source / name, snapshot)
    assert fingerprint(snapshot, "pixels: pillow") == encoder(source).identity


def test_an_auto_class_reads_pickled_tensors_too(checkpoints, copied):
    """What segmenters load with; transformers' own Auto classes take no tensors."""
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.warns(UserWarning, match="read as tensors only"):
        module = load_pretrained(hub.AutoModel, copied, "copy", dtype=torch.float32)
    saved = CASES["clip"].model.state_dict()
    assert type(module).__name__ == "CLIPModel"
    assert all(torch.equal(value, saved[key]) for key, value in module.state_dict().items())


def test_a_layer_is_a_hidden_state_and_the_canvas_has_any_size(checkpoints):
    read = encoder(checkpoints["clip"])
    assert (read.layers, read.layer_name) == (range(read.blocks + 1), "-1")
    assert read.at_layer(-2) == encoder(checkpoints["clip"], ", layer=-2")
    assert read.at_layer(-2).at_layer(None) == read
    with pytest.raises(ValueError, match=r"blocks: layer must be 0 .* got 99"):
        read.at_layer(99)
    assert read.at_size((28, 56)) == encoder(checkpoints["clip"], ", size=(28, 56)")
    assert (read.is_untrained, read.untrained()) == (False, None)
