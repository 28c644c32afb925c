"""Archives for the servers."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from regiontok.probe.track.clips import ClipSet, TrackClip
from regiontok.probe.track.submission import BadSubmission, write_submission
from regiontok.probe.track.tracker import Track

BOXES = np.array([[1.0, 2, 3, 4], [1.5, 2, 3, 4.25]])


def clip_set(*names: str, set_aside: dict[str, str] | None = None) -> ClipSet:
    frames = (Path("1.jpg"), Path("2.jpg"))
    clips = tuple(TrackClip(name, frames, BOXES[:1], np.ones(1, bool)) for name in names)
    return ClipSet("got10k:test", clips, set_aside or {})


def track(name: str) -> Track:
    return Track(name, BOXES, np.array([0.0, 0.25]), (10, 10))


def test_got10k_has_a_folder_a_clip_and_trackingnet_a_file(tmp_path: Path):
    path = write_submission(
        tmp_path / "a.zip", "got10k", [track("b"), track("a")], clip_set("a", "b")
    )
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [
            *("a/a_001.txt", "a/a_time.txt", "b/b_001.txt", "b/b_time.txt")
        ]
        assert archive.read("a/a_001.txt") == (
            b"1.000,2.000,3.000,4.000\n1.500,2.000,3.000,4.250\n"
        )
        assert archive.read("a/a_time.txt") == b"0.00000000\n0.25000000\n"
    path = write_submission(tmp_path / "t.zip", "trackingnet", [track("a")], clip_set("a"))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["a.txt"]


def test_the_same_tracks_give_the_same_bytes(tmp_path: Path):
    paths = [
        write_submission(tmp_path / name, "got10k", [track("a")], clip_set("a")) for name in "xy"
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_archive_that_lacks_a_clip_is_not_written(tmp_path: Path):
    target = tmp_path / "a.zip"
    for clips in (clip_set("a", "b"), clip_set("a", set_aside={"b": "frames are missing"})):
        with pytest.raises(BadSubmission, match="1 clips have no track, b among them"):
            write_submission(target, "got10k", [track("a")], clips)
    with pytest.raises(BadSubmission, match="leads out of the archive"):
        write_submission(target, "got10k", [track("../a")], clip_set("../a"))
    with pytest.raises(ValueError, match="got10k or trackingnet, not 'vot'"):
        write_submission(target, "vot", [track("a")], clip_set("a"))
    assert list(tmp_path.iterdir()) == []
