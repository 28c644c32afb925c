"""RADIO's checkpoints: either layout of keys -> one vision transformer, every weight placed or left
out by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from regiontok.core.frame import Pair
from regiontok.core.preprocess import Preprocess
from regiontok.encoders._radio import Tower
from regiontok.system.checkpoint import read_json, weight_files
from regiontok.system.errors import first_line
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
# What patch features of a still picture need not.
IGNORED = re.compile(
    r"radio_model\.adaptors\."  # heads that speak like one teacher
    r"|radio_model\.inter_feature_normalizer\."  # for averages over several layers
    # of the timm model below; RADIO puts its own tokens in front
    r"|radio_model\.model\.reg_token$"
    r"|(radio_model\.model\.patch_generator\.video_embedder|embeddings\.video_patch_projection)\."
)
NORMALISER = "radio_model.feature_normalizer."
HEADS = {
    192: 3,
    384: 6,
    768: 12,
    1024: 16,
    1152: 16,
    1280: 16,
    1536: 24,
}  # timm's ViT of that width, tiny to giant
PROJECTION, TABLE, TOKENS = (
    f"embeddings.{name}"
    for name in ("patch_projection.weight", "position_embedding", "cls_register_token")
)


@dataclass(frozen=True)
class Layout:
    """What a checkpoint's config.json and the headers of its weight files say; no weight is read.

    Attributes:
        name: what messages call it.
        config: a RadioConfig.
        keys: (file, key in it) -> the name in transformers' RadioModel, as far as it is needed.
        look: a square of the side the checkpoint prefers, bytes / 255, and the mean that the
            network takes off itself.
        align_corners: how it was released to interpolate positions; None where it does not say its
            version.
    """

    name: str
    config: Any
    keys: dict[tuple[Path, str], str]
    look: Preprocess
    align_corners: bool | None


def read(folder: Path, name: str) -> Layout:
    """Read a folder's config and headers.

    Raises:
        ValueError: no RADIO, a kind of RADIO that is not read, weights with no place, or weights
            that are absent.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no config.json: it is no folder that NVlabs released or save_pretrained wrote"
        )
    said = read_json(path)
    released = "RADIOModel" in (said.get("architectures") or []) or "RADIOConfig" in str(
        said.get("auto_map")
    )
    if not released and said.get("model_type") != "radio":
        raise ValueError(
            f"{name}: expected a RADIO checkpoint (architectures RADIOModel, or model_type 'radio'), got model_type "
            f"{said.get('model_type')!r}, architectures {said.get('architectures')!r}; "
            "the encoder 'transformers' reads many other families"
        )
    keys, shapes, mean = _named(folder, name)
    if PROJECTION not in shapes or TABLE not in shapes or TOKENS not in shapes:
        raise ValueError(
            f"{name}: no patch projection, table of positions and summary tokens of a RADIO ViT among its weights; "
            "E-RADIO and RADIOv2.5-g are other networks, which are not read"
        )
    if not released:
        config = need("transformers", extra="hub").RadioConfig.from_pretrained(
            str(folder), local_files_only=True
        )
        return Layout(
            name,
            config,
            keys,
            _look((config.image_size, config.image_size), mean),
            align_corners=False,
        )
    high, wide = said.get("preferred_resolution") or (768, 768)
    version = re.search(r"v(\d+)", str(said.get("version")))
    # NVlabs' code had align_corners=True until 2025-06-28 (v1 to v3), and has had False since (v4).
    released_with = int(version[1]) <= 3 if version else None
    return Layout(
        name,
        _config_of(shapes, said, name),
        keys,
        _look((int(high), int(wide)), mean),
        released_with,
    )


def _look(canvas: Pair, mean: tuple[float, float, float]) -> Preprocess:
    return Preprocess("stretch", canvas, None, "bicubic", 1 / 255, mean, (1.0, 1.0, 1.0))


def load(layout: Layout, dtype: torch.dtype) -> Tower:
    """The vision transformer in `dtype` (its input conditioner stays in float32).

    Raises:
        ValueError: damaged files, weights that are absent or of other shapes than the config says.
    """
    tensors: dict[str, Tensor] = {}
    for path in sorted({path for path, _ in layout.keys}):
        with _opened(path, layout.name) as file:
            for (where, key), target in layout.keys.items():
                if where == path:
                    tensors.update(_placed(target, file.get_tensor(key)))
    normaliser = {
        key: tensors.pop(NORMALISER + key).to(dtype)
        for key in ("mean", "tx")
        if NORMALISER + key in tensors
    }
    with torch.device("meta"):
        model = need("transformers", extra="hub").AutoModel.from_config(
            layout.config, attn_implementation="sdpa"
        )
    if not any("layer_scale" in key for key in tensors):
        tensors |= {
            key: torch.ones(one.shape)
            for key, one in model.state_dict().items()
            if "layer_scale" in key
        }
    try:
        report = model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"{layout.name}: weights of other shapes than config.json says ({str(error).splitlines()[1].strip()})"
        ) from None
    missing = [key for key in report.missing_keys if "video_patch_projection" not in key]
    if missing or len(normaliser) == 1:
        raise ValueError(
            f"{layout.name}: {len(missing) or 1} weights are not in the checkpoint: {', '.join(missing[:3]) or NORMALISER}"
        )
    if report.unexpected_keys:
        raise ValueError(
            f"{layout.name}: config.json knows no place for {', '.join(report.unexpected_keys[:3])}"
        )
    if int(model.summary_idxs.max()) >= model.config.num_summary_tokens:
        raise ValueError(
            f"{layout.name}: summary_idxs {model.summary_idxs.tolist()} of {model.config.num_summary_tokens} tokens"
        )
    model.embeddings.video_patch_projection = None
    model.embeddings.to(dtype)
    model.encoder.to(dtype)
    model.input_conditioner.float()
    return Tower(model, normaliser)


def _named(
    folder: Path, name: str
) -> tuple[dict[tuple[Path, str], str], dict[str, tuple[int, ...]], tuple[float, float, float]]:
    """The keys that are needed under their names in RadioModel, the shapes under these names, and
    the mean colour."""
    keys, shapes, strange, mean = {}, {}, [], (0.0, 0.0, 0.0)
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            raise ValueError(
                f"{folder} has no model.safetensors; {path.name} is a pickle, which can run code, and RADIO's hold more than tensors: "
                "take the safetensors that NVlabs publishes on the hub"
            )
        with _opened(path, name) as file:
            for key in file.keys():  # noqa: SIM118 - no dict, and cannot be iterated
                if IGNORED.match(key):
                    continue
                target = key
                for old, new in RENAMES:
                    target = re.sub(old, new, target)
                if not _known(target):
                    strange.append(key)
                keys[path, key] = target
                shapes[target] = tuple(file.get_slice(key).get_shape())
                if target == "input_conditioner.norm_mean":
                    red, green, blue = file.get_tensor(key).double().flatten().tolist()
                    mean = (red, green, blue)
    if PROJECTION in shapes and strange:
        raise ValueError(
            f"{name}: {len(strange)} weights have no place in RADIO's vision transformer, so features would be others than the released "
            f"ones: {', '.join(strange[:3])}"
        )
    return keys, shapes, mean


def _known(target: str) -> bool:
    block = r"encoder\.layer\.\d+\.(norm[12]|attention\.(qkv|[qkvo]_proj)|mlp\.(fc[12]|gate_proj|up_proj|down_proj))\.(weight|bias)"
    scale = r"encoder\.layer\.\d+\.layer_scale[12]\.lambda1"
    other = (
        rf"input_conditioner\.norm_(mean|std)|summary_idxs|{re.escape(NORMALISER)}(mean|tx)|"
        + "|".join(re.escape(key) for key in (PROJECTION, TABLE, TOKENS))
    )
    return re.fullmatch(f"{block}|{scale}|{other}", target) is not None


def _placed(target: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor under its name; queries, keys and values come in one and leave as three."""
    if ".qkv." not in target:
        yield target, tensor
        return
    for part, piece in zip("qkv", tensor.chunk(3), strict=True):
        yield target.replace(".qkv.", f".{part}_proj."), piece


def _config_of(shapes: dict[str, tuple[int, ...]], said: dict[str, Any], name: str) -> Any:
    """A RadioConfig for a released checkpoint. Only the heads are in no shape: they follow from the
    width, as timm's ViTs have them."""
    width, values = shapes[PROJECTION]
    more = (said.get("args") or {}).get("model_kwargs") or {}
    heads = more.get("num_heads") or HEADS.get(width)
    if not heads or width % heads:
        raise ValueError(
            f"{name}: cannot tell the number of attention heads: expected a width of {', '.join(map(str, HEADS))}, or num_heads under "
            f"args.model_kwargs of config.json; got width {width}, num_heads {heads}"
        )
    if more.get("scaled_ln"):
        raise ValueError(
            f"{name}: its norms are scaled by depth (scaled_ln in config.json), which RadioModel is not"
        )
    patch, side, tokens = math.isqrt(values // 3), math.isqrt(shapes[TABLE][-2]), shapes[TOKENS][0]
    if patch * patch * 3 != values or side * side != shapes[TABLE][-2]:
        raise ValueError(
            f"{name}: neither {values} values a patch nor {shapes[TABLE][-2]} positions may be other than square"
        )
    rows = shapes.get("encoder.layer.0.mlp.fc1.weight", (4 * width,))[0]
    summaries = shapes.get("summary_idxs", (1,))[0]
    return need("transformers", extra="hub").RadioConfig(
        hidden_size=width,
        num_hidden_layers=1
        + max(
            (int(key.split(".")[2]) for key in shapes if key.startswith("encoder.layer.")),
            default=0,
        ),
        num_attention_heads=heads,
        mlp_ratio=(rows + 0.5)
        / width,  # RadioModel cuts the product to a whole number: never one too few
        qkv_bias="encoder.layer.0.attention.qkv.bias" in shapes,
        patch_size=patch,
        max_img_size=side * patch,
        # which of the tokens are CLS of a teacher no shape says, and nothing here depends on it:
        # summary_idxs tells what is a summary
        summary_idxs=list(range(summaries)),  # their number; which ones, the weights say
        num_cls_tokens=summaries,
        num_registers=tokens - summaries,
    )


def _opened(path: Path, name: str) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{name}: {path.name} is damaged ({first_line(error)})") from None
