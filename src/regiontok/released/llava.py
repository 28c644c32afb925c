"""LLaVA, LLaVA-NeXT and LLaVA-OneVision: one view, or a low-resolution view and tiles that are
stitched, unpadded and ended by newlines.

After: diagnostic study, section 5 (rows D14, D17); the geometry is that of transformers' image
processors.
Differs: a tile of 384 px has 27 patches of 14 px, and 6 px that no patch sees; stitched grids lie
as if 27 patches filled the tile, as the model lays them, so that their frame is off by at most 0.43
of a patch (`cut="tile"` is exact; tiles of 336 px are exact either way). Regions of
LLaVA-OneVision's shrunk grids that are pooled before the projector read bilinearly shrunk features;
the model itself shrinks after it, which is what single patches of the empty pipeline and
`at="after"` do. Under `cut="tile"` nothing is shrunk.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_next.modeling_llava_next import unpad_image

from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.core.preprocess import Preprocess
from regiontok.released.family import Cut, Family, ImageTokens, Seen, View, tapped

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class Llava(Family):
    """LLaVA-1.5 and those like it: one view of fixed size."""

    consumed: ClassVar[tuple[str, ...]] = ("pixel_values",)

    def __init__(self, model: Any, processor: Any) -> None:
        vision = model.config.vision_config
        if vision.model_type == "pixtral":
            raise ValueError(
                "LLaVA with a Pixtral tower lays its patches at the image's own size, which is not supported here"
            )
        self.model, self.images = model, processor.image_processor
        self.side, self.patch = int(vision.image_size), int(vision.patch_size)
        self._check()

    def _check(self) -> None:
        canvas = self.frame((100, 100)).grid
        if canvas != (self.side // self.patch,) * 2:
            raise ValueError(
                f"the image processor gives a grid of {canvas} patches, the tower takes {self.side} px at {self.patch}"
            )

    def frame(self, size: Pair) -> Frame:
        """How the processor lays an image of (height, width) under the tower's grid."""
        if not getattr(self.images, "do_pad", None):
            return Preprocess.of(self.images, type(self.images).__name__).frame(
                size, (self.patch,) * 2, framing=None, size=None
            )
        edge = max(
            int(value) for value in dict(self.images.size).values() if value
        )  # of a square: its shortest edge, or its height
        cut = int(dict(self.images.crop_size)["height"]) if self.images.do_center_crop else edge
        return padded_square(size, edge, cut, self.patch)

    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """The model's own projector."""
        return self.model.model.multi_modal_projector(rows)

    def positions(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> None:
        """The model counts right by itself."""
        return None

    def see(self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut) -> list[Seen]:
        """Each image's one view."""
        before, after, own = self._features(inputs)
        return [
            Seen((self._view(self.frame(size), *self._patches(before[i], after[i])),), (own[i],))
            for i, size in enumerate(sizes)
        ]

    def _features(self, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """`[views n d]` before the projector, `[views n e]` after it, and each image's own tokens:
        one run of the model's own code."""
        with tapped(self.model.model.multi_modal_projector) as kept:
            own = self.model.get_image_features(**inputs, return_dict=True).pooler_output
        ((before, after),) = kept
        return before, after, list(own)

    def _patches(
        self, before: Float[Tensor, "n d"], after: Float[Tensor, "n e"]
    ) -> tuple[Tensor, Tensor]:
        """`[g g d]` and `[g g e]`; a CLS token in front (select strategy "full") is in no
        region."""
        side = self.side // self.patch
        extra = len(before) - side * side
        if extra not in (0, 1):
            raise ValueError(
                f"the tower gives {len(before)} tokens a view, expected {side} x {side} patches with or without one CLS token"
            )
        return before[extra:].unflatten(0, (side, side)), after[extra:].unflatten(0, (side, side))

    @staticmethod
    def _view(frame: Frame, before: Float[Tensor, "h w d"], after: Float[Tensor, "h w e"]) -> View:
        return View(PatchGrid(before.float(), frame), (before,), (after,))


class LlavaNext(Llava):
    """A view of the whole image, then tiles of the resolution that fits it best."""

    consumed: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes")

    def _check(self) -> None:
        size, crop = (
            dict(value or {})
            for value in (self.images.size, getattr(self.images, "crop_size", None))
        )
        crop = crop if getattr(self.images, "do_center_crop", None) else {}
        sides = {int(value) for value in (*size.values(), *crop.values()) if value}
        if sides != {self.side}:
            raise ValueError(
                f"expected an image processor of {self.side} px tiles, as the tower takes; got size {size}, crop {crop}"
            )
        models, own = self.model.config.image_grid_pinpoints, self.images.image_grid_pinpoints
        if [list(pair) for pair in models] != [list(pair) for pair in own]:
            raise ValueError(
                f"model and image processor choose tiles from other resolutions: {models} and {own}"
            )

    def see(self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut) -> list[Seen]:
        """Each image's whole view, and its tiles: stitched, or one by one."""
        before, after, own = self._features(inputs)
        counts = [
            1 + math.prod(self._tiles(size)) if many else 1
            for size, many in zip(sizes, self._tiled(inputs, sizes), strict=True)
        ]
        parts = zip(sizes, before.split(counts), after.split(counts), own, strict=True)
        return [
            Seen(tuple(self._views(size, old, new, len(rows), cut)), (rows,))
            for size, old, new, rows in parts
        ]

    def _tiled(self, inputs: Mapping[str, Any], sizes: Sequence[Pair]) -> list[bool]:
        return [True] * len(sizes)

    def _tiles(self, size: Pair) -> Pair:
        high, wide = select_best_resolution(size, self.model.config.image_grid_pinpoints)
        return high // self.side, wide // self.side

    def _views(self, size: Pair, before: Tensor, after: Tensor, own: int, cut: Cut) -> list[View]:
        pairs = [self._patches(*both) for both in zip(before, after, strict=True)]
        if len(pairs) == 1:
            return [self._view(padded_square(size, self.side, self.side, self.patch), *pairs[0])]
        whole = self._view(Frame.stretch(size, (self.side,) * 2, (self.patch,) * 2), *pairs[0])
        rows, columns = self._tiles(size)
        if cut == "tile":
            frames = [
                self._tile_frame(size, row, column)
                for row in range(rows)
                for column in range(columns)
            ]
            views = [
                self._view(frame, *pair) for frame, pair in zip(frames, pairs[1:], strict=True)
            ]
            return [whole, *(view for view in views if bool(view.grid.frame.valid.any()))]
        stitched = self._stitched(
            size,
            *(
                torch.stack(one).unflatten(0, (rows, columns))
                for one in zip(*pairs[1:], strict=True)
            ),
        )
        high, wide = stitched.grid.frame.grid
        # the model's count, to notice a version of transformers that lays its tokens otherwise
        if own != whole.grid.patches + high * (wide + 1):
            raise ValueError(
                f"an image of {size} has {own} tokens, expected {whole.grid.patches} and {high} rows of {wide} and a newline"
            )
        return [whole, stitched]

    def _laid(self, size: Pair) -> tuple[Pair, Pair]:
        """Size of the image on the tiles' canvas, and where it begins."""
        canvas = tuple(count * self.side for count in self._tiles(size))
        scale = [full / length for full, length in zip(canvas, size, strict=True)]
        if scale[1] < scale[0]:
            resized = (min(math.ceil(size[0] * scale[1]), canvas[0]), canvas[1])
        else:
            resized = (canvas[0], min(math.ceil(size[1] * scale[0]), canvas[1]))
        return resized, ((canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2)

    def _tile_frame(self, size: Pair, row: int, column: int) -> Frame:
        """The image under one tile; what lies on others has coordinates outside of its canvas."""
        resized, (top, left) = self._laid(size)
        offset = (top - row * self.side, left - column * self.side)
        return Frame(
            size,
            (0.0, 0.0, float(size[0]), float(size[1])),
            resized,
            offset,
            (self.side,) * 2,
            (self.patch,) * 2,
        )

    def _stitched(
        self, size: Pair, before: Float[Tensor, "R C g g d"], after: Float[Tensor, "R C g g e"]
    ) -> View:
        """All tiles as one grid without the rows or columns that `unpad_image` cuts off."""
        before, after = (x.transpose(1, 2).flatten(0, 1).flatten(1, 2) for x in (before, after))
        index = torch.arange(before[..., 0].numel()).view(1, *before.shape[:2])
        kept = unpad_image(index, size)[0]
        top, left = divmod(int(kept[0, 0]), before.shape[1])
        old, new = (
            x[top : top + kept.shape[0], left : left + kept.shape[1]] for x in (before, after)
        )
        fine = (old.shape[0], old.shape[1])
        high, wide = self._shrunk(fine)
        if (high, wide) != fine:
            old, new = (_shrink(x, (high, wide)) for x in (old, new))
        return self._view(self._stitched_frame(size, (top, left), fine, (high, wide)), old, new)

    def _stitched_frame(self, size: Pair, start: Pair, fine: Pair, coarse: Pair) -> Frame:
        """A pixel is g * coarse units long, a tile of g patches `side` pixels, and `fine` patches
        are `coarse` ones: all are whole."""
        resized, offset = self._laid(size)
        side = self.side // self.patch
        unit = [side * count for count in coarse]
        return Frame(
            size,
            (0.0, 0.0, float(size[0]), float(size[1])),
            (resized[0] * unit[0], resized[1] * unit[1]),
            (
                offset[0] * unit[0] - start[0] * self.side * coarse[0],
                offset[1] * unit[1] - start[1] * self.side * coarse[1],
            ),
            (fine[0] * self.side * coarse[0], fine[1] * self.side * coarse[1]),
            (fine[0] * self.side, fine[1] * self.side),
        )

    def _shrunk(self, fine: Pair) -> Pair:
        return fine


class LlavaOnevision(LlavaNext):
    """As LLaVA-NeXT, but large grids are shrunk; several images in one prompt, given prompt by
    prompt, have one padded view each."""

    consumed: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes", "batch_num_images")
    nested: ClassVar[bool] = True

    def _tiled(self, inputs: Mapping[str, Any], sizes: Sequence[Pair]) -> list[bool]:
        return [int(count) == 1 for count in inputs["batch_num_images"] for _ in range(int(count))]

    def _shrunk(self, fine: Pair) -> Pair:
        most = int(self.model.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(fine[0] * fine[1] / (most * (self.side // self.patch) ** 2))
        return (int(fine[0] // ratio), int(fine[1] // ratio)) if ratio > 1.1 else fine


def padded_square(size: Pair, edge: int, cut: int, patch: int) -> Frame:
    """An image padded to a square in its own pixels, resized to `edge`, and cropped to `cut` from
    the centre.

    Units are so small that the padding, which rarely is a whole number of resized pixels, is a
    whole number of them.

    >>> padded_square((100, 200), 336, 336, 14).content.sum(1)[[5, 6, 17, 18]].tolist()
    [0.0, 24.0, 24.0, 0.0]
    """
    longest = max(size)
    high, wide = (side * edge for side in size)
    trim = (edge - cut) // 2 * longest
    offset = ((longest - size[0]) // 2 * edge - trim, (longest - size[1]) // 2 * edge - trim)
    canvas, unit = cut * longest, patch * longest
    return Frame(
        size,
        (0.0, 0.0, float(size[0]), float(size[1])),
        (high, wide),
        offset,
        (canvas, canvas),
        (unit, unit),
    )


def _shrink(grid: Float[Tensor, "h w d"], to: Pair) -> Float[Tensor, "i j d"]:
    return torch.nn.functional.interpolate(grid.permute(2, 0, 1)[None], list(to), mode="bilinear")[
        0
    ].permute(1, 2, 0)
