"""Which image stands at which position of an endless stream: a function of (seed, position).

After: WebDataset's two shuffles (of shards, then in a buffer).
Differs: nothing depends on what was read before, on ranks or on workers. Blocks of images that lie
together are shuffled, then the images of `window` blocks among themselves, so that few row groups
and tars are in use at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int


@dataclass(frozen=True)
class ImageAddress:
    """One image of a stream.

    Attributes:
        source: number of its source.
        shard: number of its shard in the source.
        row: number of its row in the shard's side-car.
        round: how often the source was gone through before.
    """

    source: int
    shard: int
    row: int
    round: int


@dataclass(frozen=True, eq=False)
class _EpochBlocks:
    """The blocks of an epoch, in their order.

    Attributes:
        blocks: `[blocks 5]` source, shard, first row, end row, round.
        window_ends: `[windows]` the sample at which each window ends.
    """

    blocks: Int[np.ndarray, "n 5"]
    window_ends: Int[np.ndarray, "w"]


class StreamOrder:
    """Position 0, 1, 2 ... to `ImageAddress`, without end; `samples` of them are an epoch.

    Each source adds `round(weight * images)` samples an epoch: the next stretch of an endless row
    of shuffles of its own, so that at weight 0.5 two epochs see each image once, and at weight 2
    one epoch sees each twice.

    Args:
        counts: images of every shard of every source.
        weights: one weight a source.
        seed: seed of all shuffles.
        block: images that stay together in the first shuffle.
        window: blocks whose images are shuffled among themselves.

    Raises:
        ValueError: If there is nothing to draw, a weight is not positive, or there is not one
            weight a source.

    >>> order = StreamOrder([[3], [2]], [1.0, 2.0], seed=0)
    >>> addresses = [order.address(position) for position in range(7)]
    >>> order.samples, sorted((address.source, address.row) for address in addresses)
    (7, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 0), (1, 1), (1, 1)])
    """

    def __init__(
        self,
        counts: Sequence[Sequence[int]],
        weights: Sequence[float],
        *,
        seed: int,
        block: int = 128,
        window: int = 32,
    ) -> None:
        if len(weights) != len(counts) or not all(weight > 0 for weight in weights):
            raise ValueError(
                f"{len(counts)} sources need as many weights above 0, got {list(weights)}"
            )
        self.counts = [np.asarray(images_by_shard, np.int64) for images_by_shard in counts]
        self.weights = list(weights)
        self.seed, self.block, self.window = seed, block, window
        self.sizes = [
            round(weight * int(images_by_shard.sum()))
            for images_by_shard, weight in zip(self.counts, self.weights, strict=True)
        ]
        if not sum(self.sizes):
            raise ValueError("no image is left to draw from (no shard, or weights too small)")
        self._make_caches()

    @property
    def samples(self) -> int:
        """Samples of an epoch, the same number for each."""
        return sum(self.sizes)

    def address(self, position: int) -> ImageAddress:
        """The image that stands at a position, from 0 on."""
        epoch, sample = divmod(position, self.samples)
        ends = self._blocks_of(epoch).window_ends
        window = int(ends.searchsorted(sample, side="right"))
        first_sample = ends[window - 1] if window else 0
        source, shard, row, number = self._window(epoch, window)[sample - first_sample].tolist()
        return ImageAddress(source, shard, row, number)

    def __getstate__(self) -> dict[str, Any]:
        caches = ("_blocks_of", "_window")
        return {name: value for name, value in self.__dict__.items() if name not in caches}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_caches()

    def _make_caches(self) -> None:
        self._blocks_of = lru_cache(maxsize=2)(self._shuffled_blocks)
        self._window = lru_cache(maxsize=4)(self._shuffled_window)

    def _shuffled_blocks(self, epoch: int) -> _EpochBlocks:
        sources = range(len(self.counts))
        blocks = np.concatenate([self._stretch(source, epoch) for source in sources])
        blocks = blocks[np.random.default_rng([self.seed, 2, epoch]).permutation(len(blocks))]
        ends = (blocks[:, 3] - blocks[:, 2]).cumsum()
        last_blocks = [*range(self.window - 1, len(blocks) - 1, self.window), -1]
        return _EpochBlocks(blocks, ends[last_blocks])

    def _stretch(self, source: int, epoch: int) -> Int[np.ndarray, "n 5"]:
        """The blocks of a source in an epoch; the first and the last may be parts of blocks."""
        size, count = self.sizes[source], int(self.counts[source].sum())
        if not size:
            return np.zeros((0, 5), np.int64)
        start, stop = epoch * size, (epoch + 1) * size
        rounds = range(start // count, -(-stop // count))
        blocks = np.concatenate([self._round(source, number) for number in rounds])
        lengths = blocks[:, 3] - blocks[:, 2]
        block_stops = lengths.cumsum() + rounds.start * count
        block_starts = block_stops - lengths
        cut = blocks.copy()
        cut[:, 2] += np.clip(start - block_starts, 0, None)
        cut[:, 3] -= np.clip(block_stops - stop, 0, None)
        return cut[cut[:, 3] > cut[:, 2]]

    def _round(self, source: int, number: int) -> Int[np.ndarray, "n 5"]:
        """All blocks of a source, shuffled for one round through it."""
        blocks_by_shard = -(-self.counts[source] // self.block)
        shard = np.repeat(np.arange(len(blocks_by_shard)), blocks_by_shard)
        first_blocks = blocks_by_shard.cumsum() - blocks_by_shard
        block = np.arange(len(shard)) - np.repeat(first_blocks, blocks_by_shard)
        start = block * self.block
        stop = np.minimum(start + self.block, self.counts[source][shard])
        columns = np.full_like(shard, source), shard, start, stop, np.full_like(shard, number)
        order = np.random.default_rng([self.seed, 1, source, number]).permutation(len(shard))
        return np.stack(columns, axis=1)[order]

    def _shuffled_window(self, epoch: int, window: int) -> Int[np.ndarray, "s 4"]:
        """`[samples 4]` source, shard, row and round of the samples of a window."""
        blocks = self._blocks_of(epoch).blocks[window * self.window : (window + 1) * self.window]
        lengths = blocks[:, 3] - blocks[:, 2]
        first_samples = lengths.cumsum() - lengths
        rows = np.arange(lengths.sum()) - np.repeat(first_samples - blocks[:, 2], lengths)
        source, shard, _, _, number = np.repeat(blocks, lengths, axis=0).T
        samples = np.stack([source, shard, rows, number], axis=1)
        rng = np.random.default_rng([self.seed, 3, epoch, window])
        return samples[rng.permutation(len(samples))]


def step_positions(
    batch: int, start: int, stop: int, rank: int = 0, ranks: int = 1
) -> Iterator[range]:
    """The positions of one rank's part of every step from `start` to `stop` - 1.

    Step t has the positions t * batch to (t + 1) * batch - 1.

    Raises:
        ValueError: If the ranks cannot share a batch evenly.

    >>> list(step_positions(6, 1, 3, rank=1, ranks=2))
    [range(9, 12), range(15, 18)]
    """
    if batch < 1 or ranks < 1 or batch % ranks or not 0 <= rank < ranks:
        raise ValueError(
            f"a batch of {batch} cannot be shared evenly by {ranks} ranks (this one is {rank})"
        )
    share = batch // ranks
    return (
        range(step * batch + rank * share, step * batch + (rank + 1) * share)
        for step in range(start, stop)
    )
