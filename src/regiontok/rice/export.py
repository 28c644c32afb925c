"""Checkpoints in MLCD's layout, both ways: released RICE weights in, pretrained encoders out, bit
for bit.

After: RICE's released weights (`DeepGlint-AI/rice-vit-large-patch14-560`), which transformers reads
as `MLCDVisionModel`; keys with and without `vision_model.` in front, `model_type` `mlcd` or
`mlcd_vision_model`.
Differs: nothing known. What a region transformer has beyond a ViT stands in the same files
(`region_layers` in config.json, and for a learned query the tensor `region_query`), where
transformers passes it over: as a plain encoder it needs neither.

A saved folder is at once an encoder of this project, `transformers('FOLDER')`, and of transformers,
`AutoModel.from_pretrained`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from regiontok.rice.region_attention import RegionTransformer
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.system.checkpoint import checkpoint_tensors, locate, read_json
from regiontok.system.files import replacing
from regiontok.system.pretrained import refuse_missing
from regiontok.system.weights import WEIGHTS

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's: the family's pixels are normalised by them
STD = (0.26862954, 0.26130258, 0.27577711)
QUERY = "region_query"
# Ours -> MLCD's, whose `pre_layrnorm` is spelt so.
_WHOLE = {
    "patches.": "embeddings.patch_embedding.",
    "cls_angle": "class_pos_emb",
    "cls": "embeddings.class_embedding",
    "norm_in.": "pre_layrnorm.",
    "norm_out.": "post_layernorm.",
    "blocks.": "encoder.layers.",
}
_INSIDE = {
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    ".attention.query.": ".self_attn.q_proj.",
    ".attention.key.": ".self_attn.k_proj.",
    ".attention.value.": ".self_attn.v_proj.",
    ".attention.out.": ".self_attn.out_proj.",
    ".mlp.up.": ".mlp.fc1.",
    ".mlp.down.": ".mlp.fc2.",
}
_CONSTANT = ("vision_rotary_embedding.", "embeddings.position_ids")  # of older files; no weights
_FIELDS = {
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp": "intermediate_size",
    "patch": "patch_size",
    "image_size": "image_size",
    "activation": "hidden_act",
    "eps": "layer_norm_eps",
}
_DEFAULTS = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}  # the two that a config.json may leave out


def load(model: str | Path, *, dtype: torch.dtype | None = None) -> ViT:
    """The ViT of a folder or hub name; `dtype` None keeps that of the file.

    Raises:
        ValueError: no MLCD, or one that differs from its config.json: weights that are missing,
            unknown or of another shape.
    """
    return load_regions(model, dtype=dtype, layers=0, query="cls").vit


def load_regions(
    model: str | Path,
    *,
    layers: int | None = None,
    query: str | None = None,
    dtype: torch.dtype | None = None,
) -> RegionTransformer:
    """The region transformer of a folder or hub name. Released weights do not say how many region
    layers they had: give `layers`.

    Raises:
        ValueError: as `load`; or `layers` is neither given nor in config.json.
    """
    folder = locate(str(model))
    found = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    config = read_config(found, str(model))
    layers = found.get("region_layers") if layers is None else layers
    if layers is None:
        raise ValueError(
            f"{model}: config.json does not say how many region layers there are; give layers=, 1 say"
        )
    weights = {
        key.removeprefix("vision_model."): value
        for key, value in checkpoint_tensors(folder).items()
    }
    with torch.device("meta"):
        made = RegionTransformer(ViT(config), int(layers), query or found.get(QUERY, "cls"))  # type: ignore[arg-type]
    taken = _taken(made, weights, str(model))
    # copies: a mapped file's tensors lie at any address, and products of unaligned weights differ
    # in their last bits
    made.load_state_dict(
        {key: value.to(dtype or value.dtype, copy=True) for key, value in taken.items()},
        assign=True,
    )
    return made


def save(model: ViT | RegionTransformer, folder: str | Path) -> Path:
    """Write weights, config.json and preprocessor_config.json; a folder that stood there is
    replaced once all is written."""
    vit = model.vit if isinstance(model, RegionTransformer) else model
    weights = {mlcd_key(key): _mlcd_shape(key, value) for key, value in vit.state_dict().items()}
    config = write_config(vit.config, vit.cls.dtype)
    if isinstance(model, RegionTransformer):
        config |= {
            "region_layers": model.layers,
            QUERY: "cls" if model.query is None else "learned",
        }
        if model.query is not None:
            weights[QUERY] = model.query.detach()
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as part:
        part.mkdir()
        save_file(
            {key: value.cpu().contiguous() for key, value in weights.items()},
            part / WEIGHTS,
            metadata={"format": "pt"},
        )
        for name, content in (
            ("config.json", config),
            ("preprocessor_config.json", _processor(vit.config)),
        ):
            (part / name).write_text(
                json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8"
            )
    return folder


def mlcd_key(key: str) -> str:
    """What MLCD calls a weight of `ViT`.

    >>> mlcd_key("blocks.3.attention.query.weight"), mlcd_key("cls"), mlcd_key("norm_in.bias")
    ('encoder.layers.3.self_attn.q_proj.weight', 'embeddings.class_embedding', 'pre_layrnorm.bias')
    """
    start = next(name for name in _WHOLE if key.startswith(name))
    key = _WHOLE[start] + key.removeprefix(start)
    for ours, theirs in _INSIDE.items():
        key = key.replace(ours, theirs)
    return key


def write_config(config: ViTConfig, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """config.json of an `MLCDVisionModel`."""
    return {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()} | {
        "architectures": ["MLCDVisionModel"],
        "model_type": "mlcd_vision_model",
        "num_channels": 3,
        "num_key_value_groups": 1,
        "attention_dropout": 0.0,
        "rope_parameters": {"rope_type": "axial", "rope_theta": config.theta},
        "dtype": str(dtype).removeprefix("torch."),
    }


def read_config(found: Mapping[str, Any], model: str = "config.json") -> ViTConfig:
    """The other way; `model` is what messages call it.

    Raises:
        ValueError: another family, or a field that this ViT has no part for.
    """
    kind = found.get("model_type")
    if kind not in ("mlcd", "mlcd_vision_model"):
        raise ValueError(
            f"{model}: expected a config.json of model_type mlcd or mlcd_vision_model, got {kind!r}"
        )
    found = found.get("vision_config") or found
    for field, only in (("num_key_value_groups", 1), ("num_channels", 3), ("attention_dropout", 0)):
        if found.get(field, only) != only:
            raise ValueError(f"{model}: {field}={found[field]} is not built here, only {only}")
    full: dict[str, Any] = _DEFAULTS | dict(found)
    absent = [field for field in _FIELDS.values() if field not in full]
    if absent:
        raise ValueError(f"{model}: config.json lacks {', '.join(absent)}")
    rope = full.get("rope_parameters") or {}
    if rope.get("rope_type", "axial") != "axial":
        raise ValueError(
            f"{model}: rotary positions of type {rope['rope_type']!r} are not built here, only 'axial'"
        )
    fields = {ours: full[theirs] for ours, theirs in _FIELDS.items()}
    for side in ("patch", "image_size"):
        fields[side] = _square(fields[side], f"{model}: {_FIELDS[side]}")
    return ViTConfig(**fields, theta=float(rope.get("rope_theta", 10_000.0)))


def _square(value: int | list[int], what: str) -> int:
    sides = {value} if isinstance(value, int) else set(value)
    if len(sides) != 1:
        raise ValueError(f"{what} must be square, got {value}")
    return sides.pop()


def _taken(made: RegionTransformer, weights: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """The state of `made` out of a file's weights, each checked."""
    taken: dict[str, Tensor] = {}
    missing, used = [], set()
    for key, empty in made.state_dict().items():
        ours = key.removeprefix("vit.")
        theirs = QUERY if key == "query" else mlcd_key(ours)
        if theirs not in weights:
            missing.append(theirs)
            continue
        used.add(theirs)
        value = (
            weights[theirs][0]
            if ours == "cls_angle" and weights[theirs].ndim == 2
            else weights[theirs]
        )
        if value.shape != empty.shape:
            raise ValueError(
                f"{model}: {theirs} is {list(value.shape)} in the file, {list(empty.shape)} by config.json"
            )
        taken[key] = value
    others = {
        key for key in weights.keys() - used if not key.startswith(_CONSTANT) and key != QUERY
    }
    refuse_missing(missing, others, made, model)
    if others:
        raise ValueError(
            f"{model}: {len(others)} weights have no place in an MLCD vision tower: {', '.join(sorted(others)[:3])}"
        )
    return taken


def _mlcd_shape(key: str, value: Tensor) -> Tensor:
    return value[None] if key == "cls_angle" else value


def _processor(config: ViTConfig) -> dict[str, Any]:
    """preprocessor_config.json: the shortest edge to the trained size, and a centre crop."""
    side = config.image_size
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
        "do_convert_rgb": True,
    }
