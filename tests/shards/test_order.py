"""The endless stream of places: what an epoch holds, weights, locality, and the parts of ranks."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.shards.order import StreamOrder


def epoch(order: StreamOrder, number: int) -> list:
    return [
        order.address(position)
        for position in range(number * order.samples, (number + 1) * order.samples)
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 40), st.integers(1, 4))
def test_an_epoch_at_weight_one_is_every_image_once(counts, lanes, window):
    if not sum(counts):
        counts = [1]
    order = StreamOrder([counts], [1.0], seed=3, lanes=lanes, window=window)
    for number in (0, 2):
        places = epoch(order, number)
        expected = [(shard, row) for shard, count in enumerate(counts) for row in range(count)]
        assert sorted((place.shard, place.row) for place in places) == expected
        assert {place.round for place in places} == {number}


def test_weights_count_images_over_epochs():
    order = StreamOrder([[7, 4], [5]], [0.5, 2.0], seed=1, lanes=3, window=2)
    assert order.samples == round(0.5 * 11) + 10
    seen = Counter((p.source, p.shard, p.row, p.round) for p in epoch(order, 0) + epoch(order, 1))
    assert max(seen.values()) == 1  # never twice in the same round: each coming is drawn otherwise
    images = Counter(key[:3] for key in seen.elements())
    assert sum(count for key, count in images.items() if key[0] == 0) == 12
    assert [images[1, 0, row] for row in range(5)] == [4] * 5
    assert all(
        images[0, shard, row] >= 1 for shard, count in ((0, 7), (1, 4)) for row in range(count)
    )


@pytest.mark.parametrize("lanes", [1, 8, 256])
def test_orders_differ_by_seed_and_epoch_and_are_shuffled(lanes):
    first, second = (StreamOrder([[40]], [1.0], seed=seed, lanes=lanes) for seed in (0, 1))
    rows = [
        [place.row for place in epoch(order, number)]
        for order, number in ((first, 0), (first, 1), (second, 0))
    ]
    assert rows[0] != rows[1] != rows[2] != rows[0]
    assert sum(left < right for left, right in zip(rows[0], rows[0][1:], strict=False)) < 30


def test_a_lane_reads_its_shards_in_order_and_every_turn_has_one_image_of_each_lane():
    order = StreamOrder([[100] * 8], [1.0], seed=0, lanes=4, window=10)
    shards_by_turn = [
        sorted({place.shard for place in map(order.address, range(turn * 4, turn * 4 + 4))})
        for turn in range(200)
    ]
    assert all(len(shards) == 4 for shards in shards_by_turn)
    assert len({tuple(shards) for shards in shards_by_turn}) == 2, "one shard, then the next"
    lane = [
        place.row
        for place in map(order.address, range(400))
        if place.shard == order.address(0).shard
    ]
    windows = [sorted(lane[first : first + 10]) for first in range(0, 100, 10)]
    assert windows == [[*range(first, first + 10)] for first in range(0, 100, 10)]
    assert lane != sorted(lane)


@pytest.mark.parametrize(("lanes", "batch"), [(8, 16), (64, 16)])
def test_a_rank_keeps_to_few_places(lanes, batch):
    """Of 8 ranks each reads its own eighth of the lanes, or few more where a step has not all."""
    order = StreamOrder([[1000] * 64], [1.0], seed=0, lanes=lanes, window=32)
    shards = [
        order.address(int(position)).shard
        for step in range(1, 40)
        for position in order.part(step * batch, batch, rank=3, ranks=8)
    ]
    assert len(set(shards)) <= (3 if lanes < batch else lanes // 2)
    everything = {order.address(position).shard for position in range(40 * batch)}
    assert len(everything) == lanes


def test_any_position_alone_and_after_pickling():
    order = StreamOrder([[9, 5]], [1.0], seed=5, lanes=4, window=2)
    stream = [order.address(position) for position in range(60)]
    copy = pickle.loads(pickle.dumps(order))
    assert [
        copy.address(position) for position in np.random.default_rng(0).permutation(60).tolist()
    ] == [stream[position] for position in np.random.default_rng(0).permutation(60).tolist()]


def test_bad_orders():
    with pytest.raises(ValueError, match="no image is left to draw from"):
        StreamOrder([[3]], [0.1], seed=0)
    with pytest.raises(ValueError, match="2 sources need as many weights above 0"):
        StreamOrder([[3], [3]], [1.0], seed=0)
    with pytest.raises(ValueError, match="weights above 0"):
        StreamOrder([[3]], [0.0], seed=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.sampled_from([6, 12, 18]), st.integers(1, 20))
def test_the_parts_of_all_ranks_are_the_step_for_any_number_of_ranks(first, batch, lanes):
    order = StreamOrder([[7, 9, 4]], [1.0], seed=1, lanes=lanes, window=2)
    whole = order.part(first, batch).tolist()
    assert sorted(whole) == [*range(first, first + batch)]
    for ranks in (2, 3):
        parts = [order.part(first, batch, rank, ranks).tolist() for rank in range(ranks)]
        assert [position for part in parts for position in part] == whole
        assert len({len(part) for part in parts}) == 1


def test_a_batch_that_ranks_cannot_share():
    with pytest.raises(ValueError, match="a batch of 6 cannot be shared evenly by 4 ranks"):
        StreamOrder([[9]], [1.0], seed=0).part(0, 6, 0, 4)
