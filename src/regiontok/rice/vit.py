"""The vision transformer that RICE trains, for images of any size and aspect ratio.

It is pre-norm, with 2-D rotary positions and a CLS token that has a rotary row of its own.

After: RICE, sections 3.2 and 4.1 (row R4: ViT-B/16, ViT-L/14); the released weights are
transformers' `MLCDVisionModel`, whose arithmetic this is (tested on square and 2:1 images).
Differs: rotary frequencies are made in float32 at each forward pass and kept nowhere, so that a
model cast to bfloat16 has exact ones (transformers casts the buffer that holds them). The names of
weights are our own; `export.py` has both.

Positions: of the rotated dimensions of a head the first quarter turns by the row and the second by
the column; the third and fourth are their partners. A position is a plain patch index, so other
sizes need no interpolation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Activation = Literal["gelu", "quick_gelu"]
Rotary = tuple[Tensor, Tensor]  # cosines and sines `[t e]` of the angles, e = width of a head


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The shape of a vision transformer.

    Attributes:
        width: d, the width of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        mlp: width inside the MLP.
        patch: side of a patch in pixels.
        image_size: side of the square it was trained for last, which an exported checkpoint's
            processor makes. The network takes any size.
        activation: activation of the MLP; "quick_gelu" is x * sigmoid(1.702 x).
        eps: epsilon of the layer norms.
        theta: base of the rotary frequencies.

    Raises:
        ValueError: If a size is below 1, a head's width is no multiple of 4, the activation is
            unknown, or the image is smaller than a patch.

    >>> ViTConfig.named("l14", image_size=336).grid((336, 672))
    (24, 48)
    """

    width: int
    depth: int
    heads: int
    mlp: int
    patch: int
    image_size: int = 224
    activation: Activation = "gelu"
    eps: float = 1e-5
    theta: float = 10_000.0

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.mlp, self.patch) < 1:
            raise ValueError(f"sizes must be at least 1, got {self}")
        if self.width % (4 * self.heads):
            raise ValueError(
                "a head's width must be a multiple of 4 (rows, columns, a pair each): "
                f"{self.width} / {self.heads} is not"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}"
            )
        self.grid((self.image_size, self.image_size))

    @classmethod
    def named(cls, name: str, **changes: Any) -> ViTConfig:
        """One of `SIZES`, with some fields changed.

        Raises:
            ValueError: If there is no such size.
        """
        if name not in SIZES:
            raise ValueError(f"no size {name!r}; there are {', '.join(SIZES)}")
        return replace(SIZES[name], **changes)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w): the whole patches of an image of `size` = (H, W).

        Raises:
            ValueError: If the image is smaller than one patch.
        """
        h, w = size[0] // self.patch, size[1] // self.patch
        if min(h, w) < 1:
            raise ValueError(
                f"an image of {size[0]} x {size[1]} pixels is smaller than one patch of "
                f"{self.patch}"
            )
        return h, w


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": _quick_gelu}
SIZES = {
    "mini": ViTConfig(width=64, depth=4, heads=4, mlp=128, patch=8, image_size=64),
    "ti16": ViTConfig(width=192, depth=12, heads=3, mlp=768, patch=16),
    "s16": ViTConfig(width=384, depth=12, heads=6, mlp=1536, patch=16),
    "b16": ViTConfig(width=768, depth=12, heads=12, mlp=3072, patch=16),
    "l14": ViTConfig(width=1024, depth=24, heads=16, mlp=4096, patch=14),
}


def rotate(x: Float[Tensor, "b a t e"], rotary: Rotary) -> Float[Tensor, "b a t e"]:
    """Turn each pair (i, i + e / 2) of every head by its angle, in float32 or better."""
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    first, second = exact.chunk(2, -1)
    cos, sin = rotary
    return (exact * cos + torch.cat([-second, first], -1) * sin).to(x.dtype)


class Attention(nn.Module):
    """The projections of one block; attention itself is `F.scaled_dot_product_attention`."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(config.width, config.width) for _ in range(4)
        )

    def split(self, projected: Float[Tensor, "b t d"]) -> Float[Tensor, "b a t e"]:
        """The heads of projected tokens."""
        heads: Tensor = projected.unflatten(-1, (self.heads, -1))
        return heads.transpose(1, 2)

    def attend(
        self,
        q: Float[Tensor, "b a r e"],
        k: Float[Tensor, "b a t e"],
        v: Float[Tensor, "b a t e"],
        mask: Bool[Tensor, "b 1 r t"] | None = None,
    ) -> Float[Tensor, "b r d"]:
        """Attend, put the heads together, project."""
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.mlp)
        self.down = nn.Linear(config.mlp, config.width)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Float[Tensor, "*axes d"]) -> Float[Tensor, "*axes d"]:
        """`[... d]` -> `[... d]`."""
        out: Tensor = self.down(self.activation(self.up(x)))
        return out


class Block(nn.Module):
    """A transformer layer, and with the same weights a Region Transformer layer for `rows`.

    Image tokens never see rows: what they become is the plain layer's result, to the last bit.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(config.width, eps=config.eps) for _ in range(2))
        self.attention, self.mlp = Attention(config), Mlp(config)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        rotary: Rotary,
        rows: Float[Tensor, "b r d"] | None = None,
        mask: Bool[Tensor, "b 1 r n"] | None = None,
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b r d"] | None]:
        """Image tokens (CLS first) and region rows, one layer on.

        Keys and values are made once, from the image's tokens.

        Args:
            x: the image's tokens.
            rotary: cosines and sines of their angles.
            rows: region rows, if there are any.
            mask: the patches that each row sees, CLS left out (t = 1 + n).
        """
        attention, normed = self.attention, self.norm1(x)
        q = rotate(attention.split(attention.query(normed)), rotary)
        k = rotate(attention.split(attention.key(normed)), rotary)
        v = attention.split(attention.value(normed))
        x = x + attention.attend(q, k, v)
        x = x + self.mlp(self.norm2(x))
        if rows is not None:
            # A row is a class token, so it turns as CLS does.
            first = (rotary[0][:1], rotary[1][:1])
            q = rotate(attention.split(attention.query(self.norm1(rows))), first)
            rows = rows + attention.attend(q, k[:, :, 1:], v[:, :, 1:], mask)
            rows = rows + self.mlp(self.norm2(rows))
        return x, rows


@torch.no_grad()
def draw_block_weights(blocks: nn.Module, config: ViTConfig, generator: torch.Generator) -> None:
    """Draw the weights of blocks, spread as CLIP's are; biases are 0, norms 1."""
    width = config.width
    inward = width**-0.5 * (2 * config.depth) ** -0.5
    spread = {
        "query": inward,
        "key": inward,
        "value": inward,
        "out": width**-0.5,
        "up": (2 * width) ** -0.5,
        "down": inward,
    }
    for name, module in blocks.named_modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0, spread[name.split(".")[-1]], generator=generator)
            module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()


class ViT(nn.Module):
    """`[b 3 H W]` normalised pixels -> `[b 1+n d]` tokens, CLS first.

    Tokens have not gone through the last norm (neither has `last_hidden_state`). Blocks hold no
    Python that depends on data, so `for block in vit.blocks: block.compile()` compiles each without
    a break.

    Attributes:
        config: the shape.
        checkpointing: True recomputes blocks in the backward pass instead of keeping what is inside
            them.

    >>> vit = ViT(ViTConfig.named("mini"), seed=0)
    >>> vit(torch.zeros(2, 3, 32, 64)).shape
    torch.Size([2, 33, 64])
    """

    def __init__(self, config: ViTConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        # Layers draw weights of their own, which `init_weights` replaces.
        with torch.random.fork_rng(devices=[]):
            self.patches = nn.Conv2d(3, config.width, config.patch, stride=config.patch, bias=False)
            self.cls = nn.Parameter(torch.empty(config.width))
            self.cls_angle = nn.Parameter(torch.empty(config.width // config.heads // 2))
            self.norm_in, self.norm_out = (
                nn.LayerNorm(config.width, eps=config.eps) for _ in range(2)
            )
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.init_weights(seed)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Draw random weights, spread as CLIP's and MLCD's are; biases are 0, norms 1.

        On the meta device nothing is done.
        """
        if self.cls.is_meta:
            return
        width, heads = self.config.width, self.config.heads
        generator = torch.Generator(self.cls.device).manual_seed(seed)
        for norm in (self.norm_in, self.norm_out):
            norm.reset_parameters()
        draw_block_weights(self.blocks, self.config, generator)
        self.patches.weight.normal_(0, 0.02, generator=generator)
        self.cls.normal_(0, width**-0.5, generator=generator)
        self.cls_angle.normal_(0, (width // heads // 2) ** -0.5, generator=generator)

    def forward(self, pixels: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b t d"]:
        """The tokens after the last block.

        Pixels right of and below the last whole patch are seen by none.
        """
        x, rotary = self.embed(pixels)
        for block in self.blocks:
            x, _ = self.run_block(block, x, rotary)
        return x

    def embed(self, pixels: Float[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b t d"], Rotary]:
        """The tokens in front of the first block, and their rotary angles.

        Raises:
            ValueError: If there are not three channels, or the image is smaller than a patch.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"expected pixels [b 3 H W], got {list(pixels.shape)}")
        grid = self.config.grid((pixels.shape[2], pixels.shape[3]))
        patches = self.patches(pixels.to(self.patches.weight.dtype)).flatten(2).transpose(1, 2)
        cls = self.cls.to(patches.dtype).expand(len(pixels), 1, -1)
        # Under autocast the residual stream has the parameters' type, also on devices where the
        # convolution and norms give bfloat16.
        tokens = self.norm_in(torch.cat([cls, patches], 1)).to(self.cls.dtype)
        return tokens, self.rotary(grid)

    def rotary(self, grid: tuple[int, int]) -> Rotary:
        """The cosines and sines `[1+n e]` of a grid's tokens, CLS first, in float32 or better."""
        half = len(self.cls_angle)
        steps = torch.arange(0, half, 2, device=self.cls_angle.device, dtype=torch.float32)
        frequency = 1.0 / (self.config.theta ** (steps / half))
        rows, columns = (
            torch.arange(side, device=frequency.device, dtype=torch.float32)[:, None] * frequency
            for side in grid
        )
        angles = [rows[:, None].expand(*grid, -1), columns[None].expand(*grid, -1)]
        angle = torch.cat(angles, -1).flatten(0, 1)
        cos, sin = (
            torch.cat([function(self.cls_angle)[None], function(angle)]).repeat(1, 2)
            for function in (torch.cos, torch.sin)
        )
        return cos, sin

    def run_block(
        self,
        block: nn.Module,
        x: Float[Tensor, "b t d"],
        rotary: Rotary,
        rows: Float[Tensor, "b r d"] | None = None,
        mask: Bool[Tensor, "b 1 r n"] | None = None,
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b r d"] | None]:
        """Run one block; with `checkpointing` it is recomputed in the backward pass."""
        out: tuple[Tensor, Tensor | None]
        if self.checkpointing and self.training and torch.is_grad_enabled():
            out = checkpoint(block, x, rotary, rows, mask, use_reentrant=False)
        else:
            out = block(x, rotary, rows, mask)
        return out
