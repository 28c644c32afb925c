"""Clusters of what `lite` says of regions."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.encoders.lite import Lite
from regiontok.pretrain.clusters import (
    cluster_labels,
    picture_features,
    region_features,
    save_features,
)


def test_regions_that_look_alike_share_a_cluster():
    rng = np.random.default_rng(0)
    table = np.repeat(np.eye(2, 8, dtype=np.float32), 5, axis=0)
    table += rng.normal(0, 0.01, table.shape).astype(np.float32)
    first, second = cluster_labels(table, 2, [3, 7])
    assert [len(first), len(second)] == [3, 7]
    labels = [*first, *second]
    assert len(set(labels[:5])) == len(set(labels[5:])) == 1
    assert labels[0] != labels[5]


def test_more_clusters_than_regions_are_refused():
    with pytest.raises(ValueError, match="2 regions do not make 3 clusters"):
        cluster_labels(np.zeros((2, 4), np.float32), 3, [2])


def test_a_region_reads_what_lies_under_its_mask_alone(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = (250, 40, 40)
    masks = np.zeros((3, 64, 64), bool)
    masks[0, :, :24], masks[1, :, 40:], masks[2, 8:56, 44:60] = True, True, True
    rows = region_features(pixels, masks, Lite(size=128))
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert rows[1] @ rows[2] > 0.9 > rows[0] @ rows[1]
    save_features(tmp_path / "rows.npy", [rows[:1], rows[1:]])
    assert np.array_equal(np.load(tmp_path / "rows.npy"), rows)


def test_pictures_of_one_kind_are_nearer_to_each_other_than_to_another():
    noise = np.random.default_rng(1).integers(0, 12, (3, 96, 96, 3))
    pictures = [noise[0] + 20, noise[1] + 20, noise[2] + (230, 60, 60)]
    encoder = Lite(size=96)
    rows = np.concatenate(
        [picture_features(picture.clip(0, 255).astype(np.uint8), encoder) for picture in pictures]
    )
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert rows[0] @ rows[1] > 0.9 > rows[0] @ rows[2]
