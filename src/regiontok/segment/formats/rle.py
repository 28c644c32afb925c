"""COCO segmentations in JSON: their codes and scores, and the files that hold one image's masks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.segment.formats.catalogue import Size, check_size


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        ValueError: If the file is not there, or is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def image_masks(path: Path, size: Size) -> PixelMasks:
    """The masks of one image from a file of its own, in one of three forms.

    Ours is `{"size": [H, W], "masks": [run lengths, ...]}`, with `scores` and `names` if there are
    any. The others are a list of run lengths, or of what SAM's mask generator gives
    (`segmentation`, `predicted_iou`, ...); and SA-1B's `{"image": ..., "annotations": that list}`.
    Predicted IoU becomes the score.

    Raises:
        ValueError: If the file has another form, is of another size, or holds a code that cannot
            be read.
    """
    return masks_of_json(read_json(path), size)


def masks_of_json(data: Any, size: Size) -> PixelMasks:
    """The masks of one image from what its file says, in one of the forms of `image_masks`.

    Raises:
        ValueError: See `image_masks`.
    """
    listed = data.get("masks", data.get("annotations")) if isinstance(data, dict) else data
    if not isinstance(listed, list):
        raise ValueError('expected {"size": [H, W], "masks": [...]} or a list of masks')
    if isinstance(data, dict) and isinstance(data.get("size"), list):
        check_size(tuple(data["size"]), size)
    masks = [
        {"segmentation": mask} if isinstance(mask, dict) and "counts" in mask else mask
        for mask in listed
    ]
    codes = codes_of(masks, size)
    if not isinstance(data, dict) or "masks" not in data:
        return PixelMasks(size, codes, scores_of(masks, "predicted_iou"))
    names, scores = data.get("names"), data.get("scores")
    if not isinstance(names, list | None) or not isinstance(scores, list | None):
        raise ValueError("expected names and scores as lists")
    numbers = None if scores is None else scores_of([{"score": score} for score in scores], "score")
    return PixelMasks(size, codes, numbers, None if names is None else tuple(map(str, names)))


def codes_of(annotations: Sequence[Any], size: Size) -> tuple[bytes, ...]:
    """The run-length code of each annotation's `segmentation`.

    Raises:
        ValueError: If one is missing, of another size, or cannot be read; the message says which.
    """
    codes: list[bytes] = []
    for index, annotation in enumerate(annotations):
        if not isinstance(annotation, Mapping) or annotation.get("segmentation") is None:
            raise ValueError(f"mask {index} has no segmentation")
        try:
            codes.extend(PixelMasks.from_coco([annotation["segmentation"]], size).counts)
        except (ValueError, TypeError, OverflowError) as error:
            number = f" (annotation {annotation['id']})" if "id" in annotation else ""
            raise ValueError(f"mask {index}{number}: {error}") from error
    return tuple(codes)


def scores_of(annotations: Sequence[Any], key: str) -> np.ndarray | None:
    """The scores `[k]` of annotations; None if no annotation has one.

    Raises:
        ValueError: If only some have one, or one is no number.
    """
    scores = [annotation.get(key) for annotation in annotations]
    if scores.count(None) == len(scores):
        return None
    numbers = [score for score in scores if isinstance(score, int | float) and math.isfinite(score)]
    if len(numbers) < len(scores):
        raise ValueError(
            f"{len(numbers)} of {len(scores)} masks have a number as {key}; expected all or none"
        )
    return np.array(scores, np.float64)
