from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regiontok.core.picture import Picture
from regiontok.rice.export import load, load_regions, mlcd_key, save
from regiontok.rice.region_attention import RegionLayer, RegionTransformer
from regiontok.rice.visible import Visible
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.settings.registry import build
from samples.vits import mini_vit

hub = pytest.importorskip("transformers")


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(
        torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a
    )


def edit(folder, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_round_trip_is_bit_equal(tmp_path, dtype):
    vit = mini_vit(activation="quick_gelu", theta=5000.0, eps=1e-6).to(dtype)
    loaded = load(save(vit, tmp_path / "saved"))
    assert same(loaded, vit)
    assert loaded.config == vit.config
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert load(tmp_path / "saved", dtype=torch.float64).cls.dtype == torch.float64


def test_transformers_own_files_survive_the_way_through_ours(tmp_path):
    config = hub.MLCDVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=28,
        patch_size=14,
    )
    hub.MLCDVisionModel(config).save_pretrained(tmp_path / "theirs")
    save(load(tmp_path / "theirs"), tmp_path / "ours")
    original, rewritten = (
        load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "ours")
    )
    assert original.keys() == rewritten.keys()
    assert all(torch.equal(original[key], rewritten[key]) for key in original)
    again = hub.AutoModel.from_pretrained(tmp_path / "ours")
    assert type(again).__name__ == "MLCDVisionModel"
    assert (
        again.config.to_diff_dict()
        == hub.MLCDVisionModel.from_pretrained(tmp_path / "theirs").config.to_diff_dict()
    )


def test_the_released_layout_is_read(tmp_path):
    """The layout is that of DeepGlint's repositories.

    `vision_model.` stands in front of every key, model_type is mlcd, there are no rope_parameters,
    constants are saved.
    """
    vit = mini_vit()
    folder = save(vit, tmp_path / "saved")
    weights = {
        f"vision_model.{key}": value
        for key, value in load_file(folder / "model.safetensors").items()
    }
    weights |= {"vision_model.vision_rotary_embedding.inv_freq": torch.ones(4)}
    weights |= {"vision_model.embeddings.position_ids": torch.arange(65)[None]}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder, model_type="mlcd", rope_parameters=None, projection_dim=1024)
    assert same(load(folder), vit)
    assert load_regions(folder).layer == RegionLayer()
    shared = RegionLayer(form="shared", layers=3)
    assert load_regions(folder, shared).layer == shared
    edit(folder, region_layers=2, region_query="cls")  # as earlier versions exported
    assert load_regions(folder).layer == RegionLayer(form="shared", layers=2)


LAYERS = [
    RegionLayer(),
    RegionLayer(projection=24),
    RegionLayer(form="shared", layers=2),
    RegionLayer(form="shared", layers=2, query="learned", projection=24),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.form}-{layer.projection}")
def test_a_region_transformer_comes_back_whole_and_is_a_plain_encoder_to_others(tmp_path, layer):
    model = RegionTransformer(mini_vit(), layer)
    folder = save(model, tmp_path / "saved")
    loaded = load_regions(folder)
    assert same(loaded, model)
    assert loaded.layer == layer
    assert same(load(folder), model.vit)
    images, visibility = (
        torch.randn(1, 3, 64, 64),
        Visible.from_boxes([torch.tensor([[0.0, 0.0, 4.0, 4.0]])], (8, 8)),
    )
    with torch.no_grad():
        assert torch.equal(loaded(images, visibility).regions, model(images, visibility).regions)
        other = hub.AutoModel.from_pretrained(folder)(images).last_hidden_state
        torch.testing.assert_close(other, model.vit(images), rtol=0, atol=1e-5)


def test_blocks_on_top_are_left_out_and_the_encoder_pools_instead(tmp_path):
    layer = RegionLayer(form="blocks", layers=1)
    model = RegionTransformer(mini_vit(), layer)
    folder = save(model, tmp_path / "saved")
    assert same(load_regions(folder), RegionTransformer(model.vit))
    with pytest.raises(ValueError, match="weights of RegionTransformer are not in the checkpoint"):
        load_regions(folder, layer)


def test_a_saved_folder_is_an_encoder_of_this_project(tmp_path):
    vit = mini_vit()
    folder = save(RegionTransformer(vit, RegionLayer(projection=8)), tmp_path / "saved")
    encoder = build("encoder", f"transformers({str(folder)!r})")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    [grid] = encoder.encode([Picture.of(pixels)])
    assert (grid.grid, grid.summaries) == ((8, 8), 1)
    processor = hub.CLIPImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        tokens = vit(processor(pixels, return_tensors="pt")["pixel_values"])[0]
    torch.testing.assert_close(grid.features.flatten(0, 1), tokens[1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(grid.prefix, tokens[:1], rtol=0, atol=1e-5)


def test_saving_replaces_the_folder_whole(tmp_path):
    folder = save(mini_vit(), tmp_path / "deep" / "saved")
    (folder / "left.txt").write_text("of an older run")
    other = ViT(ViTConfig.named("mini", depth=2), seed=5)
    save(other, folder)
    assert same(load(folder), other)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]


def test_names_of_weights_are_mlcds():
    keys = {mlcd_key(key) for key in mini_vit().state_dict()}
    config = hub.MLCDVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4
    )
    assert keys == set(hub.MLCDVisionModel(config).state_dict())


def without(weights: dict, *keys: str) -> dict:
    return {key: value for key, value in weights.items() if key not in keys}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: without(w, "class_pos_emb"),
            "1 weights of RegionTransformer are not in the checkpoint",
        ),
        (lambda w: {f"text.{key}": value for key, value in w.items()}, "is it of another family"),
        (
            lambda w: w | {"embeddings.position_embedding.weight": torch.ones(65, 64)},
            "1 weights have no place",
        ),
        (
            lambda w: w | {"class_pos_emb": torch.ones(1, 9)},
            r"class_pos_emb is \[9\] in the file, \[8\] by config.json",
        ),
        (
            lambda w: w | {"post_layernorm.bias": torch.ones(3)},
            r"post_layernorm.bias is \[3\] in the file, \[64\]",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    folder = save(mini_vit(), tmp_path / "saved")
    save_file(
        change(load_file(folder / "model.safetensors")),
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ValueError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "siglip"}, "model_type mlcd, mlcd_vision_model or rice_vit, got 'siglip'"),
        ({"num_key_value_groups": 2}, "num_key_value_groups=2 is not built here"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn' are not built here"),
        ({"hidden_act": "silu"}, "activation must be one of gelu, quick_gelu, got 'silu'"),
        ({"image_size": [64, 32]}, r"image_size must be square, got \[64, 32\]"),
    ],
)
def test_a_config_that_is_not_built_here_is_named(tmp_path, fields, message):
    folder = save(mini_vit(), tmp_path / "saved")
    edit(folder, **fields)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_a_config_that_lacks_a_field_is_named(tmp_path):
    folder = save(mini_vit(), tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(without(config, "hidden_size")))
    with pytest.raises(ValueError, match="lacks hidden_size"):
        load(folder)
