"""Data sets as they lie on disk, and what is wrong with a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regiontok.probe.track.errors import NoClips
from regiontok.probe.track.layouts import read_clips
from samples.tracks import moving_square, write_boxes, write_frames, write_got10k


def test_got10k_reads_boxes_and_labels_of_a_split(tmp_path: Path):
    write_got10k(tmp_path / "val", ["GOT-10k_Val_000002", "GOT-10k_Val_000001"])
    folder = tmp_path / "val" / "GOT-10k_Val_000001"
    (folder / "absence.label").write_text("0\n0\n1\n0\n")
    (folder / "cover.label").write_text("8\n0\n0\n3\n")
    clips = read_clips(f"got10k:{tmp_path}", "val")
    assert [clip.name for clip in clips.clips] == ["GOT-10k_Val_000001", "GOT-10k_Val_000002"]
    assert clips.clips[0].has_target.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(clips.clips[0].boxes, moving_square(4, 1)[1])


def test_the_clips_of_miniworld_are_read(tmp_path: Path):
    from regiontok.jobs.miniworld.export import Export, export
    from regiontok.miniworld.world import World

    export(Export(World("val", 0, 128), "got10k", 1), tmp_path / "world")
    clips = read_clips(f"got10k:{tmp_path / 'world'}", "val")
    (clip,) = clips.clips
    assert len(clip) == 40
    assert clip.is_labelled
    assert clip.has_target[0]


def test_lasot_tells_its_splits_by_the_list_of_its_toolkit(tmp_path: Path):
    for name in ("bear-2", "bear-10", "cat-1"):
        folder = tmp_path / name.partition("-")[0] / name
        frames, boxes = moving_square(3)
        write_frames(folder / "img", frames)
        write_boxes(folder / "groundtruth.txt", boxes)
        (folder / "full_occlusion.txt").write_text("0,1,0")
        (folder / "out_of_view.txt").write_text("0,0,1")
    assert [clip.name for clip in read_clips(f"lasot:{tmp_path}").clips] == [
        *("bear-2", "bear-10", "cat-1")
    ]
    with pytest.raises(NoClips, match=r"testing_set\.txt of LaSOT's toolkit"):
        read_clips(f"lasot:{tmp_path}", "test")
    (tmp_path / "testing_set.txt").write_text("bear-10\n")
    (clip,) = read_clips(f"lasot:{tmp_path}", "test").clips
    assert clip.name == "bear-10"
    assert clip.has_target.tolist() == [True, False, False]
    assert len(read_clips(f"lasot:{tmp_path}", "train")) == 2


def test_trackingnet_and_tnl2k_are_read(tmp_path: Path):
    frames, boxes = moving_square(12)
    write_frames(tmp_path / "TRAIN_0" / "frames" / "a", frames, first=0, digits=1)
    write_boxes(tmp_path / "TRAIN_0" / "anno" / "a.txt", boxes)
    write_frames(tmp_path / "TEST" / "frames" / "b", frames, first=0, digits=1)
    write_boxes(tmp_path / "TEST" / "anno" / "b.txt", boxes[:1])
    (train,) = read_clips(f"trackingnet:{tmp_path}", "train").clips
    assert [path.name for path in train.frames[-3:]] == ["9.jpg", "10.jpg", "11.jpg"]
    (test,) = read_clips(f"trackingnet:{tmp_path}", "test").clips
    assert not test.is_labelled
    assert len(test) == 12
    write_frames(tmp_path / "tnl" / "c" / "imgs", frames)
    write_boxes(tmp_path / "tnl" / "c" / "groundtruth.txt", boxes * (np.arange(12) != 5)[:, None])
    (clip,) = read_clips(f"tnl2k:{tmp_path / 'tnl'}").clips
    assert clip.has_target.tolist() == [number != 5 for number in range(12)]


def test_davis_masks_become_boxes_one_clip_an_object(tmp_path: Path):
    frames, _ = moving_square(2)
    write_frames(tmp_path / "JPEGImages" / "480p" / "dog", frames, first=0, digits=5)
    folder = tmp_path / "Annotations" / "480p" / "dog"
    folder.mkdir(parents=True)
    for number in range(2):
        mask = np.zeros(frames[0].shape[:2], np.uint8)
        mask[10:20, 30 + number : 50] = 1
        mask[40:41, 5:8] = 2
        Image.fromarray(mask).save(folder / f"{number:05}.png")
    first, second = read_clips(f"davis:{tmp_path}").clips
    assert (first.name, second.name) == ("dog-1", "dog-2")
    assert first.boxes.tolist() == [[30, 10, 20, 10], [31, 10, 19, 10]]
    assert second.boxes[0].tolist() == [5, 40, 3, 1]


def test_real_clips_of_davis_have_a_target_everywhere(data: Path):
    clips = read_clips(f"davis:{data / 'davis2016'}")
    assert {clip.name: len(clip) for clip in clips.clips} == dict.fromkeys(
        ("blackswan", "camel", "dog", "libby"), 20
    )
    assert all(clip.has_target.all() for clip in clips.clips)


def test_what_is_wrong_with_a_clip_is_said_and_the_clip_set_aside(tmp_path: Path):
    names = ["missing", "short", "words", "labels", "gone", "nan", "good"]
    write_got10k(tmp_path, names)
    (tmp_path / "missing" / "00000002.jpg").unlink()
    write_boxes(tmp_path / "short" / "groundtruth.txt", moving_square(3)[1])
    (tmp_path / "words" / "groundtruth.txt").write_text("1,2,3,4\n1,2,three,4\n")
    (tmp_path / "labels" / "absence.label").write_text("0\n0\n")
    for name, value in (("gone", 0.0), ("nan", np.nan)):
        boxes = moving_square(4)[1]
        boxes[0] = value
        write_boxes(tmp_path / name / "groundtruth.txt", boxes)
    clips = read_clips(f"got10k:{tmp_path}").startable()
    assert [clip.name for clip in clips.clips] == ["good"]
    reasons = clips.set_aside
    assert "frames are missing" in reasons["missing"]
    assert reasons["missing"].endswith(": 2")
    assert "4 frames and 3 boxes" in reasons["short"]
    assert "line 2: expected numbers, got '1,2,three,4'" in reasons["words"]
    assert "4 boxes, and 2 labels" in reasons["labels"]
    assert "no target on its first frame" in reasons["gone"]
    assert "no target on its first frame" in reasons["nan"]


@pytest.mark.parametrize(
    ("text", "split", "message"),
    [
        ("somewhere", "all", "expected LAYOUT:FOLDER with one of got10k, lasot"),
        ("vot:x", "all", "got 'vot:x'"),
        ("got10k:not-there", "all", "there is no folder not-there"),
        ("got10k:.", "dev", "split is one of train, val, test, all"),
    ],
)
def test_a_wrong_name_of_data_is_one_clear_error(text: str, split: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_clips(text, split)


def test_a_folder_of_another_layout_is_named(tmp_path: Path):
    with pytest.raises(NoClips, match=f"got10k:{tmp_path.name} has no usable clip: it holds none"):
        read_clips(f"got10k:{tmp_path}")
