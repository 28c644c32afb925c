"""Region attention: one class token a region reads the image's patches under a visibility mask.

All regions of a batch go through in one pass.

After: RICE, section 3.2, eq. 2 and figure 3 (row R4), and the region branch of the authors' code
(OneVision-Encoder, `model_factory/vit_rice.py`). Text and code differ, so `REGION_FORMS` has both:

- `pool`, the code, and the default: all blocks are plain. Behind the last norm one attention
  without parameters: the image's CLS asks, unrotated, and the patches are keys and values, both
  turned by their 2-D positions; heads are those of the encoder.
- `blocks`, the text ("standard Transformer layers, then Region Transformer layers"): L blocks of
  their own on top of the encoder run on patches and region rows. They are no part of the exported
  encoder.
- `shared`: the last L blocks of the encoder itself also run region rows. The patch tokens that the
  encoder exports then get no gradient from the last of them: they are better region rows, and
  worse patches (docs/measurements/pretrain.md).

Keys: "The Key and Value matrices include all tokens of the original image", so a region row sees
the patches of its region, and neither itself, nor other rows, nor CLS, which lies in no region.
Image tokens see all image tokens, and no row.
Query: a row starts as a copy of the CLS state in front of the first region layer and turns by CLS's
rotary row, so that a trained encoder needs no weight that a plain ViT has not; `query="learned"`
starts from a parameter instead.
Projection: a matrix without bias behind region rows, into whose space the class centres lie (in the
authors' code to 1,024 channels for B and L).
Differs: the image is never repeated N times ("batch size scales with N"): the numbers and gradients
are the same (tested). A region layer costs 1.05 of a plain one, the repeated form 11 (24 x 24
patches, N = 10, d = 768, one core: `bench/rice_regions.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regiontok.rice.visible import Visible
from regiontok.rice.vit import Block, Rotary, ViT, draw_block_weights, rotate

if TYPE_CHECKING:
    from jaxtyping import Float

Query = Literal["cls", "learned"]
RegionForm = Literal["pool", "blocks", "shared"]
REGION_FORMS: tuple[str, ...] = get_args(RegionForm)


@dataclass(frozen=True, kw_only=True)
class RegionLayer:
    """How regions become rows.

    Attributes:
        form: "pool", "blocks" or "shared"; see the module.
        layers: L, number of region layers of "blocks" and "shared"; 0 for "pool".
        query: what a row of "blocks" and "shared" starts from: "cls", the state of CLS, or
            "learned", a parameter.
        projection: width behind the projection; 0 projects nothing.

    Raises:
        ValueError: If the form or query is unknown, or the layers do not go with the form.
    """

    form: RegionForm = "pool"
    layers: int = 0
    query: Query = "cls"
    projection: int = 0

    def __post_init__(self) -> None:
        if self.form not in REGION_FORMS:
            raise ValueError(f"region is one of {', '.join(REGION_FORMS)}, got {self.form!r}")
        if self.query not in ("cls", "learned"):
            raise ValueError(f"query must be 'cls' or 'learned', got {self.query!r}")
        if self.form == "pool" and (self.layers or self.query == "learned"):
            raise ValueError(
                "region = 'pool' has no region layers and asks by CLS; region_layers and a learned "
                "query belong to 'blocks' and 'shared'"
            )
        if self.form != "pool" and self.layers < 1:
            raise ValueError(f"region = {self.form!r} needs region_layers of 1 or more")
        if self.projection < 0:
            raise ValueError(f"a projection has a width, or 0 for none; got {self.projection}")


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """What a forward pass of a region transformer gives.

    Attributes:
        tokens: `[b 1+n d]`, CLS first, as the plain ViT gives them.
        regions: `[k p]`, through the last norm and the projection (without one p = d), image after
            image; no row without regions.
    """

    tokens: Float[Tensor, "b t d"]
    regions: Float[Tensor, "k p"]


def pool_regions(
    tokens: Float[Tensor, "b t d"], rotary: Rotary, visible: Visible, heads: int
) -> Float[Tensor, "b r d"]:
    """Pool the patches of each region by the first token: attention without parameters.

    With q the first token and x_i the patches of a region, each turned by its position, a head
    gives sum_i softmax_i(q x_i / sqrt(e)) x_i. Rows beyond an image's `counts` stand for no region.

    Args:
        tokens: the image's tokens, CLS first, behind the last norm.
        rotary: cosines and sines of their angles.
        visible: the patches of each region.
        heads: number of heads.
    """
    split: Tensor = tokens.unflatten(-1, (heads, -1)).transpose(1, 2)
    patches = rotate(split[:, :, 1:], (rotary[0][1:], rotary[1][1:]))
    query = split[:, :, :1].expand(-1, -1, visible.mask.shape[1], -1)
    pooled = F.scaled_dot_product_attention(
        query, patches, patches, attn_mask=visible.mask[:, None]
    )
    return pooled.transpose(1, 2).flatten(2)


class RegionTransformer(nn.Module):
    """A ViT that also gives region rows; without regions it is the plain ViT, to the last bit.

    Args:
        vit: the vision transformer.
        layer: how regions become rows.
        seed: seed of the weights that the ViT has not.

    Raises:
        ValueError: If `shared` wants more blocks than the ViT has.

    >>> from regiontok.rice.vit import ViTConfig
    >>> model = RegionTransformer(ViT(ViTConfig.named("mini")), RegionLayer(projection=48))
    >>> first, second = [[0.0, 0.0, 4.0, 4.0]], [[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 8.0, 4.0]]
    >>> visible = Visible.from_boxes([torch.tensor(first), torch.tensor(second)], grid=(4, 8))
    >>> features = model(torch.zeros(2, 3, 32, 64), visible)
    >>> features.tokens.shape, features.regions.shape
    (torch.Size([2, 33, 64]), torch.Size([3, 48]))
    """

    query: nn.Parameter | None
    projection: nn.Parameter | None

    def __init__(self, vit: ViT, layer: RegionLayer | None = None, seed: int = 0) -> None:
        super().__init__()
        layer = layer or RegionLayer()
        if layer.form == "shared" and layer.layers > vit.config.depth:
            raise ValueError(
                f"region = 'shared' takes 1 to {vit.config.depth} of the encoder's blocks, got "
                f"{layer.layers}"
            )
        self.vit, self.layer = vit, layer
        self.region_blocks = _drawn_blocks(vit, layer, seed)
        self.register_parameter("query", None)
        self.register_parameter("projection", None)
        if layer.query == "learned":
            self.query = _drawn(vit.cls, (vit.config.width,), seed)
        if layer.projection:
            shape = (vit.config.width, layer.projection)
            self.projection = _drawn(vit.cls, shape, seed + 1)

    @property
    def width(self) -> int:
        """The width of a region's row."""
        return self.layer.projection or self.vit.config.width

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks of the encoder and those on top of it."""
        return [*self.vit.blocks, *self.region_blocks]

    def forward(
        self, pixels: Float[Tensor, "b 3 H W"], visible: Visible | None = None
    ) -> RegionFeatures:
        """The tokens of the images, and the features of their regions.

        Raises:
            ValueError: If the regions are of another batch, grid or device than the pixels.
        """
        vit, layer = self.vit, self.layer
        x, rotary = vit.embed(pixels)
        is_plain = visible is None or not visible.mask.shape[1]
        shared = layer.layers if layer.form == "shared" and not is_plain else 0
        for block in vit.blocks[: vit.config.depth - shared]:
            x, _ = vit.run_block(block, x, rotary)
        if visible is None or is_plain:
            return RegionFeatures(x, self._projected(vit.norm_out(x[0, :0])))
        _check(visible, x, vit.config.grid((pixels.shape[2], pixels.shape[3])))
        if layer.form == "pool":
            rows = pool_regions(vit.norm_out(x), rotary, visible, vit.config.heads)
            return RegionFeatures(x, self._projected(visible.flat(rows)))
        first = x[:, :1] if self.query is None else self.query.to(x.dtype)
        mask = visible.mask[:, None]
        tokens, rows = x, first.expand(len(x), mask.shape[2], -1)
        for block in self.blocks[-layer.layers :]:
            tokens, block_rows = vit.run_block(block, tokens, rotary, rows, mask)
            assert block_rows is not None  # rows come out where rows go in
            rows = block_rows
        rows = self._projected(vit.norm_out(visible.flat(rows)))
        return RegionFeatures(tokens if shared else x, rows)

    def _projected(self, rows: Float[Tensor, "k d"]) -> Float[Tensor, "k p"]:
        return rows if self.projection is None else rows @ self.projection


def _drawn_blocks(vit: ViT, layer: RegionLayer, seed: int) -> nn.ModuleList:
    """The blocks on top of the encoder, which only the form "blocks" has."""
    with torch.random.fork_rng(devices=[]):
        layers = layer.layers if layer.form == "blocks" else 0
        blocks = nn.ModuleList(Block(vit.config) for _ in range(layers))
    if not vit.cls.is_meta:
        blocks.to(vit.cls.device)
        generator = torch.Generator(vit.cls.device).manual_seed(seed)
        draw_block_weights(blocks, vit.config, generator)
    return blocks


def _drawn(like: Tensor, shape: tuple[int, ...], seed: int) -> nn.Parameter:
    """A parameter that is spread as CLS is, on the device and of the type of `like`."""
    parameter = nn.Parameter(like.new_empty(shape))
    if not parameter.is_meta:
        generator = torch.Generator(parameter.device).manual_seed(seed)
        nn.init.normal_(parameter, 0, shape[0] ** -0.5, generator=generator)
    return parameter


def _check(visible: Visible, tokens: Float[Tensor, "b t d"], grid: tuple[int, int]) -> None:
    """Raise if regions do not belong to these tokens."""
    b, _, n = visible.mask.shape
    if b != len(tokens) or n != tokens.shape[1] - 1 or visible.grid != grid:
        raise ValueError(
            f"regions of {b} images on {visible.grid[0]} x {visible.grid[1]} patches, but "
            f"{len(tokens)} images on a grid of {grid[0]} x {grid[1]}"
        )
    if visible.mask.device != tokens.device:
        raise ValueError(
            f"regions lie on {visible.mask.device}, tokens on {tokens.device}: move them with .to()"
        )
