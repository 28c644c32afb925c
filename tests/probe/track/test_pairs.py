"""Pairs are functions of their numbers, show the target, and pass over damaged frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regiontok.core.picture import PictureError
from regiontok.probe.track.clips import ClipSet, TrackClip
from regiontok.probe.track.errors import BadClip, NoClips
from regiontok.probe.track.layouts import read_clips
from regiontok.probe.track.pairs import Pair, PairDraws, draw_frames, mirrored
from regiontok.probe.track.settings import settings_by_name
from samples.tracks import write_got10k

MINI = settings_by_name("mini")


@pytest.fixture
def clips(tmp_path: Path) -> ClipSet:
    return read_clips(f"got10k:{write_got10k(tmp_path / 'clips', ['a', 'b'], 6)}")


def test_a_pair_is_a_function_of_seed_and_number(clips: ClipSet):
    draws = PairDraws([clips], MINI.but(augment=True), 3, 32, 64)
    later = [draws.pair(number) for number in (5, 1)]
    again = PairDraws([clips], MINI.but(augment=True), 3, 32, 64).pair(1)
    np.testing.assert_array_equal(later[1].search, again.search)
    np.testing.assert_array_equal(later[1].box, again.box)
    other = PairDraws([clips], MINI.but(augment=True), 4, 32, 64).pair(1)
    assert not np.array_equal(other.search, again.search)


def test_the_target_is_where_the_box_says_also_mirrored(clips: ClipSet):
    draws = PairDraws([clips], MINI, 0, 32, 64)
    for number in range(8):
        pair = draws.pair(number)
        for view in (pair, mirrored(pair, "search")):
            red = view.search[..., 0].astype(int) - view.search[..., 1] > 90
            x, y, width, height = view.box * 64
            columns, rows = np.flatnonzero(red.any(0)), np.flatnonzero(red.any(1))
            assert abs(max(x, 0) - columns[0]) < 2.5
            assert abs(max(y, 0) - rows[0]) < 2.5
            assert abs(min(x + width, 64) - columns[-1] - 1) < 2.5
            assert abs(min(y + height, 64) - rows[-1] - 1) < 2.5


def test_the_search_frame_comes_later_within_the_gap():
    shown = np.zeros(500, bool)
    shown[[3, 10, 150, 480]] = True
    frames = tuple(Path(f"{number}.jpg") for number in range(500))
    clip = TrackClip("a", frames, np.tile([0.0, 0, 5, 5], (500, 1)), shown)
    rng = np.random.default_rng(0)
    drawn = {draw_frames(clip, 200, rng) for _ in range(200)}
    assert drawn == {(3, 10), (3, 150), (10, 150), (150, 480)}


def test_a_damaged_frame_is_named_and_passed_over(clips: ClipSet):
    damaged = clips.clips[0].frames[2]
    damaged.write_bytes(damaged.read_bytes()[:200])
    draws = PairDraws([clips], MINI, 0, 32, 64)
    for number in range(20):
        assert isinstance(draws.pair(number), Pair)
    assert list(draws.damaged) == [str(damaged)]
    for clip in clips.clips:
        for path in clip.frames:
            path.write_bytes(b"")
    with pytest.raises(PictureError, match="20 draws of one pair met damaged frames"):
        draws.pair(0)


def test_a_set_without_two_frames_of_a_target_is_refused(clips: ClipSet):
    clip = clips.clips[0]
    lonely = TrackClip(clip.name, clip.frames, clip.boxes, np.arange(6) == 2)
    with pytest.raises(NoClips, match="two frames that show the target"):
        PairDraws([ClipSet("x", (lonely,), {})], MINI, 0, 32, 64)
    with pytest.raises(BadClip, match="6 frames and 3 boxes"):
        TrackClip("a", clip.frames, clip.boxes[:3], np.ones(3, bool))
