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
WITH_IMAGES = np.random.default_rng(1).random(203) < 0.7


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
    "options",
    [{}, {"group_by": "length"}, {"pack_to": 200}, {"group_by": "length", "pack_to": 200}],
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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"group_by": "length"},
        {"pack_to": 200},
        {"group_by": "modality", "with_images": WITH_IMAGES},
        {"group_by": "modality", "with_images": WITH_IMAGES, "pack_to": 200},
    ],
)
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
    for start in (0, 1, len(whole) // 2, len(whole) - 1):
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
    grouped = EpochOrder(
        [RecordPool(np.arange(203))], batch=8, seed=1, lengths=LENGTHS, group_by="length"
    )
    assert spread(grouped) < 0.1 * spread(plain)


def split_to_even_chunks(indices, lengths, chunks):
    """LLaVA's function of that name, restated (Apache-2.0, llava/train/llava_trainer.py)."""
    if len(indices) % chunks:
        return [indices[number::chunks] for number in range(chunks)]
    dealt, sums = [[] for _ in range(chunks)], [0.0] * chunks
    for index in indices:
        shortest = sums.index(min(sums))
        dealt[shortest].append(index)
        full = len(dealt[shortest]) == len(indices) // chunks
        sums[shortest] = float("inf") if full else sums[shortest] + lengths[index]
    return dealt


def length_grouped(lengths, batch, world, rng):
    """LLaVA's get_length_grouped_indices, restated."""
    order, size = rng.permutation(len(lengths)).tolist(), batch * world
    grouped = []
    for start in range(0, len(order), size):
        mega = sorted(order[start : start + size], key=lambda index: lengths[index], reverse=True)
        grouped += [
            index for chunk in split_to_even_chunks(mega, lengths, world) for index in chunk
        ]
    return grouped


def modality_grouped(lengths, batch, world, rng):
    """LLaVA's get_modality_length_grouped_indices, restated: text-only samples have lengths < 0."""
    size, batches, left = batch * world, [], []
    for of_modality in (np.flatnonzero(lengths > 0), np.flatnonzero(lengths < 0)):
        order = of_modality[length_grouped(np.abs(lengths[of_modality]), batch, world, rng)]
        steps = [order[start : start + size].tolist() for start in range(0, len(order), size)]
        batches += steps[:-1]
        left += steps[-1]
    order = [batches[number] for number in rng.permutation(len(batches))]
    return [index for step in [*order, sorted(left)] for index in step]


def test_steps_by_modality_are_composed_as_llavas_are():
    """66,500 drawn lengths, four in five with a picture, as in LLaVA's mix: see its functions."""
    rng = np.random.default_rng(0)
    count, batch, world = 66_500, 16, 8
    lengths, with_images = rng.gamma(2.0, 150.0, count).astype(int) + 20, rng.random(count) < 0.8
    theirs = modality_grouped(np.where(with_images, lengths, -lengths), batch, world, rng)
    steps = [theirs[start : start + 128] for start in range(0, count - 256, 128)]
    order = EpochOrder(
        [RecordPool(np.arange(count))],
        batch=128,
        seed=1,
        with_images=with_images,
        group_by="modality",
    )
    ours = [order.rows(step) for step in range(order.steps)]
    assert sorted(theirs) == list(range(count))
    assert {row for rows in ours for row in rows} == set(range(count))

    def mixed(rows):
        return 0 < with_images[rows].mean() < 1

    assert np.mean([mixed(rows) for rows in steps]) == np.mean([mixed(rows) for rows in ours]) == 0
    plain = EpochOrder([RecordPool(np.arange(count))], batch=128, seed=1)
    assert np.mean([mixed(plain.rows(step)) for step in range(plain.steps)]) > 0.99
    # as many steps of each modality; theirs mixes what is left over in the last steps, which
    # `steps` leaves out, so ours may have one more of each
    for images in (True, False):
        whole = int((with_images == images).sum()) // 128
        their_count = sum(bool((with_images[rows] == images).all()) for rows in steps)
        our_count = sum(bool((with_images[rows] == images).all()) for rows in ours)
        assert whole - 2 <= their_count <= whole <= our_count <= whole + 1
    # modalities come in a drawn order
    changes = []
    for group in (ours, steps):
        kinds = np.array([with_images[rows].all() for rows in group])
        changes.append(np.mean(kinds[1:] != kinds[:-1]))
    assert changes[0] == pytest.approx(changes[1], abs=0.1)
    # lengths within a step are as in the data, and in no order; by length they are nearly one
    spreads = [
        np.mean([lengths[rows].std() for rows in group if with_images[rows].all()])
        for group in (ours, steps)
    ]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.02)
    assert not any((np.diff(lengths[rows]) <= 0).all() for rows in ours)
    by_length = EpochOrder(
        [RecordPool(np.arange(count))], batch=128, seed=1, lengths=lengths, group_by="length"
    )
    spread = np.mean([lengths[by_length.rows(step)].std() for step in range(by_length.steps)])
    assert spread < 0.1 * spreads[1]


@pytest.mark.parametrize("with_images", [np.ones(203, bool), np.zeros(203, bool), WITH_IMAGES])
@pytest.mark.parametrize("options", [{}, {"pack_to": 200, "lengths": LENGTHS}])
def test_an_epoch_by_modality_has_every_record_and_fills_each_last_batch(with_images, options):
    order = EpochOrder(
        [RecordPool(np.arange(203))],
        batch=8,
        seed=1,
        with_images=with_images,
        group_by="modality",
        epochs=2,
        **options,
    )
    for epoch in (0, 1):
        first = sum(order.steps_of(number) for number in range(epoch))
        steps = [order.rows(first + step) for step in range(order.steps_of(epoch))]
        assert {len(rows) for rows in steps} == {8}
        assert all(len(set(with_images[flat(rows)])) == 1 for rows in steps)
        assert set(flat(row for rows in steps for row in rows)) == set(range(203))
    assert order.steps == order.steps_of(0) + order.steps_of(1)


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
    with pytest.raises(ValueError, match="which records have pictures"):
        EpochOrder(pool, batch=1, group_by="modality")
    with pytest.raises(ValueError, match="group_by must be 'none' or 'length' or 'modality', not"):
        EpochOrder(pool, batch=1, group_by="legnth")
    with pytest.raises(ValueError, match="need the true length"):
        EpochOrder(pool, batch=1, group_by="length")
    tiny = EpochOrder(pool, batch=10, seed=0)
    assert Counter(tiny.rows(0)) == Counter([*range(4), *range(4), *tiny.rows(0)[:2]])
