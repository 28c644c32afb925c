"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: images in their own aspect ratio, merged cells, positions on
three axes, deep-stacked layers.

After: the family's code in transformers.
Differs: a region stands at its centroid, which may lie between patches: positions are floating
point. Rounded ones would put small regions on top of each other, and the rotary embedding takes any
number (its angles are float32 in every case).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.released.family import Cut, Family, ImageTokens, Pair, Seen, View

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class Qwen(Family):
    """See `Family`. A patch is a merged cell of 2 x 2 patches of the tower, `[h w 4d]` wide.

    Raises:
        ValueError: a processor that cuts or merges patches otherwise than the model.
    """

    consumed: ClassVar[tuple[str, ...]] = ("pixel_values", "image_grid_thw")

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, tower = model, model.model.visual
        made = (processor.image_processor.patch_size, processor.image_processor.merge_size)
        takes = (tower.config.patch_size, tower.config.spatial_merge_size)
        if made != takes:
            raise ValueError(
                f"the processor makes patches of {made[0]} pixels, merged {made[1]} x {made[1]}; this model takes patches of "
                f"{takes[0]}, merged {takes[1]} x {takes[1]}: load both from the same checkpoint"
            )
        self._patch, self._merge = takes
        self._mergers = (tower.merger, *getattr(tower, "deepstack_merger_list", ()))

    def see(self, inputs: Mapping[str, Any], sizes: Sequence[Pair], cut: Cut) -> list[Seen]:
        """Each image's only view (`cut` has nothing to say: there are no tiles)."""
        thw = inputs["image_grid_thw"]
        with torch.no_grad(), reading(self._mergers):
            out = self.model.model.get_image_features(inputs["pixel_values"], thw, return_dict=True)
        levels = [out.pooler_output, *(getattr(out, "deepstack_features", None) or ())]
        parts = zip(*levels, strict=True)  # image by image
        return [
            self._seen(part, row, size)
            for part, row, size in zip(parts, thw.tolist(), sizes, strict=True)
        ]

    def _seen(self, levels: Sequence[Tensor], thw: list[int], size: Pair) -> Seen:
        _, high, wide = thw
        cell = self._patch * self._merge
        frame = Frame.stretch(size, (high * self._patch, wide * self._patch), (cell, cell))
        width = self._mergers[
            0
        ].hidden_size  # the rows are what a merger gives, and then what it read
        own = tuple(level[:, :-width] for level in levels)
        before = tuple(level[:, -width:].unflatten(0, frame.grid) for level in levels)
        after = tuple(level.unflatten(0, frame.grid) for level in own)
        at = torch.stack(
            torch.unravel_index(torch.arange(len(own[0]), device=own[0].device), frame.grid), 1
        ).double()
        return Seen((View(PatchGrid(before[0].float(), frame), before, after),), own, at)

    def project(self, rows: Float[Tensor, "k d"], level: int) -> Float[Tensor, "k e"]:
        """The model's own merger of that level; its norm sees the four patches of a cell one by one
        where the family does so."""
        merger = self._mergers[level]
        weight = next(merger.parameters())
        return merger(rows.to(weight).reshape(-1, rows.shape[-1] // self._merge**2))

    def positions(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> Float[Tensor, "4 b s"]:
        """Text, time, height and width of each token; zeros on padding.

        A token of an image that starts at p stands at (p, p + y, p + x), text goes on at p + max(h,
        w) as in the untouched model. An image without a token takes no room.

        Raises:
            ValueError: ids with another number of image tokens than the images have; both are said.
        """
        keep = mask.bool()
        out = torch.zeros(4, *ids.shape, dtype=torch.float32, device=ids.device)
        out[0] = (keep.cumsum(1) - 1).masked_fill(~keep, 0)
        for row, (axes, _) in enumerate(self._rows(ids, keep, images)):
            out[1:, row, keep[row]] = axes.to(out)
        return out

    def started(
        self, ids: Int[Tensor, "b s"], mask: Int[Tensor, "b s"], images: Sequence[ImageTokens]
    ) -> None:
        """Let the model keep how far its next position is from counting tokens, as when it makes
        positions itself.

        A second turn of a chat then goes on from the cache at the right place.
        """
        behind = [end - axes.shape[1] for axes, end in self._rows(ids, mask.bool(), images)]
        self.model.model.rope_deltas = torch.tensor(behind, device=ids.device)[:, None]

    def _rows(
        self, ids: Tensor, keep: Tensor, images: Sequence[ImageTokens]
    ) -> list[tuple[Tensor, int]]:
        visual = (ids == self.model.config.image_token_id) & keep
        if int(visual.sum()) != (total := sum(map(len, images))):
            raise ValueError(
                f"the ids hold {int(visual.sum())} image tokens, the images have {total}"
            )
        left = iter([image for image in images if len(image)])
        return [_walk(own[kept], left) for own, kept in zip(visual, keep, strict=True)]


def _walk(
    visual: Bool[Tensor, "s"], left: Iterator[ImageTokens]
) -> tuple[Float[Tensor, "3 s"], int]:
    """Positions along one row without padding, and the position that comes next; takes the row's
    images from `left`."""
    stands = visual.tolist()
    parts, start, at = [torch.zeros(3, 0, dtype=torch.float64)], 0, 0
    while at < len(stands):
        if stands[at]:
            image = next(left)
            where = image.at.double().cpu().T
            parts.append(torch.cat([torch.zeros_like(where[:1]), where]) + start)
            start, at = start + max(image.grids[-1]), at + len(image)
        else:
            end = next((i for i in range(at, len(stands)) if stands[i]), len(stands))
            parts.append((torch.arange(end - at, dtype=torch.float64) + start).expand(3, -1))
            start, at = start + end - at, end
    return torch.cat(parts, 1), start


@contextmanager
def reading(projectors: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, each projector gives `[n e + d]`: its answer, and to the right of it the row that it
    was made from.

    So the model's own code puts both in the same order: Qwen2.5-VL projects cells window by window,
    and undoes that after.

    >>> layer = nn.Linear(3, 2, bias=False)
    >>> with reading([layer]):
    ...     layer(torch.tensor([[1.0, 2.0, 3.0]])).shape
    torch.Size([1, 5])
    """
    hooks = [projector.register_forward_hook(_beside) for projector in projectors]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _beside(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    return torch.cat([out, args[0].reshape(len(out), -1)], -1)
