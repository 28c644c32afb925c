"""Greedy merging against a brute force that looks at every pair before every merge."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.steps.kernels.greedy import merge
from regiontok.steps.kernels.sequence import MergeSequence, grid_edges, merge_sequence

ONE = 2**20
PLAIN = settings(max_examples=200, deadline=None)


def brute_force(features, edges, start, *, threshold=-math.inf, k=0):
    """The pairs and heights of plain merging.

    Zero sums are told apart exactly, so features must be such that sums are exact (small integers).

    Sums of products run in numpy's order, not the kernel's: real features agree but for one
    rounding in about 1e10.
    """
    features = features.astype(np.float64)
    names = np.array(
        [-1 if s == -1 else np.flatnonzero(start == s)[0] for s in start], dtype=np.int64
    )
    pairs, heights = [], []
    while True:
        sums = {a: features[names == a].sum(axis=0) for a in np.unique(names[names >= 0])}
        best = (-math.inf,)
        for a, b in {(min(names[u], names[v]), max(names[u], names[v])) for u, v in edges}:
            if a >= 0 and a != b:
                best = max(best, (similarity(sums[a], sums[b]), -a, -b))
        if best[0] < threshold or best[0] == -math.inf or len(sums) <= k:
            return np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(heights)
        pairs.append((-best[1], -best[2]))
        heights.append(best[0])
        names[names == pairs[-1][1]] = pairs[-1][0]


def similarity(x, y):
    if not x.any() or not y.any():
        return float(x.any() == y.any())
    return math.floor(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) * ONE + 0.5) / ONE


@st.composite
def problems(draw, starts=False):
    """Integer features with many ties, zeros and sums that cancel, on a grid."""
    shape = draw(st.one_of(st.tuples(st.integers(1, 6), st.integers(1, 6)), st.just((2, 3, 3))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d, top = math.prod(shape), draw(st.integers(1, 8)), draw(st.integers(1, 4))
    features = rng.integers(draw(st.sampled_from([0, -top])), top + 1, (n, d)).astype(np.float64)
    features[rng.random(n) < draw(st.sampled_from([0.0, 0.3]))] = 0
    start = rng.integers(-1, max(1, n // 2), n) * 7 if starts else np.arange(n)
    return features, grid_edges(shape), np.where(start < 0, -1, start)


def test_three_flat_areas_become_three_regions_in_raster_order():
    drawn = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 1]])
    sequence = merge_sequence(
        np.eye(3)[drawn.ravel()], grid_edges((3, 4)), np.arange(12), threshold=1.0
    )
    assert sequence.pairs.tolist() == [
        [0, 1],
        [0, 4],
        [0, 5],
        [2, 3],
        [2, 6],
        [2, 7],
        [2, 11],
        [8, 9],
        [8, 10],
    ]
    assert sequence.heights.tolist() == [1.0] * 9
    assert sequence.labels().reshape(3, 4).tolist() == drawn.tolist()


def test_most_similar_first_then_the_mean():
    #  (4, 3) - (1, 0) - (3, 4):  0.8 and 0.6; then (5, 3) and (3, 4): 27 / (5 sqrt(34))
    sequence = merge_sequence(
        np.array([[4.0, 3], [1, 0], [3, 4]]), grid_edges((1, 3)), np.arange(3)
    )
    assert sequence.pairs.tolist() == [[0, 1], [0, 2]]
    np.testing.assert_allclose(sequence.heights, [0.8, 27 / (5 * 34**0.5)], atol=0.5 / ONE)


def test_threshold_meets_the_rounded_similarity():
    def regions(x, threshold):
        return (
            merge_sequence(
                np.array([[1.0, 0], x]), grid_edges((1, 2)), np.arange(2), threshold=threshold
            )
            .labels()
            .max()
            + 1
        )

    assert regions([3.0, 4], 0.6) == 1  # 0.6 lies 0.4 steps below 629146 / 2^20
    assert regions([7.0, 24], 0.28) == 2  # 0.28 lies 0.28 steps above 293601 / 2^20
    assert regions([7.0, 24], 293601 / ONE) == 1
    assert regions([1.0, 0], 1.0) == 1
    assert regions([1.0, 0], 1.5) == 2


def test_regions_without_direction():
    #  0 - 0 - x - 0: the zeros are alike, none is like x
    features = np.array([[0.0], [0], [5], [0]])
    sequence = merge_sequence(features, grid_edges((1, 4)), np.arange(4))
    assert sequence.pairs.tolist() == [[0, 1], [0, 2], [0, 3]]
    assert sequence.heights.tolist() == [1, 0, 0]


def test_patches_that_cancel_but_for_rounding_count_as_zero():
    features = np.array([[0.0], [1], [6], [-7], [4]]) * 1.7
    assert 0 < abs(features[:4].sum()) < 1e-14
    assert merge_sequence(
        features, np.array([[3, 4]]), np.array([0, 0, 0, 0, 1])
    ).heights.tolist() == [0.0]


def test_heights_rise_and_a_threshold_cuts_before_the_first_below():
    # (1, 1) - (8, 0) - (6, 5): 45 and 40 degrees apart; the union of the last two is 25 degrees
    # from the first
    features, edges = np.array([[1.0, 1], [8, 0], [6, 5]]), grid_edges((1, 3))
    sequence = merge_sequence(features, edges, np.arange(3))
    np.testing.assert_allclose(sequence.heights, [0.768, 0.904], atol=1e-3)
    # counting heights of 0.8 and more would say 2 regions
    assert sequence.labels(threshold=0.8).tolist() == [0, 1, 2]
    assert sequence.labels(threshold=0.7).tolist() == [0, 0, 0]
    assert merge_sequence(features, edges, np.arange(3), threshold=0.8).pairs.tolist() == []


def test_gaps_and_joined_starts():
    #  9  9 -1  4
    #  9 -1  4  4    the regions 9 and 4 do not touch, 5 touches both
    #  5  5  5  5
    start = np.array([9, 9, -1, 4, 9, -1, 4, 4, 5, 5, 5, 5])
    sequence = merge_sequence(np.ones((12, 2), np.float32), grid_edges((3, 4)), start)
    assert sequence.start.tolist() == [0, 0, -1, 3, 0, -1, 3, 3, 8, 8, 8, 8]
    assert sequence.pairs.tolist() == [[0, 8], [0, 3]]
    assert sequence.labels(k=3).tolist() == [0, 0, -1, 1, 0, -1, 1, 1, 2, 2, 2, 2]
    assert sequence.labels(k=2).tolist() == [0, 0, -1, 1, 0, -1, 1, 1, 0, 0, 0, 0]
    assert sequence.labels().tolist() == [0, 0, -1, 0, 0, -1, 0, 0, 0, 0, 0, 0]


def test_neighbours_are_compared_once_however_long_their_border():
    #  0 0 0
    #  1 1 2    patch 5 alone; rows of sums are counted back from -1
    trace = np.zeros((9, 2), np.int64)
    start = np.array([0, 0, 0, 3, 3, 5])
    pairs, _, _, compared = merge(np.ones((6, 2)), grid_edges((2, 3)), start, ONE, 6, trace)
    assert pairs.tolist() == [[0, 3], [0, 5]]
    assert compared == 4
    assert trace[:4].tolist() == [[-1, -2], [-1, 5], [-2, 5], [-1, 5]]


@PLAIN
@given(problems())
def test_equals_brute_force_at_any_scale(problem):
    features, edges, start = problem
    pairs, heights = brute_force(*problem)
    for scaled in (
        features,
        features * 1.7,
        features.astype(np.float32) * 3,
        features * 1e250,
        features * 1e-250,
    ):
        sequence = merge_sequence(scaled, edges, start)
        assert sequence.pairs.tolist() == pairs.tolist()
        assert sequence.heights.tolist() == heights.tolist()


@pytest.mark.slow
@PLAIN
@given(problems(starts=True), st.sampled_from([-1.0, 0.0, 0.3, 0.5, 0.7, 0.95, 1.0]))
def test_equals_brute_force_from_any_start(problem, threshold):
    pairs, heights = brute_force(*problem, threshold=threshold)
    sequence = merge_sequence(*problem, threshold=threshold)
    assert sequence.pairs.tolist() == pairs.tolist()
    assert sequence.heights.tolist() == heights.tolist()
    assert (sequence.labels() >= 0).tolist() == (problem[2] >= 0).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_brute_force_on_real_features(dtype):
    rng = np.random.default_rng(5)
    for width in (3, 17, 40):
        features = rng.standard_normal((36, width)).astype(dtype) + 1
        pairs, heights = brute_force(features, grid_edges((6, 6)), np.arange(36))
        sequence = merge_sequence(features, grid_edges((6, 6)), np.arange(36))
        assert sequence.pairs.tolist() == pairs.tolist()
        assert sequence.heights.tolist() == heights.tolist()


def test_equals_brute_force_when_stale_pairs_fill_the_heap():
    # patch 0 grows by one patch after the other and is compared with its whole border each time
    features = np.tile([4.0, 3], (121, 1))
    features[::7] = [3.0, 4]
    features[::11] = [5.0, 0]
    pairs, heights = brute_force(features, grid_edges((11, 11)), np.arange(121))
    sequence = merge_sequence(features, grid_edges((11, 11)), np.arange(121))
    assert sequence.pairs.tolist() == pairs.tolist()
    assert sequence.heights.tolist() == heights.tolist()


@pytest.mark.slow
@PLAIN
@given(problems(starts=True), st.integers(0, 36), st.floats(-1, 1))
def test_a_cut_equals_a_run_with_that_stop(problem, merges, threshold):
    whole = merge_sequence(*problem)
    stopped = merge_sequence(*problem, threshold=threshold)
    assert stopped.labels().tolist() == whole.labels(threshold=threshold).tolist()
    assert stopped.labels(threshold=threshold).tolist() == stopped.labels().tolist()
    k = whole.labels(threshold=2.0).max() + 1 - min(merges, len(whole.pairs))
    exact = merge_sequence(*problem, k=k)
    assert exact.labels().max() + 1 == k
    assert exact.labels().tolist() == exact.labels(k=k).tolist() == whole.labels(k=k).tolist()


@pytest.mark.slow
@PLAIN
@given(problems(starts=True), st.randoms(use_true_random=False))
def test_edges_are_a_set_and_ids_are_only_names(problem, random):
    features, edges, start = problem
    shuffled = [pair[:: random.choice([1, -1])] for pair in edges.tolist() * 2] + [[0, 0]]
    random.shuffle(shuffled)
    renamed = np.where(start < 0, -1, 1000 - start * 3)
    first, second = merge_sequence(*problem), merge_sequence(features, np.array(shuffled), renamed)
    assert first.pairs.tolist() == second.pairs.tolist()
    assert first.start.tolist() == second.start.tolist()


def test_runs_repeat_also_in_threads_and_leave_their_inputs_alone():
    rng = np.random.default_rng(3)
    features, edges, start = (
        rng.standard_normal((400, 64)).astype(np.float32),
        grid_edges((20, 20)),
        np.arange(400),
    )
    copies = features.copy(), edges.copy(), start.copy()
    for array in (features, edges, start):
        array.flags.writeable = False
    alone = merge_sequence(features, edges, start)
    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(lambda _: merge_sequence(features, edges, start), range(16)):
            assert other.pairs.tolist() == alone.pairs.tolist()
            assert other.heights.tolist() == alone.heights.tolist()
    strided = np.repeat(features, 2, axis=1)[:, ::2]
    assert (
        merge_sequence(strided, edges.astype(np.int32), start).pairs.tolist()
        == alone.pairs.tolist()
    )
    for copy, array in zip(copies, (features, edges, start), strict=True):
        assert copy.tolist() == array.tolist()


def test_nothing_to_merge():
    empty = merge_sequence(np.zeros((0, 3)), np.zeros((0, 2), np.int64), np.zeros(0, np.int64))
    assert empty.labels().tolist() == []
    gaps = merge_sequence(np.ones((4, 3)), grid_edges((2, 2)), np.full(4, -1), k=0)
    assert gaps.labels().tolist() == [-1] * 4
    assert merge_sequence(
        np.ones((1, 3)), grid_edges((1, 1)), np.zeros(1, np.int64), k=1
    ).labels().tolist() == [0]


def test_a_k_out_of_reach_names_both_numbers():
    features, edges = np.ones((6, 2)), np.array([[0, 1], [1, 2], [3, 4]])  # parts 0-1-2, 3-4 and 5
    with pytest.raises(ValueError, match=r"k=2 .* the start has 3 connected parts"):
        merge_sequence(features, edges, np.arange(6), k=2)
    with pytest.raises(ValueError, match=r"k=7 .* the start has 6"):
        merge_sequence(features, edges, np.arange(6), k=7)
    assert merge_sequence(features, edges, np.arange(6), k=3).labels().tolist() == [
        0,
        0,
        0,
        1,
        1,
        2,
    ]
    whole = merge_sequence(features, edges, np.arange(6))
    with pytest.raises(
        ValueError, match=r"k=2 regions: this sequence goes from 6 regions down to 3"
    ):
        whole.labels(k=2)
    with pytest.raises(ValueError, match=r"k=7 regions: this sequence goes from 6"):
        whole.labels(k=7)


def test_a_cut_beyond_what_was_recorded_is_refused():
    features, edges = np.array([[1.0, 1], [8, 0], [6, 5]]), grid_edges((1, 3))
    with pytest.raises(ValueError, match=r"threshold=0.7: this sequence was recorded down to 0.8"):
        merge_sequence(features, edges, np.arange(3), threshold=0.8).labels(threshold=0.7)
    # the next merge would stand at 0.904
    one_left = merge_sequence(features, edges, np.arange(3), k=2)
    assert one_left.labels(threshold=0.77).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"threshold=0.7: this sequence was recorded down to 0.90"):
        one_left.labels(threshold=0.7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_must_be_finite(bad, dtype):
    features = np.ones((4, 3), dtype)
    features[2, 1] = bad
    with pytest.raises(
        ValueError, match="features must be finite; 1 of 4 patches hold NaN or infinity"
    ):
        merge_sequence(features, grid_edges((2, 2)), np.arange(4))


def test_errors_name_what_came():
    features, edges, start = np.ones((4, 3)), grid_edges((2, 2)), np.arange(4)
    with pytest.raises(ValueError, match=r"threshold=0.5 and k=2: give one of the two"):
        merge_sequence(features, edges, start, threshold=0.5, k=2)
    with pytest.raises(ValueError, match=r"threshold=0.5 and k=2: give one of the two"):
        merge_sequence(features, edges, start).labels(0.5, 2)
    with pytest.raises(ValueError, match="threshold is NaN"):
        merge_sequence(features, edges, start, threshold=math.nan)
    with pytest.raises(TypeError, match="float32 or float64, got float16"):
        merge_sequence(features.astype(np.float16), edges, start)
    with pytest.raises(TypeError, match="start must be integers, got float64"):
        merge_sequence(features, edges, start.astype(float))
    with pytest.raises(ValueError, match=r"got \(4, 3\), \(4, 2\), \(5,\)"):
        merge_sequence(features, edges, np.arange(5))
    with pytest.raises(ValueError, match=r"edges must name patches 0..3, got 0..4"):
        merge_sequence(features, np.array([[0, 4]]), start)
    with pytest.raises(ValueError, match=r"1048577 patches; at most 1048576"):
        merge_sequence(np.zeros((ONE + 1, 0)), edges, np.zeros(ONE + 1, np.int64))
    with pytest.raises(ValueError, match=r"at least one cell an axis, got \(3, 0\)"):
        grid_edges((3, 0))


def test_grid_edges():
    assert grid_edges((2, 3)).tolist() == [[0, 1], [0, 3], [1, 2], [1, 4], [2, 5], [3, 4], [4, 5]]
    assert grid_edges((1, 1)).tolist() == []
    assert grid_edges((2, 1, 2)).tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]
    clip = {frozenset(pair) for pair in grid_edges((2, 3, 4)).tolist()}
    cells = np.stack(np.unravel_index(np.arange(24), (2, 3, 4)), axis=1)
    assert clip == {
        frozenset((a, b))
        for a in range(24)
        for b in range(24)
        if np.abs(cells[a] - cells[b]).sum() == 1
    }


def test_a_sequence_can_be_built_from_its_parts():
    sequence = MergeSequence(
        np.array([0, 1, -1, 3]), np.array([[1, 3], [0, 1]]), np.array([0.5, 0.25])
    )
    assert sequence.labels(k=2).tolist() == [0, 1, -1, 1]
    assert sequence.labels(threshold=0.25).tolist() == [0, 0, -1, 0]
