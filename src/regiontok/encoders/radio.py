"""RADIOv2.5 and C-RADIO on any canvas, without remote code.

It reads NVlabs' released folders as they are, and transformers' own layout.

After: diagnostic study, section 3 (RADIOv2.5-L at 384, 576 and 768: grids of 24, 36 and 48; row
D1); Heinrich et al., RADIOv2.5, 2025.

Checked on random weights of ViT-B's width, two blocks: features and summary equal NVlabs' own code,
bit for bit, as it was before and after 2025-06-28 (v2.5 and v3; v4), at 384 x 384, 256 x 512 and
512 x 256, from a folder of their layout. Not checked: real checkpoints.

Loading. A released folder (`nvidia/RADIO-L`) has code of its own beside model.safetensors; none of
it is run. Sizes are read off the shapes of the tensors, every weight is placed or left out by name
(`_radio_checkpoint.py`), and a weight that has no place is an error. Pickles (`.pth.tar`) are never
read. The layer scales of C-RADIOv3-B and -L are placed, which transformers 5.23 leaves at 1.

Pixels. The network is fed bytes / 255 and normalises them itself, so no preprocessor_config.json is
needed: `framing` and `size` say all.

Positions. The table (128 x 128 for a patch of 16) is interpolated to a square of the grid's longer
side, of which the upper left window is taken. v1 to v3 were released with `align_corners=True`, v4
and transformers compute with False: None takes what the released folder's version was released
with, and False for transformers' own layout, which does not say where it comes from.

Prefix. The tokens that make RADIO's `summary` (`summary_idxs`) come first and are the grid's
`summaries`: flattened, they are that summary. A CLS token whose teacher gives no summary, and
registers, stand behind them.

Layers. `layer=-1` is what the released model hands out (behind a feature normaliser, where a
checkpoint has one); k is the output of block k, 0 the embeddings. RADIO has no final norm. Blocks
behind block k are not run.

Differs: the study does not say how it frames a picture for RADIO (its masks take "padding and
resizing" with the image, as LLaVA pads): here it is stretched to a square by default, bicubic, and
`framing='letterbox'` is LLaVA's way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import torch
from torch import Tensor

from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.preprocess import Preprocess
from regiontok.encoders._hidden_states import Dtype
from regiontok.encoders._radio_checkpoint import RadioCheckpoint, load_tower, read_checkpoint
from regiontok.encoders._radio_tower import RadioTower
from regiontok.encoders._token_encoder import TokenEncoder
from regiontok.system.checkpoint import fingerprint, locate
from regiontok.system.devices import resolve_device
from regiontok.system.pretrained import shared_model

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class Radio(TokenEncoder):
    """A frozen RADIO as a patch encoder.

    Nothing is read before the first use.

    Attributes:
        model: hub name (`"nvidia/RADIO-L"`, `"nvidia/C-RADIOv3-B"`) or folder.
        size: the canvas in pixels: a side, or (height, width); multiples of the patch. None is what
            the checkpoint prefers: 768 for v2.5, 512 for v3.
        layer: -1 is the model's output, 0 the embeddings, k block k, -2 the block before the last.
        framing: "stretch", "letterbox" (padded with the mean colour) or "crop" (the largest central
            part of the canvas's shape).
        align_corners: how positions are interpolated; None as released. See the module's docstring.
        dtype: type of weights and features.
        revision: branch, tag or commit of a hub name.
        shuffle: seed of the pre-shuffle of the canvas's patches (row D10); None leaves them in
            place.
        device: where the model runs; features stay there.
        batch: pictures a forward pass.

    Raises:
        ValueError: If a value is out of range.

    >>> from regiontok.settings.registry import build, render
    >>> render(build("encoder", "radio('nvidia/RADIO-L', size=(384, 768))"))
    "radio('nvidia/RADIO-L', size=(384, 768))"
    """

    model: str
    size: int | tuple[int, int] | None = None
    layer: int = -1
    framing: Framing = "stretch"
    align_corners: bool | None = None
    dtype: Dtype = "float32"
    revision: str | None = None
    shuffle: int | None = None
    device: str = field(default="cpu", metadata={"run": True})
    batch: int = field(default=8, metadata={"run": True})

    version: ClassVar[int] = 1
    threshold: ClassVar[float] = 0.7  # the study's

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.framing not in get_args(Framing):
            raise ValueError(
                f"framing must be one of {', '.join(get_args(Framing))}, got {self.framing!r}"
            )

    def frame(self, size: Pair) -> Frame:
        """See `Encoder`.

        Raises:
            ValueError: If the checkpoint cannot be read, or its patches do not tile the canvas.
        """
        patch = self._config.patch_size
        canvas = self._preprocess.resized(self.size)
        if any(side % patch for side in canvas):
            nearest = tuple(max(patch, round(side / patch) * patch) for side in canvas)
            raise ValueError(
                f"{self.model}: size must be a multiple of the patch, {patch}; got {canvas}, "
                f"the nearest is {nearest}"
            )
        return self._preprocess.frame(size, (patch, patch), framing=self.framing, size=self.size)

    @property
    def blocks(self) -> int:
        """How many blocks the network has."""
        return int(self._config.num_hidden_layers)

    @property
    def width(self) -> int:
        """See `Encoder`."""
        return int(self._config.hidden_size)

    @property
    def summaries(self) -> int:
        """How many tokens make RADIO's summary."""
        return len(self._config.summary_idxs)

    @cached_property
    def identity(self) -> str:
        """The hash of the weights' files and the json files beside them, and who resizes pixels."""
        return fingerprint(self._folder, "pixels: pillow")

    @property
    def _config(self) -> Any:
        return self._checkpoint.config

    @property
    def _preprocess(self) -> Preprocess:
        return self._checkpoint.preprocess

    @property
    def _prefix_order(self) -> Sequence[int]:
        return self._tower.prefix_order

    # not inference_mode, whose tensors could not take part in the training of what comes after
    @torch.no_grad()
    def _sequences(
        self, pixels: UInt8[Tensor, "b 3 H W"], frame: Frame
    ) -> tuple[Float[Tensor, "b n d"], Sequence[None]]:
        self.check_layer()
        blocks = None if self.layer == -1 else self.blocks_passed
        sequences = self._tower(pixels.to(self.device), blocks, self._corners_aligned)
        return sequences, [None] * len(pixels)

    @property
    def _corners_aligned(self) -> bool:
        if self.align_corners is not None:
            return self.align_corners
        if self._checkpoint.align_corners is None:
            raise ValueError(
                f"{self.model}: config.json does not say its version, so give align_corners=True "
                "(v1 to v3 were released so) or False (v4)"
            )
        return self._checkpoint.align_corners

    @cached_property
    def _folder(self) -> Path:
        return locate(self.model, self.revision)

    @cached_property
    def _checkpoint(self) -> RadioCheckpoint:
        return read_checkpoint(self._folder, self.model)

    @cached_property
    def _tower(self) -> RadioTower:
        def load() -> RadioTower:
            tower = load_tower(self._checkpoint, getattr(torch, self.dtype))
            return tower.to(resolve_device(self.device)).eval().requires_grad_(False)

        return shared_model(self._folder, ("radio", self.dtype, self.device), load)
