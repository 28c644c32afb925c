"""PatchGrid: what the encoder saw of one view."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from regiontok.core.frame import Frame
from regiontok.core.masks import PixelMasks
from regiontok.core.sizes import counted, shape_text, storage_text

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False, repr=False)
class PatchGrid:
    """Patch features of one view, and where they lie on the image.

    Attributes:
        features: `[h w d]`, or `[t h w d]` for a clip: what region steps read.
        frame: how the image lies under the grid.
        values: `[h w d']`, what pools read (another layer or norm); None means the features.
        masks: the segmenter's pixel masks of the image, if there was a segmenter.
        prefix: `[r d']`, the CLS, summary and register tokens in the encoder's order; None if it
            has none.
        summaries: how many of the first prefix tokens are CLS or summary tokens; the others are
            registers.
        cls_attention: `[h w]`, attention that CLS pays to the patches, if the encoder was asked for
            it.
        padding: "drop" leaves patches that see only padding out of every region; "keep" treats them
            as any other (LLaVA's behaviour).
        key: key of the picture, with `draw` the seed of steps that draw random numbers; where it is
            "" the features themselves take its place, see `identity`.
        draw: number of the draw: the epoch in training.
        view: number of the view of its image; in a list of grids a 0 begins the next image.

    Raises:
        ValueError: If the features do not fit the frame's grid, or features or values are NaN or
            infinite somewhere.

    >>> frame = Frame.stretch((300, 400), canvas=(336, 336), patch=(14, 14))
    >>> PatchGrid(torch.zeros(24, 24, 192), frame)
    PatchGrid(24 x 24 patches, width 192, float32, cpu)
    """

    features: Float[Tensor, "*grid d"]
    frame: Frame
    values: Float[Tensor, "*grid e"] | None = None
    masks: PixelMasks | None = None
    prefix: Float[Tensor, "r e"] | None = None
    summaries: int = 0
    cls_attention: Float[Tensor, "*grid"] | None = None
    padding: Literal["drop", "keep"] = "drop"
    key: str = ""
    draw: int = 0
    view: int = 0

    def __post_init__(self) -> None:
        if self.features.ndim not in (3, 4) or tuple(self.features.shape[-3:-1]) != self.frame.grid:
            raise ValueError(
                f"expected features [h w d] on the grid {self.frame.grid}, "
                f"got {list(self.features.shape)}"
            )
        if self.values is not None and self.values.shape[:-1] != self.features.shape[:-1]:
            raise ValueError(
                f"values {list(self.values.shape)} lie on another grid "
                f"than features {list(self.features.shape)}"
            )
        for name, tensor in (("features", self.features), ("values", self.values)):
            if tensor is not None and not _all_finite(tensor):
                bad = int((~torch.isfinite(tensor)).any(-1).sum())
                raise ValueError(
                    f"{name} of {self.key or 'an image'} are NaN or infinite "
                    f"at {bad} of {self.patches} patches"
                )

    def __repr__(self) -> str:
        grid, width = shape_text(self.grid), self.features.shape[-1]
        masks = "" if self.masks is None else f", {counted(len(self.masks), 'mask')}"
        return f"PatchGrid({grid} patches, width {width}, {storage_text(self.features)}{masks})"

    @property
    def grid(self) -> tuple[int, ...]:
        """(h, w) or (t, h, w)."""
        return tuple(self.features.shape[:-1])

    @property
    def patches(self) -> int:
        """Number of patches of the grid."""
        return self.features.shape[:-1].numel()

    @property
    def pooled(self) -> Float[Tensor, "*grid e"]:
        """What pools read: the values, or the features where there are none."""
        return self.features if self.values is None else self.values

    @cached_property
    def identity(self) -> str:
        """The key of the picture, or a hash of the features where an encoder gave none.

        It tells pictures apart in whatever is drawn for each of them.
        """
        if self.key:
            return self.key
        rows = self.features.detach().cpu().contiguous()
        digest = hashlib.sha256(f"{rows.dtype} {self.grid}".encode())
        digest.update(rows.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:32]

    @property
    def valid(self) -> Bool[Tensor, "*grid"]:
        """True where a patch may lie in a region, as `padding` says."""
        if self.padding == "keep":
            return torch.ones(self.grid, dtype=torch.bool, device=self.features.device)
        return self.frame.valid.to(self.features.device).expand(self.grid)

    def but(self, **changes: Any) -> PatchGrid:
        """The same grid, but with some of its fields changed."""
        return replace(self, **changes)


def images_of(grids: Sequence[PatchGrid]) -> list[int]:
    """The image of each view, counted from 0: what `Members.of` takes beside the regions."""
    image, images = -1, []
    for grid in grids:
        image += grid.view == 0
        images.append(image)
    return images


def stacked(grids: Sequence[PatchGrid], key: str = "") -> PatchGrid:
    """The grids of a clip's frames as one, `[t h w d]`.

    CLS and summary tokens of all frames stand in front of the prefix in time order, so that
    `summaries` counts them all; registers follow.

    Args:
        grids: one grid a frame.
        key: key of the clip.

    Raises:
        ValueError: If there are no grids, or the frames do not lie alike under them.
    """
    if not grids:
        raise ValueError("a clip has at least one frame, got no grids")
    first = grids[0]
    if any(grid.frame != first.frame or grid.grid != first.grid for grid in grids):
        raise ValueError("the frames of a clip must have one size and one grid")
    prefixes = [(grid.prefix, grid.summaries) for grid in grids if grid.prefix is not None]
    summaries = [prefix[:count] for prefix, count in prefixes]
    registers = [prefix[count:] for prefix, count in prefixes]
    return PatchGrid(
        torch.stack([grid.features for grid in grids]),
        first.frame,
        values=_stack([grid.values for grid in grids]),
        prefix=torch.cat([*summaries, *registers]) if prefixes else None,
        summaries=first.summaries * len(grids),
        cls_attention=_stack([grid.cls_attention for grid in grids]),
        padding=first.padding,
        key=key,
        draw=first.draw,
    )


def _stack(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(present) if present else None


def _all_finite(tensor: Tensor) -> bool:
    """True if no value is NaN or infinite; a finite sum says so in a twentieth of the time."""
    if torch.isfinite(tensor.sum(dtype=torch.float32)):
        return True
    return bool(torch.isfinite(tensor).all())
