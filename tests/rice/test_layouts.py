"""MLCD's relatives: rice_vit both ways by its own key names, CLIP as a start by its own forward."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import linear

from regiontok.rice.export import load, save
from regiontok.rice.vit import ViT
from samples.vits import mini_vit

hub = pytest.importorskip("transformers")
# The names of LLaVA-OneVision-1.5's vision tower, as its released checkpoints have them.
TOWER = ["patch_embed.proj.weight", "class_embedding", "class_pos_emb"]
NORMS = ["pre_layernorm", "merger.ln_q"]
BLOCK = ["norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]


def rice_keys(depth: int) -> set[str]:
    layers = [*NORMS, *(f"blocks.{number}.{name}" for number in range(depth) for name in BLOCK)]
    return {*TOWER, *(f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))}


def same(first: ViT, second: ViT) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(left, right) for (a, left), (b, right) in pairs)


def test_rice_vit_has_the_originals_names_and_comes_back_bit_equal(tmp_path):
    vit = mini_vit()
    folder = save(vit, tmp_path / "rice", layout="rice_vit")
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == rice_keys(vit.config.depth)
    assert weights["class_pos_emb"].shape == (1, len(vit.cls_angle))
    fields = json.loads((folder / "config.json").read_text())
    assert (fields["model_type"], fields["depth"], fields["num_heads"]) == ("rice_vit", 4, 4)
    assert same(load(folder), vit)


def test_queries_keys_and_values_lie_in_the_fused_rows_as_the_original_splits_them(tmp_path):
    """The original views `qkv(x)` as [tokens, 3, heads, e] and unbinds the second axis."""
    vit = mini_vit()
    weights = load_file(save(vit, tmp_path / "rice", layout="rice_vit") / "model.safetensors")
    attention, x = vit.blocks[1].attention, torch.randn(5, vit.config.width)
    fused = linear(x, *(weights[f"blocks.1.attn.qkv.{part}"] for part in ("weight", "bias")))
    split = fused.reshape(5, 3, vit.config.heads, -1).unbind(1)
    for ours, theirs in zip((attention.query, attention.key, attention.value), split, strict=True):
        assert torch.allclose(ours(x).reshape(theirs.shape), theirs, atol=1e-6)


@pytest.mark.parametrize("prefix", ["visual.", "model.visual."])
def test_the_tower_is_read_out_of_the_whole_language_model(tmp_path, prefix):
    vit = mini_vit()
    folder = save(vit, tmp_path / "rice", layout="rice_vit")
    path = folder / "model.safetensors"
    weights = {f"{prefix}{key}": value for key, value in load_file(path).items()}
    weights |= {f"{prefix}merger.mlp.{place}.weight": torch.ones(2, 2) for place in (0, 2)}
    weights |= {"model.language_model.norm.weight": torch.ones(3)}
    save_file(weights, path, metadata={"format": "pt"})
    tower = json.loads((folder / "config.json").read_text())
    fields = {"model_type": "llavaonevision1_5", "vision_config": tower}
    (folder / "config.json").write_text(json.dumps(fields))
    assert same(load(folder), vit)


def test_rice_vit_has_no_other_rotary_base(tmp_path):
    with pytest.raises(ValueError, match="turns by a base of 10000, not 5000"):
        save(mini_vit(theta=5000.0), tmp_path / "rice", layout="rice_vit")


def clip(folder: Path, *, whole: bool) -> torch.nn.Module:
    """A CLIP, or its vision tower, whose pictures have one patch with a position of zeros."""
    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 14,
        "patch_size": 14,
    }
    torch.manual_seed(0)
    if whole:
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = hub.CLIPModel(hub.CLIPConfig(vision_config=shape, text_config=text))
        tower = model.vision_model
    else:
        model = tower = hub.CLIPVisionModel(hub.CLIPVisionConfig(**shape))
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if name.endswith("position_embedding.weight"):
                parameter.normal_()
                parameter[1] = 0.0
    model.save_pretrained(folder)
    return tower.eval()


@pytest.mark.parametrize("whole", [False, True])
def test_a_clip_is_a_start_that_differs_by_its_positions_alone(tmp_path, whole):
    """On one patch nothing is turned, and the position of CLS is in CLS: the forward is CLIP's."""
    theirs = clip(tmp_path / "clip", whole=whole)
    ours = load(tmp_path / "clip", as_start=True).eval()
    pixels = torch.randn(2, 3, 14, 14)
    with torch.no_grad():
        expected = theirs(pixels).last_hidden_state
        assert torch.allclose(ours(pixels), expected, atol=1e-5)
    with pytest.raises(ValueError, match="is a CLIP, which RICE's network can start from and can"):
        load(tmp_path / "clip")
