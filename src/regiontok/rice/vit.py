"""The vision transformer that RICE trains: pre-norm, 2-D rotary positions, CLS with a rotary row of
its own; any size and aspect ratio.

After: RICE, sections 3.2 and 4.1 (row R4: ViT-B/16, ViT-L/14); the released weights are
transformers' `MLCDVisionModel`, whose arithmetic this is (tested on square and 2:1 images).
Differs: rotary frequencies are made in float32 at each forward pass and kept nowhere, so that a
model cast to bfloat16 has exact ones (transformers casts the buffer that holds them). Keys' names
are our own; `export.py` has both.

Positions: of the rotated dimensions of a head the first quarter turns by the row, the second by the
column, the third and fourth are their partners. A position is a plain patch index, so other sizes
need no interpolation.
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
Turn = tuple[Tensor, Tensor]  # cosines and sines `[t e]` of the rotary angles, e = width of a head


@dataclass(frozen=True)
class ViTConfig:
    """The shape of a vision transformer.

    Attributes:
        width, depth, heads, mlp: d, number of blocks, heads a block, width inside the MLP.
        patch: side of a patch in pixels.
        image_size: side of the square it was trained for last: what an exported checkpoint's
            processor makes. The network takes any size.
        activation: of the MLP; "quick_gelu" is x * sigmoid(1.702 x).
        eps: of the layer norms.
        theta: base of the rotary frequencies.

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
                f"a head's width must be a multiple of 4 (rows, columns, a pair each): {self.width} / {self.heads} is not"
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
            ValueError: no such size.
        """
        if name not in SIZES:
            raise ValueError(f"no size {name!r}; there are {', '.join(SIZES)}")
        return replace(SIZES[name], **changes)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w): whole patches of an image of `size` = (H, W).

        Raises:
            ValueError: smaller than one patch.
        """
        h, w = size[0] // self.patch, size[1] // self.patch
        if min(h, w) < 1:
            raise ValueError(
                f"an image of {size[0]} x {size[1]} pixels is smaller than one patch of {self.patch}"
            )
        return h, w


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": _quick_gelu}
SIZES = {
    "mini": ViTConfig(64, 4, 4, 128, 8, image_size=64),
    "ti16": ViTConfig(192, 12, 3, 768, 16),
    "s16": ViTConfig(384, 12, 6, 1536, 16),
    "b16": ViTConfig(768, 12, 12, 3072, 16),
    "l14": ViTConfig(1024, 24, 16, 4096, 14),
}


def rotate(x: Float[Tensor, "b a t e"], turn: Turn) -> Float[Tensor, "b a t e"]:
    """Turn each pair (i, i + e / 2) of every head by its angle, in float32 or better."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    first, second = wide.chunk(2, -1)
    return (wide * turn[0] + torch.cat([-second, first], -1) * turn[1]).to(x.dtype)


class Attention(nn.Module):
    """Projections of one block; the attention itself is `F.scaled_dot_product_attention`."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(config.width, config.width) for _ in range(4)
        )

    def split(self, projected: Float[Tensor, "b t d"]) -> Float[Tensor, "b a t e"]:
        """Heads apart."""
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def mixed(
        self,
        q: Float[Tensor, "b a r e"],
        k: Float[Tensor, "b a t e"],
        v: Float[Tensor, "b a t e"],
        mask: Bool[Tensor, "b 1 r t"] | None = None,
    ) -> Float[Tensor, "b r d"]:
        """Attend, put the heads together, project."""
        return self.out(
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        )


class Mlp(nn.Module):
    """Two linear layers."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.up, self.down = (
            nn.Linear(config.width, config.mlp),
            nn.Linear(config.mlp, config.width),
        )
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Float[Tensor, "*rest d"]) -> Float[Tensor, "*rest d"]:
        """`[... d]` -> `[... d]`."""
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """A transformer layer, and the same weights as a Region Transformer layer where `rows` are
    given.

    Image tokens never see rows: what they become is the plain layer's result, to the last bit.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(config.width, eps=config.eps) for _ in range(2))
        self.attention, self.mlp = Attention(config), Mlp(config)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        turn: Turn,
        rows: Float[Tensor, "b r d"] | None = None,
        mask: Bool[Tensor, "b 1 r n"] | None = None,
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b r d"] | None]:
        """Image tokens (CLS first) and region rows, one layer on. Keys and values are made once,
        from the image's tokens.

        Args:
            mask: the patches that each row sees, CLS left out (t = 1 + n).
        """
        attention, normed = self.attention, self.norm1(x)
        q, k = (
            rotate(attention.split(part(normed)), turn) for part in (attention.query, attention.key)
        )
        v = attention.split(attention.value(normed))
        x = x + attention.mixed(q, k, v)
        x = x + self.mlp(self.norm2(x))
        if rows is not None:
            first = (
                turn[0][:1],
                turn[1][:1],
            )  # a row is a class token, and stands where CLS stands
            q = rotate(attention.split(attention.query(self.norm1(rows))), first)
            rows = rows + attention.mixed(q, k[:, :, 1:], v[:, :, 1:], mask)
            rows = rows + self.mlp(self.norm2(rows))
        return x, rows


class ViT(nn.Module):
    """`[b 3 H W]` normalised pixels -> `[b 1+n d]` tokens, CLS first, not yet through the last norm
    (as `last_hidden_state` is).

    Blocks hold no Python that depends on data, so `for block in vit.blocks: block.compile()`
    compiles each without a break.

    Attributes:
        checkpointing: recompute blocks in the backward pass instead of keeping what is inside them.

    >>> vit = ViT(ViTConfig.named("mini"), seed=0)
    >>> vit(torch.zeros(2, 3, 32, 64)).shape
    torch.Size([2, 33, 64])
    """

    def __init__(self, config: ViTConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        with torch.random.fork_rng(
            devices=[]
        ):  # layers draw weights of their own, which `draw` replaces
            self.patches = nn.Conv2d(3, config.width, config.patch, stride=config.patch, bias=False)
            self.cls = nn.Parameter(torch.empty(config.width))
            self.cls_angle = nn.Parameter(torch.empty(config.width // config.heads // 2))
            self.norm_in, self.norm_out = (
                nn.LayerNorm(config.width, eps=config.eps) for _ in range(2)
            )
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.draw(seed)

    @torch.no_grad()
    def draw(self, seed: int) -> None:
        """Random weights, spread as CLIP's and MLCD's are; biases 0, norms 1. Nothing on the meta
        device."""
        if self.cls.is_meta:
            return
        width, depth, heads = self.config.width, self.config.depth, self.config.heads
        source = torch.Generator(self.cls.device).manual_seed(seed)
        inward = width**-0.5 * (2 * depth) ** -0.5
        spread = {
            "query": inward,
            "key": inward,
            "value": inward,
            "out": width**-0.5,
            "up": (2 * width) ** -0.5,
            "down": inward,
        }
        for name, part in self.named_modules():
            if isinstance(part, nn.Linear):
                part.weight.normal_(0, spread[name.split(".")[-1]], generator=source)
                part.bias.zero_()
            elif isinstance(part, nn.LayerNorm):
                part.reset_parameters()
        self.patches.weight.normal_(0, 0.02, generator=source)
        self.cls.normal_(0, width**-0.5, generator=source)
        self.cls_angle.normal_(0, (width // heads // 2) ** -0.5, generator=source)

    def forward(self, pixels: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b t d"]:
        """Tokens after the last block. Pixels right of and below the last whole patch are seen by
        none."""
        x, turn = self.embed(pixels)
        for block in self.blocks:
            x, _ = self.run(block, x, turn)
        return x

    def embed(self, pixels: Float[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b t d"], Turn]:
        """Tokens before the first block, and their rotary angles.

        Raises:
            ValueError: not three channels, or an image smaller than a patch.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"expected pixels [b 3 H W], got {list(pixels.shape)}")
        grid = self.config.grid((pixels.shape[2], pixels.shape[3]))
        patches = self.patches(pixels.to(self.patches.weight.dtype)).flatten(2).transpose(1, 2)
        cls = self.cls.to(patches.dtype).expand(len(pixels), 1, -1)
        # the residual stream keeps the parameters' type under autocast, also on devices where the
        # convolution and norms give bfloat16
        return self.norm_in(torch.cat([cls, patches], 1)).to(self.cls.dtype), self.turn(grid)

    def turn(self, grid: tuple[int, int]) -> Turn:
        """Cosines and sines `[1+n e]`, CLS first, in float32 or better."""
        half = len(self.cls_angle)
        steps = torch.arange(0, half, 2, device=self.cls_angle.device, dtype=torch.float32)
        speed = 1.0 / (self.config.theta ** (steps / half))
        rows, cols = (
            torch.arange(side, device=speed.device, dtype=torch.float32)[:, None] * speed
            for side in grid
        )
        angle = torch.cat(
            [rows[:, None].expand(*grid, -1), cols[None].expand(*grid, -1)], -1
        ).flatten(0, 1)
        cos, sin = (
            torch.cat([f(self.cls_angle)[None], f(angle)]).repeat(1, 2)
            for f in (torch.cos, torch.sin)
        )
        return cos, sin

    def run(
        self,
        block: nn.Module,
        x: Tensor,
        turn: Turn,
        rows: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """One block, recomputed in the backward pass where `checkpointing` says so."""
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, turn, rows, mask, use_reentrant=False)
        return block(x, turn, rows, mask)
