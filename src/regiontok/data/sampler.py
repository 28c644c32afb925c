"""Which records stand in which batch: a pure function of (seed, epoch, step).

So training goes on at any step exactly. A batch is one over all processes: the same samples meet in
a step for any number of them, and nothing depends on what was drawn before.

Batches may be grouped in two ways:

- "modality", as LLaVA does (`group_by_modality_length`): a step holds samples with pictures, or
  samples without, never both. Which samples of a modality meet is drawn, so lengths within a step
  are as in the data.
- "length", ours: a step holds samples of nearly one true length (visual tokens counted), which
  saves padding.

After: LLaVA's `LengthGroupedSampler` and `get_modality_length_grouped_indices`; DistributedSampler;
transformers' LengthGroupedSampler, whose mega-batches of 50 batches "length" sorts.
Differs: under "modality" the rows of a step stay in the drawn order. LLaVA sorts those of a step by
length (in words, an image not counted) and deals them out so that each device gets as many words:
that weighs in its loss, which is a mean over the device batches of a step, and not in ours, which
is a mean over the step's supervised tokens. LLaVA also joins what is left of both modalities at the
end of an epoch in one or two mixed steps; here the last step of each is filled with the epoch's
first rows of its own, so that an epoch may have one step more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from regiontok.data.pack import pack
from regiontok.data.records import Records
from regiontok.system.choices import check_choice

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

# Batches that are sorted by length together, as in transformers' LengthGroupedSampler.
MEGA_BATCHES = 50
# Samples that are packed together: rows were 99.4 % full (665,000 lengths of 100 to 2,048, gamma,
# in rows of 2,048).
PACKED_TOGETHER = 4096
Row = int | tuple[int, ...]
GroupBy = Literal["none", "length", "modality"]


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
        drawn: np.ndarray = self.indices[shuffled[start - offset : stop - offset]]
        return drawn


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
        lengths: `[records]` true tokens of each record; needed for grouping by length and for
            packing.
        with_images: `[records]` True for a record with pictures; needed for grouping by modality.
        group_by: what the rows of a batch have in common, see the module.
        pack_to: pack samples into rows of at most so many true tokens.
        epochs: number of epochs; a part of the last one is rounded up to steps.
        start: the step to begin with.
        rank: number of this process.
        processes: number of processes.

    Raises:
        ValueError: If the sizes do not divide, there are no records, or lengths or modalities are
            needed and not given.

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
        lengths: Int[np.ndarray, "r"] | None = None,
        with_images: Bool[np.ndarray, "r"] | None = None,
        group_by: GroupBy = "none",
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
        check_choice("group_by", group_by, ("none", "length", "modality"))
        if (group_by == "length" or pack_to) and lengths is None:
            raise ValueError(
                "grouping by length and packing need the true length of every record: see measure()"
            )
        if group_by == "modality" and with_images is None:
            raise ValueError(
                "grouping by modality needs to know which records have pictures: see measure()"
            )
        self.pools, self.batch, self.micro, self.seed = tuple(pools), batch, micro, seed
        self.lengths, self.with_images = lengths, with_images
        self.group_by, self.pack_to = group_by, pack_to
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
        """Number of steps of one epoch; packed epochs, and those of two modalities, differ."""
        if epoch not in self._steps_by_epoch:
            if self.pack_to or self.group_by == "modality":
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
            with_images=self.with_images,
            group_by=self.group_by,
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
        if self.group_by == "modality":
            return self._by_modality(drawn, rng)
        rows = self._as_rows(drawn, rng)
        return self._by_length(rows, rng) if self.group_by == "length" else rows

    def _as_rows(self, drawn: np.ndarray, rng: np.random.Generator) -> list[Row]:
        """The drawn samples one by one, or packed into rows whose order is drawn."""
        if not self.pack_to:
            samples: list[Row] = drawn.tolist()
            return samples
        packed = self._packed(drawn)
        return [packed[number] for number in rng.permutation(len(packed))]

    def _packed(self, drawn: np.ndarray) -> list[Row]:
        assert self.lengths is not None
        assert self.pack_to is not None
        rows: list[Row] = []
        for start in range(0, len(drawn), PACKED_TOGETHER):
            samples = drawn[start : start + PACKED_TOGETHER]
            packed = pack(self.lengths[samples], self.pack_to)
            rows += [tuple(samples[row].tolist()) for row in packed]
        return rows

    def _by_modality(self, drawn: np.ndarray, rng: np.random.Generator) -> list[Row]:
        """Rows in batches of one modality, whose order is drawn; the last batch of each is filled.

        A row that is packed holds samples of one modality, too.
        """
        assert self.with_images is not None
        batches: list[list[Row]] = []
        for samples in (drawn[self.with_images[drawn]], drawn[~self.with_images[drawn]]):
            rows = self._as_rows(samples, rng) if len(samples) else []
            rows += [rows[number % len(rows)] for number in range(-len(rows) % self.batch)]
            batches += [
                rows[start : start + self.batch] for start in range(0, len(rows), self.batch)
            ]
        return [row for number in rng.permutation(len(batches)) for row in batches[number]]

    def _by_length(self, rows: list[Row], rng: np.random.Generator) -> list[Row]:
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
