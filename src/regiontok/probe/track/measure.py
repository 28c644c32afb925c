"""Tracks of a whole data set, and what they score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from regiontok.core.formats import PictureError
from regiontok.probe.track.clips import ClipSet, TrackClip
from regiontok.probe.track.errors import BadClip
from regiontok.probe.track.scores import Absent, ClipScores, clip_scores
from regiontok.probe.track.tracker import Track


@dataclass(eq=False)
class Measured:
    """What became of the clips of a data set.

    Attributes:
        clips: the clips that were followed, and all that were set aside.
        tracks: a track of each of them.
        scores: the scores of each that has all its boxes.
    """

    clips: ClipSet
    tracks: list[Track] = field(default_factory=list)
    scores: list[ClipScores] = field(default_factory=list)


def measure(
    follow: Callable[[TrackClip], Track], clips: ClipSet, *, absent: Absent = "out"
) -> Measured:
    """Follow the target of every clip, and score what has boxes to score it by.

    A clip without a first box, or with a damaged frame, is set aside.

    Args:
        follow: the track of a clip.
        clips: the clips.
        absent: what frames without the target are to the scores: "out" or "missed".

    Raises:
        NoClips: If no clip can be followed.
    """
    tracks: dict[str, Track] = {}

    def followed(clip: TrackClip) -> TrackClip:
        try:
            tracks[clip.name] = follow(clip)
        except PictureError as error:
            raise BadClip(str(error)) from error
        return clip

    readers = ((clip.name, partial(followed, clip)) for clip in clips.clips)
    done = ClipSet.gather(clips.name, readers)
    whole = ClipSet(clips.name, done.clips, {**clips.set_aside, **done.set_aside})
    result = Measured(whole, [tracks[clip.name] for clip in done.clips])
    for clip, track in zip(whole.clips, result.tracks, strict=True):
        if clip.is_labelled and clip.has_target.any():
            scores = clip_scores(
                clip.name, track.boxes, clip.boxes, clip.has_target, track.size, absent=absent
            )
            result.scores.append(scores)
    return result
