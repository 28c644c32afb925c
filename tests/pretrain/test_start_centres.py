"""Centres start at centroids, at those through the projection, or at another run's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from regiontok.pretrain.build import Learner, build_learner
from regiontok.pretrain.checkpoint import Checkpoints, OtherCheckpoint
from regiontok.pretrain.label_sets import OtherLabels, check_label_sets
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.start_centres import OtherCentres, start_centres
from regiontok.rice.initial_centres import centred
from regiontok.runs.checkpoints import CheckpointFolder
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.shards.sources import Shard, ShardSource

CPU = Ranks(0, 1, torch.device("cpu"))
STAGE = {"name": "a", "steps": 1, "batch": 1, "size": 32}


def table(centres: str, *, classes: int = 9, projection: int = 16, **more) -> Pretrain:
    return Pretrain.model_validate(
        {
            "data": [{"shards": "s"}],
            "model": {"projection": projection},
            "object": {"classes": classes, "centres": centres},
            "stage": [STAGE],
            **more,
        }
    )


def started(settings: Pretrain, without=()) -> Learner:
    learner = build_learner(settings, CPU)
    start_centres(settings, learner, without=without)
    return learner


def write(path: Path, *shape: int) -> np.ndarray:
    values = np.random.default_rng(0).normal(1.0, 1.0, shape).astype(np.float32)
    np.save(path, values)
    return values


@pytest.mark.parametrize("width", [16, 64])
def test_centroids_are_centred_and_those_of_the_encoders_width_go_through_the_projection(
    tmp_path, width
):
    values = torch.from_numpy(write(tmp_path / "c.npy", 9, width))
    learner = started(table(str(tmp_path / "c.npy")))
    if width == 64:
        values = values @ learner.transformer.projection.detach()
    assert torch.allclose(learner.centres.local("object"), centred(values), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 16), r"shape \[8, 16\], the head object starts at \[9 16 or 64\]"),
        ((9, 32), r"shape \[9, 32\].*\[9 16 or 64\]: the width of the centres, or that of the enc"),
        ((9,), r"shape \[9\]"),
    ],
)
def test_centroids_of_another_number_or_width_are_refused(tmp_path, shape, message):
    write(tmp_path / "c.npy", *shape)
    with pytest.raises(OtherCentres, match=message):
        started(table(str(tmp_path / "c.npy")))


def test_what_is_no_file_of_centroids_is_refused(tmp_path):
    with pytest.raises(OtherCentres, match=r"expected a \.npy of centroids or a folder RUN/check"):
        started(table(str(tmp_path / "nothing.npy")))
    equal = np.ones((9, 16), np.float32)
    np.save(tmp_path / "c.npy", equal)
    with pytest.raises(OtherCentres, match="centroid 0 is not finite, or equal to the mean"):
        started(table(str(tmp_path / "c.npy")))


@pytest.fixture
def saved(tmp_path) -> tuple[Path, Learner]:
    """A checkpoint of another run, which has objects alone."""
    learner = build_learner(table("", seed=3), CPU)
    checkpoints = Checkpoints(
        CheckpointFolder(tmp_path / "old", "step"), CPU, {"classes of object": 9}
    )
    checkpoints.save(5, learner.state(), wait=True)
    return tmp_path / "old" / "step-5", learner


def test_centres_of_another_run_and_a_head_that_is_added(saved):
    path, old = saved
    settings = table(str(path), text={"classes": 256})
    learner = started(settings)
    assert torch.equal(learner.centres.local("object"), old.centres.local("object"))
    fresh = build_learner(settings, CPU).centres
    assert torch.equal(learner.centres.local("text"), fresh.local("text"))
    kept = started(settings, without=("object",))
    assert torch.equal(kept.centres.local("object"), fresh.local("object"))
    with pytest.raises(OtherCentres, match="has 9 classes of object, the recipe has 8"):
        started(table(str(path), classes=8))


def test_a_run_goes_on_with_a_head_more_or_less(saved):
    path, old = saved
    both = table("", text={"classes": 256})
    shapes = {"classes of object": 9, "classes of text": 256}
    folder = CheckpointFolder(path.parent, "step")
    learner = build_learner(both, CPU)
    assert Checkpoints(folder, CPU, shapes).load_last(learner.state()) == (5, {"object"})
    assert torch.equal(learner.centres.local("object"), old.centres.local("object"))
    Checkpoints(folder, CPU, shapes).save(6, learner.state(), wait=True)
    alone = build_learner(table(""), CPU)
    one = {"classes of object": 9}
    assert Checkpoints(folder, CPU, one).load_last(alone.state()) == (6, {"object", "text"})
    assert torch.equal(alone.centres.local("object"), old.centres.local("object"))
    with pytest.raises(OtherCheckpoint, match=r"classes of object = 9, this run of .* = 8"):
        Checkpoints(folder, CPU, {"classes of object": 8}).load_last(alone.state())


def test_labels_of_other_centroids_than_the_centres_start_at_are_refused(tmp_path):
    write(tmp_path / "c.npy", 9, 16)
    own = hashlib.sha256((tmp_path / "c.npy").read_bytes()).hexdigest()[:32]
    settings = table(str(tmp_path / "c.npy"))
    for name in (own, "another"):
        shards = [[Shard(ShardSource(tmp_path), "a", 1, True, 9, name)]]
        if name == own:
            check_label_sets(settings, shards)
            continue
        with pytest.raises(OtherLabels, match=f"centroids another, .* which are {own}"):
            check_label_sets(settings, shards)
