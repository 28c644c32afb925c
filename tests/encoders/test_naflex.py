"""NaFlex: tiny random checkpoints, saved and read as a user would.

They are held against the library's own processor and forward pass.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from regiontok.core.canvas import canvases
from regiontok.core.picture import Picture
from regiontok.encoders.naflex import Naflex, canvas_of
from regiontok.settings.registry import build, render, summary
from regiontok.settings.spec import SpecError
from samples.models import shake
from samples.pictures import noise

hub = pytest.importorskip("transformers")

BODY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION = BODY | {"patch_size": 8, "num_patches": 36}  # positions on 6 x 6
TEXT = BODY | {"vocab_size": 64}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Iterator[dict[str, Path]]:
    """A checkpoint with a text tower, as Google published it, and the vision tower alone."""
    root = tmp_path_factory.mktemp("naflex")
    torch.manual_seed(0)
    both = hub.Siglip2Model(hub.Siglip2Config(vision_config=VISION, text_config=TEXT))
    shake(both)
    both.save_pretrained(root / "both")
    assert "vision_model.embeddings.patch_embedding.weight" in load_file(
        root / "both" / "model.safetensors"
    )
    hub.Siglip2VisionModel.from_pretrained(root / "both").save_pretrained(root / "alone")
    for name in ("both", "alone"):
        hub.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=30).save_pretrained(root / name)
    held = [encoder(root / name)._module for name in ("both", "alone")]
    yield {name: root / name for name in ("both", "alone")}
    held.clear()


@pytest.fixture
def copied(folders, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folders["both"], tmp_path / "copy"))


def encoder(path: Path, more: str = "") -> Naflex:
    return build("encoder", f"naflex({str(path)!r}{more})")


SHAPES = [(48, 48), (50, 90), (90, 50), (33, 200), (200, 11), (7, 5)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["both", "alone"])
@pytest.mark.parametrize("layer", [-1, -2, 0, 2])
@pytest.mark.parametrize("patches", [30, 57])
def test_features_equal_a_padded_batch_of_the_librarys_own(folders, name, layer, patches):
    images = [noise(*shape, seed=index) for index, shape in enumerate(SHAPES)]
    processor = hub.AutoImageProcessor.from_pretrained(folders[name], backend="pil")
    inputs = processor(
        [image.pil for image in images], max_num_patches=patches, return_tensors="pt"
    )
    with torch.no_grad():
        output = hub.Siglip2VisionModel.from_pretrained(folders[name]).eval()(
            **inputs, output_hidden_states=True
        )
    expected = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
    grids = encoder(folders[name], f", patches={patches}, layer={layer}").encode(images)
    for image, grid, shape, tokens in zip(
        images, grids, inputs["spatial_shapes"].tolist(), expected, strict=True
    ):
        assert list(grid.grid) == shape
        torch.testing.assert_close(
            grid.features.flatten(0, 1), tokens[: grid.patches], rtol=0, atol=1e-5
        )
        assert grid.prefix is None
        assert grid.key == image.key
        assert grid.frame.image == image.size
    assert len({grid.grid for grid in grids}) >= 4


@pytest.mark.parametrize("shape", [*SHAPES, (301, 448), (640, 480)])
def test_pixels_equal_the_pil_backend_bit_for_bit(folders, shape):
    read, image = encoder(folders["both"]), noise(*shape)
    frame = read.frame(image.size)
    canvas = canvases([image], [frame], resample=read._preprocess.resample)[0]
    mine = torch.stack([read._preprocess.table()[c][canvas[c].long()] for c in range(3)])
    theirs = hub.AutoImageProcessor.from_pretrained(folders["both"], backend="pil")(
        image.pil, return_tensors="pt"
    )
    h, w = frame.grid
    packed = (
        theirs["pixel_values"][0, : h * w]
        .reshape(h, w, 8, 8, 3)
        .permute(4, 0, 2, 1, 3)
        .reshape(3, 8 * h, 8 * w)
    )
    assert torch.equal(mine, packed)
    torchvision = hub.AutoImageProcessor.from_pretrained(folders["both"])(
        image.pil, return_tensors="pt"
    )
    assert (torchvision["pixel_values"] - theirs["pixel_values"]).abs().max() * 127.5 < 1.001


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([8, 14, 16]), st.integers(1, 1100)
)
def test_every_canvas_is_the_librarys(height, width, patch, patches):
    theirs = import_module(
        hub.Siglip2ImageProcessorPil.__module__
    ).get_image_size_for_max_num_patches
    canvas = canvas_of((height, width), patch, patches)
    assert canvas == theirs(height, width, patch, patches)
    assert canvas[0] * canvas[1] <= patches * patch * patch


def test_the_grid_follows_the_pictures_shape(folders):
    read = encoder(folders["both"])  # 30 patches, the processor's own
    assert read.frame((50, 100)).grid == (4, 7)
    assert read.frame((100, 50)).grid == (7, 4)
    frame = encoder(folders["both"], ", patches=100").frame((300, 300))
    assert (frame.grid, frame.canvas, frame.resized, frame.covered) == (
        (10, 10),
        (80, 80),
        (80, 80),
        (0.0, 0.0, 300.0, 300.0),
    )
    assert bool(frame.valid.all())


@pytest.mark.parametrize(
    ("shape", "grid"), [((48, 64), (6, 8)), ((64, 48), (8, 6)), ((16, 192), (2, 24))]
)
def test_a_bright_square_lights_its_patches(folders, shape, grid):
    # 48 patches of 8 x 8 and as many pixels: nothing is resized. The square covers the second row
    # of patches, columns 2 and 3.
    black = np.zeros((*shape, 3), np.uint8)
    bright = black.copy()
    bright[8:16, 16:32] = 255
    expected = torch.zeros(grid, dtype=torch.bool)
    expected[1, 2:4] = True
    for layer in (0, -1):
        read = encoder(folders["both"], f", patches=48, layer={layer}")
        [lit], [dark] = read.encode([Picture.of(bright)]), read.encode([Picture.of(black)])
        assert lit.grid == grid
        change = (lit.features - dark.features).norm(dim=-1)
        if layer == 0:  # an embedding sees its own patch alone
            assert torch.equal(change > 1e-6, expected)
        else:
            assert change[expected].min() > change[~expected].max()
    assert torch.equal(
        lit.frame.to_grid(torch.from_numpy(bright[None, ..., 0] > 0))[0] > 0.5, expected
    )


def test_a_square_of_a_resized_picture_lights_its_patches(folders):
    pixels = np.zeros((96, 128, 3), np.uint8)  # twice the canvas of 48 x 64
    pixels[32:64, 64:96] = 255
    read = encoder(folders["both"], ", patches=48, layer=0")
    [lit], [dark] = (
        read.encode([Picture.of(pixels)]),
        read.encode([Picture.of(np.zeros_like(pixels))]),
    )
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[2:4, 4:6] = True
    change = (lit.features - dark.features).norm(dim=-1)
    assert change[expected].min() > 5 * change[~expected].max()


def test_shuffle_dtype_and_plain_tensors(folders):
    image = noise(48, 48)
    plain, moved, again, other = (
        encoder(folders["both"], f", patches=36, layer=0, shuffle={seed}")
        .encode([image])[0]
        .features.flatten(0, 1)
        for seed in (None, 1, 1, 2)
    )
    place = encoder(folders["both"])._module.embeddings.position_embedding.weight  # 6 x 6: as it is
    far = torch.cdist(moved - place, plain - place).argmin(1).tolist()
    assert sorted(far) == list(range(36))
    assert far != list(range(36))
    assert torch.equal(moved, again)
    assert not torch.equal(moved, other)
    [exact] = encoder(folders["both"]).encode([image])
    [rough] = encoder(folders["both"], ", dtype='bfloat16'").encode([image])
    assert rough.features.dtype == torch.bfloat16
    assert 0 < (rough.features.float() - exact.features).abs().max() < 0.1
    assert not exact.features.requires_grad
    assert exact.features.untyped_storage().nbytes() == exact.features.nbytes
    assert encoder(folders["both"]).encode([]) == []


def test_one_model_serves_all_budgets_and_layers(folders):
    read = encoder(folders["both"])
    assert read._module is encoder(folders["both"], ", patches=9, layer=0")._module
    assert read._module is not encoder(folders["alone"])._module
    assert (read.width, read.has_cls, read.summaries) == (32, False, 0)


def test_another_family_is_refused(copied):
    for kind, more in (
        (
            "siglip",
            r"; SigLIP 2 of fixed size has the type siglip: transformers\('\.\.\.'\) reads it",
        ),
        ("bert", "$"),
    ):
        (copied / "config.json").write_text(json.dumps({"model_type": kind}))
        with pytest.raises(
            ValueError,
            match=r"expected model_type siglip2 or siglip2_vision_model \(NaFlex\), got "
            rf"'{kind}'{more}",
        ):
            encoder(copied).frame((4, 4))
    (copied / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config\.json"):
        encoder(copied).frame((4, 4))


def test_a_processor_that_does_not_fit_is_refused(copied):
    path = copied / "preprocessor_config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"do_normalize": False}))
    with pytest.raises(
        ValueError,
        match=r"resizes, rescales and normalises, got do_resize=True, do_rescale=True, "
        r"do_normalize=False",
    ):
        encoder(copied).encode([noise(9, 9)])
    path.write_text(json.dumps(said | {"patch_size": 16}))
    with pytest.raises(
        ValueError,
        match=r"expected a processor for patches of 8 pixels \(Siglip2ImageProcessor\), got "
        r"Siglip2\w+ for 16",
    ):
        encoder(copied).frame((9, 9))
    hub.CLIPImageProcessorPil().save_pretrained(copied)
    with pytest.raises(
        ValueError, match=r"expected a processor for patches of 8 pixels .*, got CLIP\w+ for None"
    ):
        encoder(copied).frame((9, 9))
    path.unlink()
    with pytest.raises(
        ValueError, match=r"has no preprocessor_config\.json, which says how pixels are resized"
    ):
        encoder(copied).frame((9, 9))


def test_weights_that_are_absent(copied):
    weights = load_file(copied / "model.safetensors")
    del weights["vision_model.encoder.layers.1.mlp.fc1.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError,
        match=r"1 weights of Siglip2VisionModel are not .* would be random: .*layers\.1\.mlp\.fc1",
    ):
        encoder(copied).encode([noise(9, 9)])
    (copied / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        encoder(copied).encode([noise(9, 9)])


def test_settings_out_of_range(folders):
    for layer in (3, -4):
        with pytest.raises(
            ValueError,
            match=rf"has 2 blocks: layer must be 0 .* to 2, or -1 .* down to -3; got {layer}",
        ):
            encoder(folders["both"], f", layer={layer}").encode([noise(9, 9)])
    with pytest.raises(SpecError, match="patches must be at least 1, got 0"):
        encoder(folders["both"], ", patches=0")
    with pytest.raises(
        ValueError, match="dtype must be one of float32, bfloat16, float16, got 'half'"
    ):
        Naflex("x", dtype="half")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="has no parameter 'size'"):
        encoder(folders["both"], ", size=384")


def test_identity_and_spec(folders, copied):
    read = encoder(folders["both"])
    assert read.identity == encoder(copied).identity
    weights = load_file(copied / "model.safetensors")
    weights["vision_model.post_layernorm.bias"][0] += 1
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    assert encoder(copied).identity != read.identity
    text = "naflex('google/siglip2-base-patch16-naflex', patches=576, layer=-2, shuffle=1)"
    assert render(build("encoder", text)) == text
    assert "NaFlex" in summary("encoder", "naflex")


def test_a_layer_is_a_hidden_state_and_the_canvas_follows_the_picture(folders):
    read = encoder(folders["both"])
    blocks = read.blocks
    assert (read.layers, read.layer_name) == (range(blocks + 1), "-1")
    assert read.at_layer(0) == encoder(folders["both"], ", layer=0")
    assert read.at_layer(0).at_layer(None) == read
    with pytest.raises(ValueError, match=rf"has {blocks} blocks: layer must be 0 .* got 99"):
        read.at_layer(99)
    assert (read.can_resize, read.is_untrained, read.untrained()) == (False, False, None)
    with pytest.raises(ValueError, match="Naflex has no canvas whose size can be set"):
        read.at_size(64)
