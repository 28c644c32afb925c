"""Region attention: one class token a region reads the image's patches under a visibility mask; all
regions of a batch in one pass.

After: RICE, section 3.2, eq. 2 and figure 3 (row R4). Which of two things a Region Transformer
layer is, the text leaves open; both are here. `layers=L`: the last L blocks run on patches and N
region rows (the text: "standard Transformer layers, then Region Transformer layers"; how many is
not said). `layers=0`: parameter-free attention pooling by the CLS query after the last block. Keys.
"The Key and Value matrices include all tokens of the original image": so a region row sees the
patches of its region, and neither itself, nor other rows, nor CLS, which lies in no region. Image
tokens see all image tokens, and no row. Query. A row starts as a copy of the CLS state before the
first region layer and turns by CLS's rotary row, so that a trained encoder needs no weight that a
plain ViT has not. `query="learned"` starts from a parameter instead. Visible. A patch is in a box
if its centre is, in a mask if at least half of it is covered. A box too small for that keeps the
patch under its centre (which a larger box contains in any case; one thin in one direction only, the
line of patches under its middle), a mask the patch that it covers most.
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
    """Which patches each region of a batch sees.

    Attributes:
        mask: `[b r n]`, r the largest number of regions of an image; every row sees a patch, rows
            that stand for no region see all.
        counts: regions of each image; their rows come first.
        grid: (h, w), h * w = n.

    >>> seen = Visible.from_boxes([torch.tensor([[0.0, 0.0, 2.0, 1.0], [2.2, 1.2, 2.4, 1.4]]), torch.zeros(0, 4)], grid=(2, 3))
    >>> seen.mask[0].int().tolist(), seen.counts
    ([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], (2, 0))
    """

    mask: Bool[Tensor, "b r n"]
    counts: tuple[int, ...]
    grid: tuple[int, int]

    @classmethod
    def from_boxes(
        cls, boxes: Sequence[Float[Tensor, "k 4"]] | Float[Tensor, "b k 4"], grid: tuple[int, int]
    ) -> Visible:
        """From boxes xyxy in patches (pixels of the canvas divided by the patch's side), `[k 4]` an
        image.

        Raises:
            ValueError: a box without area, or wholly outside the grid.
        """
        h, w = grid
        rows = []
        for image, of_image in enumerate(boxes):
            if of_image.ndim != 2 or of_image.shape[1] != 4:
                raise ValueError(
                    f"expected boxes [k 4] as xyxy in patches, got {list(of_image.shape)}"
                )
            end = torch.tensor([w, h, w, h], dtype=of_image.dtype, device=of_image.device)
            low, high = of_image.clamp(min=0).minimum(end).split(2, -1)
            bad = (~(low < high).all(-1)).nonzero()[:, 0].tolist()
            if bad:
                raise ValueError(
                    f"image {image}: box {of_image[bad[0]].tolist()} covers nothing of the {h} x {w} grid (xyxy, in patches); "
                    "drop regions that lie outside the crop"
                )
            inside = []
            for axis, side in ((1, h), (0, w)):
                middle = ((low[:, axis] + high[:, axis]) / 2).long().clamp(max=side - 1)
                at = torch.arange(side, device=of_image.device)
                within = (at + 0.5 >= low[:, axis, None]) & (at + 0.5 <= high[:, axis, None])
                # by axis: a box that is thin one way and long the other keeps a whole line of
                # patches
                inside.append(within | (at == middle[:, None]))
            rows.append((inside[0][:, :, None] & inside[1][:, None, :]).flatten(1))
        return cls._padded(rows, grid)

    @classmethod
    def from_masks(cls, masks: Sequence[Tensor], share: float = 0.5) -> Visible:
        """From masks on the grid, `[k h w]` an image: bool, or the share of each patch that a mask
        covers (`Frame.to_grid`).

        Raises:
            ValueError: no image, another grid, or a mask that covers nothing.
        """
        if not len(masks):
            raise ValueError("expected the masks [k h w] of at least one image")
        grid = (masks[0].shape[-2], masks[0].shape[-1])
        rows = []
        for image, of_image in enumerate(masks):
            if of_image.ndim != 3 or tuple(of_image.shape[1:]) != grid:
                raise ValueError(
                    f"expected masks [k {grid[0]} {grid[1]}] of every image, got {list(of_image.shape)}"
                )
            covered = of_image.flatten(1).to(torch.promote_types(of_image.dtype, torch.float32))
            empty = (covered.amax(1) <= 0).nonzero()[:, 0].tolist() if len(covered) else []
            if empty:
                raise ValueError(
                    f"image {image}: mask {empty[0]} covers nothing of the grid; drop regions that lie outside the crop"
                )
            seen = covered >= share
            most = F.one_hot(covered.argmax(1), covered.shape[1]).bool() if len(covered) else seen
            rows.append(torch.where(seen.any(1, keepdim=True), seen, most))
        return cls._padded(rows, grid)

    @classmethod
    def from_regions(cls, regions: Sequence[Regions]) -> Visible:
        """From the regions of each image, all on one grid."""
        return cls.from_masks([one.masks for one in regions])

    @classmethod
    def _padded(cls, rows: Sequence[Bool[Tensor, "k n"]], grid: tuple[int, int]) -> Visible:
        if not rows:
            raise ValueError("expected the regions of at least one image")
        return cls(
            nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=True),
            tuple(map(len, rows)),
            grid,
        )

    def flat(self, rows: Float[Tensor, "b r d"]) -> Float[Tensor, "k d"]:
        """The rows that stand for a region, image after image."""
        if min(self.counts) == rows.shape[1]:
            return rows.flatten(0, 1)
        return torch.cat([row[:count] for row, count in zip(rows, self.counts, strict=True)])

    def to(self, device: torch.device | str) -> Visible:
        """On another device."""
        return replace(self, mask=self.mask.to(device, non_blocking=True))


@dataclass(frozen=True, eq=False)
class Seen:
    """What a forward pass gives.

    Attributes:
        tokens: `[b 1+n d]`, CLS first, as the plain ViT gives them.
        regions: `[k d]`, through the last norm, image after image; none without regions.
    """

    tokens: Float[Tensor, "b t d"]
    regions: Float[Tensor, "k d"]


class RegionPool(nn.Module):
    """Attention pooling without parameters: softmax(q K^T / sqrt(d) + mask) K over a region's
    patches, q the image's CLS (eq. 2)."""

    def forward(self, tokens: Float[Tensor, "b t d"], visible: Visible) -> Float[Tensor, "b r d"]:
        """Pool the patches of each region by the first token. Rows beyond an image's `counts` stand
        for no region."""
        _check(visible, len(tokens), tokens.shape[1] - 1, tokens.device)
        patches = tokens[:, None, 1:]
        asked = tokens[:, None, :1].expand(-1, -1, visible.mask.shape[1], -1)
        return F.scaled_dot_product_attention(
            asked, patches, patches, attn_mask=visible.mask[:, None]
        )[:, 0]

    def of_grids(
        self, grids: Sequence[PatchGrid], regions: Sequence[Regions]
    ) -> list[Float[Tensor, "k d"]]:
        """Region features of any frozen encoder's grids, of whatever sizes; the query is the first
        summary token.

        Raises:
            ValueError: an encoder without a CLS or summary token.
        """
        pooled = []
        for grid, own in zip(grids, regions, strict=True):
            if grid.prefix is None or not grid.summaries:
                raise ValueError(
                    "RegionPool asks by the CLS token, and this encoder has none; pool by `mean` instead"
                )
            tokens = torch.cat([grid.prefix[:1], grid.pooled.flatten(0, -2)])
            if not len(own):
                pooled.append(tokens[:0])
                continue
            if own.grid != grid.grid:
                raise ValueError(f"regions on the grid {own.grid}, features on {grid.grid}")
            mask = own.masks.flatten(1)[None].to(tokens.device)
            pooled.append(self(tokens[None], Visible(mask, (len(own),), (1, mask.shape[2])))[0])
        return pooled


class RegionTransformer(nn.Module):
    """A ViT whose last `layers` blocks also run region rows; without regions it is the plain ViT,
    to the last bit.

    >>> from regiontok.rice.vit import ViTConfig
    >>> model = RegionTransformer(ViT(ViTConfig.named("mini")), layers=2)
    >>> boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 8.0, 4.0]])]
    >>> seen = model(torch.zeros(2, 3, 32, 64), Visible.from_boxes(boxes, grid=(4, 8)))
    >>> seen.tokens.shape, seen.regions.shape
    (torch.Size([2, 33, 64]), torch.Size([3, 64]))
    """

    def __init__(self, vit: ViT, layers: int = 1, query: Query = "cls", seed: int = 0) -> None:
        super().__init__()
        if not 0 <= layers <= vit.config.depth:
            raise ValueError(
                f"region layers must be 0 (attention pooling after the last block) to {vit.config.depth}, got {layers}"
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
                source = torch.Generator(self.query.device).manual_seed(seed)
                nn.init.normal_(self.query, 0, vit.config.width**-0.5, generator=source)

    def forward(self, pixels: Float[Tensor, "b 3 H W"], visible: Visible | None = None) -> Seen:
        """Tokens of the images, and features of their regions.

        Raises:
            ValueError: regions of another batch, grid or device than the pixels'.
        """
        vit = self.vit
        x, turn = vit.embed(pixels)
        if visible is None or not visible.mask.shape[1]:
            for block in vit.blocks:
                x, _ = vit.run(block, x, turn)
            return Seen(x, vit.norm_out(x[0, :0]))
        _check(
            visible,
            len(x),
            x.shape[1] - 1,
            x.device,
            vit.config.grid((pixels.shape[2], pixels.shape[3])),
        )
        rows, mask = None, visible.mask[:, None]
        for number, block in enumerate(vit.blocks):
            if number == vit.config.depth - self.layers:
                first = x[:, :1] if self.query is None else self.query.to(x.dtype)
                rows = first.expand(len(x), mask.shape[2], -1)
            x, rows = vit.run(block, x, turn, rows, None if rows is None else mask)
        return Seen(x, vit.norm_out(visible.flat(self.pool(x, visible) if rows is None else rows)))


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
        own = f"{patches} patches" if grid is None else f"a grid of {grid[0]} x {grid[1]}"
        raise ValueError(
            f"regions of {b} images on {visible.grid[0]} x {visible.grid[1]} patches, but {images} images on {own}"
        )
    if visible.mask.device != device:
        raise ValueError(
            f"regions lie on {visible.mask.device}, tokens on {device}: move them with .to()"
        )
