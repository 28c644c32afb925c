"""Which records stand in which batch: a pure function of (seed, epoch, step), so that training goes
on at any step exactly.

After: LLaVA's `group_by_modality_length` (mega-batches sorted by length); DistributedSampler.
Differs: lengths are true ones (visual tokens counted), LLaVA's count an image as 128 words; a batch
is one over all processes, so that the same samples meet in a step for any number of them;
mega-batches hold 50 batches, not one; nothing depends on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from regiontok.data.pack import pack
from regiontok.data.records import Records

MEGA = 50  # batches that are sorted by length together, as in transformers' LengthGroupedSampler
# samples packed together: rows were 99.4 % full (665,000 lengths of 100 to 2,048, gamma, in rows of
# 2,048)
WINDOW = 4096
Row = int | tuple[int, ...]


@dataclass(frozen=True)
class Pool:
    """Records of one source that may be drawn: their indices, and how often each is, against 1."""

    indices: np.ndarray
    weight: float = 1.0

    @property
    def size(self) -> int:
        """Records of it in an epoch."""
        return round(self.weight * len(self.indices))

    def drawn(self, seed: int, epoch: int) -> np.ndarray:
        """The records of an epoch: the next stretch of an endless row of shuffles, so that at
        weight 0.1 ten epochs see each once."""
        first, last = epoch * self.size, (epoch + 1) * self.size
        count = len(self.indices)
        rounds = range(first // count, -(-last // count))
        shuffled = np.concatenate(
            [np.random.default_rng([seed, 1, turn]).permutation(count) for turn in rounds]
        )
        return self.indices[shuffled[first - rounds.start * count : last - rounds.start * count]]


def pools(records: Records, keep: np.ndarray | None = None) -> list[Pool]:
    """One pool a source, of the records in `keep` (indices or a bool mask; None = all); a source of
    which none is left is left out."""
    chosen = np.arange(len(records)) if keep is None else np.arange(len(records))[keep]
    found = []
    for source in records.sources:
        own = chosen[(chosen >= source.start) & (chosen < source.stop)]
        if len(own):
            found.append(Pool(own, source.weight))
    return found


class EpochOrder:
    """A batch sampler: iterating gives the micro-batches of one process, each a list of indices (of
    tuples of indices, if packed).

    An epoch has `ceil(rows / batch)` steps; its last batch is filled with the epoch's first rows.
    The micro-batches of a step are cut from one list: process r takes the pieces r, r + processes,
    r + 2 processes ... With `processes=1` their sequence is the one that accelerate's
    BatchSamplerShard deals out, so either may do the sharing, not both.

    Args:
        pools: see `pools`.
        batch: rows of an optimiser step, over all processes and accumulation.
        micro: rows of one forward pass; default: all.
        seed: of everything.
        lengths: `[records]` true tokens of each record; needed for `group` and `pack_to`.
        group: batches of rows of nearly one length.
        pack_to: pack samples into rows of at most so many true tokens.
        epochs: how many; a part of the last one is rounded up to steps.
        start: the step to begin with.
        rank, processes: see above.

    Raises:
        ValueError: sizes that do not divide, no records, no lengths where they are needed.

    >>> order = EpochOrder([Pool(np.arange(5))], batch=2, seed=3)
    >>> order.steps, sorted({index for batch in order for index in batch})
    (3, [0, 1, 2, 3, 4])
    """

    def __init__(
        self,
        pools: Sequence[Pool],
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
                f"a batch of {batch} cannot be shared by {processes} processes in micro-batches of {micro}"
            )
        if not any(pool.size for pool in pools):
            raise ValueError("no record is left to draw from (all set aside, or weights too small)")
        if (group or pack_to) and lengths is None:
            raise ValueError(
                "grouping by length and packing need the true length of every record: see measure()"
            )
        self.pools, self.batch, self.micro, self.seed, self.start = (
            tuple(pools),
            batch,
            micro,
            seed,
            start,
        )
        self.lengths, self.group, self.pack_to = lengths, group, pack_to
        self.rank, self.processes, self.epochs = rank, processes, epochs
        self._rows = lru_cache(maxsize=2)(self._drawn)
        self._sizes: dict[int, int] = {}

    @property
    def steps(self) -> int:
        """Optimiser steps of all epochs."""
        whole, part = divmod(self.epochs, 1)
        steps = sum(self.steps_of(epoch) for epoch in range(int(whole)))
        return steps + (int(np.ceil(part * self.steps_of(int(whole)))) if part else 0)

    def steps_of(self, epoch: int) -> int:
        """Steps of one epoch; packed epochs differ by a few."""
        if epoch not in self._sizes:
            epoch_rows = (
                len(self._rows(epoch)) if self.pack_to else sum(pool.size for pool in self.pools)
            )
            self._sizes[epoch] = -(-epoch_rows // self.batch)
        return self._sizes[epoch]

    def place(self, step: int) -> tuple[int, int]:
        """(epoch, step of that epoch)."""
        epoch = 0
        while step >= self.steps_of(epoch):
            step -= self.steps_of(epoch)
            epoch += 1
        return epoch, step

    def at(self, step: int) -> list[Row]:
        """All rows of an optimiser step, in order: what is computed depends on nothing but (seed,
        step)."""
        epoch, own = self.place(step)
        epoch_rows = self._rows(epoch)
        found = epoch_rows[own * self.batch : (own + 1) * self.batch]
        return [
            *found,
            *(epoch_rows[at % len(epoch_rows)] for at in range(self.batch - len(found))),
        ]

    def from_step(self, step: int) -> EpochOrder:
        """The same order, beginning at a step."""
        return EpochOrder(
            self.pools, batch=self.batch, micro=self.micro, seed=self.seed, lengths=self.lengths, group=self.group,
            pack_to=self.pack_to, epochs=self.epochs, start=step, rank=self.rank, processes=self.processes,
        )  # fmt: skip

    def __len__(self) -> int:
        return max(self.steps - self.start, 0) * (self.batch // (self.micro * self.processes))

    def __iter__(self) -> Iterator[list[Row]]:
        for step in range(self.start, self.steps):
            rows = self.at(step)
            pieces = [
                rows[first : first + self.micro] for first in range(0, self.batch, self.micro)
            ]
            yield from pieces[self.rank :: self.processes]

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_rows"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._rows = lru_cache(maxsize=2)(self._drawn)

    def _drawn(self, epoch: int) -> list[Row]:
        rng = np.random.default_rng([self.seed, 2, epoch])
        drawn = rng.permutation(
            np.concatenate([pool.drawn(self.seed, epoch) for pool in self.pools if pool.size])
        )
        if self.pack_to:
            rows: list[Row] = self._packed(drawn)
            rows = [rows[at] for at in rng.permutation(len(rows))]
        else:
            rows = drawn.tolist()
        return self._grouped(rows, rng) if self.group else rows

    def _packed(self, drawn: np.ndarray) -> list[Row]:
        assert self.lengths is not None
        assert self.pack_to is not None
        rows: list[Row] = []
        for first in range(0, len(drawn), WINDOW):
            own = drawn[first : first + WINDOW]
            rows += [tuple(own[row].tolist()) for row in pack(self.lengths[own], self.pack_to)]
        return rows

    def _grouped(self, rows: list[Row], rng: np.random.Generator) -> list[Row]:
        """Mega-batches sorted by length (stably) and cut into batches, whose order is drawn; a
        short batch stays at the end."""
        assert self.lengths is not None
        packed = [self.lengths[list(row)].sum() for row in rows if isinstance(row, tuple)]
        size = np.array(packed) if packed else self.lengths[rows]
        batches: list[np.ndarray] = []
        for first in range(0, len(rows), MEGA * self.batch):
            own = np.arange(first, min(first + MEGA * self.batch, len(rows)))
            own = own[np.argsort(-size[own], kind="stable")]
            batches += [own[at : at + self.batch] for at in range(0, len(own), self.batch)]
        last = [batches.pop()] if len(batches[-1]) < self.batch else []
        order = [*(batches[at] for at in rng.permutation(len(batches))), *last]
        return [rows[at] for batch in order for at in batch]
