"""RADIO's checkpoints in either layout of keys, every weight placed or left out by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from regiontok.core.frame import Pair
from regiontok.core.preprocess import Preprocess
from regiontok.encoders._radio_tower import RadioTower
from regiontok.system.checkpoint import read_json, weight_files
from regiontok.system.errors import first_line
from regiontok.system.loading import clear_model_errors
from regiontok.system.need import need

# NVlabs' names -> those of transformers' RadioModel. save_pretrained of transformers 5 writes a
# mixture of both.
RENAMES = (
    (r"^radio_model\.(?=input_conditioner\.|summary_idxs$)", ""),
    (r"^radio_model\.model\.patch_generator\.embedder\.", "embeddings.patch_projection."),
    (r"^radio_model\.model\.patch_generator\.pos_embed$", "embeddings.position_embedding"),
    (r"^radio_model\.model\.patch_generator\.cls_token\.token$", "embeddings.cls_register_token"),
    (r"^radio_model\.model\.blocks\.", "encoder.layer."),
    (r"\.attn\.(?!proj\.)", ".attention."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    # "grandma": the hub's loader renames whatever holds "gamma". transformers 5.23 knows neither,
    # and leaves C-RADIOv3-B's and -L's at 1.
    (r"\.ls([12])\.(gamma|grandma)$", r".layer_scale\1.lambda1"),
)
# what patch features of a still picture need not
IGNORED = re.compile(
    r"radio_model\.adaptors\."  # heads that speak like one teacher
    r"|radio_model\.inter_feature_normalizer\."  # for averages over several layers
    # of the timm model below; RADIO puts its own tokens in front
    r"|radio_model\.model\.reg_token$"
    r"|(radio_model\.model\.patch_generator\.video_embedder|embeddings\.video_patch_projection)\."
)
NORMALISER = "radio_model.feature_normalizer."
# heads by width: timm's ViTs, tiny to giant
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1152: 16, 1280: 16, 1536: 24}
PROJECTION, TABLE, TOKENS = (
    f"embeddings.{name}"
    for name in ("patch_projection.weight", "position_embedding", "cls_register_token")
)
# the names that a weight may have in RadioModel
KNOWN = re.compile(
    r"encoder\.layer\.\d+\.(norm[12]|attention\.(qkv|[qkvo]_proj)"
    r"|mlp\.(fc[12]|gate_proj|up_proj|down_proj))\.(weight|bias)"
    r"|encoder\.layer\.\d+\.layer_scale[12]\.lambda1"
    r"|input_conditioner\.norm_(mean|std)"
    r"|summary_idxs"
    rf"|{re.escape(NORMALISER)}(mean|tx)"
    rf"|{'|'.join(re.escape(key) for key in (PROJECTION, TABLE, TOKENS))}"
)
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class RadioCheckpoint:
    """What a checkpoint's config.json and the headers of its weight files say; no weight is read.

    Attributes:
        name: what messages call it.
        config: a RadioConfig.
        names: the name in transformers' RadioModel of each weight that is needed, by its file and
            its key there.
        preprocess: a square of the side the checkpoint prefers, bytes / 255, and the mean that the
            network takes off itself.
        align_corners: how it was released to interpolate positions; None where it does not say its
            version.
    """

    name: str
    config: Any
    names: dict[tuple[Path, str], str]
    preprocess: Preprocess
    align_corners: bool | None


@dataclass
class _Headers:
    """What the headers of the weight files say.

    Attributes:
        names: as in `RadioCheckpoint`.
        shapes: the shape of each weight, by its name in RadioModel.
        strange: keys that have no place there.
        mean: the mean colour that the network takes off.
    """

    names: dict[tuple[Path, str], str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    mean: Colour = (0.0, 0.0, 0.0)


def read_checkpoint(folder: Path, name: str) -> RadioCheckpoint:
    """Read a folder's config and headers.

    Raises:
        ValueError: If it is no RADIO or a kind of RADIO that is not read, or if weights have no
            place or are absent.
    """
    config, is_released = _read_config(folder, name)
    headers = _read_headers(folder, name)
    if not {PROJECTION, TABLE, TOKENS} <= headers.shapes.keys():
        raise ValueError(
            f"{name}: no patch projection, table of positions and summary tokens of a RADIO ViT "
            "among its weights; E-RADIO and RADIOv2.5-g are other networks, which are not read"
        )
    if not is_released:
        with clear_model_errors(name):
            radio_config = need("transformers", extra="hub").RadioConfig.from_pretrained(
                str(folder), local_files_only=True
            )
        side = radio_config.image_size
        preprocess = _preprocess((side, side), headers.mean)
        return RadioCheckpoint(name, radio_config, headers.names, preprocess, align_corners=False)
    height, width = config.get("preferred_resolution") or (768, 768)
    version = re.search(r"v(\d+)", str(config.get("version")))
    return RadioCheckpoint(
        name,
        _released_config(headers.shapes, config, name),
        headers.names,
        _preprocess((int(height), int(width)), headers.mean),
        # NVlabs' code had align_corners=True until 2025-06-28 (v1 to v3), and has had False since
        align_corners=int(version[1]) <= 3 if version else None,
    )


def _read_config(folder: Path, name: str) -> tuple[dict[str, Any], bool]:
    """What config.json says, and whether NVlabs released the folder."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no config.json: it is no folder that NVlabs released or save_pretrained "
            "wrote"
        )
    config = read_json(path)
    architectures = config.get("architectures")
    is_released = "RADIOModel" in (architectures or []) or "RADIOConfig" in str(
        config.get("auto_map")
    )
    if not is_released and config.get("model_type") != "radio":
        raise ValueError(
            f"{name}: expected a RADIO checkpoint (architectures RADIOModel, or model_type "
            f"'radio'), got model_type {config.get('model_type')!r}, architectures "
            f"{architectures!r}; the encoder 'transformers' reads many other families"
        )
    return config, is_released


def _preprocess(canvas: Pair, mean: Colour) -> Preprocess:
    return Preprocess(
        framing="stretch",
        canvas=canvas,
        edge=None,
        resample="bicubic",
        factor=1 / 255,
        mean=mean,
        std=(1.0, 1.0, 1.0),
    )


def load_tower(checkpoint: RadioCheckpoint, dtype: torch.dtype) -> RadioTower:
    """The vision transformer in `dtype` (its input conditioner stays in float32).

    Raises:
        ValueError: If files are damaged, or weights are absent or of other shapes than the config
            says.
    """
    name, tensors = checkpoint.name, _placed_tensors(checkpoint)
    normaliser = {
        key: tensors.pop(NORMALISER + key).to(dtype)
        for key in ("mean", "tx")
        if NORMALISER + key in tensors
    }
    with torch.device("meta"):
        model = need("transformers", extra="hub").AutoModel.from_config(
            checkpoint.config, attn_implementation="sdpa"
        )
    if not any("layer_scale" in key for key in tensors):
        scales = {key: value for key, value in model.state_dict().items() if "layer_scale" in key}
        tensors |= {key: torch.ones(value.shape) for key, value in scales.items()}
    try:
        report = model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(
            f"{name}: weights of other shapes than config.json says ({reason})"
        ) from None
    missing = [key for key in report.missing_keys if "video_patch_projection" not in key]
    if missing or len(normaliser) == 1:
        raise ValueError(
            f"{name}: {len(missing) or 1} weights are not in the checkpoint: "
            f"{', '.join(missing[:3]) or NORMALISER}"
        )
    if report.unexpected_keys:
        keys = ", ".join(report.unexpected_keys[:3])
        raise ValueError(f"{name}: config.json knows no place for {keys}")
    tokens = model.config.num_summary_tokens
    if int(model.summary_idxs.max()) >= tokens:
        raise ValueError(f"{name}: summary_idxs {model.summary_idxs.tolist()} of {tokens} tokens")
    model.embeddings.video_patch_projection = None
    model.embeddings.to(dtype)
    model.encoder.to(dtype)
    model.input_conditioner.float()
    return RadioTower(model, normaliser)


def _read_headers(folder: Path, name: str) -> _Headers:
    headers = _Headers()
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            raise ValueError(
                f"{folder} has no model.safetensors; {path.name} is a pickle, which can run code, "
                "and RADIO's hold more than tensors: take the safetensors that NVlabs publishes on "
                "the hub"
            )
        with _open_weights(path, name) as file:
            for key in file.keys():  # noqa: SIM118 - no dict, and cannot be iterated
                if not IGNORED.match(key):
                    _add_header(headers, path, key, file)
    if PROJECTION in headers.shapes and headers.strange:
        raise ValueError(
            f"{name}: {len(headers.strange)} weights have no place in RADIO's vision transformer, "
            "so features would be others than the released ones: "
            f"{', '.join(headers.strange[:3])}"
        )
    return headers


def _add_header(headers: _Headers, path: Path, key: str, file: Any) -> None:
    name = key
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    if not KNOWN.fullmatch(name):
        headers.strange.append(key)
    headers.names[path, key] = name
    headers.shapes[name] = tuple(file.get_slice(key).get_shape())
    if name == "input_conditioner.norm_mean":
        red, green, blue = file.get_tensor(key).double().flatten().tolist()
        headers.mean = (red, green, blue)


def _placed_tensors(checkpoint: RadioCheckpoint) -> dict[str, Tensor]:
    """The weights that are needed, under their names in RadioModel."""
    tensors: dict[str, Tensor] = {}
    for path in sorted({path for path, _ in checkpoint.names}):
        with _open_weights(path, checkpoint.name) as file:
            for (file_path, key), name in checkpoint.names.items():
                if file_path == path:
                    tensors.update(_split_qkv(name, file.get_tensor(key)))
    return tensors


def _split_qkv(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor under its name; queries, keys and values come in one and leave as three."""
    if ".qkv." not in name:
        yield name, tensor
        return
    for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
        yield name.replace(".qkv.", f".{letter}_proj."), piece


def _released_config(shapes: dict[str, tuple[int, ...]], config: dict[str, Any], name: str) -> Any:
    """A RadioConfig for a checkpoint that NVlabs released.

    Only the heads are in no shape: they follow from the width, as timm's ViTs have them.
    """
    width, values = shapes[PROJECTION]
    options = (config.get("args") or {}).get("model_kwargs") or {}
    heads = options.get("num_heads") or HEADS.get(width)
    if not heads or width % heads:
        raise ValueError(
            f"{name}: cannot tell the number of attention heads: expected a width of "
            f"{', '.join(map(str, HEADS))}, or num_heads under args.model_kwargs of config.json; "
            f"got width {width}, num_heads {heads}"
        )
    if options.get("scaled_ln"):
        raise ValueError(
            f"{name}: its norms are scaled by depth (scaled_ln in config.json), which RadioModel "
            "is not"
        )
    patch, side, tokens = math.isqrt(values // 3), math.isqrt(shapes[TABLE][-2]), shapes[TOKENS][0]
    if patch * patch * 3 != values or side * side != shapes[TABLE][-2]:
        raise ValueError(
            f"{name}: neither {values} values a patch nor {shapes[TABLE][-2]} positions may be "
            "other than square"
        )
    rows = shapes.get("encoder.layer.0.mlp.fc1.weight", (4 * width,))[0]
    blocks = [int(key.split(".")[2]) for key in shapes if key.startswith("encoder.layer.")]
    # Which of the tokens are CLS of a teacher no shape says, and nothing here depends on it:
    # summary_idxs tells what is a summary.
    summaries = shapes.get("summary_idxs", (1,))[0]
    return need("transformers", extra="hub").RadioConfig(
        hidden_size=width,
        num_hidden_layers=1 + max(blocks, default=0),
        num_attention_heads=heads,
        # RadioModel cuts the product to a whole number: never one too few
        mlp_ratio=(rows + 0.5) / width,
        qkv_bias="encoder.layer.0.attention.qkv.bias" in shapes,
        patch_size=patch,
        max_img_size=side * patch,
        summary_idxs=list(range(summaries)),  # their number; which ones, the weights say
        num_cls_tokens=summaries,
        num_registers=tokens - summaries,
    )


def _open_weights(path: Path, name: str) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{name}: {path.name} is damaged ({first_line(error)})") from None
