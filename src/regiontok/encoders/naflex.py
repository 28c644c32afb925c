"""SigLIP 2 NaFlex: every picture in its own aspect ratio, on as many patches as fit a budget.

After: Tschannen et al., SigLIP 2, 2025, section 2.4.2 (NaFlex); row D1 has SigLIP2 at a fixed size
(`transformers`).

A picture is resized, by less than a patch out of its aspect ratio, to the largest whole number of
patches within `patches`: 256 patches are 16 x 16 of a square picture and 13 x 19 of one of 2:3. So
every picture has its own grid, and its Frame says the exact size; nothing is padded or cropped.
Positions are interpolated by the model's own code. There is no CLS token.

Layers. `layer=-1` is `last_hidden_state`, behind the final norm; every other number indexes
`hidden_states`, which no final norm has touched: 0 the embeddings, k the output of block k.

Differs: pictures go through the model one by one, each as long as it is, where transformers pads
all of a batch to `patches` and masks the rest: the same numbers (2e-7 apart on features of size 1,
random weights, 80 photos), and no picture pays for another. Pixels go through Frame and Pillow: on
these photos (25 upright) bit for bit what transformers' PIL backend makes; its default, the
torchvision backend, lies within one level of 255 of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from regiontok.core.canvas import canvases, lay_ahead
from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import RESAMPLE, Picture
from regiontok.core.preprocess import Preprocess, image_processor
from regiontok.encoders._hidden_states import Dtype, HiddenStateEncoder
from regiontok.system.checkpoint import fingerprint, locate, read_json
from regiontok.system.devices import resolve_device
from regiontok.system.loading import clear_model_errors
from regiontok.system.need import need
from regiontok.system.pretrained import load_pretrained, shared_model

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# between two scales, where transformers' search ends; another number would give other canvases
FINEST = 1e-5
LARGEST = 100.0  # times: a picture of few pixels grows no further


@dataclass(frozen=True)
class Naflex(HiddenStateEncoder):
    """A frozen SigLIP 2 NaFlex vision tower as a patch encoder.

    Nothing is read before the first use.

    Attributes:
        model: hub name (`"google/siglip2-base-patch16-naflex"`), or a folder that `save_pretrained`
            wrote with a preprocessor_config.json.
        patches: how many patches a picture has at most; None is the checkpoint's own number (256).
        layer: which hidden state; see the module's docstring.
        dtype: type of weights and features.
        revision: branch, tag or commit of a hub name.
        shuffle: seed of the pre-shuffle of the picture's patches (row D10); None leaves them in
            place.
        device: where the model runs; features stay there.

    Raises:
        ValueError: If a value is out of range.

    >>> from regiontok.settings.registry import build, render
    >>> render(build("encoder", "naflex('google/siglip2-base-patch16-naflex', patches=576)"))
    "naflex('google/siglip2-base-patch16-naflex', patches=576)"
    """

    model: str
    patches: int | None = None
    layer: int = -1
    dtype: Dtype = "float32"
    revision: str | None = None
    shuffle: int | None = None
    device: str = field(default="cpu", metadata={"run": True})

    version: ClassVar[int] = 1
    threshold: ClassVar[float] = 0.7  # the study's, for SigLIP2 of fixed size

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patches is not None and self.patches < 1:
            raise ValueError(f"patches must be at least 1, got {self.patches}")

    def frame(self, size: Pair) -> Frame:
        """See `Encoder`."""
        patch = int(self._config.patch_size)
        patches = self.patches or self._processor.max_num_patches
        return Frame.stretch(size, canvas_of(size, patch, patches), (patch, patch))

    def prepare(self, picture: Picture) -> None:
        """See `Encoder`."""
        resample = self._preprocess.resample
        lay_ahead(picture, self.frame(picture.size), resample=resample, shuffle=self.shuffle)

    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """The grid of each picture: features `[h w d]` in `dtype`, without gradient.

        Raises:
            ValueError: If the checkpoint cannot be read (the message says why), if it has no such
                layer, or if features are not finite.
        """
        return [self._grid(picture, self.frame(picture.size)) for picture in pictures]

    @property
    def blocks(self) -> int:
        """How many blocks the network has."""
        return int(self._config.num_hidden_layers)

    @property
    def width(self) -> int:
        """See `Encoder`."""
        return int(self._config.hidden_size)

    @cached_property
    def identity(self) -> str:
        """The hash of the weights' files and the json files beside them, and who resizes pixels."""
        return fingerprint(self._folder, "pixels: pillow")

    def _grid(self, picture: Picture, frame: Frame) -> PatchGrid:
        resample = self._preprocess.resample
        (canvas,) = canvases([picture], [frame], resample=resample, shuffle=self.shuffle)
        features = self._hidden_state(canvas, frame.grid).reshape(*frame.grid, -1)
        return PatchGrid(features.clone(), frame, key=picture.key)

    # not inference_mode, whose tensors could not take part in the training of what comes after
    @torch.no_grad()
    def _hidden_state(self, pixels: UInt8[Tensor, "3 H W"], grid: Pair) -> Float[Tensor, "n d"]:
        self.check_layer()
        (h, w), patch = grid, self._config.patch_size
        device, dtype = resolve_device(self.device), getattr(torch, self.dtype)
        values = self._preprocess.values(pixels[None], device, dtype)[0]
        # a patch is (row, column, channel)
        patches = values.reshape(3, h, patch, w, patch).permute(1, 3, 2, 4, 0)
        output = self._module(
            pixel_values=patches.reshape(1, h * w, -1),
            pixel_attention_mask=torch.ones(1, h * w, dtype=torch.int32, device=self.device),
            spatial_shapes=torch.tensor([grid]),
            output_hidden_states=self.layer != -1,
        )
        if self.layer == -1:
            return output.last_hidden_state[0]
        return output.hidden_states[self.layer][0]

    @cached_property
    def _folder(self) -> Path:
        return locate(self.model, self.revision)

    @cached_property
    def _config(self) -> Any:
        """The config of the vision tower."""
        library = need("transformers", extra="hub")
        path = self._folder / "config.json"
        if not path.is_file():
            raise ValueError(
                f"{self._folder} has no config.json: it is no folder that transformers' "
                "save_pretrained wrote"
            )
        model_type = read_json(path).get("model_type")
        if model_type not in ("siglip2", "siglip2_vision_model"):
            fixed = (
                "; SigLIP 2 of fixed size has the type siglip: transformers('...') reads it"
                if model_type == "siglip"
                else ""
            )
            raise ValueError(
                f"{self.model}: expected model_type siglip2 or siglip2_vision_model (NaFlex), "
                f"got {model_type!r}{fixed}"
            )
        with clear_model_errors(self.model):
            config = library.AutoConfig.from_pretrained(
                str(self._folder), trust_remote_code=False, local_files_only=True
            )
        return getattr(config, "vision_config", config)

    @cached_property
    def _processor(self) -> Any:
        processor, patch = image_processor(self._folder), self._config.patch_size
        budget = getattr(processor, "max_num_patches", None)
        if budget is None or processor.patch_size != patch:
            raise ValueError(
                f"{self.model}: expected a processor for patches of {patch} pixels "
                f"(Siglip2ImageProcessor), got {type(processor).__name__} for "
                f"{getattr(processor, 'patch_size', None)}"
            )
        return processor

    @cached_property
    def _preprocess(self) -> Preprocess:
        """What becomes of pixels.

        The canvas differs from picture to picture, so the one named here is a single patch.
        """
        patch, processor = int(self._config.patch_size), self._processor
        if not (processor.do_resize and processor.do_rescale and processor.do_normalize):
            steps = ", ".join(
                f"{step}={getattr(processor, step)}"
                for step in ("do_resize", "do_rescale", "do_normalize")
            )
            raise ValueError(
                f"{self.model}: expected an image processor that resizes, rescales and normalises, "
                f"got {steps}"
            )
        resample = {code: name for name, code in RESAMPLE.items()}[int(processor.resample)]
        return Preprocess(
            framing="stretch",
            canvas=(patch, patch),
            edge=None,
            resample=resample,
            factor=float(processor.rescale_factor),
            mean=tuple(processor.image_mean),
            std=tuple(processor.image_std),
        )

    @cached_property
    def _module(self) -> nn.Module:
        return shared_model(self._folder, ("naflex", self.dtype, self.device), self._load)

    def _load(self) -> nn.Module:
        module = load_pretrained(
            need("transformers", extra="hub").Siglip2VisionModel,
            self._folder,
            self.model,
            config=self._config,
            dtype=getattr(torch, self.dtype),
        )
        return module.to(resolve_device(self.device)).eval().requires_grad_(False)


def canvas_of(image: Pair, patch: int, patches: int) -> Pair:
    """The canvas (height, width) in pixels of a picture on at most so many whole patches.

    It has the picture's aspect ratio as nearly as rounding up allows. Bisection over the scale has
    transformers' limits and step, so that every picture gets its very canvas.

    >>> canvas_of((480, 640), patch=16, patches=256)
    (224, 288)
    >>> canvas_of((10, 4000), patch=16, patches=256)
    (16, 4096)
    """

    def grid_at(scale: float) -> Pair:
        h, w = (max(1, math.ceil(side * scale / patch)) for side in image)
        return h, w

    fits, exceeds = FINEST / 10, LARGEST
    while exceeds - fits >= FINEST:
        middle = (fits + exceeds) / 2
        if math.prod(grid_at(middle)) <= patches:
            fits = middle
        else:
            exceeds = middle
    h, w = grid_at(fits)
    return h * patch, w * patch
