"""What is written is read by the loaders that read real data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from regiontok.core.picture import Picture
from regiontok.data.records import read
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.loading import load_questions
from regiontok.evaluation.scoring import score_replies
from regiontok.jobs.answer.plan import questions_hash
from regiontok.jobs.focus.pixcv import pixcv_questions
from regiontok.jobs.miniworld.export import FORMATS, Export, ExportError, export
from regiontok.jobs.miniworld.shards import CLASSES
from regiontok.jobs.shards.classes import ClassNames
from regiontok.miniworld.kinds.catalogue import questions_of
from regiontok.miniworld.world import World
from regiontok.segment.stored import Stored
from regiontok.settings import registry
from regiontok.settings.recipe import Data
from regiontok.shards.sidecar import read_row_group
from regiontok.shards.sources import ShardSource, find_shards
from regiontok.shards.tar import scan_tar

COUNT = 4
WORLD = World("test", size=128)
BENCHES = {"folder": "miniworld", **{name: name for name in ("pope", "cvbench", "mmvp", "aro")}}
BENCHES |= {"conme": "conme", "ocrbench": "ocrbench"}


def written(tmp_path, name: str, count: int = COUNT):
    out = tmp_path / name
    report = export(Export(WORLD, name, count), out)
    assert json.loads((out / "miniworld.json").read_text())["questions"] == report["questions"]
    return out, report


@pytest.mark.parametrize("name", sorted(BENCHES))
def test_benches_read_their_questions_and_right_answers_score_full(tmp_path, name):
    out, report = written(tmp_path, name)
    bench = registry.build("bench", BENCHES[name])
    loaded = load_questions(bench, BenchFolder(out))
    assert loaded.set_aside == ()
    assert len(loaded.questions) == report["questions"] > 0
    assert all(question.images[0].read().size == (128, 128) for question in loaded.questions)
    replies = [question.answer for question in loaded.questions]
    score = score_replies(bench, loaded.questions, replies, reading="robust", resamples=5, seed=0)
    assert set(score.marks["right"].tolist()) == {1.0}


def test_the_bench_makes_the_questions_of_a_folder_without_it(tmp_path):
    out, _ = written(tmp_path, "folder")
    read = load_questions(registry.build("bench", "miniworld"), BenchFolder(out)).questions
    bench = registry.build("bench", f"miniworld({COUNT}, size=128)")
    made = load_questions(bench, None).questions
    assert questions_hash(made) == questions_hash(read)
    for one, other in zip(made, read, strict=True):
        assert (one.images[0].read().pixels == other.images[0].read().pixels).all()


def test_conversations_are_read_as_training_records(tmp_path):
    out, report = written(tmp_path, "llava")
    records = read([Data(records=str(out / "llava.json"))])
    assert len(records) == COUNT
    assert records.set_aside == ()
    assert sum(len(record.turns) for record in records) == 2 * (report["questions"] + COUNT)
    assert (Picture.of(records[1].images[0]).pixels == WORLD[1].pixels).all()


@pytest.mark.parametrize("name", ["coco", "folder"])
def test_masks_are_read_as_stored_ones(tmp_path, name):
    out, _ = written(tmp_path, name)
    stored = Stored(str(out / "instances.json")) if name == "coco" else Stored(str(out / "masks"))
    for index in range(COUNT):
        truth = WORLD[index]
        (masks,) = stored([Picture.of(out / "images" / f"{truth.name}.png")])
        assert (masks.dense().numpy() == truth.masks).all()
    if name == "coco":
        captions = json.loads((out / "captions.json").read_text())["annotations"]
        assert {caption["image_id"] for caption in captions} == set(range(COUNT))


def test_shards_are_read_with_their_regions(tmp_path):
    out, _ = written(tmp_path, "shards")
    assert ClassNames.open(out).names == list(CLASSES)
    ((shard),) = find_shards(ShardSource(out)).shards
    assert (shard.images, shard.classes) == (COUNT, 64)
    rows = list(read_row_group(shard.sidecar, 0))
    tar = scan_tar(shard.tar)
    for index, row in enumerate(rows):
        truth = WORLD[index]
        assert (Picture.of(tar.read(index)).pixels == truth.pixels).all()
        names = [f"{item.colour} {item.shape}" for item in truth.objects]
        assert [CLASSES[label] for label in row.labels if label >= 0] == names
        assert [text for text in row.texts if text] == [plate.text for plate in truth.texts]


def test_masks_of_what_questions_are_about(tmp_path):
    out, report = written(tmp_path, "pixcv")
    questions = pixcv_questions(out)
    assert len(questions) == report["questions"] == COUNT
    for index, question in enumerate(questions):
        picture = question.picture()
        asked = questions_of(WORLD, index)
        texts = {one.text: one.things for one in asked}
        things = next(texts[text] for text in texts if question.question.startswith(text))
        truth = WORLD[index].masks[list(things)].any(0)
        assert (question.annotation(picture, "question").mask.numpy() == truth).all()


def test_clips_have_a_box_and_a_cover_for_each_frame(tmp_path):
    out, _ = written(tmp_path, "got10k", 2)
    names = (out / "test/list.txt").read_text().split()
    assert names == ["GOT-10k_Test_000001", "GOT-10k_Test_000002"]
    clip = out / "test" / names[0]
    frames = sorted(clip.glob("*.jpg"))
    boxes = np.loadtxt(clip / "groundtruth.txt", delimiter=",")
    assert len(frames) == len(boxes) == 40
    assert frames[0].name == "00000001.jpg"
    for name in ("absence", "cover", "cut_by_image"):
        assert len((clip / f"{name}.label").read_text().split()) == 40
    with Image.open(frames[7]) as image:
        assert image.size == (128, 128)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 128).all()
    tracks = json.loads((out / "tracks" / f"{names[0]}.json").read_text())["objects"]
    assert len(tracks) == len(WORLD[0].objects)
    x, y, width, height = boxes[7]
    assert [x, y, x + width, y + height] in [track["boxes"][7] for track in tracks]


def test_the_same_settings_give_the_same_files(tmp_path):
    first, _ = written(tmp_path / "a", "llava", 2)
    second, _ = written(tmp_path / "b", "llava", 2)
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(names) == 4
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_nothing_is_replaced_unasked_and_nothing_half_written_stays(tmp_path, monkeypatch):
    out, _ = written(tmp_path, "pope", 1)
    with pytest.raises(ExportError, match="holds a world already: name a new folder, or say"):
        export(Export(WORLD, "pope", 1), out)
    export(Export(WORLD, "mmvp", 1), out, overwrite=True)
    assert not (out / "coco_pope_random.json").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="was not written by regiontok miniworld"):
        export(Export(WORLD, "pope", 1), other, overwrite=True)

    def fail(*_):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(FORMATS["pope"], "add", fail)
    with pytest.raises(RuntimeError, match="the disk is full"):
        export(Export(WORLD, "pope", 1), tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "pope"]


def test_what_cannot_be_written_is_said():
    with pytest.raises(ValueError, match=r"not 'lava' .did you mean 'llava'"):
        Export(WORLD, "lava")
    with pytest.raises(ValueError, match="the split test has 5000 pictures, 5001 cannot"):
        Export(WORLD, "llava", 5001)
