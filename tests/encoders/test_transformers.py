"""Transformers: tiny random checkpoints, saved and read as a user would, against the library's own forward pass."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regiontok.core.checkpoint import fingerprint
from regiontok.core.need import MissingPackage
from regiontok.core.picture import Picture
from regiontok.core.spec import SpecError, build, names, summary
from regiontok.encoders import transformers as ours
from regiontok.encoders._canvas import canvases
from regiontok.encoders._preprocess import Preprocess
from regiontok.encoders.transformers import Transformers

hub = pytest.importorskip("transformers")

BODY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
VISION = BODY | {"intermediate_size": 64}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
EDGE = {"shortest_edge": 42}
SIDE = {"height": 42, "width": 42}
# folder: what is saved, its image processor; then the grid, prefix tokens and summaries that must come out, and the model's final norm
CASES: dict[str, SimpleNamespace] = {}


def case(name: str, make, processor, *, grid=(3, 3), prefix=1, summaries=1, norm="layernorm") -> None:
    CASES[name] = SimpleNamespace(make=make, processor=processor, grid=grid, prefix=prefix, summaries=summaries, norm=norm)


def bit() -> Any:
    """DINOv2's: shortest edge 48, then a crop of 42; ImageNet's mean."""
    return hub.BitImageProcessorPil(
        size={"shortest_edge": 48}, crop_size=SIDE, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )


def clip_processor() -> Any:
    return hub.CLIPImageProcessorPil(size=EDGE, crop_size=SIDE)


case(
    "clip",
    lambda: hub.CLIPModel(hub.CLIPConfig(vision_config=VISION | {"image_size": 42}, text_config=TEXT)),
    clip_processor,
    norm=None,
)
case("clip-vision", lambda: hub.CLIPVisionModel(hub.CLIPVisionConfig(**VISION, image_size=42)), clip_processor, norm=None)
# 40 pixels at patch 14: a 2 x 2 grid over the first 28 pixels, as 384 at 14 is 27 x 27 over 378
case(
    "siglip",
    lambda: hub.SiglipModel(hub.SiglipConfig(vision_config=VISION | {"image_size": 40}, text_config=TEXT)),
    lambda: hub.SiglipImageProcessorPil(size={"height": 40, "width": 40}),
    grid=(2, 2),
    prefix=0,
    summaries=0,
    norm="post_layernorm",
)
case("dinov2", lambda: hub.Dinov2Model(hub.Dinov2Config(**BODY, image_size=56)), bit)
case(
    "dinov2-registers",
    lambda: hub.Dinov2WithRegistersModel(hub.Dinov2WithRegistersConfig(**BODY, image_size=56, num_register_tokens=4)),
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
FAMILIES = pytest.mark.parametrize("name", list(CASES))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """For matrices this small a second thread only costs: 8 s against 40 s for this file on two busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for name, made in CASES.items():
        model = made.make()
        for parameter in model.parameters():  # zeros and ones of the initialisation would hide a forgotten token or norm
            parameter.data.normal_(0, 0.2)
        made.model = model
        model.save_pretrained(root / name)
        made.processor().save_pretrained(root / name)
    held = [encoder(root / name)._module for name in CASES]  # so that most tests share one model in memory
    yield {name: root / name for name in CASES}
    held.clear()


@pytest.fixture
def copied(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the CLIP folder that a test may spoil."""
    return Path(shutil.copytree(checkpoints["clip"], tmp_path / "copy"))


def picture(height: int, width: int, seed: int = 0) -> Picture:
    """Smooth colours with some noise: no photo, but neither flat nor white noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width][..., None] / 20
    waves = np.sin(y * rng.uniform(0.5, 2, 3) + x * rng.uniform(0.5, 2, 3) + rng.uniform(0, 6, 3))
    return Picture.of(np.clip(waves * 90 + 128 + rng.normal(0, 10, (height, width, 3)), 0, 255).astype(np.uint8))


def encoder(path: Path, more: str = "") -> Transformers:
    return build("encoder", f"transformers({str(path)!r}{more})")


def family(path: Path) -> ours.Family:
    return ours.FAMILIES[json.loads((path / "config.json").read_text())["model_type"]]


@lru_cache
def own_model(path: Path) -> torch.nn.Module:
    return getattr(hub, family(path).tower).from_pretrained(path).eval()


def library(path: Path, pixels: torch.Tensor, **options: Any) -> Any:
    """The library's own forward pass of the vision tower, all hidden states."""
    with torch.no_grad():
        return own_model(path)(pixel_values=pixels, output_hidden_states=True, **options)


def processed(path: Path, image: Picture, **options: Any) -> torch.Tensor:
    return hub.AutoImageProcessor.from_pretrained(path, backend="pil")(image.pil, return_tensors="pt", **options)[
        "pixel_values"
    ]


@FAMILIES
@pytest.mark.parametrize("layer", [-1, -2, 0, 2])
def test_features_equal_the_librarys_own_forward(checkpoints, name, layer):
    made, path = CASES[name], checkpoints[name]
    # DINOv3's own processor has no PIL backend: a picture that needs no resize shows the same pixels to both
    image = picture(42, 42) if name == "dinov3" else picture(48, 71) if name.startswith("dinov2") else picture(42, 71)
    output = library(path, processed(path, image))
    expected = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
    [grid] = encoder(path, f", layer={layer}").encode([image])
    assert grid.grid == made.grid
    assert grid.summaries == made.summaries
    assert grid.key == image.key
    tokens = grid.features.flatten(0, 1) if grid.prefix is None else torch.cat([grid.prefix, grid.features.flatten(0, 1)])
    assert (0 if grid.prefix is None else len(grid.prefix)) == made.prefix
    # torchvision's backend, DINOv3's, normalises in other steps: 5e-6 measured
    torch.testing.assert_close(tokens, expected[0], rtol=0, atol=2e-5 if name == "dinov3" else 0)


@FAMILIES
def test_minus_one_is_the_last_block_behind_the_final_norm(checkpoints, name):
    path, image = checkpoints[name], picture(60, 60)
    [last], [blocks] = encoder(path).encode([image]), encoder(path, ", layer=2").encode([image])
    norm = getattr(own_model(path), CASES[name].norm) if CASES[name].norm else lambda features: features
    with torch.no_grad():
        torch.testing.assert_close(norm(blocks.features), last.features, rtol=0, atol=1e-6)


@FAMILIES
def test_another_size_interpolates_positions_as_the_library_does(checkpoints, name):
    path, image = checkpoints[name], picture(72, 72)
    read = encoder(path, ", size=72, framing='stretch'")
    table = read._preprocess.table()
    pixels = torch.stack([table[c][torch.from_numpy(image.pixels[..., c].astype(np.int64))] for c in range(3)])[None]
    output = library(path, pixels, **({"interpolate_pos_encoding": True} if family(path).asks else {}))
    [grid] = read.encode([image])
    assert grid.grid == (5, 5)  # 70 of the 72 pixels
    assert grid.frame.covered == (0.0, 0.0, 70.0, 70.0)
    torch.testing.assert_close(grid.features.flatten(0, 1), output.last_hidden_state[0, CASES[name].prefix :], rtol=0, atol=0)


def test_a_folder_with_a_text_tower_reads_like_its_vision_tower_alone(checkpoints, tmp_path):
    tower = hub.CLIPVisionModel.from_pretrained(checkpoints["clip"])
    tower.save_pretrained(tmp_path)
    clip_processor().save_pretrained(tmp_path)
    image = picture(50, 90)
    [both], [alone] = encoder(checkpoints["clip"]).encode([image]), encoder(tmp_path).encode([image])
    assert torch.equal(both.features, alone.features)


def test_what_an_encoder_says_of_itself(checkpoints):
    clip, siglip = encoder(checkpoints["clip"]), encoder(checkpoints["siglip"])
    assert (clip.width, clip.has_cls, clip.summaries, clip.threshold) == (32, True, 1, 0.7)
    assert (siglip.width, siglip.has_cls, siglip.summaries) == (32, False, 0)
    assert encoder(checkpoints["dinov2-registers"]).summaries == 1
    assert siglip.frame((80, 160)).covered == (0.0, 0.0, 56.0, 112.0)  # 28 of 40 pixels
    assert "transformers" in names("encoder")
    assert "CLIP, SigLIP" in summary("encoder", "transformers")


# ---- pixels -----------------------------------------------------------------------------------------------------------------------

SIZES = [(300, 451), (97, 203), (31, 53), (336, 336), (64, 601), (224, 225)]
PROCESSORS = {
    "clip": lambda: hub.CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}),
    "dinov2": lambda: hub.BitImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}),
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
    mine, theirs = both_pixels(PROCESSORS[name](), picture(*size))
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("size", SIZES + [(w, h) for h, w in SIZES])
@pytest.mark.parametrize("name", ["clip", "dinov2"])
def test_cropped_pixels_are_the_processors_own(name, size):
    mine, theirs = both_pixels(PROCESSORS[name](), picture(*size))
    assert np.abs(mine - theirs).max() < 1e-3  # of 255 levels


def test_legacy_and_nested_processor_files_are_read(checkpoints, copied):
    image = picture(42, 71)
    [expected] = encoder(checkpoints["clip"]).encode([image])
    saved = json.loads((copied / "preprocessor_config.json").read_text())
    old = {k: v for k, v in saved.items() if k not in ("image_processor_type", "rescale_factor", "do_rescale")}
    old |= {"size": 42, "crop_size": 42, "feature_extractor_type": "CLIPFeatureExtractor"}
    (copied / "preprocessor_config.json").write_text(json.dumps(old))
    assert torch.equal(encoder(copied).encode([image])[0].features, expected.features)
    (copied / "preprocessor_config.json").unlink()
    (copied / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor", "image_processor": saved}))
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
        ValueError, match="expected an image processor that rescales, and resizes to height and width or to the shortest"
    ):
        encoder(copied).frame((50, 50))


def test_processor_without_normalisation_feeds_zero_to_one(copied):
    path = copied / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_normalize": False}))
    look = encoder(copied)._preprocess
    assert look.table()[:, [0, 255]].tolist() == [[0.0, 1.0]] * 3
    assert look.fill == (0, 0, 0)


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
    output = library(checkpoints["clip"], torch.stack([read._preprocess.table()[c][pixels[c].long()] for c in range(3)])[None])
    torch.testing.assert_close(grid.features.flatten(0, 1), output.last_hidden_state[0, 1:], rtol=0, atol=0)


def test_the_shortest_edge_grows_with_the_canvas(checkpoints):
    read = encoder(checkpoints["dinov2"], ", size=84")
    assert read.frame((96, 96)).crop == (6.0, 6.0, 90.0, 90.0)  # 48 before a crop of 42 becomes 96 before a crop of 84
    assert encoder(checkpoints["dinov2"], ", framing='stretch'").frame((96, 50)).crop == (0.0, 0.0, 96.0, 50.0)


# ---- batches, numbers, autograd ---------------------------------------------------------------------------------------------------


@FAMILIES
def test_a_picture_does_not_feel_its_batch(checkpoints, name):
    pictures = [picture(50 + 7 * i, 91 - 9 * i, seed=i) for i in range(5)]
    read = encoder(checkpoints[name], ", batch=2")
    together = read.encode(pictures)
    for image, grid in zip(pictures, together, strict=True):
        [alone] = read.encode([image])
        # Matrix products of another shape may add in another order: with two threads 6e-7 at most, on features of size 1 to 3.
        torch.testing.assert_close(grid.features, alone.features, rtol=0, atol=5e-6)
        assert grid.key == image.key
        assert grid.frame.image == image.size
    assert read.encode([]) == []


def test_features_are_plain_frozen_tensors_that_can_be_trained_on(checkpoints):
    [first, second] = encoder(checkpoints["clip"]).encode([picture(42, 42, 1), picture(42, 42, 2)])
    assert not first.features.requires_grad
    assert first.features.untyped_storage().nbytes() == first.features.nbytes  # no view that keeps the batch
    layer = torch.nn.Linear(32, 4)
    layer(first.features).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad[0], first.features.sum((0, 1)))
    assert not torch.equal(first.features, second.features)


@pytest.mark.parametrize(("dtype", "near"), [("bfloat16", 0.06), ("float16", 0.006)])
def test_half_precision_comes_out_in_its_own_dtype(checkpoints, dtype, near):
    image = picture(60, 60)
    [exact] = encoder(checkpoints["clip"]).encode([image])
    [half] = encoder(checkpoints["clip"], f", dtype='{dtype}'").encode([image])
    assert half.features.dtype == half.prefix.dtype == getattr(torch, dtype)
    off = (half.features.float() - exact.features).abs().max()
    assert 0 < off < near  # 0.02 and 0.002 measured


def test_eager_attention_gives_the_same_numbers(checkpoints):
    image = picture(60, 60)
    read = encoder(checkpoints["siglip"], ", attention='eager'")
    torch.testing.assert_close(
        read.encode([image])[0].features, encoder(checkpoints["siglip"]).encode([image])[0].features, rtol=0, atol=5e-6
    )
    assert read._module.config._attn_implementation == "eager"


def test_shuffle_moves_patches_and_a_model_without_positions_only_sees_them_move(checkpoints, tmp_path):
    model = hub.SiglipVisionModel.from_pretrained(checkpoints["siglip"])
    model.embeddings.position_embedding.weight.data.zero_()
    model.save_pretrained(tmp_path)
    hub.SiglipImageProcessorPil(size={"height": 56, "width": 56}).save_pretrained(tmp_path)
    image = picture(56, 56)
    [plain], [moved], [again] = (encoder(tmp_path, more).encode([image]) for more in ("", ", shuffle=1", ", shuffle=1"))
    assert torch.equal(moved.features, again.features)
    far = torch.cdist(moved.features.flatten(0, 1), plain.features.flatten(0, 1))
    nearest = far.argmin(1)
    assert sorted(nearest.tolist()) == list(range(16))
    assert nearest.tolist() != list(range(16))
    assert far.min(1).values.max() < 1e-4
    [elsewhere] = encoder(tmp_path, ", shuffle=2").encode([image])
    assert not torch.equal(elsewhere.features, moved.features)
    [placed], [displaced] = (encoder(checkpoints["clip"], more).encode([image]) for more in ("", ", shuffle=1"))
    far = torch.cdist(displaced.features.flatten(0, 1), placed.features.flatten(0, 1))
    assert far.min(1).values.max() > 0.1


# ---- loading ----------------------------------------------------------------------------------------------------------------------


def test_every_parameter_and_buffer_is_what_was_saved(checkpoints):
    for name in ("clip-vision", "dinov2", "dinov2-registers", "dinov3", "metaclip2"):
        saved, module = CASES[name].model, encoder(checkpoints[name])._module
        for kind in ("named_parameters", "named_buffers"):
            expected, loaded = dict(getattr(saved, kind)()), dict(getattr(module, kind)())
            assert set(expected) == set(loaded)
            assert all(torch.equal(expected[key], loaded[key]) for key in expected)
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_model_is_loaded_once_and_let_go(copied, capfd):
    level = hub.logging.get_verbosity()
    first, second = encoder(copied, ", layer=-1"), encoder(copied, ", layer=-2")
    assert first._module is second._module
    assert first._module is not encoder(copied, ", dtype='bfloat16'")._module
    assert capfd.readouterr().err == ""  # neither a bar nor the text tower's weights
    assert hub.logging.get_verbosity() == level
    held = len(ours._LOADED)
    del first, second
    gc.collect()
    assert len(ours._LOADED) < held


def test_missing_weights_are_an_error(copied):
    weights = load_file(copied / "model.safetensors")
    del weights["vision_model.encoder.layers.1.mlp.fc1.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights of CLIPVisionModel are not .* would be random: .*layers\.1\.mlp\.fc1"):
        encoder(copied).encode([picture(42, 42)])


def test_weights_of_another_shape_or_cut_off_are_an_error(copied):
    weights = load_file(copied / "model.safetensors")
    weights["vision_model.encoder.layers.1.mlp.fc1.bias"] = torch.zeros(7)
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"damaged, or of other shapes than config\.json says"):
        encoder(copied).encode([picture(42, 42)])
    with (copied / "model.safetensors").open("r+b") as file:
        file.truncate(4000)
    with pytest.raises(ValueError, match=r"damaged, or of other shapes than config\.json says \(.*header"):
        encoder(copied).encode([picture(42, 42)])


def test_pickled_weights_are_refused(copied):
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    read = encoder(copied)
    with pytest.raises(ValueError, match=r"has no model\.safetensors; pickled weights \(pytorch_model\.bin\) are not read"):
        read.encode([picture(42, 42)])
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        _ = read.identity


def test_sharded_weights_are_read_and_none_may_be_absent(checkpoints, tmp_path):
    hub.CLIPModel.from_pretrained(checkpoints["clip"]).save_pretrained(tmp_path, max_shard_size="40KB")
    clip_processor().save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    image = picture(42, 42)
    [whole], [parts] = encoder(checkpoints["clip"]).encode([image]), encoder(tmp_path).encode([image])
    assert torch.equal(whole.features, parts.features)
    before = encoder(tmp_path).identity
    shards[0].unlink()
    with pytest.raises(ValueError, match=rf"lacks 1 of its {len(shards)} weight files: {shards[0].name}"):
        encoder(tmp_path).encode([image])
    assert before != encoder(checkpoints["clip"]).identity


def test_folders_that_are_no_checkpoint(checkpoints, tmp_path, copied):
    with pytest.raises(ValueError, match=r"has no config\.json: it is no folder that transformers' save_pretrained wrote"):
        encoder(tmp_path).frame((4, 4))
    (copied / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model_type 'bert' is not one of clip, clip_vision_model, siglip"):
        encoder(copied).frame((4, 4))
    (copied / "config.json").write_text('{"model_type": "siglip2"}')
    with pytest.raises(
        ValueError, match=r"model_type 'siglip2' \(NaFlex; the fixed-size SigLIP2 checkpoints have the type siglip\)"
    ):
        encoder(copied).frame((4, 4))
    (copied / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not json"):
        encoder(copied).frame((4, 4))
    shutil.copy(checkpoints["clip"] / "config.json", copied)
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"has no preprocessor_config\.json, which says how pixels are resized"):
        encoder(copied).frame((4, 4))


def test_layers_and_settings_out_of_range(checkpoints):
    for layer in (3, -4):
        with pytest.raises(ValueError, match=rf"has 2 blocks: layer must be 0 .* to 2, or -1 .* down to -3; got {layer}"):
            encoder(checkpoints["clip"], f", layer={layer}").encode([picture(42, 42)])
    with pytest.raises(SpecError, match="dtype must be one of 'float32', 'bfloat16', 'float16', not 'half'"):
        encoder(checkpoints["clip"], ", dtype='half'")
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, float16, got 'half'"):
        Transformers("x", dtype="half")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="batch and size must be at least 1, got batch=0, size=None"):
        encoder(checkpoints["clip"], ", batch=0")
    with pytest.raises(ValueError, match="smaller than one patch"):
        encoder(checkpoints["siglip"], ", size=13").frame((40, 40))


def test_a_name_that_is_nowhere_is_one_clear_line(monkeypatch, tmp_path):
    # huggingface_hub reads HF_HUB_OFFLINE when it is imported, into this constant
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "nobody/no-such-encoder"
    with pytest.raises(ValueError) as caught:
        Transformers(name).encode([picture(42, 42)])
    assert str(caught.value).startswith(f"{name!r} is neither a folder nor a model that the hub or its cache gives (")
    assert f"run 'hf download {name}' on a machine that has one, and give the folder" in str(caught.value)
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


def test_a_missing_package_names_the_extra(monkeypatch, checkpoints):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackage, match=r"needs transformers, which is not installed: pip install 'regiontok\[hub\]'"):
        encoder(checkpoints["clip"]).frame((4, 4))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackage, match=r"needs huggingface_hub"):
        _ = Transformers("some/clip").identity


# ---- attention of CLS -------------------------------------------------------------------------------------------------------------

WITH_CLS = [name for name in CASES if CASES[name].summaries and name != "dinov3"]


@pytest.mark.parametrize("name", WITH_CLS)
@pytest.mark.parametrize(("layer", "block"), [(-1, 1), (-2, 0), (2, 1)])
def test_attention_of_cls_equals_the_librarys_eager_one(checkpoints, name, layer, block):
    path = checkpoints[name]
    images = [picture(48, 71), picture(60, 50, seed=1)]
    grids = encoder(path, f", layer={layer}, cls_attention=True").encode(images)
    eager = getattr(hub, family(path).tower).from_pretrained(path, attn_implementation="eager").eval()
    for image, grid in zip(images, grids, strict=True):
        with torch.no_grad():
            weights = eager(pixel_values=processed(path, image), output_attentions=True).attentions[block]
        expected = weights[0, :, 0, CASES[name].prefix :].mean(0).view(grid.grid)
        torch.testing.assert_close(grid.cls_attention, expected, rtol=1e-5, atol=1e-6)
        assert 0 < float(grid.cls_attention.sum()) < 1


def test_attention_of_cls_changes_no_feature_and_leaves_no_hook(checkpoints):
    image = picture(42, 42)
    watching, plain = encoder(checkpoints["clip"], ", cls_attention=True"), encoder(checkpoints["clip"])
    [seen], [unseen] = watching.encode([image]), plain.encode([image])
    assert unseen.cls_attention is None
    assert torch.equal(seen.features, unseen.features)
    assert watching._module is plain._module
    names = dict(plain._module.named_modules())
    assert not any(part._forward_hooks for name, part in names.items() if name.endswith(("q_proj", "k_proj")))


def test_attention_of_cls_where_there_is_none(checkpoints):
    image = [picture(42, 42)]
    with pytest.raises(ValueError, match="SiglipVisionModel has no CLS token, so cls_attention=True has nothing to give"):
        encoder(checkpoints["siglip"], ", cls_attention=True").encode(image)
    with pytest.raises(ValueError, match="DINOv3ViTModel turns queries and keys by position, so cls_attention=True"):
        encoder(checkpoints["dinov3"], ", cls_attention=True").encode(image)
    for layer in (0, -3):
        with pytest.raises(ValueError, match=f"layer={layer} is before the first block, where there is no attention"):
            encoder(checkpoints["clip"], f", layer={layer}, cls_attention=True").encode(image)


# ---- identity ---------------------------------------------------------------------------------------------------------------------


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


def test_the_hubs_cache_has_the_identity_of_a_plain_copy_without_reading_weights(checkpoints, tmp_path, monkeypatch):
    source, blobs, snapshot = checkpoints["clip"], tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    (blobs / digest).write_bytes(b"never read")
    (snapshot / "model.safetensors").symlink_to(blobs / digest)
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(source / name, snapshot)
    assert fingerprint(snapshot, "pixels: pillow") == encoder(source).identity
