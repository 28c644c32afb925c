"""What encoders that are plain vision transformers share: canvases in, prefix and grid out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regiontok.core.canvas import batches, canvases, lay_ahead
from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.preprocess import Preprocess, sides
from regiontok.encoders._hidden_states import HiddenStateEncoder
from regiontok.methods import CanvasEncoder

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


class TokenEncoder(HiddenStateEncoder, CanvasEncoder):
    """Base of the encoders whose network gives a sequence `[b n d]`: a prefix, then the patches.

    The prefix holds CLS or summary tokens and registers; the patches are those of one grid, row by
    row.
    """

    size: int | Pair | None
    shuffle: int | None
    batch: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 1 or min(sides(self.size) or (1,)) < 1:
            raise ValueError(
                f"batch and size must be at least 1, got batch={self.batch}, size={self.size}"
            )

    @property
    @abstractmethod
    def summaries(self) -> int:
        """See `Encoder`."""

    def prepare(self, picture: Picture) -> None:
        """See `Encoder`."""
        preprocess = self._preprocess
        lay_ahead(
            picture,
            self.frame(picture.size),
            resample=preprocess.resample,
            fill=preprocess.fill,
            shuffle=self.shuffle,
        )

    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """The grid of each picture: features `[h w d]` in `dtype`, without gradient.

        CLS (or summary) tokens and then registers are the grid's `prefix` `[r d]`. The other
        pictures of its batch change nothing but rounding: 6e-7 at most on features of size 3,
        measured in float32 on two layers of CLIP (matrix products of another shape may add in
        another order).

        Raises:
            ValueError: If the checkpoint cannot be read (the message says why), if it has no such
                layer, or if features are not finite.
        """
        frames = [self.frame(picture.size) for picture in pictures]
        preprocess = self._preprocess
        grids: list[PatchGrid] = []
        for chosen in batches(len(pictures), self.batch):
            pixels = canvases(
                pictures[chosen],
                frames[chosen],
                resample=preprocess.resample,
                fill=preprocess.fill,
                shuffle=self.shuffle,
            )
            sequences, attentions = self._sequences(pixels, frames[chosen][0])
            views = zip(pictures[chosen], frames[chosen], sequences, attentions, strict=True)
            grids += [self._grid(*view) for view in views]
        return grids

    @property
    @abstractmethod
    def _preprocess(self) -> Preprocess:
        """What becomes of a picture's pixels."""

    @property
    @abstractmethod
    def _prefix_order(self) -> Sequence[int]:
        """Which tokens of the sequence make the prefix, in its order.

        As many tokens stand in front of the patches.
        """

    @abstractmethod
    def _sequences(
        self, pixels: UInt8[Tensor, "b 3 H W"], frame: Frame
    ) -> tuple[Float[Tensor, "b n d"], Sequence[Float[Tensor, "n"] | None]]:
        """The tokens of each picture, and the attention that CLS pays to them, or None."""

    def _grid(
        self,
        picture: Picture,
        frame: Frame,
        sequence: Float[Tensor, "n d"],
        attention: Float[Tensor, "n"] | None,
    ) -> PatchGrid:
        """The tokens of one picture as a grid.

        They are copied: a view would keep the whole batch in memory, and in whatever it is saved
        to.
        """
        order, (h, w) = list(self._prefix_order), frame.grid
        count = len(order)
        if len(sequence) != count + h * w:
            raise ValueError(
                f"{self.model}: expected {count} prefix tokens and {h} x {w} patches, "
                f"got {len(sequence)} tokens"
            )
        return PatchGrid(
            sequence[count:].reshape(h, w, -1).clone(),
            frame,
            prefix=sequence[torch.tensor(order, device=sequence.device)] if order else None,
            summaries=self.summaries,
            cls_attention=None if attention is None else attention[count:].reshape(h, w).clone(),
            key=picture.key,
        )
