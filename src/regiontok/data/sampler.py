"""Which records stand in which batch: a pure function of (seed, epoch, step).

So training goes on at any step exactly.

After: LLaVA's `group_by_modality_length` (mega-batches sorted by length); DistributedSampler.
Differs: lengths are true ones (visual tokens counted), LLaVA's count an image as 128 words; a batch
is one over all processes, so that the same samples meet in a step for any number of them;
mega-batches hold 50 batches, not one; nothing depends on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from regiontok.data.pack import pack
from regiontok.data.records import Records

# Batches that are sorted by length together, as in transformers' LengthGroupedSampler.
MEGA_BATCHES = 50
# Samples that are packed together: rows were 99.4 % full (665,000 lengths of 100 to 2,048, gamma,
# in rows of 2,048).
PACKED_TOGETHER = 4096
Row = int | tuple[int, ...]


@dataclass(frozen=True)
class RecordPool:
    """Records of one source that may be drawn.

    Attributes:
        indices: `[n]` indices of the records.
        weight: how often each is drawn in an epoch.
    """

    indices: np.ndarray
    weight: float = 1.0

    @property
    def size(self) -> int:
        """Number of records that it adds to an epoch."""
        return round(self.weight * len(self.indices))

    def drawn(self, seed: int, epoch: int) -> np.ndarray:
        """The records of an epoch: the next stretch of an endless row of shuffles.

        So at weight 0.1 ten epochs hold each record once.
        """
        start, stop = epoch * self.size, (epoch + 1) * self.size
        count = len(self.indices)
        rounds = range(start // count, -(-stop // count))
        shuffled = np.concatenate(
            [np.random.default_rng([seed, 1, number]).permutation(count) for number in rounds]
        )
        offset = rounds.start * count
        return self.indices[shuffled[start - offset : stop - offset]]


def record_pools(records: Records, keep: np.ndarray | None = None) -> list[RecordPool]:
    """One pool a source; a source of which no record is left has none.

    Args:
        records: all records.
        keep: the records that may be drawn, as indices or a bool mask; None keeps all.
    """
    usable = np.arange(len(records)) if keep is None else np.arange(len(records))[keep]
    pools = []
    for source in records.sources:
        indices = usable[(usable >= source.start) & (usable < source.stop)]
        if len(indices):
            pools.append(RecordPool(indices, source.weight))
    return pools


class EpochOrder:
    """A batch sampler that gives the micro-batches of one process.

    A micro-batch is a list of rows: indices, or tuples of indices if samples are packed. An epoch
    has `ceil(rows / batch)` steps; its last batch is filled with the epoch's first rows. The
    micro-batches of a step are cut from one list: process r takes the pieces r, r + processes,
    r + 2 processes ... With `processes=1` their sequence is the one that accelerate's
    BatchSamplerShard deals out, so either may do the sharing, not both.

    Args:
        pools: the records that may be drawn, see `record_pools`.
        batch: rows of an optimiser step, over all processes and accumulation.
        micro: rows of one forward pass; by default all of the process.
        seed: seed of all draws.
        lengths: `[records]` true tokens of each record; needed for `group` and `pack_to`.
        group: make batches of rows of nearly one length.
        pack_to: pack samples into rows of at most so many true tokens.
        epochs: number of epochs; a part of the last one is rounded up to steps.
        start: the step to begin with.
        rank: number of this process.
        processes: number of processes.

    Raises:
        ValueError: If the sizes do not divide, there are no records, or lengths are needed and not
            given.

    >>> order = EpochOrder([RecordPool(np.arange(5))], batch=2, seed=3)
    >>> order.steps, sorted({index for batch in order for index in batch})
    (3, [0, 1, 2, 3, 4])
    """

    def __init__(
        self,
        pools: Sequence[RecordPool],
        *,
        batch: int,
        micro: int | None = None,
        seed: int = 0,
        lengths: np.ndarray | None = None,
        group: bool = False,
        pack_to: int | None = None,
        epochs: float = 1.0,
        start: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        micro = micro or batch // processes
        if batch < 1 or not micro or batch % (micro * processes):
            raise ValueError(
                f"a batch of {batch} cannot be shared by {processes} processes "
                f"in micro-batches of {micro}"
            )
        if not any(pool.size for pool in pools):
            raise ValueError("no record is left to draw from (all set aside, or weights too small)")
        if (group or pack_to) and lengths is None:
            raise ValueError(
                "grouping by length and packing need the true length of every record: see measure()"
            )
        self.pools, self.batch, self.micro, self.seed = tuple(pools), batch, micro, seed
        self.lengths, self.group, self.pack_to = lengths, group, pack_to
        self.epochs, self.start, self.rank, self.processes = epochs, start, rank, processes
        self._epoch_rows = lru_cache(maxsize=2)(self._draw_epoch)
        self._steps_by_epoch: dict[int, int] = {}

    @property
    def steps(self) -> int:
        """Number of optimiser steps of all epochs."""
        whole, fraction = divmod(self.epochs, 1)
        steps = sum(self.steps_of(epoch) for epoch in range(int(whole)))
        last = int(np.ceil(fraction * self.steps_of(int(whole)))) if fraction else 0
        return steps + last

    def steps_of(self, epoch: int) -> int:
        """Number of steps of one epoch; packed epochs differ by a few."""
        if epoch not in self._steps_by_epoch:
            if self.pack_to:
                rows = len(self._epoch_rows(epoch))
            else:
                rows = sum(pool.size for pool in self.pools)
            self._steps_by_epoch[epoch] = -(-rows // self.batch)
        return self._steps_by_epoch[epoch]

    def epoch_and_step(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and the number of the step in that epoch."""
        epoch = 0
        while step >= self.steps_of(epoch):
            step -= self.steps_of(epoch)
            epoch += 1
        return epoch, step

    def rows(self, step: int) -> list[Row]:
        """All rows of an optimiser step, in order; they depend on nothing but (seed, step)."""
        epoch, step = self.epoch_and_step(step)
        epoch_rows = self._epoch_rows(epoch)
        rows = epoch_rows[step * self.batch : (step + 1) * self.batch]
        filling = range(self.batch - len(rows))
        return [*rows, *(epoch_rows[number % len(epoch_rows)] for number in filling)]

    def from_step(self, step: int) -> EpochOrder:
        """The same order, beginning at a step."""
        return EpochOrder(
            self.pools,
            batch=self.batch,
            micro=self.micro,
            seed=self.seed,
            lengths=self.lengths,
            group=self.group,
            pack_to=self.pack_to,
            epochs=self.epochs,
            start=step,
            rank=self.rank,
            processes=self.processes,
        )

    def __len__(self) -> int:
        return max(self.steps - self.start, 0) * (self.batch // (self.micro * self.processes))

    def __iter__(self) -> Iterator[list[Row]]:
        for step in range(self.start, self.steps):
            rows = self.rows(step)
            starts = range(0, self.batch, self.micro)
            micro_batches = [rows[start : start + self.micro] for start in starts]
            yield from micro_batches[self.rank :: self.processes]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_epoch_rows"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch_rows = lru_cache(maxsize=2)(self._draw_epoch)

    def _draw_epoch(self, epoch: int) -> list[Row]:
        rng = np.random.default_rng([self.seed, 2, epoch])
        drawn = rng.permutation(
            np.concatenate([pool.drawn(self.seed, epoch) for pool in self.pools if pool.size])
        )
        if self.pack_to:
            packed = self._packed(drawn)
            rows: list[Row] = [packed[number] for number in rng.permutation(len(packed))]
        else:
            rows = drawn.tolist()
        return self._grouped(rows, rng) if self.group else rows

    def _packed(self, drawn: np.ndarray) -> list[Row]:
        assert self.lengths is not None
        assert self.pack_to is not None
        rows: list[Row] = []
        for start in range(0, len(drawn), PACKED_TOGETHER):
            samples = drawn[start : start + PACKED_TOGETHER]
            packed = pack(self.lengths[samples], self.pack_to)
            rows += [tuple(samples[row].tolist()) for row in packed]
        return rows

    def _grouped(self, rows: list[Row], rng: np.random.Generator) -> list[Row]:
        """Rows in batches of nearly one length, whose order is drawn.

        Mega-batches are sorted by length (stably) and cut into batches; a short batch stays at the
        end.
        """
        assert self.lengths is not None
        packed = [self.lengths[list(row)].sum() for row in rows if isinstance(row, tuple)]
        sizes = np.array(packed) if packed else self.lengths[rows]
        batches: list[np.ndarray] = []
        for start in range(0, len(rows), MEGA_BATCHES * self.batch):
            mega = np.arange(start, min(start + MEGA_BATCHES * self.batch, len(rows)))
            mega = mega[np.argsort(-sizes[mega], kind="stable")]
            batches += [
                mega[first : first + self.batch] for first in range(0, len(mega), self.batch)
            ]
        short = [batches.pop()] if len(batches[-1]) < self.batch else []
        order = [*(batches[number] for number in rng.permutation(len(batches))), *short]
        return [rows[number] for batch in order for number in batch]
