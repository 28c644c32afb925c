"""Checkpoints in MLCD's layout, both ways: released RICE weights in, pretrained encoders out.

Both ways are bit for bit, `layouts` has MLCD's relatives. A saved folder is at once an encoder of
this project, `transformers('FOLDER')`, and of transformers, `AutoModel.from_pretrained`.

After: RICE's released weights (`DeepGlint-AI/rice-vit-large-patch14-560`), which transformers reads
as `MLCDVisionModel`; keys with and without `vision_model.` in front, `model_type` `mlcd` or
`mlcd_vision_model`.
Differs: nothing known. What a region transformer has beyond a ViT is in the same files
(`region_layer` in config.json, and the tensors `region_projection` and `region_query`), where
transformers passes it over: as a plain encoder it needs none of it. Region blocks of their own
(`region = "blocks"`) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from regiontok.rice import layouts
from regiontok.rice.region_attention import RegionLayer, RegionTransformer
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.system.checkpoint import checkpoint_tensors, locate, read_json
from regiontok.system.files import replacing
from regiontok.system.pretrained import refuse_missing
from regiontok.system.weights import WEIGHTS

Layout = Literal["mlcd", "rice_vit"]
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's: the family's pixels are normalised by them
STD = (0.26862954, 0.26130258, 0.27577711)
QUERY = "region_query"
PROJECTION = "region_projection"
LAYER = "region_layer"  # in config.json: the fields of `RegionLayer`
# What our names begin with -> MLCD's, whose `pre_layrnorm` is spelt so.
_BEGINNINGS = {
    "patches.": "embeddings.patch_embedding.",
    "cls_angle": "class_pos_emb",
    "cls": "embeddings.class_embedding",
    "norm_in.": "pre_layrnorm.",
    "norm_out.": "post_layernorm.",
    "blocks.": "encoder.layers.",
}
# What they hold further on -> MLCD's.
_INSIDES = {
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    ".attention.query.": ".self_attn.q_proj.",
    ".attention.key.": ".self_attn.k_proj.",
    ".attention.value.": ".self_attn.v_proj.",
    ".attention.out.": ".self_attn.out_proj.",
    ".mlp.up.": ".mlp.fc1.",
    ".mlp.down.": ".mlp.fc2.",
}
_REGION_KEYS = {"query": QUERY, "projection": PROJECTION}
_CONSTANTS = ("vision_rotary_embedding.", "embeddings.position_ids")  # of older files; no weights
# Fields of `ViTConfig` -> those of config.json.
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
_DEFAULTS = {"hidden_act": "gelu", "layer_norm_eps": 1e-5}  # a config.json may leave these out


def load(model: str | Path, *, dtype: torch.dtype | None = None, as_start: bool = False) -> ViT:
    """The ViT of a folder or hub name.

    Args:
        model: folder or hub name.
        dtype: type of the weights; None takes that of the file.
        as_start: also take what is a start of training and not the same network: CLIP's weights.

    Raises:
        ValueError: If it is no MLCD, or differs from its config.json: weights are missing, unknown
            or of another shape.
    """
    return load_regions(model, RegionLayer(), dtype=dtype, as_start=as_start).vit


def load_regions(
    model: str | Path,
    layer: RegionLayer | None = None,
    *,
    dtype: torch.dtype | None = None,
    as_start: bool = False,
) -> RegionTransformer:
    """The region transformer of a folder or hub name.

    Args:
        model: folder or hub name.
        layer: how regions become rows; None takes what config.json says. Where that says nothing,
            as released weights do, regions are pooled.
        dtype: type of the weights; None takes that of the file.
        as_start: also take CLIP's weights, as `load` does.

    Raises:
        ValueError: If `load` would raise, or the file lacks a weight of the region layer: those of
            "blocks" are not exported.
    """
    folder = locate(str(model))
    fields = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if layouts.model_kind(fields) == layouts.CLIP and not as_start:
        raise ValueError(
            f"{model} is a CLIP, which RICE's network can start from and cannot be: name it as "
            "pretrain.model.start, or read it with transformers('...')"
        )
    tower, weights = layouts.as_mlcd(fields, dict(checkpoint_tensors(folder)), str(model))
    config = read_config(tower, str(model))
    with torch.device("meta"):
        transformer = RegionTransformer(ViT(config), layer or _read_layer(fields))
    state = _state_of(transformer, weights, str(model))
    # Copies: a mapped file's tensors lie at any address, and products of unaligned weights differ
    # in their last bits.
    copies = {key: value.to(dtype or value.dtype, copy=True) for key, value in state.items()}
    transformer.load_state_dict(copies, assign=True)
    return transformer


def save(model: ViT | RegionTransformer, folder: str | Path, *, layout: Layout = "mlcd") -> Path:
    """Write weights, config.json and preprocessor_config.json.

    A folder of that name is replaced once all is written.

    Args:
        model: the encoder, with or without what makes region rows.
        folder: the folder.
        layout: "mlcd", or "rice_vit" of LLaVA-OneVision-1.5, which has no place for what makes
            region rows: the vision tower alone is written.

    Raises:
        ValueError: If the layout cannot hold the encoder.
    """
    vit = model.vit if isinstance(model, RegionTransformer) else model
    weights = {mlcd_key(key): _mlcd_shape(key, value) for key, value in vit.state_dict().items()}
    config = write_config(vit.config, vit.cls.dtype)
    if layout == "rice_vit":
        config, weights = layouts.rice_config(config), layouts.rice_weights(weights)
    elif isinstance(model, RegionTransformer) and model.layer.form != "blocks":
        config[LAYER] = asdict(model.layer)
        weights |= {
            key: value.detach()
            for key, value in ((QUERY, model.query), (PROJECTION, model.projection))
            if value is not None
        }
    weights = {key: value.cpu().contiguous() for key, value in weights.items()}
    files = {"config.json": config, "preprocessor_config.json": _processor(vit.config)}
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as temporary:
        temporary.mkdir()
        save_file(weights, temporary / WEIGHTS, metadata={"format": "pt"})
        for name, content in files.items():
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            (temporary / name).write_text(text, encoding="utf-8")
    return folder


def mlcd_key(key: str) -> str:
    """What MLCD calls a weight of `ViT`.

    >>> mlcd_key("blocks.3.attention.query.weight"), mlcd_key("cls"), mlcd_key("norm_in.bias")
    ('encoder.layers.3.self_attn.q_proj.weight', 'embeddings.class_embedding', 'pre_layrnorm.bias')
    """
    beginning = next(name for name in _BEGINNINGS if key.startswith(name))
    key = _BEGINNINGS[beginning] + key.removeprefix(beginning)
    for ours, theirs in _INSIDES.items():
        key = key.replace(ours, theirs)
    return key


def write_config(config: ViTConfig, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The fields of an `MLCDVisionModel`'s config.json."""
    return {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()} | {
        "architectures": ["MLCDVisionModel"],
        "model_type": "mlcd_vision_model",
        "num_channels": 3,
        "num_key_value_groups": 1,
        "attention_dropout": 0.0,
        "rope_parameters": {"rope_type": "axial", "rope_theta": config.theta},
        "dtype": str(dtype).removeprefix("torch."),
    }


def read_config(fields: Mapping[str, Any], model: str = "config.json") -> ViTConfig:
    """The config of a config.json's fields; `model` is what error messages call it.

    Raises:
        ValueError: If it is of another family, or has a field that this ViT does not build.
    """
    kind = fields.get("model_type")
    if kind not in layouts.MLCD:
        raise ValueError(
            f"{model}: expected a config.json of model_type mlcd, mlcd_vision_model or rice_vit, "
            f"got {kind!r}"
        )
    fields = fields.get("vision_config") or fields
    for name, only in (("num_key_value_groups", 1), ("num_channels", 3), ("attention_dropout", 0)):
        if fields.get(name, only) != only:
            raise ValueError(f"{model}: {name}={fields[name]} is not built here, only {only}")
    full: dict[str, Any] = _DEFAULTS | dict(fields)
    absent = [name for name in _FIELDS.values() if name not in full]
    if absent:
        raise ValueError(f"{model}: config.json lacks {', '.join(absent)}")
    rope = full.get("rope_parameters") or {}
    if rope.get("rope_type", "axial") != "axial":
        raise ValueError(
            f"{model}: rotary positions of type {rope['rope_type']!r} are not built here, only "
            "'axial'"
        )
    shape = {ours: full[theirs] for ours, theirs in _FIELDS.items()}
    for name in ("patch", "image_size"):
        shape[name] = _square(shape[name], f"{model}: {_FIELDS[name]}")
    return ViTConfig(**shape, theta=float(rope.get("rope_theta", 10_000.0)))


def _read_layer(fields: Mapping[str, Any]) -> RegionLayer:
    """The region layer of a config.json; earlier versions wrote the last blocks' number alone."""
    if LAYER in fields:
        return RegionLayer(**fields[LAYER])
    if layers := fields.get("region_layers"):
        return RegionLayer(form="shared", layers=layers, query=fields.get(QUERY, "cls"))
    return RegionLayer()


def _square(value: int | list[int], name: str) -> int:
    """The side of a square that is written as one number, or as one for each side."""
    sides = {value} if isinstance(value, int) else set(value)
    if len(sides) != 1:
        raise ValueError(f"{name} must be square, got {value}")
    return sides.pop()


def _state_of(
    transformer: RegionTransformer, weights: Mapping[str, Tensor], model: str
) -> dict[str, Tensor]:
    """The state of a transformer out of a file's weights, each checked."""
    state: dict[str, Tensor] = {}
    missing, used = [], set()
    for key, empty in transformer.state_dict().items():
        ours = key.removeprefix("vit.")
        theirs = _REGION_KEYS.get(key) or (mlcd_key(ours) if key.startswith("vit.") else key)
        if theirs not in weights:
            missing.append(theirs)
            continue
        used.add(theirs)
        value = weights[theirs]
        if ours == "cls_angle" and value.ndim == 2:
            value = value[0]
        if value.shape != empty.shape:
            raise ValueError(
                f"{model}: {theirs} is {list(value.shape)} in the file, {list(empty.shape)} by "
                "config.json"
            )
        state[key] = value
    unknown = {
        key for key in weights.keys() - used - {QUERY, PROJECTION} if not key.startswith(_CONSTANTS)
    }
    refuse_missing(missing, unknown, transformer, model)
    if unknown:
        raise ValueError(
            f"{model}: {len(unknown)} weights have no place in an MLCD vision tower: "
            f"{', '.join(sorted(unknown)[:3])}"
        )
    return state


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
