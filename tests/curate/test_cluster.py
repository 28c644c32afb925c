"""Centroids and labels of a curation: planted clusters, stops anywhere, changed settings."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from regiontok.curate.cluster import read_centroid_report, write_centroids
from regiontok.curate.cluster_sample import features_of, sample_numbers
from regiontok.curate.label import LabelPiece, label_stage
from regiontok.curate.plan import ClusterPlan
from regiontok.curate.run import run_pieces
from regiontok.curate.sources import CurationError
from regiontok.curate.stage_files import read_rows
from regiontok.kmeans.rows import unit
from regiontok.pretrain.label_sets import centroids_hash
from samples.curation import contents
from samples.embedded import WIDTH, embedded

IMAGES = {"a": 40, "b": 25, "c": 10}
PLAN = ClusterPlan(k=12, sample=10, iterations=4, top=3)


def labelled(curation, embed, plan=PLAN, **options):
    report = write_centroids(curation, embed, plan)
    work = LabelPiece(curation, plan, embed, report.hash)
    stage = label_stage(curation, plan, work.reads)
    assert {outcome.error for outcome in run_pieces(stage, curation, work, **options)} <= {None}
    return stage


def tables(curation, stage):
    return [read_rows(stage, curation.out, tar) for tar in curation.tars]


def test_regions_get_the_nearest_centroids_and_planted_clusters_come_back(tmp_path):
    curation, embed, planted = embedded(tmp_path, IMAGES)
    stage = labelled(curation, embed)
    centroids = np.load(curation.out / "centroids.npy")
    assert (centroids.dtype, centroids.shape) == (np.float32, (12, WIDTH))
    first = []
    for features, labels in zip(tables(curation, embed), tables(curation, stage), strict=True):
        table = unit(features_of(features, embed)).astype(float)
        squares = ((table[:, None] - centroids.astype(float)) ** 2).sum(2)
        order = squares.argsort(1)[:, :3]
        rows = labels.to_pylist()
        ids = np.concatenate([row["ids"] for row in rows]).astype(int).reshape(-1, 3)
        assert (ids == order).all()
        lengths = np.linalg.norm(centroids[ids], axis=2)
        cosines = np.einsum("nd,ntd->nt", table, centroids[ids]) / lengths
        scores = np.concatenate([row["scores"] for row in rows]).reshape(-1, 3)
        np.testing.assert_allclose(scores, cosines, atol=1e-3)
        assert [len(row["ids"]) // 3 for row in rows] == features["regions"].to_pylist()
        assert [row["reason"] for row in rows] == features["reason"].to_pylist()
        first.append(ids[:, 0])
    score = normalized_mutual_info_score(planted, np.concatenate(first))
    print(f"normalised mutual information with the planted clusters: {score:.3f}")
    assert score > 0.75


def test_the_report_speaks_for_the_file(tmp_path):
    curation, embed, planted = embedded(tmp_path, IMAGES)
    report = write_centroids(curation, embed, PLAN)
    assert read_centroid_report(curation.out) == report
    assert (report.k, report.width, report.regions) == (12, WIDTH, len(planted))
    assert report.sample == min(len(planted), 120)
    assert len(report.inertia) == len(report.empty) == 4
    assert report.inertia[0] > report.inertia[-1] > 0
    assert 0 < report.smallest <= report.largest
    assert report.hash == centroids_hash(curation.out / "centroids.npy"), "as pretraining hashes it"
    assert not [*curation.out.glob("cluster.*")], "the sample is cleared away"
    (curation.out / "centroids.json").write_text("{")
    assert read_centroid_report(curation.out) is None


class Stopped(Exception):
    """What a test stops a clustering with."""


@pytest.mark.slow
@pytest.mark.parametrize("init", ["random", "tree"])
def test_stopped_in_any_iteration_it_goes_on_to_the_same_bytes(tmp_path, init):
    plan = PLAN.model_copy(update={"init": init})
    curation, embed, _ = embedded(tmp_path, IMAGES, name="whole")
    labelled(curation, embed, plan)
    for stop in (1, 3):
        other, embed, _ = embedded(tmp_path, IMAGES, name=f"stopped{stop}")

        def tell(progress, stop=stop):
            if progress.iteration == stop:
                raise Stopped

        with pytest.raises(Stopped):
            write_centroids(other, embed, plan, tell=tell)
        assert read_centroid_report(other.out) is None
        iterations: list[int] = []
        write_centroids(
            other, embed, plan, tell=lambda progress, to=iterations: to.append(progress.iteration)
        )
        assert iterations == list(range(stop, 5))
        labelled(other, embed, plan)
        assert contents(other.out) == contents(curation.out)


def test_damaged_centres_of_a_stopped_run_are_found_anew(tmp_path):
    curation, embed, _ = embedded(tmp_path, IMAGES)
    whole = write_centroids(curation, embed, PLAN)
    other, embed, _ = embedded(tmp_path, IMAGES, name="other")

    def tell(progress):
        if progress.iteration == 3:
            raise Stopped

    with pytest.raises(Stopped):
        write_centroids(other, embed, PLAN, tell=tell)
    (folder,) = other.out.glob("cluster.*")
    path = folder / "centres.002.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert write_centroids(other, embed, PLAN).hash == whole.hash


@pytest.mark.slow
def test_changed_settings_give_other_centroids_and_labels_of_their_own(tmp_path):
    curation, embed, _ = embedded(tmp_path, IMAGES)
    before = write_centroids(curation, embed, PLAN)
    stage = labelled(curation, embed)
    assert write_centroids(curation, embed, PLAN) == before
    fewer = PLAN.model_copy(update={"top": 1})
    assert write_centroids(curation, embed, fewer) == before, "how many are written is no matter"
    for change in ({"k": 8}, {"seed": 1}, {"sample": 4}, {"iterations": 2}, {"init": "tree"}):
        plan = PLAN.model_copy(update=change)
        after = write_centroids(curation, embed, plan)
        assert after.hash != before.hash, change
        assert labelled(curation, embed, plan).hash != stage.hash
    gone = LabelPiece(curation, PLAN, embed, before.hash)
    outcomes = run_pieces(label_stage(curation, PLAN, gone.reads), curation, gone)
    assert "not the centroids of these settings" in next(outcomes).error


def test_fewer_distinct_regions_than_centres_are_one_clear_error(tmp_path):
    curation, embed, planted = embedded(tmp_path, IMAGES)
    plan = PLAN.model_copy(update={"k": 500})
    message = (
        f"{len(planted)} regions, of which {len(planted)} in the sample are distinct, do not make "
        rf"cluster\.k = 500 clusters: set cluster\.k to {len(planted)} at most"
    )
    with pytest.raises(CurationError, match=message):
        write_centroids(curation, embed, plan)
    empty, embed, _ = embedded(tmp_path, {"none": 1}, name="empty")
    with pytest.raises(CurationError, match="no image has a region"):
        write_centroids(empty, embed, plan)


def test_a_sample_has_one_region_of_each_stretch():
    numbers = sample_numbers(1003, 100, seed=4)
    assert len(np.unique(numbers)) == 100
    edges = [1003 * number // 100 for number in range(101)]
    assert (numbers >= edges[:-1]).all()
    assert (numbers < edges[1:]).all()
    assert (sample_numbers(1003, 100, seed=5) != numbers).any()
    hit = np.zeros(30)
    for seed in range(300):
        hit[sample_numbers(30, 7, seed)] += 1
    assert hit.min() > 40, "a seventh of 300 is 43 to 100 of 300, whatever the place"


RUN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from samples.embedded import embedded
from regiontok.curate.cluster import write_centroids
from regiontok.curate.plan import ClusterPlan
def tell(progress):
    Path(sys.argv[2], "going").touch()
    time.sleep(.1)
if __name__ == "__main__":
    curation, embed, _ = embedded(Path(sys.argv[2]), {"a": 40, "b": 25, "c": 10})
    plan = ClusterPlan(k=12, sample=10, iterations=30)
    write_centroids(curation, embed, plan, workers=int(sys.argv[3]), tell=tell)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_moments_it_ends_at_the_same_bytes(tmp_path, workers):
    script, tests = tmp_path / "run.py", str(next(p for p in sys.path if p.endswith("tests")))
    script.write_text(RUN)
    command = [sys.executable, str(script), tests, str(tmp_path), str(workers)]
    rng = np.random.default_rng(workers)
    for _ in range(3):
        (tmp_path / "going").unlink(missing_ok=True)
        run = subprocess.Popen(command)
        begun = time.monotonic()
        while not (tmp_path / "going").exists() and time.monotonic() < begun + 120:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 1)))
        run.kill()
        run.wait()
    assert list((tmp_path / "out").glob("cluster.*")), "killed before its end"
    subprocess.run(command, check=True)
    curation, embed, _ = embedded(tmp_path, IMAGES, name="whole")
    plan = ClusterPlan(k=12, sample=10, iterations=30)
    whole = write_centroids(curation, embed, plan)
    killed = json.loads((tmp_path / "out" / "centroids.json").read_text())
    assert killed["hash"] == whole.hash
    assert killed["inertia"] == whole.inertia
