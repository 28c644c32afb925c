"""The job of the detection probe: what it reads, resumes, scores and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regiontok.jobs.probe.detect import DetectionProbe
from regiontok.probe.detect.batches import NothingToLearn
from regiontok.probe.folder import ProbeFolder
from regiontok.probe.options import ProbeOptions
from regiontok.runs.errors import OtherRun
from samples.detection import coco_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Six scenes to learn from and two to score against, in the layout of a Roboflow export."""
    root = tmp_path_factory.mktemp("world")
    for name, count in (("train", 6), ("valid", 2)):
        coco_world(root / name, count, split="val" if name == "valid" else "train")
    return root


def probe(data: Path, encoder: str = "filters(size=112)", **settings) -> DetectionProbe:
    options = ProbeOptions(device="cpu", stop_after=settings.pop("stop_after", None))
    settings = {"steps": 3, "batch": 2, **settings}
    return DetectionProbe(data=data, encoder=encoder, options=options, **settings)


def test_it_trains_stops_goes_on_and_scores_and_another_encoder_is_refused(world, tmp_path):
    result = probe(world, stop_after=1).train(tmp_path / "run")
    assert result["stopped"] == "after step 1 of 3; go on with --resume"
    with pytest.raises(OtherRun, match=r"encoder.spec was .*filters\(size=112.* is .*size=98"):
        probe(world, "filters(size=98)").train(tmp_path / "run", resume=True)
    ours = probe(world)
    assert ours.train(tmp_path / "run", resume=True)["step"] == 3
    scores = ours.score(tmp_path / "run")
    assert set(scores) == {"step", "test", "box", "mask", "pictures", "unreadable"}
    assert (scores["step"], scores["pictures"]) == (3, 2)
    assert 0 <= scores["box"]["AP"] < 0.2
    (tmp_path / "run" / "detections.json").unlink()
    assert probe(world).score(tmp_path / "run") == scores  # read, not computed again
    assert not (tmp_path / "run" / "detections.json").exists()
    assert ProbeFolder(tmp_path / "run").settings()["data"]["pictures"] == 6


def test_the_plan_counts_what_there_is(world):
    plan = probe(world).describe()
    assert (plan["pictures"], plan["test_pictures"], plan["grid"]) == (6, 2, [8, 8])
    assert (plan["categories"], plan["rule"], plan["masks"]) == (9, "coco", True)
    with pytest.raises(ValueError, match="nothing to score against: name it with --test"):
        probe(world / "train").describe()


def test_damaged_pictures_are_passed_over_and_counted(world, tmp_path):
    coco_world(tmp_path / "train", 3)
    coco_world(tmp_path / "test", 1)
    damaged = sorted((tmp_path / "train" / "images").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:200])
    ours = probe(tmp_path)
    batch = [ours.batches(number) for number in range(3)]
    assert all(len(own.pictures) == 2 for own in batch)
    assert list(ours.batches.unreadable) == [str(damaged)]
    for path in (tmp_path / "train" / "images").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(NothingToLearn, match="none of the 3 pictures can be read"):
        probe(tmp_path).batches(0)


def test_sets_of_other_categories_and_sets_without_objects_are_refused(world, tmp_path):
    coco_world(tmp_path / "train", 1)
    coco_world(tmp_path / "test", 1)
    file = tmp_path / "test" / "instances.json"
    content = json.loads(file.read_text())
    content["categories"][2]["name"] = "teapot"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="have other categories: number 3 is 'teapot' and"):
        probe(tmp_path).describe()
    file = tmp_path / "train" / "instances.json"
    content["annotations"] = []
    file.write_text(json.dumps(content))
    with pytest.raises(NothingToLearn, match="no picture has an object to learn from"):
        probe(tmp_path).describe()
