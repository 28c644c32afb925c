"""The endless stream of places: what an epoch holds, weights, locality, and the parts of ranks."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.shards.order import StreamOrder, step_positions


def epoch(order: StreamOrder, number: int) -> list:
    return [
        order.address(position)
        for position in range(number * order.samples, (number + 1) * order.samples)
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 9), st.integers(1, 4))
def test_an_epoch_at_weight_one_is_every_image_once(counts, block, window):
    if not sum(counts):
        counts = [1]
    order = StreamOrder([counts], [1.0], seed=3, block=block, window=window)
    for number in (0, 2):
        places = epoch(order, number)
        expected = [(shard, row) for shard, count in enumerate(counts) for row in range(count)]
        assert sorted((place.shard, place.row) for place in places) == expected
        assert {place.round for place in places} == {number}


def test_weights_count_images_over_epochs():
    order = StreamOrder([[7, 4], [5]], [0.5, 2.0], seed=1, block=3, window=2)
    assert order.samples == round(0.5 * 11) + 10
    seen = Counter((p.source, p.shard, p.row, p.round) for p in epoch(order, 0) + epoch(order, 1))
    assert max(seen.values()) == 1  # never twice in the same round: each coming is drawn otherwise
    images = Counter(key[:3] for key in seen.elements())
    assert sum(count for key, count in images.items() if key[0] == 0) == 12
    assert [images[1, 0, row] for row in range(5)] == [4] * 5
    assert all(
        images[0, shard, row] >= 1 for shard, count in ((0, 7), (1, 4)) for row in range(count)
    )


def test_orders_differ_by_seed_and_epoch_and_are_shuffled():
    first, second = (StreamOrder([[40]], [1.0], seed=seed, block=4) for seed in (0, 1))
    rows = [
        [place.row for place in epoch(order, number)]
        for order, number in ((first, 0), (first, 1), (second, 0))
    ]
    assert rows[0] != rows[1] != rows[2] != rows[0]
    assert rows[0] != sorted(rows[0])


def test_few_blocks_are_in_use_at_a_time():
    order = StreamOrder([[1000] * 4], [1.0], seed=0, block=10, window=5)
    for first in range(0, 4000, 50):
        blocks = {
            (place.shard, place.row // 10) for place in map(order.address, range(first, first + 50))
        }
        assert len(blocks) == 5


def test_any_position_alone_and_after_pickling():
    order = StreamOrder([[9, 5]], [1.0], seed=5, block=2, window=2)
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


def test_ranks_share_a_step_evenly():
    whole = [list(share) for share in step_positions(6, 2, 4)]
    assert whole == [list(range(12, 18)), list(range(18, 24))]
    for ranks in (2, 3):
        shares = [list(step_positions(6, 2, 4, rank, ranks)) for rank in range(ranks)]
        assert [
            [position for share in step for position in share] for step in zip(*shares, strict=True)
        ] == whole
    with pytest.raises(ValueError, match="a batch of 6 cannot be shared evenly by 4 ranks"):
        step_positions(6, 0, 1, 0, 4)
