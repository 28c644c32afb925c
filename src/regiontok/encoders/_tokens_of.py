"""What encoders that are plain vision transformers share: canvases in, one sequence of tokens a
picture out, cut into prefix and grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from regiontok.core.canvas import batches, canvases, lay_ahead
from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.core.preprocess import Preprocess, sides
from regiontok.methods import CanvasEncoder

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

Dtype = Literal["float32", "bfloat16", "float16"]


class TokensOf(CanvasEncoder):
    """Base of the dataclasses whose network gives `[b n d]`, prefix tokens first and then the
    patches of one grid, row by row."""

    model: str
    size: int | Pair | None
    dtype: Dtype
    shuffle: int | None
    batch: int

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise ValueError(
                f"dtype must be one of {', '.join(get_args(Dtype))}, got {self.dtype!r}"
            )
        if self.batch < 1 or min(sides(self.size) or (1,)) < 1:
            raise ValueError(
                f"batch and size must be at least 1, got batch={self.batch}, size={self.size}"
            )

    @property
    @abstractmethod
    def summaries(self) -> int:
        """CLS or summary tokens at the front of the grid's prefix; what stands behind them are
        registers."""

    def prepare(self, picture: Picture) -> None:
        """Lay the picture on its canvas ahead of `encode`, in whatever thread."""
        look = self._look
        lay_ahead(
            picture,
            self.frame(picture.size),
            resample=look.resample,
            fill=look.fill,
            shuffle=self.shuffle,
        )

    def encode(self, pictures: Sequence[Picture]) -> list[PatchGrid]:
        """A grid a picture: features `[h w d]` in `dtype`, CLS (or summary) tokens and then
        registers in `prefix` `[r d]`. No gradient.

        What a picture shares its batch with changes nothing but rounding: 6e-7 at most on features
        of size 3, measured in float32 on two layers of CLIP (matrix products of another shape may
        add in another order).

        Raises:
            ValueError: the checkpoint cannot be read (the message says why), it has no such layer,
                or features are not finite.
        """
        frames = [self.frame(picture.size) for picture in pictures]
        look = self._look
        grids = []
        for part in batches(len(pictures), self.batch):
            chosen = pictures[part], frames[part]
            pixels = canvases(*chosen, resample=look.resample, fill=look.fill, shuffle=self.shuffle)
            grids += [
                self._grid(*one)
                for one in zip(*chosen, *self._hidden(pixels, frames[part][0]), strict=True)
            ]
        return grids

    @property
    @abstractmethod
    def _look(self) -> Preprocess: ...

    @property
    @abstractmethod
    def _prefix(self) -> Sequence[int]:
        """Which tokens of the sequence make the prefix, in its order; as many stand in front of the
        patches."""

    @abstractmethod
    def _hidden(
        self, pixels: UInt8[Tensor, "b 3 H W"], frame: Frame
    ) -> tuple[Float[Tensor, "b n d"], Sequence[Float[Tensor, "n"] | None]]:
        """Tokens of each picture, and the attention of CLS on all of them (None: not asked for)."""

    def _grid(
        self,
        picture: Picture,
        frame: Frame,
        hidden: Float[Tensor, "n d"],
        attention: Float[Tensor, "n"] | None,
    ) -> PatchGrid:
        """One picture's tokens as a grid. Copies: a view would keep the whole batch in memory, and
        in whatever it is saved to."""
        order, (h, w) = list(self._prefix), frame.grid
        count = len(order)
        if len(hidden) != count + h * w:
            raise ValueError(
                f"{self.model}: expected {count} prefix tokens and {h} x {w} patches, got {len(hidden)} tokens"
            )
        return PatchGrid(
            hidden[count:].reshape(h, w, -1).clone(),
            frame,
            prefix=hidden[torch.tensor(order, device=hidden.device)] if order else None,
            summaries=self.summaries,
            cls_attention=None if attention is None else attention[count:].reshape(h, w).clone(),
            key=picture.key,
        )
