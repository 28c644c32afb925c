"""Which image stands at which position of an endless stream: a pure function of (seed, position).

After: WebDataset's two shuffles (of shards, then in a buffer).
Differs: nothing depends on what was read before, on ranks or on workers. Blocks of images that lie
together are shuffled, then the images of `window` blocks among themselves, so that few row groups
and tars are in use at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Place:
    """An image: of which source and shard, which row there, and how often the source was gone
    through before."""

    source: int
    shard: int
    row: int
    turn: int


@dataclass(frozen=True, eq=False)
class _Epoch:
    """`[blocks 5]` source, shard, first row, end row, turn; where each window ends, in samples."""

    blocks: np.ndarray
    ends: np.ndarray


class StreamOrder:
    """Position 0, 1, 2 ... -> `Place`, without end; `samples` of them are an epoch.

    Each source adds `round(weight * images)` samples an epoch: the next stretch of an endless row
    of shuffles of its own, so that at weight 0.5 two epochs see each image once, and at weight 2
    one epoch sees each twice.

    Args:
        counts: images of every shard of every source.
        weights: one a source.
        seed: of everything.
        block: images that stay together in the first shuffle.
        window: blocks whose images are shuffled among themselves.

    Raises:
        ValueError: nothing to draw, a weight that is not positive, or not one weight a source.

    >>> order = StreamOrder([[3], [2]], [1.0, 2.0], seed=0)
    >>> order.samples, sorted((order.at(p).source, order.at(p).row) for p in range(7))
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
        self.counts, self.weights = [np.asarray(own, np.int64) for own in counts], list(weights)
        self.seed, self.block, self.window = seed, block, window
        self.sizes = [
            round(weight * int(own.sum()))
            for own, weight in zip(self.counts, self.weights, strict=True)
        ]
        if not sum(self.sizes):
            raise ValueError("no image is left to draw from (no shard, or weights too small)")
        self._remember()

    @property
    def samples(self) -> int:
        """Samples of an epoch, the same for each."""
        return sum(self.sizes)

    def at(self, position: int) -> Place:
        """What stands at a position, from 0 on."""
        epoch, own = divmod(position, self.samples)
        ends = self._epoch(epoch).ends
        window = int(ends.searchsorted(own, side="right"))
        source, shard, row, turn = self._window(epoch, window)[
            own - (ends[window - 1] if window else 0)
        ].tolist()
        return Place(source, shard, row, turn)

    def __getstate__(self) -> dict:
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("_epoch", "_window")
        }

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._remember()

    def _remember(self) -> None:
        self._epoch = lru_cache(maxsize=2)(self._blocks)
        self._window = lru_cache(maxsize=4)(self._shuffled)

    def _blocks(self, epoch: int) -> _Epoch:
        blocks = np.concatenate(
            [self._stretch(source, epoch) for source in range(len(self.counts))]
        )
        blocks = blocks[np.random.default_rng([self.seed, 2, epoch]).permutation(len(blocks))]
        total = (blocks[:, 3] - blocks[:, 2]).cumsum()
        return _Epoch(blocks, total[[*range(self.window - 1, len(blocks) - 1, self.window), -1]])

    def _stretch(self, source: int, epoch: int) -> np.ndarray:
        """The blocks of a source in an epoch; the first and the last may be parts of blocks."""
        size, count = self.sizes[source], int(self.counts[source].sum())
        if not size:
            return np.zeros((0, 5), np.int64)
        first, last = epoch * size, (epoch + 1) * size
        turns = range(first // count, -(-last // count))
        blocks = np.concatenate([self._turn(source, turn) for turn in turns])
        end = (blocks[:, 3] - blocks[:, 2]).cumsum() + turns.start * count
        start = end - (blocks[:, 3] - blocks[:, 2])
        cut = blocks.copy()
        cut[:, 2] += np.clip(first - start, 0, None)
        cut[:, 3] -= np.clip(end - last, 0, None)
        return cut[cut[:, 3] > cut[:, 2]]

    def _turn(self, source: int, turn: int) -> np.ndarray:
        per_shard = -(-self.counts[source] // self.block)
        shard = np.repeat(np.arange(len(per_shard)), per_shard)
        number = np.arange(len(shard)) - np.repeat(per_shard.cumsum() - per_shard, per_shard)
        start = number * self.block
        stop = np.minimum(start + self.block, self.counts[source][shard])
        fixed = np.full_like(shard, source), np.full_like(shard, turn)
        order = np.random.default_rng([self.seed, 1, source, turn]).permutation(len(shard))
        return np.stack([fixed[0], shard, start, stop, fixed[1]], axis=1)[order]

    def _shuffled(self, epoch: int, window: int) -> np.ndarray:
        """`[samples 4]` source, shard, row, turn of a window."""
        own = self._epoch(epoch).blocks[window * self.window : (window + 1) * self.window]
        length = own[:, 3] - own[:, 2]
        rows = np.arange(length.sum()) - np.repeat(length.cumsum() - length - own[:, 2], length)
        source, shard, _, _, turn = np.repeat(own, length, axis=0).T
        places = np.stack([source, shard, rows, turn], axis=1)
        return places[np.random.default_rng([self.seed, 3, epoch, window]).permutation(len(places))]


def steps(batch: int, start: int, stop: int, rank: int = 0, ranks: int = 1) -> Iterator[range]:
    """The positions of one rank's part of every step in start..stop-1: step t has the positions t *
    batch .. (t + 1) * batch - 1.

    Raises:
        ValueError: a batch that the ranks cannot share evenly.

    >>> list(steps(6, 1, 3, rank=1, ranks=2))
    [range(9, 12), range(15, 18)]
    """
    if batch < 1 or ranks < 1 or batch % ranks or not 0 <= rank < ranks:
        raise ValueError(
            f"a batch of {batch} cannot be shared evenly by {ranks} ranks (this one is {rank})"
        )
    own = batch // ranks
    return (
        range(step * batch + rank * own, step * batch + (rank + 1) * own)
        for step in range(start, stop)
    )
