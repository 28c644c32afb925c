"""A head learns to follow a moving square, resumes exactly, and knows its encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from regiontok.core.picture import PictureError
from regiontok.probe.features import FrozenFeatures
from regiontok.probe.folder import ProbeFolder
from regiontok.probe.loop import train
from regiontok.probe.options import ProbeOptions
from regiontok.probe.track.clips import ClipSet, TrackClip
from regiontok.probe.track.crop_features import CropFeatures
from regiontok.probe.track.layouts import read_clips
from regiontok.probe.track.measure import measure
from regiontok.probe.track.scores import data_set_scores
from regiontok.probe.track.settings import TrackSettings, settings_by_name
from regiontok.probe.track.tracker import Tracker, stay
from regiontok.probe.track.training import TrackTraining, new_head
from samples.tracks import moving_square, write_boxes, write_frames, write_got10k

ENCODER = "lite(patch=8)"
SMALL = settings_by_name("mini").but(
    steps=500, drop=400, width=32, head_width=16, channels=16, batch=6, distinct_batches=24
)


def square_clips(folder: Path, first: int, count: int, frames: int) -> ClipSet:
    """Clips of moving squares, each of another seed."""
    for seed in range(first, first + count):
        pictures, boxes = moving_square(frames, seed)
        write_frames(folder / f"clip{seed:03}", pictures)
        write_boxes(folder / f"clip{seed:03}" / "groundtruth.txt", boxes)
    return read_clips(f"got10k:{folder}")


def trained(
    clips: ClipSet,
    settings: TrackSettings,
    folder: Path,
    *,
    stops: tuple[int | None, ...] = (None,),
) -> Tracker:
    """A tracker after a training that stops and goes on."""
    features = CropFeatures.of(FrozenFeatures(ENCODER), settings)
    for stop in stops:
        training = TrackTraining(features, [clips], settings)
        train(
            training.learner(),
            training.optimisation,
            ProbeFolder(folder),
            settings=training.decisive,
            options=ProbeOptions(device="cpu", stop_after=stop),
            resume=stop != stops[0],
        )
    return Tracker(features, training.head, settings)


@pytest.mark.slow
def test_five_hundred_steps_follow_a_moving_square(tmp_path: Path):
    tracker = trained(square_clips(tmp_path / "train", 0, 24, 8), SMALL, tmp_path / "run")
    held_out = square_clips(tmp_path / "test", 100, 6, 16)
    scores = data_set_scores(measure(tracker.follow, held_out).scores)
    stays = data_set_scores(measure(stay, held_out).scores)
    assert scores["ao"][0] > 70
    assert scores["ao"][0] > stays["ao"][0] + 20
    # the same picture as template and search: the peak stays in the middle of the window
    clip = held_out.clips[0]
    still = TrackClip("still", clip.frames[:1] * 3, clip.boxes[:1], clip.is_present[:1])
    boxes = tracker.follow(still).boxes
    side = np.sqrt(boxes[0, 2:].prod()) * SMALL.search_factor
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    assert np.abs(centre[1:] - centre[0]).max() < side / 8  # a cell of the search crop


@pytest.mark.slow
def test_a_training_that_stops_and_goes_on_is_equal_bit_by_bit(tmp_path: Path):
    clips = square_clips(tmp_path / "clips", 0, 3, 6)
    settings = SMALL.but(steps=6, drop=4, distinct_batches=4, batch=2)
    whole = trained(clips, settings, tmp_path / "whole").head.state_dict()
    parted = trained(clips, settings, tmp_path / "parted", stops=(3, None)).head.state_dict()
    assert all(torch.equal(whole[name], parted[name]) for name in whole)


def test_a_clip_with_a_damaged_frame_is_named_and_set_aside(tmp_path: Path):
    clips = read_clips(f"got10k:{write_got10k(tmp_path, ['good', 'torn'], 3)}")
    torn = tmp_path / "torn" / "00000003.jpg"
    torn.write_bytes(torn.read_bytes()[:300])
    features = CropFeatures.of(FrozenFeatures("filters(size=64)"), SMALL)
    tracker = Tracker(features, new_head(features, SMALL, 0), SMALL)
    with pytest.raises(PictureError, match=r"00000003\.jpg"):
        tracker.follow(clips.clips[1])
    measured = measure(tracker.follow, clips)
    assert [track.name for track in measured.tracks] == ["good"]
    assert "00000003.jpg" in measured.clips.set_aside["torn"]
    track = measured.tracks[0]
    assert track.boxes.shape == (3, 4)
    assert np.array_equal(track.boxes[0], clips.clips[0].boxes[0])


def test_the_box_that_stays_scores_what_overlap_it_has(tmp_path: Path):
    clips = read_clips(f"got10k:{write_got10k(tmp_path, ['a'], 3)}")
    (scores,) = measure(stay, clips).scores
    assert scores.overlaps[0] > scores.overlaps[1]
