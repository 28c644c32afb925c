"""Region attention: one class token a region reads the image's patches under a visibility mask.

All regions of a batch go through in one pass.

After: RICE, section 3.2, eq. 2 and figure 3 (row R4). The text leaves open which of two things a
Region Transformer layer is, so both are here:

- `layers=L`: the last L blocks run on patches and N region rows (the text: "standard Transformer
  layers, then Region Transformer layers"; how many is not said).
- `layers=0`: parameter-free attention pooling by the CLS query after the last block.

Keys: "The Key and Value matrices include all tokens of the original image", so a region row sees
the patches of its region, and neither itself, nor other rows, nor CLS, which lies in no region.
Image tokens see all image tokens, and no row.
Query: a row starts as a copy of the CLS state in front of the first region layer and turns by CLS's
rotary row, so that a trained encoder needs no weight that a plain ViT has not; `query="learned"`
starts from a parameter instead.
Visible patches: a patch is in a box if its centre is, and in a mask if at least half of it is
covered. A box too small for that keeps the patch under its centre (which a larger box contains in
any case; one that is thin in one direction only, the line of patches under its middle), and a mask
the patch that it covers most.
Differs: the image is never repeated N times ("batch size scales with N"): the numbers and gradients
are the same (tested). A region layer costs 1.05 of a plain one, the repeated form 11 (24 x 24
patches, N = 10, d = 768, one core: `bench/rice_regions.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.rice.vit import ViT

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Query = Literal["cls", "learned"]


@dataclass(frozen=True, eq=False)
class Visible:
    """Which patches each region of a batch sees: the visibility mask.

    Attributes:
        mask: `[b r n]`, where r is the largest number of regions of an image; every row sees a
            patch, and rows that stand for no region see all.
        counts: number of regions of each image; their rows come first.
        grid: (h, w), h * w = n.

    >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [2.2, 1.2, 2.4, 1.4]])
    >>> visible = Visible.from_boxes([boxes, torch.zeros(0, 4)], grid=(2, 3))
    >>> visible.mask[0].int().tolist(), visible.counts
    ([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], (2, 0))
    """

    mask: Bool[Tensor, "b r n"]
    counts: tuple[int, ...]
    grid: tuple[int, int]

    @classmethod
    def from_boxes(
        cls, boxes: Sequence[Float[Tensor, "k 4"]] | Float[Tensor, "b k 4"], grid: tuple[int, int]
    ) -> Visible:
        """From the boxes `[k 4]` of each image, xyxy in patches.

        That is pixels of the canvas divided by the patch's side.

        Raises:
            ValueError: If a box has no area, or lies wholly outside the grid.
        """
        return cls._padded(
            [_patches_in_boxes(image, of_image, grid) for image, of_image in enumerate(boxes)], grid
        )

    @classmethod
    def from_masks(
        cls,
        masks: Sequence[Bool[Tensor, "k h w"] | Float[Tensor, "k h w"]],
        share: float = 0.5,
    ) -> Visible:
        """From the masks of each image on the grid.

        Args:
            masks: bool, or the share of each patch that a mask covers (`Frame.to_grid`).
            share: share of a patch that a mask must cover.

        Raises:
            ValueError: If there is no image, grids differ, or a mask covers nothing.
        """
        if not len(masks):
            raise ValueError("expected the masks [k h w] of at least one image")
        grid = (masks[0].shape[-2], masks[0].shape[-1])
        rows = []
        for image, of_image in enumerate(masks):
            if of_image.ndim != 3 or tuple(of_image.shape[1:]) != grid:
                raise ValueError(
                    f"expected masks [k {grid[0]} {grid[1]}] of every image, got "
                    f"{list(of_image.shape)}"
                )
            covered = of_image.flatten(1).to(torch.promote_types(of_image.dtype, torch.float32))
            if not len(covered):
                rows.append(covered >= share)
                continue
            empty = (covered.amax(1) <= 0).nonzero()[:, 0].tolist()
            if empty:
                raise ValueError(
                    f"image {image}: mask {empty[0]} covers nothing of the grid; drop regions that "
                    "lie outside the crop"
                )
            enough = covered >= share
            best_patch = F.one_hot(covered.argmax(1), covered.shape[1]).bool()
            rows.append(torch.where(enough.any(1, keepdim=True), enough, best_patch))
        return cls._padded(rows, grid)

    @classmethod
    def from_regions(cls, regions: Sequence[Regions]) -> Visible:
        """From the regions of each image, all on one grid."""
        return cls.from_masks([of_image.masks for of_image in regions])

    @classmethod
    def _padded(cls, rows: Sequence[Bool[Tensor, "k n"]], grid: tuple[int, int]) -> Visible:
        if not rows:
            raise ValueError("expected the regions of at least one image")
        mask = nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=True)
        return cls(mask, tuple(map(len, rows)), grid)

    def flat(self, rows: Float[Tensor, "b r d"]) -> Float[Tensor, "k d"]:
        """The rows that stand for a region, image after image."""
        if min(self.counts) == rows.shape[1]:
            return rows.flatten(0, 1)
        return torch.cat([row[:count] for row, count in zip(rows, self.counts, strict=True)])

    def to(self, device: torch.device | str) -> Visible:
        """The same on another device."""
        return replace(self, mask=self.mask.to(device, non_blocking=True))


def _patches_in_boxes(
    image: int, boxes: Float[Tensor, "k 4"], grid: tuple[int, int]
) -> Bool[Tensor, "k n"]:
    """The patches that each box of an image contains."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"expected boxes [k 4] as xyxy in patches, got {list(boxes.shape)}")
    h, w = grid
    bounds = torch.tensor([w, h, w, h], dtype=boxes.dtype, device=boxes.device)
    clipped = boxes.clamp(min=0).minimum(bounds)
    lower, upper = clipped[:, :2], clipped[:, 2:]
    empty = (~(lower < upper).all(-1)).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(
            f"image {image}: box {boxes[empty[0]].tolist()} covers nothing of the {h} x {w} grid "
            "(xyxy, in patches); drop regions that lie outside the crop"
        )
    inside = []
    for axis, side in ((1, h), (0, w)):
        middle = ((lower[:, axis] + upper[:, axis]) / 2).long().clamp(max=side - 1)
        index = torch.arange(side, device=boxes.device)
        holds_centre = (index + 0.5 >= lower[:, axis, None]) & (index + 0.5 <= upper[:, axis, None])
        # By axis: a box that is thin one way and long the other keeps a whole line of patches.
        inside.append(holds_centre | (index == middle[:, None]))
    in_rows, in_columns = inside
    return (in_rows[:, :, None] & in_columns[:, None, :]).flatten(1)


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """What a forward pass of a region transformer gives.

    Attributes:
        tokens: `[b 1+n d]`, CLS first, as the plain ViT gives them.
        regions: `[k d]`, through the last norm, image after image; no row without regions.
    """

    tokens: Float[Tensor, "b t d"]
    regions: Float[Tensor, "k d"]


class RegionPool(nn.Module):
    """Attention pooling without parameters (eq. 2): softmax(q K^T / sqrt(d) + mask) K.

    K are the patches of the image, of which a region sees its own, and q is the image's CLS.
    """

    def forward(self, tokens: Float[Tensor, "b t d"], visible: Visible) -> Float[Tensor, "b r d"]:
        """Pool the patches of each region by the first token.

        Rows beyond an image's `counts` stand for no region.
        """
        _check(visible, len(tokens), tokens.shape[1] - 1, tokens.device)
        patches = tokens[:, None, 1:]
        query = tokens[:, None, :1].expand(-1, -1, visible.mask.shape[1], -1)
        pooled = F.scaled_dot_product_attention(
            query, patches, patches, attn_mask=visible.mask[:, None]
        )
        return pooled[:, 0]

    def of_grids(
        self, grids: Sequence[PatchGrid], regions: Sequence[Regions]
    ) -> list[Float[Tensor, "k d"]]:
        """Region features of any frozen encoder's grids, of whatever sizes.

        The query is the first summary token.

        Raises:
            ValueError: If the encoder has no CLS or summary token, or regions lie on another grid.
        """
        pooled = []
        for grid, of_view in zip(grids, regions, strict=True):
            if grid.prefix is None or not grid.summaries:
                raise ValueError(
                    "RegionPool asks by the CLS token, and this encoder has none; pool by `mean` "
                    "instead"
                )
            tokens = torch.cat([grid.prefix[:1], grid.pooled.flatten(0, -2)])
            if not len(of_view):
                pooled.append(tokens[:0])
                continue
            if of_view.grid != grid.grid:
                raise ValueError(f"regions on the grid {of_view.grid}, features on {grid.grid}")
            mask = of_view.masks.flatten(1)[None].to(tokens.device)
            visible = Visible(mask, (len(of_view),), (1, mask.shape[2]))
            pooled.append(self(tokens[None], visible)[0])
        return pooled


class RegionTransformer(nn.Module):
    """A ViT whose last `layers` blocks also run region rows.

    Without regions it is the plain ViT, to the last bit.

    Args:
        vit: the vision transformer.
        layers: number of blocks that run region rows; 0 pools by attention after the last one.
        query: what a row starts from: "cls", the state of CLS, or "learned", a parameter.
        seed: seed of a learned query.

    Raises:
        ValueError: If the ViT has fewer blocks, the query is another one, or a learned query comes
            without a region layer.

    >>> from regiontok.rice.vit import ViTConfig
    >>> model = RegionTransformer(ViT(ViTConfig.named("mini")), layers=2)
    >>> first, second = [[0.0, 0.0, 4.0, 4.0]], [[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 8.0, 4.0]]
    >>> visible = Visible.from_boxes([torch.tensor(first), torch.tensor(second)], grid=(4, 8))
    >>> features = model(torch.zeros(2, 3, 32, 64), visible)
    >>> features.tokens.shape, features.regions.shape
    (torch.Size([2, 33, 64]), torch.Size([3, 64]))
    """

    query: nn.Parameter | None

    def __init__(self, vit: ViT, layers: int = 1, query: Query = "cls", seed: int = 0) -> None:
        super().__init__()
        if not 0 <= layers <= vit.config.depth:
            raise ValueError(
                "region layers must be 0 (attention pooling after the last block) to "
                f"{vit.config.depth}, got {layers}"
            )
        if query not in ("cls", "learned"):
            raise ValueError(f"query must be 'cls' or 'learned', got {query!r}")
        if query == "learned" and not layers:
            raise ValueError(
                "a learned query needs a region layer: attention pooling (layers=0) asks by CLS"
            )
        self.vit, self.layers, self.pool = vit, layers, RegionPool()
        self.register_parameter("query", None)
        if query == "learned":
            self.query = nn.Parameter(torch.empty_like(vit.cls))
            if not self.query.is_meta:
                generator = torch.Generator(self.query.device).manual_seed(seed)
                nn.init.normal_(self.query, 0, vit.config.width**-0.5, generator=generator)

    def forward(
        self, pixels: Float[Tensor, "b 3 H W"], visible: Visible | None = None
    ) -> RegionFeatures:
        """The tokens of the images, and the features of their regions.

        Raises:
            ValueError: If the regions are of another batch, grid or device than the pixels.
        """
        vit = self.vit
        x, rotary = vit.embed(pixels)
        if visible is None or not visible.mask.shape[1]:
            for block in vit.blocks:
                x, _ = vit.run_block(block, x, rotary)
            return RegionFeatures(x, vit.norm_out(x[0, :0]))
        grid = vit.config.grid((pixels.shape[2], pixels.shape[3]))
        _check(visible, len(x), x.shape[1] - 1, x.device, grid)
        rows: Tensor | None = None
        mask = visible.mask[:, None]
        for number, block in enumerate(vit.blocks):
            if number == vit.config.depth - self.layers:
                first = x[:, :1] if self.query is None else self.query.to(x.dtype)
                rows = first.expand(len(x), mask.shape[2], -1)
            x, rows = vit.run_block(block, x, rotary, rows, None if rows is None else mask)
        if rows is None:
            rows = self.pool(x, visible)
        return RegionFeatures(x, vit.norm_out(visible.flat(rows)))


def _check(
    visible: Visible,
    images: int,
    patches: int,
    device: torch.device,
    grid: tuple[int, int] | None = None,
) -> None:
    """Raise if regions do not belong to these tokens."""
    b, _, n = visible.mask.shape
    if (b, n) != (images, patches) or (grid is not None and visible.grid != grid):
        expected = f"{patches} patches" if grid is None else f"a grid of {grid[0]} x {grid[1]}"
        raise ValueError(
            f"regions of {b} images on {visible.grid[0]} x {visible.grid[1]} patches, but "
            f"{images} images on {expected}"
        )
    if visible.mask.device != device:
        raise ValueError(
            f"regions lie on {visible.mask.device}, tokens on {device}: move them with .to()"
        )
