"""How well boxes follow a target: success, precision and normalised precision; AO and SR.

After: OSTrack's lib/test/analysis (success over 21 thresholds of overlap; precision, the share of
    frames whose centre is at most 20 pixels off; normalised precision, at most .20 of the target's
    size), where the first frame counts as found; the GOT-10k toolkit (AO, the mean overlap, and SR,
    the share of frames above .5 and .75, over the frames of all clips together), where boxes are
    cut to the frame and the first frame is left out.
Differs: frames without the target are out, as in GOT-10k and LaSOT's own toolkit. OSTrack's script
    does so only with `exclude_invalid_frames`; as it stands it counts them as missed, which is
    `absent="missed"` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from regiontok.evaluation.sample import resampling_weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Absent = Literal["out", "missed"]
OVERLAPS = torch.arange(0.0, 1.05, 0.05, dtype=torch.float64).numpy()  # 21 thresholds
PIXELS, SHARE = 20, 0.20
NAMES = ("success", "precision", "normalised_precision", "ao", "sr50", "sr75")
_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class ClipScores:
    """What is counted on one clip.

    Attributes:
        name: of the clip.
        success: `[21]` float32, share of frames whose overlap is above each threshold.
        precision, normalised: share of frames whose centre is near enough.
        overlaps: `[f]`, overlap on each frame with the target but the first, by GOT-10k's rule.
    """

    name: str
    success: Float[np.ndarray, "21"]
    precision: np.float32
    normalised: np.float32
    overlaps: Float[np.ndarray, "f"]


def clip_scores(
    name: str,
    predicted: Float[np.ndarray, "n 4"],
    truth: Float[np.ndarray, "n 4"],
    has_target: Bool[np.ndarray, "n"],
    size: tuple[int, int],
    *,
    absent: Absent = "out",
) -> ClipScores:
    """The scores of one clip.

    Args:
        name: of the clip.
        predicted: x, y, width and height on every frame, the first among them.
        truth: the target's box on every frame; what stands where there is no target is not read.
        has_target: True where the target is seen.
        size: (height, width) of the frames.
        absent: whether frames without the target are "out" or count as "missed"; AO and SR never
            count them.

    Raises:
        ValueError: If the boxes differ in number, or a predicted one is not finite or has a
            negative side.
    """
    predicted, truth = np.asarray(predicted, float), np.asarray(truth, float)
    if predicted.shape != truth.shape or len(has_target) != len(truth):
        raise ValueError(
            f"{name} has {len(truth)} frames, {len(has_target)} labels and {len(predicted)} "
            "predicted boxes: expected one a frame"
        )
    if not np.isfinite(predicted).all() or (predicted[:, 2:] < 0).any():
        raise ValueError(f"{name} has a predicted box that is not finite, or of negative size")
    started = predicted.copy()
    started[0] = truth[0]
    rows = np.flatnonzero(has_target)
    count = len(rows) if absent == "out" else len(truth)
    offset = _centre(started[rows]) - _centre(truth[rows])
    distance = _length(offset)
    scale = truth[rows, 2:]
    relative = _length(_centre(started[rows]) / scale - _centre(truth[rows]) / scale)
    overlap = overlaps(started[rows], truth[rows])
    later = rows[rows > 0]
    return ClipScores(
        name,
        _shares(overlap[:, None] > OVERLAPS, count),
        _shares(distance <= PIXELS, count)[0],
        _shares(relative <= SHARE, count)[0],
        overlaps(cut_to_frame(predicted[later], size), cut_to_frame(truth[later], size)),
    )


def _shares(holds: Bool[np.ndarray, "n *t"], of: int) -> Float[np.ndarray, "t"]:
    """How many rows hold by the number of frames, in float32 as the authors divide."""
    counts = np.atleast_1d(holds.sum(0)).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Float[np.ndarray, "t"] = counts / np.float32(of)
    return shares


def _centre(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 2"]:
    return boxes[:, :2] + 0.5 * (boxes[:, 2:] - 1.0)


def _length(vectors: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    length: Float[np.ndarray, "n"] = np.sqrt((vectors**2).sum(1))
    return length


def overlaps(
    boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "n"]:
    """Intersection over union of box by box; 0 where both are empty.

    >>> overlaps(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 2, 2.0]])).tolist()
    [0.3333333333333333]
    """
    first = np.maximum(boxes[:, :2], others[:, :2])
    last = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(last - first, 0).prod(1)
    union = boxes[:, 2:].prod(1) + others[:, 2:].prod(1) - shared
    return shared / np.maximum(union, np.finfo(float).eps)


def cut_to_frame(
    boxes: Float[np.ndarray, "n 4"], size: tuple[int, int]
) -> Float[np.ndarray, "n 4"]:
    """Boxes without what lies outside a frame of `size` = (height, width)."""
    limit = np.array([size[1], size[0]], float)
    first = boxes[:, :2].clip(0, limit)
    last = (boxes[:, :2] + boxes[:, 2:]).clip(0, limit)
    return np.concatenate([first, last - first], axis=1)


def data_set_scores(clips: Sequence[ClipScores], seed: int = 0) -> dict[str, list[float]]:
    """Each score of a data set in percent, with its 95 % interval: value, lower, upper.

    The interval is of a bootstrap over clips. Success and both precisions weigh clips alike, AO and
    SR weigh frames alike.

    Args:
        clips: the scores of its clips.
        seed: seeds the resamples.

    Raises:
        ValueError: If there are no clips.
    """
    if not clips:
        raise ValueError("expected the scores of at least one clip, got none")
    names = np.array([f"clip {number}" for number in range(len(clips))])
    weights = resampling_weights(names, _RESAMPLES, seed).astype(np.float64)
    once = np.ones((1, len(clips)))
    values, resampled = scores_of(clips, once), scores_of(clips, weights)
    return {name: [float(values[name][0]), *_interval(resampled[name])] for name in NAMES}


def _interval(values: Float[np.ndarray, "r"]) -> list[float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [float("nan")] * 2
    low, high = np.percentile(finite, [2.5, 97.5])
    return [float(low), float(high)]


def scores_of(
    clips: Sequence[ClipScores], weights: Float[np.ndarray, "r c"]
) -> dict[str, Float[np.ndarray, "r"]]:
    """The scores of a data set in percent, `[r]` each.

    Args:
        clips: the scores of its clips.
        weights: how often each clip counts, in each of r resamples.
    """
    frames = np.array([len(clip.overlaps) for clip in clips], float)
    sums = {
        "ao": [clip.overlaps.sum() for clip in clips],
        "sr50": [(clip.overlaps > 0.5).sum() for clip in clips],
        "sr75": [(clip.overlaps > 0.75).sum() for clip in clips],
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        by_frame = {
            name: (weights @ np.array(values, float)) / (weights @ frames) * 100
            for name, values in sums.items()
        }
    curves = _weighted(weights, [clip.success for clip in clips])
    by_clip = {
        "success": torch.from_numpy(curves).mean(1).numpy(),
        "precision": _weighted(weights, [[clip.precision] for clip in clips])[:, 0],
        "normalised_precision": _weighted(weights, [[clip.normalised] for clip in clips])[:, 0],
    }
    percent = {name: values * np.float32(100) for name, values in by_clip.items()}
    return {**percent, **by_frame}


def _weighted(
    weights: Float[np.ndarray, "r c"], shares: Sequence[Sequence[np.float32] | np.ndarray]
) -> Float[np.ndarray, "r n"]:
    """Means over clips, in float32 as the authors take them.

    Clips without a frame that counts are left out.
    """
    values = np.array(shares, np.float32)
    counted = np.isfinite(values[:, 0])
    chosen = weights[:, counted].astype(np.float32)
    with np.errstate(invalid="ignore"):
        means: Float[np.ndarray, "r n"] = (chosen @ values[counted]) / chosen.sum(1)[:, None]
    return means
