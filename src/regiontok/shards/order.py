"""Which image stands at which position of an endless stream: a function of (seed, position).

After: WebDataset's two shuffles (of shards, then in a buffer) in many readers side by side.
Differs: nothing depends on what was read before, on ranks or on workers. An epoch is one row of
shuffled shards, cut into a fixed number of lanes of equal length; a lane reads its shards in
order, shuffled within a window, and each round of positions has one image of every lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int

LANES = 256


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
class _EpochShards:
    """The shards of an epoch, in their order.

    Attributes:
        shards: `[shards 5]` source, shard, first row, end row, round.
        ends: `[shards]` the sample behind the last one of each.
    """

    shards: Int[np.ndarray, "n 5"]
    ends: Int[np.ndarray, "n"]


class StreamOrder:
    """Position 0, 1, 2 ... to `ImageAddress`, without end; `samples` of them are an epoch.

    Each source adds `round(weight * images)` samples an epoch: the next stretch of an endless row
    of shuffles of its own, so that at weight 0.5 two epochs see each image once, and at weight 2
    one epoch sees each twice.

    Args:
        counts: images of every shard of every source.
        weights: one weight a source.
        seed: seed of all shuffles.
        lanes: how many places of the data are read side by side.
        window: images of a lane that are shuffled among themselves.

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
        lanes: int = LANES,
        window: int = 256,
    ) -> None:
        if len(weights) != len(counts) or not all(weight > 0 for weight in weights):
            raise ValueError(
                f"{len(counts)} sources need as many weights above 0, got {list(weights)}"
            )
        self.counts = [np.asarray(images_by_shard, np.int64) for images_by_shard in counts]
        self.weights = list(weights)
        self.seed, self.lanes, self.window = seed, lanes, window
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
        epoch, place = divmod(position, self.samples)
        turn, slot = divmod(place, self.lanes)
        lane = int(self._lanes_of(epoch, turn)[slot])
        start, length = self._lane(lane)
        window, offset = divmod(turn, self.window)
        size = min(self.window, length - window * self.window)
        shuffled = int(self._shuffled_window(epoch, lane, window, size)[offset])
        sample = start + window * self.window + shuffled
        shards = self._shards_of(epoch)
        number = int(shards.ends.searchsorted(sample, side="right"))
        source, shard, _, stop, round_number = shards.shards[number].tolist()
        return ImageAddress(source, shard, stop - int(shards.ends[number]) + sample, round_number)

    def part(self, first: int, count: int, rank: int = 0, ranks: int = 1) -> Int[np.ndarray, "p"]:
        """One rank's part of the positions first to first + count - 1, in the order of lanes.

        The positions are sorted by lane and cut evenly, so that a rank keeps to few lanes, and the
        parts of all ranks, one after the other, are the same for any number of ranks.

        Raises:
            ValueError: If the ranks cannot share the positions evenly.
        """
        if count < 1 or ranks < 1 or count % ranks or not 0 <= rank < ranks:
            raise ValueError(
                f"a batch of {count} cannot be shared evenly by {ranks} ranks (this one is {rank})"
            )
        lanes = np.concatenate([*self._lanes_from(first, count)])
        by_lane = lanes.argsort(kind="stable")
        share = count // ranks
        return first + by_lane[rank * share : (rank + 1) * share]

    def _lanes_from(self, first: int, count: int) -> Iterator[Int[np.ndarray, "l"]]:
        """The lanes of some positions, turn by turn."""
        while count:
            epoch, place = divmod(first, self.samples)
            turn, slot = divmod(place, self.lanes)
            lanes = self._lanes_of(epoch, turn)[slot : slot + count]
            yield lanes
            first, count = first + len(lanes), count - len(lanes)

    def _lane(self, lane: int) -> tuple[int, int]:
        """First sample and number of samples of a lane; the first lanes may have one more."""
        length, longer = divmod(self.samples, self.lanes)
        return lane * length + min(lane, longer), length + (lane < longer)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._caches}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_caches()

    _caches = ("_shards_of", "_lanes_of", "_shuffled_window")

    def _make_caches(self) -> None:
        self._shards_of = lru_cache(maxsize=2)(self._shuffled_shards)
        self._lanes_of = lru_cache(maxsize=1024)(self._shuffled_lanes)  # 1 MB; a step's turns
        self._shuffled_window = lru_cache(maxsize=2 * self.lanes)(self._shuffle)

    def _shuffled_lanes(self, epoch: int, turn: int) -> Int[np.ndarray, "l"]:
        """The lanes in the order in which they come in a turn; the last turn may have fewer."""
        lanes = min(self.lanes, self.samples - turn * self.lanes)
        rng = np.random.default_rng([self.seed, 5, epoch, turn])
        return rng.permutation(lanes).astype(np.int32)

    def _shuffle(self, epoch: int, lane: int, window: int, size: int) -> Int[np.ndarray, "w"]:
        rng = np.random.default_rng([self.seed, 3, epoch, lane, window])
        return rng.permutation(size).astype(np.int32)

    def _shuffled_shards(self, epoch: int) -> _EpochShards:
        sources = range(len(self.counts))
        shards = np.concatenate([self._stretch(source, epoch) for source in sources])
        shards = shards[np.random.default_rng([self.seed, 2, epoch]).permutation(len(shards))]
        return _EpochShards(shards, (shards[:, 3] - shards[:, 2]).cumsum())

    def _stretch(self, source: int, epoch: int) -> Int[np.ndarray, "n 5"]:
        """The shards of a source in an epoch; of the first and the last it may have parts."""
        size, count = self.sizes[source], int(self.counts[source].sum())
        if not size:
            return np.zeros((0, 5), np.int64)
        start, stop = epoch * size, (epoch + 1) * size
        rounds = range(start // count, -(-stop // count))
        shards = np.concatenate([self._round(source, number) for number in rounds])
        lengths = shards[:, 3] - shards[:, 2]
        shard_stops = lengths.cumsum() + rounds.start * count
        shard_starts = shard_stops - lengths
        cut = shards.copy()
        cut[:, 2] += np.clip(start - shard_starts, 0, None)
        cut[:, 3] -= np.clip(shard_stops - stop, 0, None)
        return cut[cut[:, 3] > cut[:, 2]]

    def _round(self, source: int, number: int) -> Int[np.ndarray, "n 5"]:
        """All shards of a source, shuffled for one round through it."""
        counts = self.counts[source]
        rng = np.random.default_rng([self.seed, 1, source, number])
        shard = rng.permutation(len(counts))
        columns = (
            np.full_like(shard, source),
            shard,
            np.zeros_like(shard),
            counts[shard],
            np.full_like(shard, number),
        )
        return np.stack(columns, axis=1)
