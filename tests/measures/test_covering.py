"""Covering, Rand index and variation of information.

They are checked by eye, by brute force, and against the official benchmark's records.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regiontok.measures.covering import (
    Covering,
    RegionScores,
    contingency,
    covering,
    dataset_scores,
    rand_index,
    region_scores,
    variation_of_information,
)

# One human saw the left half and two quarters, the segmentation found the quarters right and cut
# the left half unevenly.
HUMAN = np.array(
    [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [1, 1, 3, 3],
        [1, 1, 3, 3],
    ]
)
FOUND = np.array(
    [
        [7, 7, 0, 0],
        [5, 5, 0, 0],
        [5, 5, 4, 4],
        [5, 5, 4, 4],
    ]
)

maps = arrays(np.int64, (5, 6), elements=st.integers(0, 4))
maps_with_gaps = arrays(np.int64, (5, 6), elements=st.integers(-1, 3))


def test_contingency_counts_shared_pixels_in_the_order_of_the_ids():
    expected = [[0, 4, 0], [0, 0, 4], [6, 0, 0], [2, 0, 0]]  # rows 0, 4, 5, 7; columns 1, 2, 3
    np.testing.assert_array_equal(contingency(FOUND, HUMAN), expected)


def test_all_negative_labels_are_one_row_the_first():
    np.testing.assert_array_equal(contingency([[-1, 3, -7, 3]], [[0, 0, 0, 1]]), [[2, 0], [1, 1]])


def test_sparse_ids_of_24_bits_count_like_small_ones():
    np.testing.assert_array_equal(
        contingency(FOUND * 2**21, HUMAN + 2**23), contingency(FOUND, HUMAN)
    )


def test_figures_by_hand():
    scores = covering(FOUND, HUMAN)
    np.testing.assert_allclose(scores.overlap, [6 / 8, 1, 1])
    np.testing.assert_array_equal(scores.size, [8, 4, 4])
    assert (scores.covered, scores.pixels, scores.share) == (14, 16, 14 / 16)
    # 2 x 6 of 120 pairs are together for the human only
    assert rand_index(FOUND, HUMAN) == 1 - 2 * 6 / 120
    # H(human | found) = 0; H(found | human) is the entropy of a 1/4 - 3/4 cut over half of the
    # pixels
    assert variation_of_information(FOUND, HUMAN) == pytest.approx(
        8 / 16 * (0.25 * 2 + 0.75 * np.log2(4 / 3))
    )


def test_one_region_covers_by_the_sum_of_squared_shares():
    whole = np.zeros_like(HUMAN)
    assert covering(whole, HUMAN).share == (8**2 + 4**2 + 4**2) / 16**2
    assert variation_of_information(whole, HUMAN) == 1.5


def test_several_annotators_sum_the_covering_and_average_the_rest():
    scores = region_scores(FOUND, [HUMAN, FOUND])
    assert scores.covering.share == (14 + 16) / 32
    assert scores.rand == (rand_index(FOUND, HUMAN) + 1) / 2
    assert scores.voi == variation_of_information(FOUND, HUMAN) / 2
    assert scores.reverse.share == 1.0  # every region found is exactly one of SOME annotator
    np.testing.assert_allclose(region_scores(FOUND, [HUMAN]).reverse.overlap, [1, 1, 6 / 8, 2 / 8])


def test_pixels_in_no_region_cover_nothing():
    gap = FOUND.copy()
    gap[FOUND == 5] = -1
    scores = region_scores(gap, [HUMAN])
    # of the left half only region 7 is left
    np.testing.assert_allclose(scores.covering.overlap, [2 / 8, 1, 1])
    # the gap is no region to be judged
    np.testing.assert_array_equal(scores.reverse.size, [4, 4, 2])
    nothing = region_scores(np.full_like(HUMAN, -1), [HUMAN])
    assert (nothing.covering.share, nothing.covering.pixels, nothing.reverse.share) == (
        0.0,
        16,
        0.0,
    )


def test_pixels_in_no_region_are_one_region_of_their_own_for_rand_and_voi():
    gap = np.where(FOUND == 5, -1, FOUND)
    scores = region_scores(gap, [HUMAN])
    assert scores.rand == rand_index(gap, HUMAN) == rand_index(FOUND, HUMAN)
    assert (
        scores.voi == variation_of_information(gap, HUMAN) == variation_of_information(FOUND, HUMAN)
    )


def test_handing_in_fewer_regions_never_raises_the_covering():
    for drop in (0, 4, 5):  # each is the best match of a human region; 7 is not
        assert (
            covering(np.where(drop == FOUND, -1, FOUND), HUMAN).share < covering(FOUND, HUMAN).share
        )
    assert covering(np.where(FOUND == 7, -1, FOUND), HUMAN).share == covering(FOUND, HUMAN).share


@settings(max_examples=40, deadline=None)
@given(maps_with_gaps, maps)
def test_covering_equals_the_definition_over_boolean_masks(machine, human):
    share = 0.0
    for g in np.unique(human):
        ious = [
            ((machine == s) & (human == g)).sum() / ((machine == s) | (human == g)).sum()
            for s in np.unique(machine)
            if s >= 0
        ]
        share += (human == g).mean() * max(ious, default=0.0)
    assert covering(machine, human).share == pytest.approx(share)


@settings(max_examples=40, deadline=None)
@given(maps, maps)
def test_rand_and_voi_equal_scikit_learns_and_scikit_images(a, b):
    from skimage.metrics import variation_of_information as two_entropies
    from sklearn.metrics import rand_score

    assert rand_index(a, b) == pytest.approx(rand_score(a.ravel(), b.ravel()), abs=1e-12)
    assert variation_of_information(a, b) == pytest.approx(sum(two_entropies(a, b)), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(maps, st.permutations(range(5)))
def test_a_partition_under_other_ids_is_perfect_exactly(human, ids):
    scores = region_scores(np.array(ids)[human] * 11, [human])
    assert (scores.covering.share, scores.reverse.share, scores.rand, scores.voi) == (
        1.0,
        1.0,
        1.0,
        0.0,
    )


@settings(max_examples=40, deadline=None)
@given(maps, maps, maps)
def test_voi_is_a_metric_and_rand_is_symmetric(a, b, c):
    assert rand_index(a, b) == rand_index(b, a)
    assert variation_of_information(a, b) == pytest.approx(variation_of_information(b, a))
    assert (
        variation_of_information(a, c)
        <= variation_of_information(a, b) + variation_of_information(b, c) + 1e-9
    )


def test_one_pixel_agrees_with_itself():
    scores = region_scores([[3]], [[[1]]])
    assert (scores.covering.share, scores.rand, scores.voi) == (1.0, 1.0, 0.0)


def test_a_small_photo_and_a_large_one_join_by_pixels_in_covering_but_weigh_alike_in_rand():
    small = region_scores([[0, 0]], [[[0, 1]]])  # covering 1/2 of 2 pixels, Rand index 0
    large = region_scores(HUMAN, [HUMAN])
    scores = dataset_scores([[small], [large]])
    assert scores.covering_ods == (1 + 16) / 18
    assert scores.rand_ods == 0.5


def test_best_setting_for_all_by_photo_and_by_region():
    human = [[0, 0, 1, 1]]
    left, right = region_scores([[0, 0, -1, -1]], [human]), region_scores([[-1, -1, 1, 1]], [human])
    half = region_scores([[0, 0, 0, 0]], [human])
    scores = dataset_scores([[left, half], [half, right]])
    np.testing.assert_allclose(scores.covering, [0.5, 0.5])
    assert (scores.covering_ods, scores.covering_ois, scores.covering_best) == (
        0.5,
        0.5,
        (1 + 0.5) / 2,
    )
    np.testing.assert_allclose(scores.voi, [0.5, 0.5])
    assert (scores.voi_ods, scores.voi_ois, scores.rand_ois) == (0.5, 0.0, 1.0)
    assert Covering.best([left.covering, right.covering]).share == 1.0


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"one shape, got \(4, 4\) and \(4, 3\)"):
        contingency(FOUND, HUMAN[:, :3])
    with pytest.raises(TypeError, match="integer labels, got float64"):
        covering(FOUND, HUMAN / 2)
    with pytest.raises(ValueError, match=r"with pixels, got shape \(0, 4\)"):
        rand_index(FOUND[:0], HUMAN[:0])
    with pytest.raises(ValueError, match="at least one human segmentation, got none"):
        region_scores(FOUND, [])
    with pytest.raises(ValueError, match="negative labels in human map 1"):
        region_scores(FOUND, [HUMAN, HUMAN - 2])
    scores = region_scores(FOUND, [HUMAN])
    with pytest.raises(ValueError, match=r"at least 1, got \[1, 2\]"):
        dataset_scores([[scores], [scores, scores]])
    with pytest.raises(ValueError, match=r"at least 1, got \[\]"):
        dataset_scores([])


# ---- against the official benchmark: five photos, five machine segmentations each, recorded by the
# MATLAB code

IDS = ("2018", "3063", "5096", "6046", "8068")  # the order of the rows in test_4/*.txt


@pytest.fixture(scope="module")
def official(data: Path) -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """id -> (machine segmentations, human segmentations)."""
    loadmat = pytest.importorskip("scipy.io").loadmat
    bench = data / "bsds500" / "bench"
    cells = {
        i: (
            loadmat(bench / f"segs/{i}.mat")["segs"][0],
            loadmat(bench / f"groundTruth/{i}.mat")["groundTruth"][0],
        )
        for i in IDS
    }
    return {
        i: (list(segmentations), [human["Segmentation"][0, 0] for human in humans])
        for i, (segmentations, humans) in cells.items()
    }


@pytest.fixture(scope="module")
def scores(official):
    return {
        i: [region_scores(seg, humans) for seg in segmentations]
        for i, (segmentations, humans) in official.items()
    }


@pytest.fixture(scope="module")
def golden(data: Path) -> dict:
    return json.loads((data / "golden" / "bsds_region_benchmark.json").read_text())


def printed(value: float) -> float:
    """As the benchmark prints it: `%10g`, six significant digits."""
    return float(f"{value:10g}")


def as_written(score: RegionScores) -> RegionScores:
    """The benchmark hands the figures of a photo on as TEXT.

    Of 498,734.73 covered pixels 498,735 are left.
    """

    def sums(covering: Covering) -> Covering:
        return Covering(
            np.array([printed(covering.covered) / covering.pixels]), np.array([covering.pixels])
        )

    return RegionScores(
        sums(score.covering), sums(score.reverse), printed(score.rand), printed(score.voi)
    )


def table(data: Path, name: str) -> list[list[float]]:
    lines = (data / "bsds500" / "bench" / "test_4" / name).read_text().splitlines()
    return [[float(cell) for cell in line.split()] for line in lines if line.strip()]


@pytest.mark.slow
def test_recorded_figures_of_each_photo_and_annotator(golden, official, scores):
    assert set(golden["per_image"]) <= set(IDS)
    for i, photo in golden["per_image"].items():
        segmentations, humans = official[i]
        assert (len(humans), len(segmentations)) == (photo["n_gt"], len(photo["segs"]))
        assert [len(covering(segmentations[0], human).size) for human in humans] == photo[
            "gt_regions"
        ]
        for seg, score, record in zip(segmentations, scores[i], photo["segs"], strict=True):
            assert len(score.reverse.size) == record["n_regions"]
            ours = {
                "covering_all_gt": score.covering.share,
                "covering_per_gt": [covering(seg, human).share for human in humans],
                "precision_seg_by_any_gt": score.reverse.share,
                "rand_index_per_gt": [rand_index(seg, human) for human in humans],
                "PRI": score.rand,
                "voi_bits_per_gt": [variation_of_information(seg, human) for human in humans],
                "VOI": score.voi,
            }
            for name, value in ours.items():
                np.testing.assert_allclose(
                    value, record[name], rtol=0, atol=1e-12, err_msg=f"{i} {name}"
                )
        best = Covering.best([score.covering for score in scores[i]]).share
        assert best == pytest.approx(photo["covering_best_over_segs"], abs=1e-12)


def test_matlab_tables_of_the_whole_set_to_every_printed_digit(data, golden, scores):
    exact = dataset_scores([scores[i] for i in IDS])
    written = [[as_written(score) for score in scores[i]] for i in IDS]
    whole = dataset_scores(written)
    cover = [
        whole.covering.argmax() + 1,
        whole.covering_ods,
        whole.covering_ois,
        exact.covering_best,
    ]
    rand_voi = [
        whole.rand.argmax() + 1,
        whole.rand_ods,
        whole.rand_ois,
        whole.voi.argmin() + 1,
        whole.voi_ods,
        whole.voi_ois,
    ]
    by_photo = []
    for row, photo in enumerate(written, start=1):
        first = int(np.argmax([s.covering.share for s in photo]))
        by_photo.append([row, first + 1, photo[first].covering.share, photo[first].reverse.share])
    ours = {
        "eval_cover_img.txt": by_photo,
        "eval_cover_th.txt": list(enumerate(whole.covering, start=1)),
        "eval_cover.txt": [cover],
        "eval_RI_VOI_thr.txt": [
            [n, *pair] for n, pair in enumerate(zip(whole.rand, whole.voi, strict=True), start=1)
        ],
        "eval_RI_VOI.txt": [rand_voi],
    }
    for name, rows in ours.items():
        rows = [[printed(cell) for cell in row] for row in rows]
        assert rows == table(data, name), name
        assert rows == golden["official_matlab_outputs"][f"test_4/{name}"], name
    unrounded = [exact.covering_ods, exact.covering_ois, exact.covering_best]
    np.testing.assert_allclose(unrounded, table(data, "eval_cover.txt")[0][1:], rtol=0, atol=2e-6)
