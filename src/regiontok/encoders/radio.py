"""RADIOv2.5 and C-RADIO on any canvas: NVlabs' released folders as they are, or transformers' own
layout; no remote code.

After: diagnostic study, section 3 (RADIOv2.5-L at 384, 576 and 768: grids of 24, 36 and 48; row
D1); Heinrich et al., RADIOv2.5, 2025.

Checked on random weights of ViT-B's width, two blocks: features and summary equal NVlabs' own code,
bit for bit, as it was before and after 2025-06-28 (v2.5 and v3; v4), at 384 x 384, 256 x 512 and
512 x 256, from a folder of their layout. Not checked: real checkpoints.

Loading. A released folder (`nvidia/RADIO-L`) has code of its own beside model.safetensors; none of
it is run. Sizes are read off the shapes of the tensors, every weight is placed or left out by name
(`_radio_layout.py`), and what has no place is an error. Pickles (`.pth.tar`) are never read. The
layer scales of C-RADIOv3-B and -L are placed, which transformers 5.23 leaves at 1.

Pixels are bytes / 255; the network normalises them itself. So `framing` and `size` are whole: no
preprocessor_config.json is asked for.

Positions. The table (128 x 128 for a patch of 16) is interpolated to a square of the grid's longer
side, of which the upper left window is taken. v1 to v3 were released with `align_corners=True`, v4
and transformers compute with False: None takes what the released folder's version was released
with, and False for transformers' own layout, which does not say where it comes from.

Prefix. The tokens that make RADIO's `summary` (`summary_idxs`) come first and are the grid's
`summaries`: flattened, they are that summary. A CLS token whose teacher gives no summary, and
registers, stand behind them.

Layers. `layer=-1` is what the released model hands out (behind a feature normaliser, where a
checkpoint has one); k is the output of block k, 0 the embeddings. RADIO has no final norm. Blocks
behind the asked one are not run.

Differs: the study does not say how it frames a picture for RADIO (its masks take "padding and
resizing" with the image, as LLaVA pads): here it is stretched to a square by default, bicubic, and
`framing='letterbox'` is LLaVA's way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

import torch
from torch import Tensor

from regiontok.core.frame import Frame, Framing, Pair
from regiontok.core.preprocess import Preprocess
from regiontok.encoders._layers import check_layer
from regiontok.encoders._radio import Tower
from regiontok.encoders._radio_layout import Layout, load, read
from regiontok.encoders._tokens_of import Dtype, TokensOf
from regiontok.system.checkpoint import fingerprint, locate
from regiontok.system.pretrained import shared_model

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class Radio(TokensOf):
    """A frozen RADIO as a patch encoder. Nothing is read before its first use.

    Attributes:
        model: hub name (`"nvidia/RADIO-L"`, `"nvidia/C-RADIOv3-B"`) or folder.
        size: the canvas in pixels: a side, or (height, width); multiples of the patch. None is what
            the checkpoint prefers: 768 for v2.5, 512 for v3.
        layer: -1 is the model's output, 0 the embeddings, k block k, -2 the block before the last.
        framing: "stretch", "letterbox" (padded with the mean colour) or "crop" (the largest central
            part of the canvas's shape).
        align_corners: how positions are interpolated; None as released. See the module's docstring.
        dtype: of weights and features.
        revision: branch, tag or commit of a hub name.
        shuffle: seed of the pre-shuffle of the canvas's patches (row D10); None leaves them in
            place.
        device: where the model runs; features stay there.
        batch: pictures a forward pass.

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
    threshold: ClassVar[float] = 0.7  # for `merge`: the study's

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.framing not in get_args(Framing):
            raise ValueError(
                f"framing must be one of {', '.join(get_args(Framing))}, got {self.framing!r}"
            )

    def frame(self, size: Pair) -> Frame:
        """How an image of `size` = (H, W) pixels lies under the grid.

        Raises:
            ValueError: the checkpoint cannot be read, or its patches do not tile the canvas.
        """
        look, patch = self._layout.look, self._layout.config.patch_size
        canvas = look.resized(self.size)
        if any(side % patch for side in canvas):
            near = tuple(max(patch, round(side / patch) * patch) for side in canvas)
            raise ValueError(
                f"{self.model}: size must be a multiple of the patch, {patch}; got {canvas}, the nearest is {near}"
            )
        return look.frame(size, (patch, patch), framing=self.framing, size=self.size)

    @property
    def blocks(self) -> int:
        """How many blocks the network has."""
        return int(self._layout.config.num_hidden_layers)

    @property
    def width(self) -> int:
        """d, the length of a feature."""
        return int(self._layout.config.hidden_size)

    @property
    def summaries(self) -> int:
        """Summary tokens at the front of the prefix; what stands behind them are registers."""
        return len(self._layout.config.summary_idxs)

    @cached_property
    def identity(self) -> str:
        """What a cache key holds beside the spec: a hash of the weights' files, the json files
        beside them, and who resizes pixels."""
        return fingerprint(self._folder, "pixels: pillow")

    @property
    def _look(self) -> Preprocess:
        return self._layout.look

    @property
    def _prefix(self) -> Sequence[int]:
        return self._tower.prefix

    # not inference_mode, whose tensors could not take part in the training of what comes after
    @torch.no_grad()
    def _hidden(
        self, pixels: UInt8[Tensor, "b 3 H W"], frame: Frame
    ) -> tuple[Float[Tensor, "b n d"], Sequence[None]]:
        check_layer(self.model, self.layer, self.blocks)
        blocks = (
            None
            if self.layer == -1
            else self.layer
            if self.layer >= 0
            else self.blocks + 1 + self.layer
        )
        return self._tower(pixels.to(self.device), blocks, self._aligned), [None] * len(pixels)

    @property
    def _aligned(self) -> bool:
        if self.align_corners is not None:
            return self.align_corners
        if self._layout.align_corners is None:
            raise ValueError(
                f"{self.model}: config.json does not say its version, so give align_corners=True (v1 to v3 were released so) or "
                "False (v4)"
            )
        return self._layout.align_corners

    @cached_property
    def _folder(self) -> Path:
        return locate(self.model, self.revision)

    @cached_property
    def _layout(self) -> Layout:
        return read(self._folder, self.model)

    @cached_property
    def _tower(self) -> Tower:
        def made() -> Tower:
            return (
                load(self._layout, getattr(torch, self.dtype))
                .to(self.device)
                .eval()
                .requires_grad_(False)
            )

        return shared_model(self._folder, ("radio", self.dtype, self.device), made)
