"""Split: scikit-learn's DBSCAN with its own metric, and noise by hand.

Libraries' DBSCAN takes its place.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN
from sklearn.preprocessing import normalize

from regiontok.core.regions import Regions
from regiontok.settings.registry import build, render
from regiontok.settings.spec import SpecError
from regiontok.steps.merge import Merge
from regiontok.steps.split import Split
from regiontok.system.need import MissingPackage
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from samples.grids import grid_of, patches_of


def angles(*degrees):
    """One row of patches whose features point this way; lengths differ and must not matter."""
    turn = np.deg2rad(np.array(degrees, np.float64))
    lengths = 1 + np.arange(len(degrees))[:, None]
    return grid_of(
        torch.from_numpy(np.stack([np.cos(turn), np.sin(turn)], 1) * lengths).float()[None]
    )


def whole(grid):
    return Regions.from_masks(torch.ones(1, *grid.grid))


# Chords: 10 degrees are 0.17, 40 degrees 0.68, 41 degrees 0.70 (0.7004), 90 degrees 1.41.
# clusters at 0-15 and 90-105 (with 140 as its edge); 200, 300 alone
TWO_AND_NOISE = [0, 90, 5, 95, 140, 10, 100, 200, 15, 105, 300]


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        ("one", [[0, 2, 5, 8], [1, 3, 4, 6, 9], [7, 10]]),
        ("singletons", [[0, 2, 5, 8], [1, 3, 4, 6, 9], [7], [10]]),
        ("nearest", [[0, 2, 5, 8, 10], [1, 3, 4, 6, 7, 9]]),  # 200 is nearest to 140, 300 to 0
    ],
)
def test_noise_by_hand(noise, expected):
    grid = angles(*TWO_AND_NOISE)
    assert patches_of(Split(noise=noise).one(whole(grid), grid)) == expected


@pytest.mark.parametrize(("noise", "parts"), [("one", 1), ("nearest", 1), ("singletons", 4)])
def test_a_region_of_noise_alone_stays_whole_except_as_singletons(noise, parts):
    grid = angles(0, 90, 180, 270)
    assert len(Split(min_patches=4, noise=noise).one(whole(grid), grid)) == parts


def test_small_regions_stay_whole():
    grid = angles(0, 90, 0, 90, 0, 90, 0, 90, 0, 90)
    assert len(Split().one(whole(grid), grid)) == 2  # ten patches
    assert patches_of(Split(min_patches=11).one(whole(grid), grid)) == [list(range(10))]


def test_eps_is_a_chord_on_unit_vectors_and_its_end_counts():
    pairs = angles(0, 40, 80, 120)
    assert len(Split(min_samples=2, min_patches=2).one(whole(pairs), pairs)) == 1
    apart = angles(0, 42, 84, 126)
    assert (
        len(Split(min_samples=2, min_patches=2, noise="singletons").one(whole(apart), apart)) == 4
    )
    opposite = grid_of(torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]]))
    assert len(Split(eps=2.0, min_samples=2, min_patches=2).one(whole(opposite), opposite)) == 1


def test_parts_stand_where_their_region_stood_by_first_patch_and_keep_its_source():
    grid = angles(*[90, 0] * 5, 180, 180, 180)
    masks = torch.zeros(3, 1, 13)
    masks[0, 0, 10:] = 1
    masks[1, 0, :10] = 1
    masks[2, 0, 12:] = 1
    regions = Split().one(Regions.from_masks(masks, source=torch.tensor([4, 9, -1])), grid)
    assert patches_of(regions) == [[10, 11, 12], [0, 2, 4, 6, 8], [1, 3, 5, 7, 9], [12]]
    assert regions.source.tolist() == [4, 9, 9, -1]


def test_position_does_not_matter():
    grid = angles(*[0] * 5, *[90] * 5, *[0] * 5)
    assert patches_of(Split().one(whole(grid), grid)) == [
        [*range(5), *range(10, 15)],
        list(range(5, 10)),
    ]


def test_patches_of_zeros_are_alike():
    features = torch.zeros(1, 12, 3)
    grid = grid_of(features)
    assert len(Split(noise="singletons").one(whole(grid), grid)) == 1
    features[0, 6:, 0] = 1
    assert patches_of(Split().one(whole(grid), grid_of(features))) == [
        list(range(6)),
        list(range(6, 12)),
    ]


def test_equal_patches_are_neighbours_under_any_eps():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=768)).float().expand(3, 4, 768)
    grid = grid_of(features)
    assert len(Split(eps=1e-6, noise="singletons").one(whole(grid), grid)) == 1


@pytest.mark.parametrize("seed", range(12))
def test_equals_scikit_learns_own_metric_region_by_region(seed):
    rng = np.random.default_rng(seed)
    width, eps, samples = (
        int(rng.choice([2, 8, 64])),
        float(rng.choice([0.3, 0.7, 1.0])),
        int(rng.integers(1, 5)),
    )
    centres = rng.normal(size=(5, width))
    features = centres[rng.integers(0, 5, (8, 9))] + rng.normal(size=(8, 9, width)) * rng.choice(
        [0.1, 0.3, 0.6]
    )
    grid = grid_of(torch.from_numpy(features).float())
    start = Regions.from_masks(torch.from_numpy(rng.random((4, 8, 9)) < 0.4))
    unit = normalize(grid.features.double().view(-1, width).numpy())
    expected = []
    for patches in patches_of(start):
        labels = DBSCAN(eps=eps, min_samples=samples, metric="euclidean").fit_predict(unit[patches])
        parts = [
            [patch for patch, label in zip(patches, labels, strict=True) if label == wanted]
            for wanted in np.unique(labels)
        ]
        expected += sorted(parts)
    assert (
        patches_of(Split(eps=eps, min_samples=samples, min_patches=2).one(start, grid)) == expected
    )


def clumps(seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(5, 16))[rng.integers(0, 5, (8, 9))] + rng.normal(
        size=(8, 9, 16)
    ) * rng.choice([0.2, 0.4, 0.6])
    return grid_of(torch.from_numpy(features).float()), Regions.from_masks(
        torch.from_numpy(rng.random((4, 8, 9)) < 0.4)
    )


class StandInForCuml:
    """A stand-in with the signature of cuML's DBSCAN.

    It gives scikit-learn's answers under other numbers, as cuML numbers clusters in its own order.
    """

    calls: list[tuple]

    def __init__(self, *, eps=0.5, min_samples=5, metric="euclidean", output_type=None):
        self.settings = eps, min_samples, metric, output_type

    def fit_predict(self, X, y=None, sample_weight=None, *, out_dtype="int32"):
        eps, min_samples, metric, _ = self.settings
        self.calls.append((*self.settings, X.shape))
        labels = DBSCAN(eps=eps, min_samples=min_samples, metric=metric).fit_predict(X)
        return np.where(labels < 0, -1, labels.max() - labels).astype(out_dtype)


@pytest.fixture
def cuml(monkeypatch):
    module = ModuleType("cuml")
    StandInForCuml.calls = []
    module.DBSCAN = StandInForCuml
    monkeypatch.setitem(sys.modules, "cuml", module)
    return StandInForCuml


@pytest.mark.parametrize("noise", ["one", "singletons", "nearest"])
@pytest.mark.parametrize("library", ["sklearn", "cuml"])
@pytest.mark.parametrize("seed", range(6))
def test_a_library_s_clusters_make_the_same_regions(seed, library, noise, cuml):
    grid, start = clumps(seed)
    settings = {
        "eps": (0.4, 0.7, 1.0)[seed % 3],
        "min_samples": 1 + seed % 4,
        "min_patches": 5,
        "noise": noise,
    }
    ours, theirs = (
        Split(**settings).one(start, grid),
        Split(**settings, by=library).one(start, grid),
    )
    assert patches_of(ours) == patches_of(theirs)
    assert ours.source.tolist() == theirs.source.tolist()
    assert len(ours) > len(start)


def test_cuml_is_called_once_a_segment_on_unit_vectors(cuml):
    grid, start = clumps(0)
    Split(by="cuml", min_patches=25).one(start, grid)
    large = [size for size in start.sizes.tolist() if size >= 25]
    assert 0 < len(large) < len(start)
    assert cuml.calls == [(0.7, 3, "euclidean", "numpy", (size, 16)) for size in large]


def test_who_clusters_is_part_of_the_spec(monkeypatch):
    assert render(build("step", "split(by='sklearn')")) == "split(by='sklearn')"
    assert "by='own'" in render(Split(), full=True)
    with pytest.raises(SpecError, match="by must be one of 'own', 'sklearn', 'cuml', not 'cumls'"):
        build("step", "split(by='cumls')")
    monkeypatch.setitem(sys.modules, "cuml", None)
    grid, start = clumps(0)
    with pytest.raises(
        MissingPackage, match=r"needs cuml, which is not installed: pip install 'regiontok\[cuml\]'"
    ):
        Split(by="cuml").one(start, grid)


@pytest.mark.parametrize("noise", ["one", "singletons", "nearest"])
def test_splitting_loses_and_doubles_no_patch(noise):
    grid = grid_of(torch.from_numpy(np.random.default_rng(1).normal(size=(6, 7, 3))).float())
    start = Regions.from_masks(torch.from_numpy(np.random.default_rng(2).random((4, 6, 7)) < 0.5))
    parts = Split(noise=noise, eps=0.5).one(start, grid)
    assert torch.equal(parts.counts, start.counts)
    assert len(parts) > len(start)


def test_a_view_without_regions_stays_without():
    grid = angles(0, 90)
    assert (
        len(Split().one(Regions.singletons((1, 2), torch.zeros(1, 2, dtype=torch.bool)), grid)) == 0
    )


@pytest.mark.parametrize(
    "wrong", [{"eps": 0.0}, {"eps": float("nan")}, {"min_samples": 0}, {"min_patches": 0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(
        ValueError,
        match=r"eps must be positive and counts at least 1, got eps=.*min_samples=.*min_patches=",
    ):
        Split(**wrong)


def test_least_splits_on_until_there_are_enough():
    grid = angles(*[0] * 6, *[60, 61, 62, 63, 64, 65])
    coarse = Split().one(whole(grid), grid)
    assert len(coarse) == 2
    assert patches_of(Split(least=2).one(whole(grid), grid)) == patches_of(coarse)
    finer = Split(least=4).one(whole(grid), grid)
    assert patches_of(finer)[0] == list(range(6))  # nothing varies in it
    assert len(finer) == 4
    assert finer.is_partition()
    assert len(Split(least=12).one(whole(grid), grid)) == 12
    with pytest.raises(ValueError, match="12 patches cannot become 13 regions"):
        Split(least=13).one(whole(grid), grid)


def test_least_splits_small_regions_and_keeps_overlap_and_sources():
    grid = angles(0, 40, 80, 120)
    masks = torch.tensor([[[1, 1, 1, 0]], [[0, 1, 1, 1]]])
    regions = Regions.from_masks(masks.float(), source=torch.tensor([5, 7]))
    parts = Split(least=6).one(regions, grid)
    assert patches_of(parts) == [[0], [1], [2], [1], [2], [3]]
    assert parts.source.tolist() == [5, 5, 5, 7, 7, 7]


@pytest.mark.slow
@pytest.mark.parametrize("segmenter", ["felzenszwalb", "slic"])
def test_the_documented_budget_is_met_on_a_photo(cat, segmenter):
    steps = "segments(0.07, resolve='smallest') | cover('rest') | split(least=144) | merge(k=144)"
    tokenizer = RegionTokenizer("filters", steps, segmenter=segmenter)
    assert len(tokenizer(cat)) == 144


def test_a_budget_that_cannot_be_met_names_the_remedy():
    grid = angles(*[0] * 12)
    with pytest.raises(ValueError, match=r"merging makes fewer; split\(least=5\) in front of it"):
        Merge(k=5).one(Split().one(whole(grid), grid), grid)
