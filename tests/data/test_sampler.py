"""The order is a function of (seed, step): weights, groups, packing, ranks and resuming."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.data.pack import pack
from regiontok.data.records import read
from regiontok.data.sampler import EpochOrder, RecordPool, record_pools
from regiontok.settings.recipe import Data
from samples.rows import flat

LENGTHS = np.random.default_rng(0).integers(5, 100, 203)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=60), st.sampled_from(["decreasing", "sequential"]))
def test_packing_loses_and_doubles_nothing(lengths, how):
    rows = pack(lengths, 20, how=how)
    assert sorted(flat(map(tuple, rows))) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 20 for row in rows)
    if how == "sequential":
        assert flat(map(tuple, rows)) == list(range(len(lengths)))


def test_first_fit_decreasing_is_what_its_name_says():
    """Against the plain algorithm, row by row."""
    for seed in range(20):
        lengths = np.random.default_rng(seed).integers(1, 50, 80)
        rows: list[list[int]] = []
        for index in sorted(range(80), key=lambda sample: (-lengths[sample], sample)):
            fits = [
                row for row in rows if sum(lengths[sample] for sample in row) + lengths[index] <= 60
            ]
            fits[0].append(index) if fits else rows.append([index])
        assert pack(lengths, 60) == [sorted(row) for row in rows]


def test_a_sample_longer_than_a_row_is_refused():
    with pytest.raises(
        ValueError, match="sample 1 has 21 tokens, a row at most 20: samples are never cut"
    ):
        pack([3, 21], 20)


@pytest.mark.parametrize(
    "options", [{}, {"group": True}, {"pack_to": 200}, {"group": True, "pack_to": 200}]
)
def test_an_epoch_has_every_record_once_but_for_what_fills_the_last_batch(options):
    order = EpochOrder([RecordPool(np.arange(203))], batch=8, seed=1, lengths=LENGTHS, **options)
    for epoch in (0, 1):
        steps = range(epoch * order.steps_of(0), epoch * order.steps_of(0) + order.steps_of(epoch))
        rows = [row for step in steps for row in order.rows(step)]
        counts = Counter(flat(rows))
        assert set(counts) == set(range(203))
        whole = len(rows) - len(order._epoch_rows(epoch))
        assert 0 <= whole < 8
        assert len(flat(rows[: len(order._epoch_rows(epoch))])) == 203
    first, second = order.rows(0), order.rows(order.steps_of(0))
    assert first != second


@pytest.mark.parametrize("options", [{}, {"group": True}, {"pack_to": 200}])
def test_resuming_at_any_step_and_any_number_of_processes_give_the_same_samples(options):
    def order(**more):
        return EpochOrder(
            [RecordPool(np.arange(203))],
            batch=8,
            seed=5,
            lengths=LENGTHS,
            epochs=2.5,
            **options,
            **more,
        )

    whole = [order().rows(step) for step in range(order().steps)]
    assert list(order()) == whole
    assert len(order()) == len(whole)
    for start in (0, 1, 26, len(whole) - 1):
        assert list(order(start=start)) == whole[start:] == list(order().from_step(start))
    shares = [list(order(micro=2, rank=rank, processes=2)) for rank in (0, 1)]
    assert len(shares[0]) == len(order(micro=2, rank=0, processes=2)) == 2 * len(whole)
    for step, rows in enumerate(whole):
        of_step = [share[2 * step : 2 * step + 2] for share in shares]
        assert [of_step[0][0], of_step[1][0], of_step[0][1], of_step[1][1]] == [
            rows[first : first + 2] for first in range(0, 8, 2)
        ]
    dealt = list(order(micro=2))  # what accelerate would deal out in turn to two processes
    assert [dealt[0::2], dealt[1::2]] == shares
    assert list(pickle.loads(pickle.dumps(order()))) == whole


def test_groups_are_of_nearly_one_length():
    def spread(order):
        return np.mean([np.ptp(LENGTHS[order.rows(step)]) for step in range(order.steps - 1)])

    plain = EpochOrder([RecordPool(np.arange(203))], batch=8, seed=1)
    grouped = EpochOrder([RecordPool(np.arange(203))], batch=8, seed=1, lengths=LENGTHS, group=True)
    assert spread(grouped) < 0.1 * spread(plain)


def test_weights_say_how_often_a_record_is_drawn():
    order = EpochOrder(
        [RecordPool(np.arange(100), 0.25), RecordPool(np.arange(100, 110), 3.0)],
        batch=5,
        seed=2,
        epochs=4,
    )
    counts = Counter(flat(row for batch in order for row in batch))
    assert order.steps == 4 * 11
    assert {counts[index] for index in range(100)} == {1}
    assert {counts[index] for index in range(100, 110)} == {12}


def test_pools_follow_the_sources_and_what_is_kept():
    records = read(
        [Data(records="miniworld(4, size=64)", weight=2.0), Data(records="miniworld(3, size=64)")]
    )
    keep = np.array([True, False, True, True, False, False, False])
    (only,) = record_pools(records, keep)
    assert (only.indices.tolist(), only.weight) == ([0, 2, 3], 2.0)
    assert [pool.indices.tolist() for pool in record_pools(records, np.array([1, 5]))] == [[1], [5]]
    assert sum(pool.size for pool in record_pools(records)) == 11


def test_orders_that_cannot_be_are_refused():
    pool = [RecordPool(np.arange(4))]
    with pytest.raises(
        ValueError, match="a batch of 6 cannot be shared by 2 processes in micro-batches of 2"
    ):
        EpochOrder(pool, batch=6, micro=2, processes=2)
    with pytest.raises(ValueError, match="no record is left to draw from"):
        EpochOrder([], batch=1)
    with pytest.raises(ValueError, match="need the true length"):
        EpochOrder(pool, batch=1, group=True)
    tiny = EpochOrder(pool, batch=10, seed=0)
    assert Counter(tiny.rows(0)) == Counter([*range(4), *range(4), *tiny.rows(0)[:2]])
