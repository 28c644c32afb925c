"""Checkpoints of MLCD's relatives, turned into MLCD's layout and back.

After: LLaVA-OneVision-1.5's vision tower (`model_type` `rice_vit`, by itself or within the whole
model), whose blocks have one fused matrix for queries, keys and values; and CLIP's.
Differs: `rice_vit` is the same network. It has no last norm but that of its merger (`merger.ln_q`),
which stands in the same place and is taken for it; the merger's MLP belongs to the language model
and is passed over. CLIP is not the same network, and only a start: its learned positions have no
place here (that of CLS is added to CLS, those of patches are left out), rotary ones come new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MLCD = ("mlcd", "mlcd_vision_model")
RICE = "rice_vit"
CLIP = "clip_vision_model"
_FUSED = ("q_proj", "k_proj", "v_proj")  # the order of the rows of `attn.qkv`
# What the names of rice_vit's weights begin with -> MLCD's.
_RICE_BEGINNINGS = {
    "patch_embed.proj.": "embeddings.patch_embedding.",
    "class_embedding": "embeddings.class_embedding",
    "class_pos_emb": "class_pos_emb",
    "pre_layernorm.": "pre_layrnorm.",
    "merger.ln_q.": "post_layernorm.",
    "blocks.": "encoder.layers.",
}
_RICE_INSIDES = {
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    ".attn.proj.": ".self_attn.out_proj.",
    ".attn.qkv.": ".self_attn.qkv.",
}
_RICE_FIELDS = {"num_attention_heads": "num_heads", "num_hidden_layers": "depth"}
_RICE_CANVAS = 40  # patches along a side of the pictures it was trained with; it does not say so
_CLIP_DEFAULTS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
}
Fields = dict[str, Any]
Weights = dict[str, Tensor]


def model_kind(fields: Mapping[str, Any]) -> str:
    """The `model_type` of a config.json, or that of the vision tower within it."""
    tower = fields.get("vision_config") or {}
    kind = str(tower.get("model_type") or fields.get("model_type"))
    return CLIP if fields.get("model_type") == "clip" else kind


def as_mlcd(fields: Fields, weights: Weights, model: str) -> tuple[Fields, Weights]:
    """The fields of a config.json and the weights in MLCD's layout; those of MLCD as they are.

    Args:
        fields: the fields of config.json.
        weights: the weights by their names in the file.
        model: what error messages call the checkpoint.

    Raises:
        ValueError: If a fused matrix is no multiple of three, or CLIP's positions are missing.
    """
    kind = model_kind(fields)
    if kind == RICE:
        return _rice_fields(fields), _of_rice(weights, model)
    if kind == CLIP:
        tower = _clip_fields(fields)
        return tower, _of_clip(tower, weights, model)
    return fields, {key.removeprefix("vision_model."): value for key, value in weights.items()}


def rice_weights(weights: Mapping[str, Tensor]) -> Weights:
    """Weights of MLCD's layout under the names of rice_vit, queries, keys and values fused."""
    renamed: Weights = {}
    for key, value in weights.items():
        if any(f".self_attn.{name}." in key for name in _FUSED[1:]):
            continue
        if ".self_attn.q_proj." in key:
            parts = [weights[key.replace("q_proj", name)] for name in _FUSED]
            key, value = key.replace("q_proj", "qkv"), torch.cat(parts)
        renamed[_replaced(key, _swapped(_RICE_BEGINNINGS), _swapped(_RICE_INSIDES))] = value
    return renamed


def rice_config(fields: Mapping[str, Any], model: str = "the encoder") -> Fields:
    """The fields of rice_vit's config.json out of MLCD's.

    Raises:
        ValueError: If the rotary base is another than rice_vit's code has.
    """
    theta = fields["rope_parameters"]["rope_theta"]
    if theta != 10_000:
        raise ValueError(f"{model}: rice_vit turns by a base of 10000, not {theta:g}")
    same = ("hidden_size", "intermediate_size", "patch_size", "hidden_act", "layer_norm_eps")
    return {
        "model_type": RICE,
        "depth": fields["num_hidden_layers"],
        "num_heads": fields["num_attention_heads"],
        "embed_dim": fields["hidden_size"],
        "in_channels": fields["num_channels"],
        "spatial_merge_size": 2,
        "temporal_patch_size": 1,
        **{name: fields[name] for name in same},
    }


def _rice_fields(fields: Fields) -> Fields:
    tower = dict(fields.get("vision_config") or fields)
    tower |= {theirs: tower[ours] for theirs, ours in _RICE_FIELDS.items() if ours in tower}
    tower.setdefault("image_size", _RICE_CANVAS * int(tower.get("patch_size", 14)))
    return tower | {"model_type": MLCD[1], "num_channels": tower.get("in_channels", 3)}


def _of_rice(weights: Weights, model: str) -> Weights:
    renamed: Weights = {}
    for key, value in _of_tower(weights, r"(?:model\.)?visual\.").items():
        if key.startswith("merger.mlp."):
            continue
        key = _replaced(key, _RICE_BEGINNINGS, _RICE_INSIDES)
        if ".self_attn.qkv." not in key:
            renamed[key] = value
            continue
        if len(value) % len(_FUSED):
            raise ValueError(f"{model}: {key} has {len(value)} rows, no multiple of {len(_FUSED)}")
        for name, rows in zip(_FUSED, value.chunk(len(_FUSED)), strict=True):
            renamed[key.replace("qkv", name)] = rows
    return renamed


def _clip_fields(fields: Fields) -> Fields:
    tower = _CLIP_DEFAULTS | dict(fields.get("vision_config") or fields)
    return tower | {"model_type": MLCD[1]}


def _of_clip(fields: Fields, weights: Weights, model: str) -> Weights:
    tower = _of_tower(weights, r"vision_model\.")
    try:
        positions = tower.pop("embeddings.position_embedding.weight")
        cls = tower["embeddings.class_embedding"]
    except KeyError as error:
        raise ValueError(f"{model}: a CLIP vision tower has {error}, and this has not") from None
    tower["embeddings.class_embedding"] = cls + positions[0]
    half = fields["hidden_size"] // fields["num_attention_heads"] // 2
    return tower | {"class_pos_emb": cls.new_zeros(1, half)}


def _of_tower(weights: Weights, prefix: str) -> Weights:
    """The weights behind a prefix without it; all of them where none has it."""
    matches = {key: re.match(prefix, key) for key in weights}
    if not any(matches.values()):
        return dict(weights)
    return {key[match.end() :]: weights[key] for key, match in matches.items() if match}


def _replaced(key: str, beginnings: Mapping[str, str], insides: Mapping[str, str]) -> str:
    for old, new in beginnings.items():
        if key.startswith(old):
            key = new + key.removeprefix(old)
            break
    for old, new in insides.items():
        key = key.replace(old, new)
    return key


def _swapped(names: Mapping[str, str]) -> dict[str, str]:
    return {value: key for key, value in names.items()}
