"""Positions between whole numbers, carried by a server's whole numbers.

vLLM keeps the positions of rotary embeddings on three axes as integers (int32 on a GPU, int64 on a
CPU). The centroid of a region lies between patches. So a visual token's position goes through the
server in fixed point, with a flag that tells it from the position of a text, which is left as it
is; the rotary embedding reads both.

After: nothing.
Differs: a centroid is rounded to 1/8192 of a patch, which turns the fastest rotary pair by at most
6e-5 radians.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int

FLAG = 1 << 30  # set in a position in fixed point: int32 has one bit above it, for the sign
FRACTION_BITS = 13
MOST_POSITIONS = FLAG >> FRACTION_BITS  # 131,072


def encoded_positions(positions: Float[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Positions in fixed point, flagged.

    Raises:
        ValueError: If one is negative or too large for 30 bits.

    >>> decoded_positions(encoded_positions(torch.tensor([2.5, 7.0]))).tolist()
    [2.5, 7.0]
    """
    if positions.numel() and not 0 <= float(positions.min()) <= float(positions.max()) < (
        MOST_POSITIONS - 1
    ):
        raise ValueError(f"positions of visual tokens lie in 0 to {MOST_POSITIONS - 2}")
    scaled: Tensor = (positions.double() * (1 << FRACTION_BITS)).round().to(torch.int64)
    return scaled + FLAG


def decoded_positions(numbers: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """What the numbers stand for, in float32: text's as they are, visual tokens' with fractions.

    >>> decoded_positions(torch.tensor([5, FLAG + (3 << FRACTION_BITS)])).tolist()
    [5.0, 3.0]
    """
    fractions = (numbers - FLAG).float() / (1 << FRACTION_BITS)
    return torch.where(numbers >= FLAG, fractions, numbers.float())


class AxesRotary(nn.Module):
    """Rotary embedding on three axes that reads positions between whole numbers.

    It takes the place of vLLM's `MRotaryEmbedding`, which looks positions up in a table.

    Args:
        inverse_frequencies: `[r / 2]`, of each rotary pair.
        sections: how many pairs turn by each axis (time, height, width), in their order.
        head_size: of one head; its first r channels turn.
        scale: factor of cosine and sine (YaRN's; else 1).
    """

    inverse_frequencies: Tensor
    axis: Tensor

    def __init__(
        self,
        inverse_frequencies: Float[Tensor, "p"],
        sections: list[int],
        head_size: int,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if sum(sections) != len(inverse_frequencies):
            raise ValueError(
                f"the sections {sections} hold {sum(sections)} rotary pairs, the embedding has "
                f"{len(inverse_frequencies)}"
            )
        self.head_size, self.scale = head_size, scale
        frequencies = inverse_frequencies.float()
        axis = torch.repeat_interleave(torch.arange(len(sections)), torch.tensor(sections))
        self.register_buffer("inverse_frequencies", frequencies, persistent=False)
        self.register_buffer("axis", axis.to(frequencies.device), persistent=False)

    def forward(
        self,
        positions: Int[Tensor, "3 t"],
        query: Float[Tensor, "t q"],
        key: Float[Tensor, "t k"],
    ) -> tuple[Float[Tensor, "t q"], Float[Tensor, "t k"]]:
        """Queries and keys, turned.

        Args:
            positions: in the server's numbers; `[t]` for text alone.
            query, key: heads side by side.
        """
        places = decoded_positions(positions)
        by_axis = places.expand(3, -1) if places.ndim == 1 else places
        angles = by_axis[self.axis].T * self.inverse_frequencies
        cosine = (angles.cos() * self.scale).to(query.dtype)[:, None]
        sine = (angles.sin() * self.scale).to(query.dtype)[:, None]
        return self._turned(query, cosine, sine), self._turned(key, cosine, sine)

    def _turned(self, rows: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Rows whose pairs (channel i and i + r / 2 of a head) are turned."""
        heads = rows.unflatten(-1, (-1, self.head_size))
        pairs = len(self.inverse_frequencies)
        first, second = heads[..., :pairs], heads[..., pairs : 2 * pairs]
        turned = [
            first * cosine - second * sine,
            second * cosine + first * sine,
            heads[..., 2 * pairs :],
        ]
        return torch.cat(turned, -1).flatten(-2)
