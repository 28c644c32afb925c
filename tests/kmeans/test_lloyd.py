"""k-means: the plain algorithm, whoever sums; planted clusters; where centres start."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from regiontok.kmeans.lloyd import lloyd, split_heaviest
from regiontok.kmeans.nearest import NearestCentres
from regiontok.kmeans.rows import ArrayRows, UnitRowFile, unit
from regiontok.kmeans.start import TooFewDistinctRows, random_rows
from regiontok.kmeans.sums import Sums, TooLarge
from regiontok.kmeans.tree import share_out, tree_rows
from regiontok.kmeans.workers import Processes


def planted(clusters: int, of_each: int, width: int = 16, seed: int = 0, spread: float = 0.05):
    """Unit rows around planted centres, shuffled, and the number of each row's centre."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(clusters, width)))
    labels = rng.permutation(np.repeat(np.arange(clusters), of_each))
    return unit(centres[labels] + spread * rng.normal(size=(len(labels), width))), labels


def test_an_iteration_is_lloyds():
    table, _ = planted(9, 30)
    centres = table[:9].copy()
    rows = ArrayRows(table, part=50)
    for iteration in lloyd(rows, centres, 3):
        squares = ((table[:, None].astype(float) - centres) ** 2).sum(2)
        labels = squares.argmin(1)
        means = np.stack([table[labels == k].mean(0, dtype=float) for k in range(9)])
        np.testing.assert_allclose(iteration.centres, means, atol=2e-7)
        assert iteration.counts.tolist() == np.bincount(labels).tolist()
        assert iteration.inertia == pytest.approx(squares.min(1).mean(), abs=1e-6)
        centres = iteration.centres
    resumed = list(lloyd(rows, next(iter(lloyd(rows, table[:9], 1))).centres, 3, after=1))
    assert [iteration.number for iteration in resumed] == [2, 3]
    assert resumed[-1].centres.tobytes() == centres.tobytes()


def test_parts_and_their_order_change_no_bit():
    table, _ = planted(5, 41)
    start = table[:5]
    results = {
        next(iter(lloyd(ArrayRows(rows, part=part), start, 1))).centres.tobytes()
        for rows in (table, table[::-1].copy())
        for part in (7, 64, 1000)
    }
    assert len(results) == 1


@pytest.mark.parametrize("init", [random_rows, tree_rows])
def test_planted_clusters_come_back(init):
    table, labels = planted(12, 40)
    rows = ArrayRows(table, part=100)
    *_, last = lloyd(rows, init(rows, 24, 3), 6)
    ids = NearestCentres(torch.from_numpy(last.centres))(torch.from_numpy(table)).ids[:, 0]
    # twice as many centres as clusters: each of ours lies in one of theirs
    purity = sum(np.bincount(labels[ids == k]).max() for k in np.unique(ids)) / len(labels)
    score = normalized_mutual_info_score(labels, ids)
    print(f"{init.__name__}: purity {purity:.3f}, normalised mutual information {score:.3f}")
    assert purity > 0.98
    assert score > 0.8


def test_empty_centres_are_split_off_the_heaviest_and_find_rows():
    centres = np.array([[1, 1], [0, 0], [4, 4], [0, 0]], np.float32)
    assert split_heaviest(centres, np.array([3, 0, 8, 0])) == 2
    np.testing.assert_allclose(centres.mean(1), [1, 4, 4, 4], rtol=2e-3)
    assert len(np.unique(centres, axis=0)) == 4
    table, _ = planted(4, 50)
    far = np.concatenate([table[:3], np.full((5, 16), 9, np.float32)])
    first, *_, last = lloyd(ArrayRows(table), far, 5)
    assert first.empty == 5
    assert last.empty == 0
    assert last.counts.min() > 0


def test_random_rows_are_distinct_and_few_are_refused():
    table = np.repeat(np.eye(6, dtype=np.float32), 5, axis=0)
    table[:5] *= -1
    table[1] = np.where(table[1] == 0, -0.0, table[1])
    rows = ArrayRows(table)
    assert len(np.unique(random_rows(rows, 6, 1), axis=0)) == 6
    assert (random_rows(rows, 6, 1) == random_rows(rows, 6, 1)).all()
    for init in (random_rows, tree_rows):
        with pytest.raises(TooFewDistinctRows, match="30 rows, 6 of them distinct, do not make 7"):
            init(rows, 7, 0)
    assert len(np.unique(tree_rows(rows, 6, 0), axis=0)) == 6


def test_children_are_shared_by_weight_up_to_what_there_is():
    assert share_out(10, [8.0, 2.0], [100, 100]) == [8, 2]
    assert share_out(10, [8.0, 2.0, 0.0], [3, 100, 1]) == [3, 6, 1]
    assert share_out(2, [1.0, 9.0, 5.0], [5, 5, 5]) == [0, 1, 1]


def test_values_beyond_unit_vectors_are_refused():
    sums = Sums.zero(1, 2)
    with pytest.raises(TooLarge, match="values below 1,024"):
        sums.add_rows(np.full((1, 2), 2e3, np.float32), np.zeros(1, int), np.zeros(1))


@pytest.mark.slow
def test_worker_processes_give_the_same_bytes(tmp_path):
    table, _ = planted(6, 80)
    path = tmp_path / "rows.npy"
    np.save(path, table.astype(np.float16))
    rows = UnitRowFile(path, part=64)
    start = random_rows(rows, 12, 0)
    *_, alone = lloyd(rows, start, 3)
    told: list[int] = []
    with Processes(3) as workers:
        *_, together = lloyd(rows, start, 3, workers=workers, tell=told.append)
    assert together.centres.tobytes() == alone.centres.tobytes()
    assert together.inertia == alone.inertia
    assert sum(told) == 3 * rows.parts


RANK = """
import sys
import numpy as np, torch, torch.distributed as dist
from regiontok.kmeans.lloyd import lloyd
from regiontok.kmeans.rows import UnitRowFile
from regiontok.kmeans.start import random_rows
from regiontok.kmeans.workers import AllRanks
torch.set_num_threads(1)
dist.init_process_group("gloo")
rows = UnitRowFile(sys.argv[1], part=64)
*_, last = lloyd(rows, random_rows(rows, 12, 0), 3, workers=AllRanks())
np.save(f"{sys.argv[2]}-{dist.get_world_size()}-{dist.get_rank()}.npy", last.centres)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_any_number_of_ranks_gives_the_same_bytes(tmp_path):
    table, _ = planted(6, 80)
    path = tmp_path / "rows.npy"
    np.save(path, table.astype(np.float16))
    rows = UnitRowFile(path, part=64)
    *_, alone = lloyd(rows, random_rows(rows, 12, 0), 3)
    for world in (1, 2, 3):
        environment = os.environ | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(29600 + os.getpid() % 300 + world),
            "WORLD_SIZE": str(world),
        }
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(path), str(tmp_path / "centres")],
                env=environment | {"RANK": str(rank)},
            )
            for rank in range(world)
        ]
        assert [rank.wait(300) for rank in ranks] == [0] * world
    files = sorted(tmp_path.glob("centres-*.npy"))
    assert len(files) == 6
    assert {np.load(file).tobytes() for file in files} == {alone.centres.tobytes()}
