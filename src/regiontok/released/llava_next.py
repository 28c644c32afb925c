"""LLaVA-NeXT and LLaVA-OneVision: a view of the whole image, and tiles that are stitched.

After: nothing (the study trains all of its models); the geometry is that of transformers' image
processors.
Differs: a tile of 384 px has 27 patches of 14 px, and 6 px that no patch sees; stitched grids lie
as if 27 patches filled the tile, as the model lays them, so that their frame is off by at most 0.43
of a patch (`cut="tile"` is exact; tiles of 336 px are exact either way). Regions of
LLaVA-OneVision's shrunk grids that are pooled before the projector read bilinearly shrunk features;
the model itself shrinks after it, which is what single patches of the empty pipeline and
`pool_stage="after"` do. Under `cut="tile"` nothing is shrunk. Of an image so thin that its strip on
the tiles is cut off as padding, both models get the whole view alone, and so do regions.
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
from regiontok.released.family import Cut, EncodedImage, View, split_by_prompt
from regiontok.released.llava import Llava, padded_square
from regiontok.released.server_form import ServerForm

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from PIL import Image


class LlavaNext(Llava):
    """A view of the whole image, then the tiles of the resolution that fits it best."""

    tower_inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes")

    def _check_processor(self) -> None:
        processor = self.image_processor
        size = dict(processor.size or {})
        crop = dict(getattr(processor, "crop_size", None) or {})
        crop = crop if getattr(processor, "do_center_crop", None) else {}
        sides = {int(length) for length in (*size.values(), *crop.values()) if length}
        if sides != {self.side}:
            raise ValueError(
                f"expected an image processor of {self.side} px tiles, as the tower takes; got "
                f"size {size}, crop {crop}"
            )
        of_model = self.model.config.image_grid_pinpoints
        of_processor = processor.image_grid_pinpoints
        if [list(pair) for pair in of_model] != [list(pair) for pair in of_processor]:
            raise ValueError(
                "model and image processor choose tiles from other resolutions: "
                f"{of_model} and {of_processor}"
            )

    def encode(
        self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut
    ) -> list[EncodedImage]:
        """Each image with its whole view, and its tiles stitched or one by one."""
        projector_inputs, projector_outputs, model_tokens = self._features(inputs)
        counts = [
            1 + math.prod(self._tile_counts(size)) if tiled else 1
            for size, tiled in zip(sizes, self._are_tiled(inputs, sizes), strict=True)
        ]
        images = []
        for size, rows, projected, tokens in zip(
            sizes,
            projector_inputs.split(counts),
            projector_outputs.split(counts),
            model_tokens,
            strict=True,
        ):
            views = tuple(self._views(size, rows, projected, len(tokens), cut))
            places = _own_places(views) if cut == "stitched" else None
            images.append(EncodedImage(views, (tokens,), token_places=places))
        return images

    def _are_tiled(self, inputs: Mapping[str, Any], sizes: Sequence[Pair]) -> list[bool]:
        """Which images are cut into tiles."""
        return [True] * len(sizes)

    def _tile_counts(self, size: Pair) -> Pair:
        """(rows, columns) of tiles of an image of `size` pixels."""
        height, width = select_best_resolution(size, self.model.config.image_grid_pinpoints)
        return height // self.side, width // self.side

    def _views(
        self, size: Pair, rows: Tensor, projected: Tensor, token_count: int, cut: Cut
    ) -> list[View]:
        """The views of one image, from what the projector read and gave: `[views n d]`, `[.. e]`.

        `token_count` is the model's own count, to notice a version of transformers that lays its
        tokens otherwise.
        """
        grids = [self._on_grid(view) for view in rows]
        projected_grids = [self._on_grid(view) for view in projected]
        if len(grids) == 1:
            frame = padded_square(size, self.side, self.side, self.patch)
            return [View.of(frame, grids[0], projected_grids[0])]
        frame = Frame.stretch(size, (self.side,) * 2, (self.patch,) * 2)
        whole = View.of(frame, grids[0], projected_grids[0])
        tile_counts = self._tile_counts(size)
        if cut == "tile":
            frames = [
                self._tile_frame(size, *divmod(i, tile_counts[1])) for i in range(len(grids) - 1)
            ]
            tiles = map(View.of, frames, grids[1:], projected_grids[1:])
            return [whole, *(view for view in tiles if bool(view.grid.frame.valid.any()))]
        start, fine = self._unpadded(size)
        if not math.prod(fine):  # of a strip thinner than a patch, unpadding leaves nothing
            return [whole]
        stitched = self._stitched(
            size,
            torch.stack(grids[1:]).unflatten(0, tile_counts),
            torch.stack(projected_grids[1:]).unflatten(0, tile_counts),
            start,
            fine,
        )
        height, width = stitched.grid.frame.grid
        if token_count != whole.grid.patches + height * (width + 1):
            raise ValueError(
                f"an image of {size} has {token_count} tokens, expected {whole.grid.patches} and "
                f"{height} rows of {width} and a newline"
            )
        return [whole, stitched]

    def _laid_out(self, size: Pair) -> tuple[Pair, Pair]:
        """Size of the image on the canvas of all tiles, and (y, x) where it begins."""
        rows, columns = self._tile_counts(size)
        canvas = rows * self.side, columns * self.side
        scale_y, scale_x = canvas[0] / size[0], canvas[1] / size[1]
        if scale_x < scale_y:
            resized = (min(math.ceil(size[0] * scale_x), canvas[0]), canvas[1])
        else:
            resized = (canvas[0], min(math.ceil(size[1] * scale_y), canvas[1]))
        return resized, ((canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2)

    def _tile_frame(self, size: Pair, row: int, column: int) -> Frame:
        """The image under one tile; what lies on others has coordinates outside of its canvas."""
        resized, (top, left) = self._laid_out(size)
        return Frame(
            image=size,
            crop=(0.0, 0.0, float(size[0]), float(size[1])),
            resized=resized,
            offset=(top - row * self.side, left - column * self.side),
            canvas=(self.side,) * 2,
            patch=(self.patch,) * 2,
        )

    def _unpadded(self, size: Pair) -> tuple[Pair, Pair]:
        """Where the grid that `unpad_image` leaves of all tiles begins, and its (h, w)."""
        full = [count * self.patches_per_side for count in self._tile_counts(size)]
        rows, columns = torch.arange(full[0]), torch.arange(full[1])
        left = unpad_image(torch.stack(torch.meshgrid(rows, columns, indexing="ij")), size)
        height, width = left.shape[1:]
        start = left[:, 0, 0].tolist() if height * width else [0, 0]
        return (start[0], start[1]), (height, width)

    def _stitched(
        self,
        size: Pair,
        tiles: Float[Tensor, "R C g g d"],
        projected: Float[Tensor, "R C g g e"],
        start: Pair,
        fine: Pair,
    ) -> View:
        """All tiles as one grid without the rows or columns that `unpad_image` cuts off."""
        (top, left), (height, width) = start, fine
        grids = [
            tensor.transpose(1, 2)
            .flatten(0, 1)
            .flatten(1, 2)[top : top + height, left : left + width]
            for tensor in (tiles, projected)
        ]
        coarse = self._shrunk_size(fine)
        if coarse != fine:
            grids = [_shrink(grid, coarse) for grid in grids]
        return View.of(self._stitched_frame(size, start, fine, coarse), *grids)

    def _stitched_frame(self, size: Pair, start: Pair, fine: Pair, coarse: Pair) -> Frame:
        """The image under the stitched grid, in units in which all lengths are whole.

        A pixel is g * coarse units long, a tile of g patches `side` pixels, and `fine` patches are
        `coarse` ones.
        """
        resized, offset = self._laid_out(size)
        unit = [self.patches_per_side * count for count in coarse]
        return Frame(
            image=size,
            crop=(0.0, 0.0, float(size[0]), float(size[1])),
            resized=(resized[0] * unit[0], resized[1] * unit[1]),
            offset=(
                offset[0] * unit[0] - start[0] * self.side * coarse[0],
                offset[1] * unit[1] - start[1] * self.side * coarse[1],
            ),
            canvas=(fine[0] * self.side * coarse[0], fine[1] * self.side * coarse[1]),
            patch=(fine[0] * self.side, fine[1] * self.side),
        )

    def _shrunk_size(self, fine: Pair) -> Pair:
        """(h, w) of the stitched grid that the language model gets."""
        return fine


class LlavaOnevision(LlavaNext):
    """As LLaVA-NeXT, but large grids are shrunk.

    Several images in one prompt, given prompt by prompt, have one padded view each.
    """

    tower_inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes", "batch_num_images")
    server_form: ClassVar[ServerForm] = ServerForm(video=True, as_lm=True)

    def arrange_images(
        self, images: list[Image.Image], counts: Sequence[int], by_prompt: bool
    ) -> list[Any]:
        """Lists by prompt where they came so; a prompt of text alone has none."""
        lists = split_by_prompt(images, counts)
        return (
            [images_of_prompt for images_of_prompt in lists if images_of_prompt]
            if by_prompt
            else images
        )

    def _are_tiled(self, inputs: Mapping[str, Any], sizes: Sequence[Pair]) -> list[bool]:
        return [int(count) == 1 for count in inputs["batch_num_images"] for _ in range(int(count))]

    def _shrunk_size(self, fine: Pair) -> Pair:
        most = int(self.model.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(fine[0] * fine[1] / (most * self.patches_per_side**2))
        return (int(fine[0] // ratio), int(fine[1] // ratio)) if ratio > 1.1 else fine


def _own_places(views: Sequence[View]) -> Int[Tensor, "t 2"]:
    """(view, patch) of the model's own tokens: the whole view, then the rows of all tiles.

    A newline, which has no place, ends each row of the tiles, and a whole view that stands alone.
    """
    patches = torch.arange(views[0].grid.patches)
    pieces = [torch.stack([torch.zeros_like(patches), patches], 1)]
    newline = torch.full((1, 2), -1)
    if len(views) == 1:
        return torch.cat([*pieces, newline])
    height, width = views[1].grid.frame.grid
    for row in torch.arange(height * width).view(height, width):
        pieces += [torch.stack([torch.ones_like(row), row], 1), newline]
    return torch.cat(pieces)


def _shrink(grid: Float[Tensor, "h w d"], size: Pair) -> Float[Tensor, "i j d"]:
    channels_first = grid.permute(2, 0, 1)[None]
    shrunk = torch.nn.functional.interpolate(channels_first, list(size), mode="bilinear")
    return shrunk[0].permute(1, 2, 0)
