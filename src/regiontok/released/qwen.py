"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: images in their own aspect ratio, positions on three axes.

A token is a merged cell of 2 x 2 patches of the tower; Qwen3-VL adds deep-stacked layers.

After: the family's code in transformers.
Differs: a region stands at its centroid, which may lie between patches: positions are floating
point. Rounded ones would put small regions on top of each other, and the rotary embedding takes any
number (its angles are float32 in every case).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from regiontok.core.frame import Frame, Pair
from regiontok.core.grid import PatchGrid
from regiontok.released.family import Cut, EncodedImage, Family, ImageTokens, View
from regiontok.released.server_form import ServerForm

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class Qwen(Family):
    """One view; a "patch" is a merged cell of 2 x 2 patches of the tower, `[h w 4d]` wide.

    Raises:
        ValueError: If the processor cuts or merges patches otherwise than the model.
    """

    tower_inputs: ClassVar[tuple[str, ...]] = ("pixel_values", "image_grid_thw")
    server_form: ClassVar[ServerForm] = ServerForm(grid=True, video=True)

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor)
        tower, images = model.model.visual, processor.image_processor
        of_processor = images.patch_size, images.merge_size
        of_model = tower.config.patch_size, tower.config.spatial_merge_size
        if of_processor != of_model:
            raise ValueError(
                f"the processor makes patches of {of_processor[0]} pixels, merged "
                f"{of_processor[1]} x {of_processor[1]}; this model takes patches of "
                f"{of_model[0]}, merged {of_model[1]} x {of_model[1]}: load both from the same "
                "checkpoint"
            )
        self._patch, self._merge = of_model
        self._mergers = (tower.merger, *getattr(tower, "deepstack_merger_list", ()))

    @property
    def deepstack_levels(self) -> int:
        """Levels of Qwen3-VL behind the first; none in the others."""
        return len(self._mergers) - 1

    def encode(
        self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut
    ) -> list[EncodedImage]:
        """Each image with its only view; there are no tiles that `cut` could speak of."""
        grid_thw = inputs["image_grid_thw"]
        with torch.no_grad(), reading(self._mergers):
            outputs = self.model.model.get_image_features(
                inputs["pixel_values"], grid_thw, return_dict=True
            )
        levels = [outputs.pooler_output, *(getattr(outputs, "deepstack_features", None) or ())]
        levels_by_image = zip(*levels, strict=True)
        return [
            self._encoded_image(image_levels, thw, size)
            for image_levels, thw, size in zip(
                levels_by_image, grid_thw.tolist(), sizes, strict=True
            )
        ]

    def _encoded_image(
        self, levels: Sequence[Float[Tensor, "t e+d"]], thw: list[int], size: Pair
    ) -> EncodedImage:
        """One image from the rows of its levels: what a merger gave, and then what it read."""
        _, height, width = thw
        cell = self._patch * self._merge
        frame = Frame.stretch(size, (height * self._patch, width * self._patch), (cell, cell))
        input_width = self._mergers[0].hidden_size
        tokens = tuple(level[:, :-input_width] for level in levels)
        view = View(
            PatchGrid(levels[0][:, -input_width:].unflatten(0, frame.grid).float(), frame),
            tuple(level[:, -input_width:].unflatten(0, frame.grid) for level in levels),
            tuple(level.unflatten(0, frame.grid) for level in tokens),
        )
        index = torch.arange(len(tokens[0]), device=tokens[0].device)
        positions = torch.stack(torch.unravel_index(index, frame.grid), 1).double()
        return EncodedImage((view,), tokens, positions)

    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """Rows through the model's own merger of that level.

        Its norm sees the four patches of a cell one by one where the family does so.
        """
        merger = self._mergers[level]
        weight = next(merger.parameters())
        merged: Tensor = merger(rows.to(weight).reshape(-1, rows.shape[-1] // self._merge**2))
        return merged

    def position_ids(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> Float[Tensor, "4 b s"]:
        """Text, time, height and width position of each token; zeros on padding.

        A token of an image that starts at p stands at (p, p + y, p + x), text goes on at
        p + max(h, w) as in the untouched model. An image without a token takes no room.

        Raises:
            ValueError: If the ids hold another number of image tokens than the images have.
        """
        is_token = mask.bool()
        position_ids = torch.zeros(4, *ids.shape, dtype=torch.float32, device=ids.device)
        position_ids[0] = (is_token.cumsum(1) - 1).masked_fill(~is_token, 0)
        for row, (axes, _) in enumerate(self._axes_by_row(ids, is_token, images)):
            position_ids[1:, row, is_token[row]] = axes.to(position_ids)
        return position_ids

    def remember_positions(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> None:
        """Let the model keep how far its next position is from counting tokens.

        It does so itself when it makes positions; a second turn of a chat then goes on from the
        cache at the right place.
        """
        rows = self._axes_by_row(ids, mask.bool(), images)
        deltas = [next_position - axes.shape[1] for axes, next_position in rows]
        self.model.model.rope_deltas = torch.tensor(deltas, device=ids.device)[:, None]

    def _axes_by_row(
        self, ids: Tensor, is_token: Tensor, images: Sequence[ImageTokens]
    ) -> list[tuple[Tensor, int]]:
        """Of each row the positions `[3 s]` without padding, and the position that comes next."""
        is_visual = (ids == self.model.config.image_token_id) & is_token
        if int(is_visual.sum()) != (total := sum(map(len, images))):
            raise ValueError(
                f"the ids hold {int(is_visual.sum())} image tokens, the images have {total}"
            )
        rooms = [ImageRoom(image.positions, max(image.grids[-1])) for image in images if len(image)]
        remaining = iter(rooms)
        return [
            row_axes(row_visual[row_tokens], remaining)
            for row_visual, row_tokens in zip(is_visual, is_token, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class ImageRoom:
    """Where the tokens of one image lie.

    Attributes:
        positions: `[k 2]`, (y, x) of each token in patches; the first patch is (0, 0).
        extent: positions that the image takes: patches on its longer side.
    """

    positions: Float[Tensor, "k 2"]
    extent: int


def row_axes(
    is_visual: Bool[Tensor, "s"], remaining: Iterator[ImageRoom]
) -> tuple[Float[Tensor, "3 s"], int]:
    """Positions (time, height, width) along one row without padding, and the one that comes next.

    Args:
        is_visual: `[s]`, True for an image's token.
        remaining: the row's images are taken from it, in their order; each has a token.
    """
    visual = is_visual.tolist()
    pieces, position, column = [torch.zeros(3, 0, dtype=torch.float64)], 0, 0
    while column < len(visual):
        if visual[column]:
            image = next(remaining)
            yx = image.positions.double().cpu().T
            pieces.append(torch.cat([torch.zeros_like(yx[:1]), yx]) + position)
            position, column = position + image.extent, column + len(image.positions)
        else:
            end = next((i for i in range(column, len(visual)) if visual[i]), len(visual))
            text = torch.arange(end - column, dtype=torch.float64) + position
            pieces.append(text.expand(3, -1))
            position, column = position + end - column, end
    return torch.cat(pieces, 1), position


@contextmanager
def reading(projectors: Sequence[nn.Module]) -> Iterator[None]:
    """While it is open, each projector gives `[n e + d]`: its answer, then the row it read.

    So the model's own code puts both in the same order: Qwen2.5-VL projects cells window by window,
    and undoes that after.

    >>> layer = nn.Linear(3, 2, bias=False)
    >>> with reading([layer]):
    ...     layer(torch.tensor([[1.0, 2.0, 3.0]])).shape
    torch.Size([1, 5])
    """
    hooks = [projector.register_forward_hook(_with_input) for projector in projectors]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _with_input(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return torch.cat([output, inputs[0].reshape(len(output), -1)], -1)
