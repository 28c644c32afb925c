"""Any vision transformer of the transformers library, by hub name or folder: CLIP, SigLIP, DINOv2, DINOv3, ViT, MetaCLIP 2.

After: diagnostic study, appendix E.1 (CLIP ViT-L/14-336 and SigLIP2 so400m-patch14-384 as frozen encoders); LLaVA-1.5's `pad` framing
and its layer -2.

Layers. `layer=-1` is `last_hidden_state` as the model returns it: SigLIP, DINOv2, DINOv3 and ViT have put it through their final norm, CLIP
and MetaCLIP 2 have not. Every other number indexes `hidden_states`, which no final norm has touched: 0 the embeddings (CLIP's after
its first norm), k the output of block k, -2 the block before the last (LLaVA's choice). So the last block without the norm is layer=24 of
a model with 24 blocks.

Loading. Safetensors only, no remote code; weights that are missing are an error, never a random layer. A hub name is downloaded once
into the hub's cache (json and safetensors only). Position embeddings are interpolated when the canvas is not the model's own size; all
families here can do that (DINOv3 is rotary and needs none).

Differs: pixels come from Frame and Pillow, not from the checkpoint's image processor. Measured on photos of odd sizes: equal to
transformers' PIL backend bit for bit where the image is stretched (SigLIP, ViT); where it is cropped (CLIP, DINOv2) 0.04 % of the
8-bit values or fewer differ, by 1, because the crop is taken before the resize. The library's default, the torchvision backend, lies 1 to 2
levels off Pillow in a few percent of the values; DINOv3 has only that backend, and resizes floats where Pillow resizes bytes.
`framing="letterbox"` resizes and then pads with the mean colour; LLaVA pads and then resizes, which blends the seam by a pixel or two.
SigLIP2's NaFlex checkpoints (`model_type` siglip2) have no fixed canvas and are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.need import need
from regiontok.core.picture import RESAMPLE, Picture
from regiontok.encoders._canvas import batches, canvases

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

Dtype = Literal["float32", "bfloat16", "float16"]
WANTED = ["config.json", "preprocessor_config.json", "processor_config.json", "model*.safetensors", "model.safetensors.index.json"]


@dataclass(frozen=True)
class Family:
    """How one `model_type` is loaded and read. A new family is a new row of `FAMILIES`.

    Attributes:
        tower: the transformers class of the vision tower; a checkpoint with a text tower beside it loads into it too.
        summaries: CLS tokens in front of the sequence.
        registers: the config field that counts the register tokens behind them, or nothing.
        asks: another canvas than the model's own needs `interpolate_pos_encoding=True`; False: the model always adapts.
        build: arguments of the class.
    """

    tower: str
    summaries: int = 1
    registers: str = ""
    asks: bool = False
    build: tuple[tuple[str, Any], ...] = ()


_CLIP = Family("CLIPVisionModel", asks=True)
_SIGLIP = Family("SiglipVisionModel", summaries=0, asks=True)
_METACLIP = Family("MetaClip2VisionModel", asks=True)
FAMILIES = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "metaclip_2": _METACLIP,
    "metaclip_2_vision_model": _METACLIP,
    "dinov2": Family("Dinov2Model"),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", registers="num_register_tokens"),
    "dinov3_vit": Family("DINOv3ViTModel", registers="num_register_tokens"),
    # No pooler: classification checkpoints have none, and patch features do not need one.
    "vit": Family("ViTModel", asks=True, build=(("add_pooling_layer", False),)),
}


@dataclass(frozen=True)
class Preprocess:
    """What a checkpoint's image processor does: framing, canvas, shortest edge before a crop, filter, and value * factor -> (x - mean) / std."""

    framing: Framing
    canvas: Pair
    edge: int | None
    resample: str
    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, processor: Any, model: str) -> Preprocess:
        """Read a transformers image processor.

        Raises:
            ValueError: it does something that one fixed canvas cannot express.
        """
        size = {side: length for side, length in dict(processor.size or {}).items() if length}
        cropping = bool(getattr(processor, "do_center_crop", None))
        crop = {side: length for side, length in dict(processor.crop_size or {}).items() if length} if cropping else {}
        plain = processor.do_resize and processor.do_rescale and not getattr(processor, "do_pad", None)
        if plain and set(size) == {"height", "width"} and (not cropping or crop == size):
            framing, canvas, edge = "stretch", (size["height"], size["width"]), None
        elif plain and set(size) == {"shortest_edge"} and set(crop) == {"height", "width"}:
            framing, canvas, edge = "crop", (crop["height"], crop["width"]), size["shortest_edge"]
        else:
            said = {name: getattr(processor, name, None) for name in ("do_resize", "do_rescale", "do_pad", "do_center_crop")}
            raise ValueError(
                f"{model}: expected an image processor that resizes to height and width, or to shortest_edge with a center crop, and rescales; "
                f"got size {size}, crop_size {crop}, {said}"
            )
        normalises = bool(processor.do_normalize)
        mean, std = (
            tuple(np.broadcast_to(np.asarray(value, np.float64), 3).tolist())
            for value in ((processor.image_mean, processor.image_std) if normalises else (0.0, 1.0))
        )
        resample = {code: name for name, code in RESAMPLE.items()}[int(processor.resample)]
        return cls(framing, canvas, edge, resample, float(processor.rescale_factor), mean, std)

    def table(self) -> Float[Tensor, "3 256"]:
        """What each channel's byte becomes, rounded as transformers rounds it: the product in float64, the rest in float32."""
        scaled = (np.arange(256) * self.factor).astype(np.float32)
        mean, std = (np.asarray(value, np.float32)[:, None] for value in (self.mean, self.std))
        return torch.from_numpy((scaled - mean) / std)


@dataclass(frozen=True)
class Transformers:
    """A frozen vision transformer from a transformers checkpoint, as a patch encoder.

    Nothing is read before the first use; the model is loaded once and shared by equal encoders while one of them lives.

    Attributes:
        model: hub name (`"openai/clip-vit-large-patch14"`) or folder that `save_pretrained` wrote, with its preprocessor_config.json.
        layer: which hidden state; see the module's docstring.
        size: side of a square canvas in pixels; None is the checkpoint's own.
        framing: "stretch", "letterbox" or "crop"; None is the checkpoint's own (CLIP, DINOv2: crop; SigLIP, ViT: stretch).
        dtype: of weights and features.
        attention: which of transformers' attention functions runs.
        revision: branch, tag or commit of a hub name.
        shuffle: seed of the pre-shuffle of patches on the canvas (row D10); None leaves them in place.
        device: where the model runs; features stay there.
        batch: pictures a forward pass. All hidden states of a batch are alive for layers other than -1: 0.5 GB for 8 pictures in
            CLIP ViT-L/14-336 in float32.

    >>> from regiontok.core.spec import build, render
    >>> render(build("encoder", "transformers('facebook/dinov2-base', layer=-2)"))
    "transformers(model='facebook/dinov2-base', layer=-2)"
    """

    model: str
    layer: int = -1
    size: int | None = None
    framing: Framing | None = None
    dtype: Dtype = "float32"
    attention: Literal["sdpa", "eager"] = "sdpa"
    revision: str | None = None
    shuffle: int | None = None
    device: str = field(default="cpu", metadata={"run": True})
    batch: int = field(default=8, metadata={"run": True})

    version: ClassVar[int] = 1
    # Suggested threshold of `merge`: the study's, who used it with CLIP, SigLIP2 and RADIO. Not measured here for any other family: an exact
    # budget, merge(k=...), asks for no threshold.
    threshold: ClassVar[float] = 0.7

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, got {self.dtype!r}")
        if self.batch < 1 or (self.size is not None and self.size < 1):
            raise ValueError(f"batch and size must be at least 1, got batch={self.batch}, size={self.size}")

    def frame(self, size: Pair) -> Frame:
        """How an image of `size` = (H, W) pixels lies under the grid."""
        native = self._preprocess
        canvas = self._canvas
        edge = native.edge and round(native.edge * max(canvas) / max(native.canvas))
        return Frame.fit(self.framing or native.framing, size, canvas, self._pair("patch_size"), edge)

    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """A grid a picture, features `[h w d]` in `dtype`, CLS and registers apart in `prefix` `[r d]`. No gradient.

        A picture's features do not depend on the others of its batch beyond rounding: at most 2e-6 of features of size 3 on the
        random models of the tests in float32, since matrix products of another shape add in another order.

        Raises:
            ValueError: the checkpoint cannot be read (see the message), or features are not finite.
        """
        frames = [self.frame(picture.size) for picture in pictures]
        grids = []
        for part in batches(len(pictures), self.batch):
            # The padding colour is LLaVA's: the mean, cut to whole numbers.
            fill = tuple(int(255 * value) for value in self._preprocess.mean)
            filters = self._preprocess.resample
            pixels = canvases(pictures[part], frames[part], resample=filters, fill=fill, shuffle=self.shuffle)
            for picture, frame, hidden in zip(pictures[part], frames[part], self._hidden(pixels), strict=True):
                grids.append(self._grid(picture, frame, hidden))
        return grids

    @property
    def width(self) -> int:
        """d, the length of a feature."""
        return int(self._config.hidden_size)

    @property
    def summaries(self) -> int:
        """CLS tokens in front of the prefix; registers are none."""
        return self._family.summaries

    @property
    def has_cls(self) -> bool:
        """Whether there is a CLS token."""
        return self.summaries > 0

    @cached_property
    def identity(self) -> str:
        """What cache keys hold beside the spec: a hash of the weights' files, the json files beside them, and who resizes pixels.

        Weights from the hub's cache lie there under their sha256, which is taken as it is; other files are read once a process
        (1.7 GB/s measured where the processor has SHA instructions). Versions of libraries are no part: those are provenance.
        """
        files = [path for path in (self._folder / name for name in WANTED[:3]) if path.is_file()]
        lines = [f"{path.name} {_sha256(path)}" for path in (*files, *self._weights)]
        return hashlib.sha256("\n".join([*lines, "pixels pillow"]).encode()).hexdigest()[:32]

    def _grid(self, picture: Picture, frame: Frame, hidden: Tensor) -> PatchGrid:
        """One picture's tokens `[n d]`, prefix cut off. Copies: a view would keep the whole batch alive, and be saved with it."""
        prefix = self.summaries + (getattr(self._config, self._family.registers) if self._family.registers else 0)
        h, w = frame.grid
        if len(hidden) != prefix + h * w:
            raise ValueError(f"{self.model}: expected {prefix} prefix tokens and {h} x {w} patches, got {len(hidden)} tokens")
        return PatchGrid(
            hidden[prefix:].reshape(h, w, -1).clone(),
            frame,
            prefix=hidden[:prefix].clone() if prefix else None,
            summaries=self.summaries,
            key=picture.key,
        )

    @torch.no_grad()  # not inference_mode: its tensors could not be used in autograd by what learns on top
    def _hidden(self, pixels: UInt8[Tensor, "b 3 H W"]) -> Float[Tensor, "b n d"]:
        self._check_layer()
        table = self._preprocess.table().to(self.device)
        channels = torch.arange(3, device=self.device)[:, None, None]
        values = table[channels, pixels.to(self.device).long()].to(getattr(torch, self.dtype))
        resizes = self._family.asks and self._canvas != self._pair("image_size")
        options = {"interpolate_pos_encoding": True} if resizes else {}
        output = self._module(pixel_values=values, output_hidden_states=self.layer != -1, **options)
        return output.last_hidden_state if self.layer == -1 else output.hidden_states[self.layer]

    def _check_layer(self) -> None:
        blocks = self._config.num_hidden_layers
        if not -blocks - 1 <= self.layer <= blocks:
            raise ValueError(
                f"{self.model} has {blocks} blocks: layer must be 0 (embeddings) to {blocks}, or -1 (the model's output) "
                f"down to {-blocks - 1}; got {self.layer}"
            )

    @property
    def _canvas(self) -> Pair:
        return self._preprocess.canvas if self.size is None else (self.size, self.size)

    def _pair(self, name: str) -> Pair:
        value = getattr(self._config, name)
        return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))

    @cached_property
    def _folder(self) -> Path:
        return _locate(self.model, self.revision)

    @cached_property
    def _weights(self) -> list[Path]:
        return _weight_files(self._folder)

    @property
    def _family(self) -> Family:
        return self._checkpoint[0]

    @property
    def _config(self) -> Any:
        return self._checkpoint[1]

    @cached_property
    def _checkpoint(self) -> tuple[Family, Any]:
        """Its family, and the config of the vision tower."""
        library = need("transformers", extra="hub")
        path = self._folder / "config.json"
        if not path.is_file():
            raise ValueError(f"{self._folder} has no config.json: it is no folder that transformers' save_pretrained wrote")
        kind = _json(path).get("model_type")
        if kind not in FAMILIES:
            naflex = " (NaFlex; the fixed-size SigLIP2 checkpoints, of type siglip, can be read)" if "siglip2" in str(kind) else ""
            raise ValueError(f"{self.model}: model_type {kind!r}{naflex} is not one of {', '.join(FAMILIES)}")
        config = library.AutoConfig.from_pretrained(str(self._folder), trust_remote_code=False, local_files_only=True)
        return FAMILIES[kind], getattr(config, "vision_config", config)

    @cached_property
    def _preprocess(self) -> Preprocess:
        auto = need("transformers", extra="hub").AutoImageProcessor
        try:
            with _quiet():
                processor = auto.from_pretrained(str(self._folder), backend="pil", trust_remote_code=False, local_files_only=True)
        except OSError:
            raise ValueError(
                f"{self._folder} has no preprocessor_config.json, which says how pixels are resized and normalised: copy it there from the "
                "checkpoint that the weights come from, or save its image processor into the folder"
            ) from None
        return Preprocess.of(processor, self.model)

    @cached_property
    def _module(self) -> nn.Module:
        stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in self._weights)
        key = (stamps, self.dtype, self.attention, self.device)
        module = _LOADED.get(key)
        if module is None:
            module = _LOADED[key] = self._load().to(self.device).eval().requires_grad_(False)
        return module

    def _load(self) -> nn.Module:
        tower = getattr(need("transformers", extra="hub"), self._family.tower)
        broken = need("safetensors", extra="hub").SafetensorError
        try:
            with _quiet():
                module, info = tower.from_pretrained(
                    str(self._folder),
                    config=self._config,
                    dtype=getattr(torch, self.dtype),
                    attn_implementation=self.attention,
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                    **dict(self._family.build),
                )
        except (OSError, RuntimeError, broken) as error:
            raise ValueError(f"{self.model}: damaged, or of other shapes than its config.json says ({_first_line(error)})") from error
        missing = sorted(info["missing_keys"]) + list(info["error_msgs"])
        if missing:
            raise ValueError(
                f"{self.model}: {len(missing)} weights of {self._family.tower} are not in the checkpoint "
                f"({', '.join(missing[:3])} ...) and would be random"
            )
        return module


# Models in memory by files and settings, for as long as an encoder holds them: a sweep over layers loads once.
_LOADED: WeakValueDictionary[tuple, nn.Module] = WeakValueDictionary()


def _locate(model: str, revision: str | None) -> Path:
    """The folder of a checkpoint: itself, or where the hub's cache has it (downloaded first, if need be)."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"revision={revision!r} belongs to a hub name, but {model} is a folder")
        return folder
    hub = need("huggingface_hub", extra="hub")
    try:
        return Path(hub.snapshot_download(model, revision=revision, allow_patterns=WANTED))
    except (OSError, ValueError) as error:  # no network, no such name, gated, not even a name
        raise ValueError(
            f"{model!r} is neither a folder nor a model that the hub or its cache gives ({_first_line(error)}); without a network, run "
            f"'hf download {model}' on a machine that has one and give the folder"
        ) from None


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    names = [single.name] if single.is_file() else sorted(set(_json(index)["weight_map"].values())) if index.is_file() else []
    if not names:
        raise ValueError(
            f"{folder} has no model.safetensors; pickled weights (pytorch_model.bin) are not read, because a pickle can run code. Save the model "
            "anew with save_pretrained, or give a revision that has safetensors (on the hub often a pull request, revision='refs/pr/1')"
        )
    gone = [name for name in names if not (folder / name).is_file()]
    if gone:
        raise ValueError(f"{folder} lacks {len(gone)} of its {len(names)} weight files: {', '.join(gone[:3])}")
    return [folder / name for name in names]


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def _sha256(path: Path) -> str:
    target = path.resolve()
    if target.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", target.name):
        return target.name
    stat = target.stat()
    return _read_sha256(target, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _read_sha256(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar, and no report that lists the text tower's weights as unexpected: what matters is raised."""
    logging = need("transformers", extra="hub").utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
