"""What a family of released models gives, so that region tokens can go inside: views of each image,
the projector, positions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Cut = Literal["stitched", "tile"]


@dataclass(frozen=True, eq=False)
class View:
    """One view of an image (the whole of it in low resolution, a tile, the tiles stitched): patches
    before and after the projector.

    Attributes:
        grid: features `[h w d]` float32 that steps read, on the exact frame of what the model saw;
            a patch is what the projector takes as one row (a cell of 2 x 2 patches where the model
            merges those).
        before: what the projector reads, `[h w d]`, and then what each further projector reads
            (deep-stacked layers).
        after: what they give, `[h w e]` each, in the same order.
    """

    grid: PatchGrid
    before: tuple[Float[Tensor, "h w d"], ...]
    after: tuple[Float[Tensor, "h w e"], ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """One image as the model saw it.

    Attributes:
        views: in the order in which the language model gets them.
        own: the model's own tokens `[t e]`, newline tokens and all, and then those of each
            deep-stacked layer: the empty pipeline.
        at: `[t 2]` float64 (y, x) of each own token on the last view's grid; None where the family
            needs no positions.
    """

    views: tuple[View, ...]
    own: tuple[Float[Tensor, "t e"], ...]
    at: Float[Tensor, "t 2"] | None = None


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """The ready-made tokens of one image.

    Attributes:
        values: `[t e]` of the language model's width.
        deep: `[t e]` for each deep-stacked layer; empty where the family has none.
        view, region: `[t]` int64: the view and the region of it; -1 for the model's own tokens.
        at: `[t 2]` float64 (y, x), a region's centroid in patches of its view's grid (the first
            patch's centre is 0).
        frames: of each view: how the image lies under its grid.
        regions: of each view; empty for the model's own tokens.
    """

    values: Float[Tensor, "t e"]
    deep: tuple[Float[Tensor, "t e"], ...]
    view: Int[Tensor, "t"]
    region: Int[Tensor, "t"]
    at: Float[Tensor, "t 2"]
    frames: tuple[Frame, ...]
    regions: tuple[Regions, ...] = ()

    @property
    def grids(self) -> tuple[Pair, ...]:
        """(h, w) of each view."""
        return tuple(frame.grid for frame in self.frames)

    def __len__(self) -> int:
        return len(self.values)


class Family(ABC):
    """One family of released models. A class of another package is registered as
    ``register("family", "its_model_type", "module:Class")`` or by the entry point
    ``regiontok.family``; the name is the `model_type` of the models' config.json.

    Args:
        model: the loaded model of transformers.
        processor: its processor.

    Attributes:
        consumed: names of the processor's outputs that only the vision tower reads (pixel_values,
            image_sizes ...); they are not passed on to the model.
        nested: True if images go to the processor prompt by prompt where the caller gave them so,
            because the number of images in a prompt matters.

    Raises:
        ValueError: If the family cannot handle this model or this processor.
    """

    consumed: ClassVar[tuple[str, ...]] = ("pixel_values",)
    nested: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, model: Any, processor: Any) -> None: ...

    @abstractmethod
    def see(self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut) -> list[Seen]:
        """Each image as the model sees it, from the processor's tensors.

        Args:
            inputs: the processor's outputs that are named in `consumed`, on the model's device.
            sizes: (height, width) in pixels of each image, in their order.
            cut: "stitched" makes one view of an image's tiles, "tile" a view of each.
        """

    @abstractmethod
    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """Rows through the model's own projector (level 0), or that of the level-th deep-stacked
        layer."""

    def positions(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> Float[Tensor, "axes b s"] | None:
        """Position ids of expanded rows; None (the default) where the model makes the right ones
        itself."""
        return None

    def started(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> None:
        """Called before each forward pass and generation of a family that gives positions: keep in
        the model what it needs for the next turn. The default keeps nothing."""


@contextmanager
def tapped(projector: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """While it is open, what the projector read and gave at each call: the features are the model's
    own, whatever layer it selects."""
    kept: list[tuple[Tensor, Tensor]] = []
    handle = projector.register_forward_hook(
        lambda _module, inputs, output: kept.append((inputs[0], output))
    )
    try:
        yield kept
    finally:
        handle.remove()
