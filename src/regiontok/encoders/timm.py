"""Any vision transformer of timm: Perception Encoder, AIMv2, DINOv3, C-RADIO, EVA, SigLIP 2, ViT.

After: rows D1 and R9-R13 (encoders that transformers lacks: the Perception Encoder); timm's
`forward_intermediates`.

Families. All that have one grid of patch tokens behind a prefix.

Layers, as in `transformers`: `layer=k` is the output of block k without the final norm, 0 what goes
into the first block, -2 the block before the last. `layer=-1` is the last block behind the final
norm, what `forward_features` returns; models that norm only what they pooled have none there
(Perception Encoder spatial and lang, EVA-02, C-RADIO).

Loading. A timm name (`'vit_pe_core_large_patch14_336.fb'`) is looked up in timm's own list for its
hub name; a folder has timm's config.json and model.safetensors (`timm.models.save_for_hf`). Weights
pass through the model's own `checkpoint_filter_fn`; any that are missing are an error.
`weights='random'` is the architecture with seeded random weights, a control, and touches no hub.

Sizes. `dynamic_img_size=True`: timm interpolates learned positions (bicubic, antialiased) and
computes rotary ones anew. The canvas is cut to whole patches before the model sees it, which is
what its patch convolution does at the native size (384 px at patch 14: 378). Models that have no
such option (BEiT) take their own size only.

Differs: pixels go through Frame and Pillow with the mean, deviation, filter and crop of
`timm.data.resolve_model_data_config`. The crop's corner is rounded down, torchvision's to the even
number; where they differ the picture lies half a pixel apart. A hierarchical or windowed model
(Swin, Hiera, SAM's) and NaFlexViT are refused: they have no single grid of tokens with a prefix.
C-RADIO's summary tokens behind the first count as registers here, because timm counts them so;
positions at other sizes than 512 follow timm's `vit_*_radio_*`, not NVIDIA's own code. `radio`
reads NVIDIA's checkpoints.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.preprocess import Preprocess
from regiontok.encoders._hidden_states import Dtype
from regiontok.encoders._token_encoder import TokenEncoder
from regiontok.system.checkpoint import checkpoint_tensors, fingerprint, locate, read_json
from regiontok.system.choices import nearest
from regiontok.system.devices import resolve_device
from regiontok.system.errors import first_line
from regiontok.system.loading import clear_model_errors
from regiontok.system.pretrained import refuse_missing, shared_model

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# what a plain vision transformer of timm has
PLAIN = ("blocks", "num_prefix_tokens", "patch_embed", "embed_dim")


@dataclass(frozen=True)
class Timm(TokenEncoder):
    """A frozen vision transformer of timm, as a patch encoder.

    Nothing is read before the first use.

    Attributes:
        model: timm's name, with or without its tag; a hub name
            (`"timm/vit_small_patch14_dinov2.lvd142m"`); or a folder.
        layer: which block's output; see the module's docstring.
        size: side of a square canvas in pixels, or (height, width); None is the checkpoint's own.
        framing: "stretch", "letterbox" or "crop"; None is the checkpoint's own.
        dtype: type of weights and features.
        weights: "pretrained", or "random": the architecture alone, a control.
        seed: seed of random weights.
        revision: branch, tag or commit of a hub name.
        shuffle: seed of the pre-shuffle of the canvas's patches (row D10); None leaves them in
            place.
        device: where the model runs; features stay there.
        batch: pictures a forward pass.

    Raises:
        ValueError: If a value is out of range.

    >>> from regiontok.settings.registry import build, render
    >>> render(build("encoder", "timm('vit_base_patch16_224', layer=-2, size=(224, 448))"))
    "timm('vit_base_patch16_224', layer=-2, size=(224, 448))"
    """

    model: str
    layer: int = -1
    size: int | Pair | None = None
    framing: Framing | None = None
    dtype: Dtype = "float32"
    weights: Literal["pretrained", "random"] = "pretrained"
    seed: int = 0
    revision: str | None = None
    shuffle: int | None = None
    device: str = field(default="cpu", metadata={"run": True})
    batch: int = field(default=8, metadata={"run": True})

    version: ClassVar[int] = 1
    # the study's, with other encoders; an exact budget, merge(k=...), is the safer choice
    threshold: ClassVar[float] = 0.7

    def frame(self, size: Pair) -> Frame:
        """See `Encoder`.

        Raises:
            ValueError: If the model takes its own size only, and this is another.
        """
        frame = self._preprocess.frame(
            size, self._shell.patch_embed.patch_size, framing=self.framing, size=self.size
        )
        canvas = self._preprocess.canvas
        if not self._flexible and frame.canvas != canvas:
            raise ValueError(
                f"{self.model}: {type(self._shell).__name__} takes its own size {canvas} only, "
                f"got size={self.size}"
            )
        return frame

    @property
    def blocks(self) -> int:
        """How many blocks the network has."""
        return len(self._shell.blocks)

    @property
    def width(self) -> int:
        """See `Encoder`."""
        return int(self._shell.embed_dim)

    @property
    def summaries(self) -> int:
        """How many CLS tokens there are: two in a model with a distillation token."""
        registers = getattr(self._shell, "reg_token", None)
        return self._shell.num_prefix_tokens - (0 if registers is None else registers.shape[1])

    @cached_property
    def identity(self) -> str:
        """The hash of the weights' files and the json beside them; of random weights, their own."""
        if self.weights == "pretrained":
            return fingerprint(self._folder, "pixels: pillow")
        digest = hashlib.sha256()
        for name, value in sorted(self._module.state_dict().items()):
            digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:32]

    @property
    def is_untrained(self) -> bool:
        """See `Encoder`."""
        return self.weights == "random"

    def untrained(self) -> Self:
        """See `Encoder`."""
        return self.but(weights="random")

    @property
    def _prefix_order(self) -> range:
        return range(self._shell.num_prefix_tokens)

    # not inference_mode, whose tensors could not take part in the training of what comes after
    @torch.no_grad()
    def _sequences(
        self, pixels: UInt8[Tensor, "b 3 H W"], frame: Frame
    ) -> tuple[Float[Tensor, "b n d"], Sequence[None]]:
        return self._forward(pixels, frame), [None] * len(pixels)

    def _forward(self, pixels: UInt8[Tensor, "b 3 H W"], frame: Frame) -> Float[Tensor, "b n d"]:
        self.check_layer()
        if self._flexible:
            pixels = pixels[..., : frame.grid[0] * frame.patch[0], : frame.grid[1] * frame.patch[1]]
        device = resolve_device(self.device)
        values = self._preprocess.values(pixels, device, getattr(torch, self.dtype))
        if self.blocks_passed == 0:
            return self._embeddings(values)
        output = self._block_output(values, self.blocks_passed - 1)
        # Without prefix tokens timm gives a bare tensor, or (Eva) fails: it is asked for them only
        # where there are some.
        return output if isinstance(output, Tensor) else torch.cat([output[1], output[0]], 1)

    def _block_output(self, values: Float[Tensor, "b 3 H W"], block: int) -> Any:
        """The patches behind a block, or a pair of patches and prefix tokens."""
        [output] = self._module.forward_intermediates(
            values,
            indices=[block],
            norm=self.layer == -1,
            output_fmt="NLC",
            intermediates_only=True,
            stop_early=True,
            return_prefix_tokens=self._shell.num_prefix_tokens > 0,
        )
        return output

    def _embeddings(self, values: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b n d"]:
        """What goes into the first block, prefix tokens included."""
        first_inputs: list[Tensor] = []
        handle = self._module.blocks[0].register_forward_pre_hook(
            lambda _module, inputs: first_inputs.append(inputs[0])
        )
        try:
            self._block_output(values, 0)
        finally:
            handle.remove()
        return first_inputs[0]

    @property
    def _timm_name(self) -> str:
        """What `timm.create_model` calls the model."""
        local = Path(self.model).expanduser().is_dir()
        return f"local-dir:{self._folder}" if local or "/" in self.model else self.model

    @cached_property
    def _folder(self) -> Path:
        """The folder of config.json and the weights, by hub name for a name of timm's list."""
        model = self.model
        if "/" not in model and not Path(model).is_dir():
            _check_known(model)
            config = timm.get_pretrained_cfg(model)
            hub = config.hf_hub_id if config else None
            if not hub:
                raise ValueError(
                    f"timm names no hub checkpoint for {model!r}; "
                    "weights='random' is its architecture alone"
                )
            model = f"{hub}{model}" if hub.endswith("/") else hub
        folder = locate(model, self.revision)
        _check_hub_format(folder)
        return folder

    def _create(self) -> nn.Module:
        """The architecture, with positions for any size where it can."""
        if self._timm_name == self.model:
            _check_known(self.model)
        options: dict[str, Any] = {"pretrained": False, "num_classes": 0}
        try:
            return timm.create_model(self._timm_name, **options, dynamic_img_size=True)
        except TypeError:  # this class has no such option
            return timm.create_model(self._timm_name, **options)
        except RuntimeError as error:  # an unknown tag, say
            raise ValueError(f"{self.model}: {first_line(error)}") from error

    @cached_property
    def _shell(self) -> Any:
        """The model without its weights: what it says of itself costs no memory."""
        with torch.device("meta"):
            shell = self._create()
        forward = getattr(shell, "forward_intermediates", self._create)
        plain = all(hasattr(shell, name) for name in PLAIN)
        if not plain or "return_prefix_tokens" not in inspect.signature(forward).parameters:
            raise ValueError(
                f"{self.model}: {type(shell).__name__} is no plain vision transformer (one grid of "
                "patch tokens behind a prefix); take a ViT or EVA of timm"
            )
        return shell

    @property
    def _flexible(self) -> bool:
        return bool(getattr(self._shell, "dynamic_img_size", False))

    @cached_property
    def _preprocess(self) -> Preprocess:
        with clear_model_errors(self.model):
            config = resolve_model_data_config(self._shell)
            return Preprocess.of_timm(config, self.model, self.framing)

    @cached_property
    def _module(self) -> Any:
        def load() -> nn.Module:
            module = self._random() if self.is_untrained else self._pretrained()
            module = module.to(resolve_device(self.device), getattr(torch, self.dtype))
            return module.eval().requires_grad_(False)

        if self.is_untrained:
            settings = ("timm", self._timm_name, self.seed, self.dtype, self.device)
            return shared_model(None, settings, load)
        return shared_model(self._folder, ("timm", self.dtype, self.device), load)

    def _random(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self._create()

    def _pretrained(self) -> nn.Module:
        module, weights = self._random(), checkpoint_tensors(self._folder)
        adapt = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
        try:
            weights = adapt(weights, module) if adapt else weights
            missing, unexpected = module.load_state_dict(weights, strict=False)
        except (RuntimeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{self.model}: of other shapes than config.json says ({_second_line(error)})"
            ) from error
        refuse_missing(missing, unexpected, module, self.model)
        return module


def _check_known(model: str) -> None:
    """Raise ValueError unless timm has the architecture; the message names the nearest."""
    name = model.split(".")[0]
    if not timm.is_model(name):
        raise ValueError(
            f"timm {timm.__version__} has no model {name!r}{nearest(name, timm.list_models())}, "
            "and it is no folder"
        )


def _check_hub_format(folder: Path) -> None:
    """Raise ValueError unless the folder is in timm's hub format, of an architecture it knows."""
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} has no config.json: it is no folder in timm's hub format "
            "(timm.models.save_for_hf)"
        )
    architecture = read_json(folder / "config.json").get("architecture")
    if not architecture or not timm.is_model(architecture):
        named = (
            f"the architecture {architecture!r}, unknown to timm {timm.__version__}"
            if architecture
            else "no architecture"
        )
        raise ValueError(
            f"{folder}: config.json names {named}; a checkpoint of transformers is "
            f"transformers({str(folder)!r})"
        )


def _second_line(error: Exception) -> str:
    """What an error of torch says of a tensor; its first line only names the class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)] if lines else type(error).__name__
