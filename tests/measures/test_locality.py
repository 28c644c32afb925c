"""Locality: changes counted by hand, and ridge regression against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from regiontok.measures.locality import far_change, position_readout


def drawn(images=6, h=3, w=4, d=5, seed=0):
    return list(torch.from_numpy(np.random.default_rng(seed).normal(size=(images, h, w, d))))


def touch(h, w, *places):
    touched = torch.zeros(h, w, dtype=torch.bool)
    for y, x in places:
        touched[y, x] = True
    return touched


def test_change_by_hand():
    """The touched patch turns round (2); its neighbour and a far patch by a right angle (1)."""
    original = torch.tensor([[[1.0, 0.0]] * 5])
    changed = torch.tensor([[[-2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0], [7.0, 0.0]]])
    change = far_change(original, changed, touch(1, 5, (0, 0)), margin=1)
    assert change == pytest.approx({"far_change": 1 / 3, "near_change": 1.5, "leak": 1 / 4.5})


@pytest.mark.parametrize(("margin", "far_patches"), [(0, 24), (1, 16), (2, 0)])
def test_margin_is_in_patches_diagonals_too(margin, far_patches):
    original, changed = torch.ones(5, 5, 1), -torch.ones(5, 5, 1)
    changed[2, 2] = 1
    change = far_change(original, changed, touch(5, 5, (2, 2)), margin)
    near_patches = 25 - far_patches
    assert change["near_change"] == pytest.approx(2 * (near_patches - 1) / near_patches)
    assert (
        change["far_change"] == pytest.approx(2)
        if far_patches
        else math.isnan(change["far_change"])
    )


def test_small_changes_keep_their_digits():
    """1 - cos of an angle of 1e-7 is 5e-15: as a difference from 1 it would keep one digit."""
    original, changed = (
        torch.tensor([[[1.0, 0.0]]]).double(),
        torch.tensor([[[1.0, 1e-7]]]).double(),
    )
    assert far_change(original, changed, touch(1, 1, (0, 0)))["near_change"] == pytest.approx(
        5e-15, rel=1e-6
    )


def test_nothing_changed_and_nothing_far():
    features = drawn()[0]
    change = far_change(features, features, touch(3, 4, (0, 0)), 1)
    assert change["far_change"] == change["near_change"] == 0
    assert math.isnan(change["leak"])
    single = far_change(torch.ones(1, 1, 2), torch.tensor([[[1.0, 0.0]]]), touch(1, 1, (0, 0)))
    assert math.isnan(single["far_change"])
    assert math.isnan(single["leak"])
    assert single["near_change"] == pytest.approx(1 - 0.5**0.5)


def test_what_far_change_refuses():
    a = drawn()[0]
    with pytest.raises(
        ValueError,
        match=r"expected two features \[h w d\] and touched as bool \[h w\] of one grid, got "
        r"\[3, 4, 5\]",
    ):
        far_change(a, a[:2], touch(3, 4, (0, 0)))
    with pytest.raises(ValueError, match="touched as bool"):
        far_change(a, a, torch.ones(3, 4))
    with pytest.raises(ValueError, match="a touched patch; got margin 1, 0 touched"):
        far_change(a, a, touch(3, 4))
    with pytest.raises(
        ValueError, match="a margin of 0 or more and a touched patch; got margin -1"
    ):
        far_change(a, a, touch(3, 4, (0, 0)), -1)


@pytest.mark.parametrize("folds", [2, 3, 6])
def test_readout_is_scikit_learns_ridge(folds):
    grids, ridge = [2 * grid + torch.arange(5) for grid in drawn(7)], 0.3
    place = np.stack(
        np.meshgrid(np.linspace(-1, 1, 3), np.linspace(-1, 1, 4), indexing="ij"), -1
    ).reshape(-1, 2)
    grids = [
        grid + torch.from_numpy(place).view(3, 4, 2).repeat(1, 1, 3)[..., :5] for grid in grids
    ]
    flat, error = [grid.flatten(0, 1).numpy() for grid in grids], 0
    for fold in range(folds):
        train = np.concatenate([grid for i, grid in enumerate(flat) if i % folds != fold])
        targets = np.tile(place, (len(train) // 12, 1))
        scaler = StandardScaler().fit(train)
        model = Ridge(alpha=ridge * len(train)).fit(scaler.transform(train), targets)
        error += sum(
            ((model.predict(scaler.transform(grid)) - place) ** 2).sum(0)
            for grid in flat[fold::folds]
        )
    expected = 1 - error / (7 * (place**2).sum(0))
    readout = position_readout(grids, folds, ridge)
    assert readout == pytest.approx({"position_r2_y": expected[0], "position_r2_x": expected[1]})


def test_position_in_one_channel_only():
    """Rows are in the features, columns are not."""
    rows = torch.linspace(3, 9, 6).double()[:, None].expand(6, 5)[..., None]
    grids = [torch.cat([rows, grid], -1) for grid in drawn(5, 6, 5, 2)]
    readout = position_readout(grids, ridge=1e-6)
    assert readout["position_r2_y"] > 0.999
    assert readout["position_r2_x"] < 0.05


def test_an_image_is_never_in_training_and_test():
    """Each image has a channel of its own.

    A regression that had seen the image would know its patches by heart.
    """
    rng = np.random.default_rng(0)
    grids = []
    for i in range(4):
        features = torch.zeros(4, 4, 64, dtype=torch.float64)
        features[..., 16 * i : 16 * i + 16] = torch.from_numpy(rng.permutation(np.eye(16))).view(
            4, 4, 16
        )
        grids.append(features)
    readout = position_readout(grids, folds=4, ridge=1e-6)
    assert max(readout.values()) <= 1e-9


def test_constant_and_scaled_channels():
    plain = drawn()
    assert position_readout([torch.full((3, 4, 2), 0.1)] * 4) == pytest.approx(
        {"position_r2_y": 0, "position_r2_x": 0}, abs=1e-9
    )
    scaled = [
        torch.cat([1e3 * grid + 7, torch.full((3, 4, 1), 5.0).double()], -1) for grid in plain
    ]
    assert position_readout(scaled) == pytest.approx(position_readout(plain), abs=1e-6)


def test_an_axis_of_one_patch_and_one_image_are_nan():
    assert math.isnan(position_readout(drawn(4, 1, 6))["position_r2_y"])
    assert math.isfinite(position_readout(drawn(4, 1, 6))["position_r2_x"])
    for grids in ([], drawn(1), drawn(3, 1, 1)):
        assert all(math.isnan(value) for value in position_readout(grids).values())


def test_what_position_readout_refuses():
    with pytest.raises(
        ValueError,
        match=r"expected features \[h w d\] of one shape, got 2: \(3, 4, 5\), \(4, 3, 5\)",
    ):
        position_readout([*drawn(), *drawn(1, 4, 3)])
    with pytest.raises(ValueError, match="2 folds or more and a positive ridge; got folds 1"):
        position_readout(drawn(), folds=1)
    with pytest.raises(ValueError, match="a positive ridge; got folds 5, ridge 0"):
        position_readout(drawn(), ridge=0)
    with pytest.raises(ValueError, match="NaN or infinite at 12 of 12 patches"):
        position_readout([*drawn(), torch.full((3, 4, 5), math.nan).double()])


def test_the_ridge_is_chosen_without_the_held_out_images():
    """By the loop that the docstring describes, with scikit-learn's ridge."""
    grids, ridges = drawn(8, d=9), (0.01, 0.3, 1.0, 3.0, 100.0)
    place = np.stack(
        np.meshgrid(np.linspace(-1, 1, 3), np.linspace(-1, 1, 4), indexing="ij"), -1
    ).reshape(-1, 2)
    grids = [
        grid + 0.6 * torch.from_numpy(place).view(3, 4, 2).repeat(1, 1, 5)[..., :9]
        for grid in grids
    ]
    flat = [grid.flatten(0, 1).numpy() for grid in grids]

    def errors(train, test, ridge):
        x = np.concatenate([flat[i] for i in train])
        scaler = StandardScaler().fit(x)
        model = Ridge(alpha=ridge * len(x)).fit(
            scaler.transform(x), np.tile(place, (len(train), 1))
        )
        return sum(((model.predict(scaler.transform(flat[i])) - place) ** 2).sum(0) for i in test)

    folds, error, chosen = [[i for i in range(8) if i % 4 == fold] for fold in range(4)], 0, set()
    for fold, held in enumerate(folds):
        beside = folds[(fold + 1) % 4]
        others = [i for i in range(8) if i not in held + beside]
        best = min(ridges, key=lambda ridge: errors(others, beside, ridge).sum())
        chosen.add(best)
        error += errors([i for i in range(8) if i not in held], held, best)
    assert len(chosen) > 1
    expected = 1 - error / (8 * (place**2).sum(0))
    readout = position_readout(grids, 4, ridges)
    assert readout == pytest.approx({"position_r2_y": expected[0], "position_r2_x": expected[1]})
    assert position_readout(grids, 2, ridges) == position_readout(grids, 2, 1.0)


def test_noise_of_a_wide_encoder_scores_about_zero():
    """180 patches of 120 channels: a weak ridge alone fits noise."""
    grids = drawn(15, d=120)
    assert min(position_readout(grids, ridge=0.01).values()) < -0.5
    assert min(position_readout(grids).values()) > -0.06
