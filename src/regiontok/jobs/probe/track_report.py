"""What `regiontok probe track` reports: a row a run, each encoder's means, and RICE's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regiontok.jobs.probe.seeds import scores_over_seeds
from regiontok.jobs.report.published import published_rows
from regiontok.probe.track.clips import ClipSet
from regiontok.probe.track.measure import Measured
from regiontok.probe.track.scores import data_set_scores

_TEST_CLIPS = {"lasot": 280, "trackingnet": 511, "got10k": 180, "tnl2k": 700}  # of RICE's Table 4


def score_row(encoder: str, seed: int | None, measured: Measured) -> dict[str, Any]:
    """The scores of one run, of the data set and of each clip."""
    scores = data_set_scores(measured.scores) if measured.scores else {}
    seconds = sum(float(track.seconds.sum()) for track in measured.tracks)
    frames = sum(len(track.boxes) - 1 for track in measured.tracks)
    return {
        "encoder": encoder,
        "seed": seed,
        "scores": scores,
        "frames_per_second": frames / seconds if seconds else None,
        "clips": {
            clip.name: {
                "success": float(clip.success.mean()) * 100,
                "ao": float(clip.overlaps.mean()) * 100 if len(clip.overlaps) else None,
            }
            for clip in measured.scores
        },
    }


def about_clips(clips: ClipSet) -> dict[str, Any]:
    """How much of a data set was read, and what was set aside."""
    return {
        "name": clips.name,
        "clips": len(clips),
        "frames": clips.frames,
        "set_aside": clips.set_aside,
    }


def mean_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row an encoder: the mean of each score over its seeds, and the lowest and highest.

    With one seed lowest and highest are the interval of the bootstrap over clips.
    """
    encoders = dict.fromkeys(row["encoder"] for row in rows if row["scores"])
    means = []
    for encoder in encoders:
        runs = [row for row in rows if row["encoder"] == encoder and row["scores"]]
        scores = scores_over_seeds(runs)
        means.append({"encoder": encoder, "seeds": len(runs), "scores": scores})
    return means


def published_beside(clips: ClipSet, split: str) -> list[dict[str, Any]]:
    """RICE's rows for a test set that is there as a whole; none for any other data.

    The layout and the number of its clips tell a test set; GOT-10k's validation clips are as many,
    so that the split decides there.

    Args:
        clips: the clips that were measured, with those set aside.
        split: the split that was asked for.
    """
    layout = clips.name.partition(":")[0]
    count = len(clips) + len(clips.set_aside)
    if split not in ("test", "all") or _TEST_CLIPS.get(layout) != count:
        return []
    return [
        {
            "encoder": row.row,
            "source": row.source,
            "scores": {
                name.removeprefix(f"{layout}_"): value
                for name, value in row.figures.items()
                if name.startswith(f"{layout}_")
            },
        }
        for row in published_rows("rice/4")
    ]
