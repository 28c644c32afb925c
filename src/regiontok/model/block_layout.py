"""How samples with independent blocks are laid out: in a line without padding, and for attention.

Tokens lie one after the other, so that all layers but attention compute nothing in vain, and what
stands behind the last supervised token of a block is left out, since nothing reads it.

After: nothing published that is known to us.
Differs: nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regiontok.model.splice import IGNORE, Spliced
from regiontok.model.supervised import following_labels

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

CHUNK = 32  # tokens of blocks that are scored against each other, if no block is longer


@dataclass(frozen=True, eq=False)
class BlockLayout:
    """Where the tokens of samples stand: in a line without padding, and padded for attention.

    A sample's padded row holds its beginning in `prefix` columns, then chunks of `chunk` columns,
    each with one block or several.

    Attributes:
        source: `[n]` the column of each token, in spliced rows that are laid one after the other.
        slots: `[samples * columns]` the token in each slot of the padded rows; any where none is.
        places: `[n]` the slot of each token.
        samples: number of samples.
        prefix: columns of the longest beginning.
        chunk: columns of a chunk.
        sees_prefix: `[samples 1 1 prefix]` False on padding; None if all beginnings are as long.
        sees_chunk: `[samples 1 chunks chunk chunk]` True where a query sees a key of its chunk.
    """

    source: Int[Tensor, "n"]
    slots: Int[Tensor, "m"]
    places: Int[Tensor, "n"]
    samples: int
    prefix: int
    chunk: int
    sees_prefix: Bool[Tensor, "samples 1 1 prefix"] | None
    sees_chunk: Bool[Tensor, "samples 1 chunks chunk chunk"]

    @classmethod
    def of(cls, spliced: Spliced) -> BlockLayout:
        """The layout of spliced rows that have segments, blocks and labels.

        Raises:
            ValueError: If they lack one of them.
        """
        segments, blocks, labels = spliced.segments, spliced.blocks, spliced.labels
        if segments is None or blocks is None or labels is None:
            raise ValueError("these rows have no blocks or no labels: pass their mask")
        device = segments.device
        # laid out on the CPU: block by block, of which there are few
        segments, blocks = segments.cpu(), blocks.cpu()
        row, column = spliced.mask.cpu().nonzero(as_tuple=True)
        runs = torch.stack([row, segments[row, column], blocks[row, column]])
        _, run, lengths = torch.unique_consecutive(
            runs, dim=1, return_inverse=True, return_counts=True
        )
        first = lengths.cumsum(0) - lengths
        is_supervised = following_labels(labels).cpu()[row, column] != IGNORE
        within = torch.arange(len(run)) - first[run]
        needed = torch.zeros_like(lengths).scatter_reduce(
            0, run, torch.where(is_supervised, within + 1, 0), "amax"
        )
        is_shared = runs[2, first] < 0
        needed = torch.where(is_shared, lengths, needed)
        sample = _numbered(runs[:2, first])
        start, prefix, chunk, chunks = _starts(sample, needed, is_shared)
        kept = within < needed[run]
        samples = int(sample.max()) + 1
        columns = prefix + chunks * chunk
        places = (sample * columns + start)[run][kept] + within[kept]
        slots = torch.zeros(samples * columns, dtype=torch.int64)
        slots[places] = torch.arange(len(places))
        owner = torch.full((samples * columns,), -1).index_put((places,), run[kept])
        owner = owner.view(samples, columns)
        in_chunk = owner[:, prefix:].view(samples, 1, chunks, chunk)
        sees_chunk = (in_chunk[..., None] == in_chunk[..., None, :]).tril()
        has_prefix = owner[:, None, None, :prefix] >= 0
        return cls(
            source=(row * spliced.mask.shape[1] + column)[kept].to(device),
            slots=slots.to(device),
            places=places.to(device),
            samples=samples,
            prefix=prefix,
            chunk=chunk,
            sees_prefix=None if bool(has_prefix.all()) else has_prefix.to(device),
            sees_chunk=sees_chunk.to(device),
        )

    def padded(self, values: Float[Tensor, "1 heads n d"]) -> Float[Tensor, "samples heads c d"]:
        """Queries, keys or values of all tokens as padded rows; padding is not read."""
        heads, width = values.shape[1], values.shape[3]
        line = values[0].transpose(0, 1).reshape(-1, heads * width)
        rows: Tensor = _Rearranged.apply(line, self.slots, self.places)
        return rows.view(self.samples, -1, heads, width).transpose(1, 2)

    def in_line(self, rows: Float[Tensor, "samples heads c d"]) -> Float[Tensor, "1 n heads d"]:
        """What attention gives of padded rows, token by token."""
        heads, width = rows.shape[1], rows.shape[3]
        flat = rows.transpose(1, 2).reshape(-1, heads * width)
        return flat.index_select(0, self.places).view(1, -1, heads, width)


class _Rearranged(torch.autograd.Function):
    """Rows by index; backward gathers too, as each row is used once and padding has no gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return values.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None


def _numbered(pairs: Int[Tensor, "2 r"]) -> Int[Tensor, "r"]:
    """The number of each run's sample, counted from 0 in their order."""
    begins = torch.zeros(pairs.shape[1], dtype=torch.int64)
    begins[1:] = (pairs.diff(dim=1) != 0).any(0)
    return begins.cumsum(0)


def _starts(
    sample: Int[Tensor, "r"], lengths: Int[Tensor, "r"], is_shared: Bool[Tensor, "r"]
) -> tuple[Int[Tensor, "r"], int, int, int]:
    """The first column of each run, the columns of beginnings and of a chunk, and the chunks.

    Blocks fill a sample's chunks in their order; one that does not fit any more begins the next.
    """
    prefix = int(lengths[is_shared].max()) if bool(is_shared.any()) else 0
    in_blocks = lengths[~is_shared]
    chunk = max(CHUNK, int(in_blocks.max()) if len(in_blocks) else 0)
    starts: list[int] = []
    filled, current, chunks = 0, -1, 1
    for number, length, shared in zip(
        sample.tolist(), lengths.tolist(), is_shared.tolist(), strict=True
    ):
        if number != current:
            current, filled = number, 0
        if shared:
            starts.append(0)
            continue
        room = -filled % chunk
        if length > room:
            filled += room
        starts.append(prefix + filled)
        filled += length
        chunks = max(chunks, -(-filled // chunk))
    return torch.tensor(starts, dtype=torch.int64), prefix, chunk, chunks
