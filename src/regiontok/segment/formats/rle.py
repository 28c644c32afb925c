"""COCO segmentations in JSON: their codes and scores, and the files that hold one image's masks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.segment.formats.index import Size, fits


def read_json(path: Path) -> Any:
    """What the file says.

    Raises:
        ValueError: not there, or not JSON; the message names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def image_masks(path: Path, size: Size) -> PixelMasks:
    """The masks of one image from its own file, in one of three forms.

    Ours: `{"size": [H, W], "masks": [run lengths, ...]}`, with `scores` and `names` if there are
    any. A list of run lengths, or of what SAM's mask generator gives (`segmentation`,
    `predicted_iou`, ...). SA-1B's `{"image": ..., "annotations": that list}`. Predicted IoU becomes
    the score.

    Raises:
        ValueError: another form, another size, or a code that cannot be read.
    """
    data = read_json(path)
    found = data.get("masks", data.get("annotations")) if isinstance(data, dict) else data
    if not isinstance(found, list):
        raise ValueError('expected {"size": [H, W], "masks": [...]} or a list of masks')
    if isinstance(data, dict) and isinstance(data.get("size"), list):
        fits(tuple(data["size"]), size)
    masks = [
        {"segmentation": one} if isinstance(one, dict) and "counts" in one else one for one in found
    ]
    counts = coded(masks, size)
    if not isinstance(data, dict) or "masks" not in data:
        return PixelMasks(size, counts, scores_of(masks, "predicted_iou"))
    names, scores = data.get("names"), data.get("scores")
    if not isinstance(names, list | None) or not isinstance(scores, list | None):
        raise ValueError("expected names and scores as lists")
    numbers = None if scores is None else scores_of([{"score": score} for score in scores], "score")
    return PixelMasks(size, counts, numbers, None if names is None else tuple(map(str, names)))


def coded(annotations: Sequence[Any], size: Size) -> tuple[bytes, ...]:
    """The run-length code of each annotation's `segmentation`.

    Raises:
        ValueError: one that is missing, of another size, or cannot be read; the message says which.
    """
    counts: list[bytes] = []
    for place, one in enumerate(annotations):
        if not isinstance(one, Mapping) or one.get("segmentation") is None:
            raise ValueError(f"mask {place} has no segmentation")
        try:
            counts.extend(PixelMasks.from_coco([one["segmentation"]], size).counts)
        except (ValueError, TypeError, OverflowError) as error:
            which = f"mask {place} (annotation {one['id']})" if "id" in one else f"mask {place}"
            raise ValueError(f"{which}: {error}") from error
    return tuple(counts)


def scores_of(annotations: Sequence[Any], key: str) -> np.ndarray | None:
    """`[k]` scores; None if no annotation has one.

    Raises:
        ValueError: only some have one, or one is no number.
    """
    scores = [one.get(key) for one in annotations]
    given = [score for score in scores if isinstance(score, int | float) and math.isfinite(score)]
    if scores.count(None) == len(scores):
        return None
    if len(given) < len(scores):
        raise ValueError(
            f"{len(given)} of {len(scores)} masks have a number as {key}; expected all or none"
        )
    return np.array(scores, np.float64)
