"""COCO's run-length codes: made from label maps and `segmentation` values, read, and checked.

A mask is read column by column as runs of pixels outside, inside, outside, ... A compressed code
writes each run, less the run before the last, in groups of 5 bits.
"""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco

if TYPE_CHECKING:
    from jaxtyping import Int

Size = tuple[int, int]


def codes_of_labels(labels: Int[np.ndarray, "H W"]) -> tuple[bytes, ...]:
    """The compressed code of each label from 0 on, in the order of the labels.

    They come from the runs of the whole map: 56 labels of 6000 x 4000 pixels take 0.6 s, and 16 s
    with one dense mask each.
    """
    flat = labels.ravel(order="F")
    if not flat.size:
        return ()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = np.r_[0, changes], np.r_[changes, flat.size]
    order = np.argsort(flat[starts], kind="stable")
    runs = np.stack([starts[order], ends[order]], axis=1)
    ids, first = np.unique(flat[runs[:, 0]], return_index=True)
    codes = []
    for label, label_runs in zip(ids, np.split(runs, first[1:]), strict=True):
        if label < 0:
            continue
        counts = np.diff(label_runs.ravel(), prepend=0, append=flat.size).tolist()
        codes.append({"size": list(labels.shape), "counts": counts if counts[-1] else counts[:-1]})
    return tuple(code["counts"] for code in coco.frPyObjects(codes, *labels.shape)) if codes else ()


def code_of_segmentation(value: Any, size: Size) -> bytes:
    """The compressed code of a COCO `segmentation` value for an image of `size` = (H, W) pixels.

    Args:
        value: polygons, or an object whose counts are a list, text or bytes.
        size: (H, W) in pixels.

    Raises:
        ValueError: If the value is none of these, is of another size, or cannot be read.
    """
    height, width = size
    code: bytes
    if isinstance(value, list):
        polygons = [polygon for polygon in value if _point_count(polygon, size) >= 3]
        if not polygons:  # fewer than three points enclose nothing
            code = coco.encode(np.zeros(size, np.uint8, order="F"))["counts"]
        else:
            code = coco.merge(coco.frPyObjects(polygons, height, width))["counts"]
        return code
    if not isinstance(value, dict) or "counts" not in value:
        raise ValueError(f"expected COCO polygons or run lengths, got {type(value).__name__}")
    stated_size = tuple(np.ravel(value.get("size", size)).tolist())
    if stated_size != tuple(size):
        raise ValueError(
            f"a mask of size {stated_size} does not fit the image of size {tuple(size)}"
        )
    counts = value["counts"]
    if isinstance(counts, list):
        _check_counts(counts, size)
        runs = {"size": [height, width], "counts": counts}
        code = coco.frPyObjects(runs, height, width)["counts"]
        return code
    if not isinstance(counts, str | bytes):
        raise ValueError(
            f"expected run lengths as a list, text or bytes, got {type(counts).__name__}"
        )
    code = counts.encode() if isinstance(counts, str) else counts
    _check_code(code, size)
    return code


def runs_of_code(code: bytes) -> Int[np.ndarray, "runs"]:
    """The runs (outside, inside, outside, ...) that a compressed code describes, in pixels.

    Raises:
        ValueError: If no such code has these bytes.
    """
    digits = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    if not digits.size:
        return digits
    if digits.min() < 0 or digits.max() > 63:
        wrong = int(digits[(digits < 0) | (digits > 63)][0]) + 48
        raise ValueError(f"a run-length code holds the byte {wrong}, which no such code has")
    last = np.flatnonzero(digits < 32)
    if np.diff(np.r_[-1, last, len(digits) - 1]).max() > 7:  # 35 bits
        raise ValueError("a run-length code holds a run longer than any image")
    if not last.size or last[-1] != len(digits) - 1:
        raise ValueError("a run-length code breaks off in the middle")
    first = np.r_[0, last[:-1] + 1]
    length = last - first + 1
    place = np.arange(len(digits)) - np.repeat(first, length)
    runs: np.ndarray = np.add.reduceat((digits & 31) << (5 * place), first)
    negative = (digits[last] & 16) > 0
    runs[negative] -= (np.int64(1) << (5 * length))[negative]
    for start in (1, 2):
        runs[start::2] = runs[start::2].cumsum()
    if (runs < 0).any():
        raise ValueError("a run-length code holds a negative run")
    return runs


def _point_count(polygon: Any, size: Size) -> int:
    """How many points a polygon has that pycocotools may draw.

    It walks along every edge in memory, and crashes on NaN or a point far away.
    """
    try:
        numbers = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros((0, 0))
    if numbers.ndim != 1:
        raise ValueError("expected a polygon as numbers x, y, x, y, ...")
    count = len(numbers) // 2
    edges = np.abs(np.diff(numbers[: 2 * count].reshape(-1, 2), axis=0))
    perimeter = float(edges.max(axis=1).sum()) if count > 1 else 0.0
    too_long = perimeter > 16 * (size[0] + 16) * (size[1] + 16)
    if too_long or not (np.abs(numbers) <= 16 * max(size)).all():
        raise ValueError(
            f"a polygon leaves the image of size {tuple(size)} by far, "
            "or runs through it without end"
        )
    return count


def _check_counts(counts: list[Any], size: Size) -> None:
    if not all(isinstance(run, Integral) and int(run) >= 0 for run in counts):
        raise ValueError("run lengths must be whole numbers from 0 on")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(
            f"run lengths add up to {sum(counts)} pixels, the image has {size[0] * size[1]}"
        )


def _check_code(code: bytes, size: Size) -> None:
    """Refuse a code of another size: pycocotools writes past its buffer on a forged one."""
    total = int(runs_of_code(code).sum())
    if total != size[0] * size[1]:
        raise ValueError(
            f"a run-length code describes {total} pixels, the image has {size[0] * size[1]}"
        )
