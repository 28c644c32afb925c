"""PixelMasks: run-length coded pixel masks of one image, with scores and names. Dense only on
demand.

150 masks of 640 x 480 take 19 kB run-length coded and 46 MB dense (measured), so dense masks are
never the exchange type.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


@dataclass(frozen=True, eq=False)
class PixelMasks:
    """k masks of one image; they may overlap, leave gaps, or be empty.

    Attributes:
        size: (H, W) in pixels.
        counts: k compressed COCO run-length codes.
        scores: `[k]` float, or None.
        names: k words (a category, say), or None.

    >>> masks = PixelMasks.from_labels(np.array([[0, 0, 1], [0, 2, 1]]))
    >>> len(masks), masks.areas.tolist(), masks.boxes[1].tolist()
    (3, [3, 2, 1], [2.0, 0.0, 3.0, 2.0])
    """

    size: tuple[int, int]
    counts: tuple[bytes, ...]
    scores: np.ndarray | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for what, values in (("scores", self.scores), ("names", self.names)):
            if values is not None and len(values) != len(self):
                raise ValueError(f"{len(self)} masks need {len(self)} {what}, got {len(values)}")

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def from_dense(
        cls, masks: Bool[Tensor, "k H W"] | np.ndarray, scores=None, names=None
    ) -> PixelMasks:
        """From `[k H W]` masks; anything but 0 is inside."""
        dense = (masks != 0).cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
        if dense.ndim != 3:
            raise ValueError(f"expected masks [k H W], got shape {list(dense.shape)}")
        coded = (
            coco.encode(np.asfortranarray((dense != 0).transpose(1, 2, 0).astype(np.uint8)))
            if len(dense)
            else []
        )
        scores = None if scores is None else np.asarray(scores, np.float64)
        return cls(
            (dense.shape[1], dense.shape[2]),
            tuple(c["counts"] for c in coded),
            scores,
            None if names is None else tuple(names),
        )

    @classmethod
    def from_labels(cls, labels: Int[Tensor, "H W"] | np.ndarray) -> PixelMasks:
        """One mask a label of `[H W]` integers, in the order of the labels; negative labels are no
        mask."""
        labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"expected integer labels [H W], got {labels.dtype} of shape {list(labels.shape)}"
            )
        return cls((labels.shape[0], labels.shape[1]), _label_counts(labels))

    @classmethod
    def from_coco(
        cls, segmentations: Iterable[Any], size: tuple[int, int], scores=None, names=None
    ) -> PixelMasks:
        """From COCO `segmentation` values: polygons, run lengths as a list, or compressed run
        lengths (text or bytes).

        Raises:
            ValueError: a code of another size, or one that cannot be read.
        """
        counts = tuple(_coco_counts(value, size) for value in segmentations)
        scores = None if scores is None else np.asarray(scores, np.float64)
        return cls(size, counts, scores, None if names is None else tuple(names))

    @property
    def areas(self) -> np.ndarray:
        """`[k]` pixels inside each mask."""
        return np.array([int(coco.area(code)) for code in self._codes()], np.int64)

    @property
    def boxes(self) -> np.ndarray:
        """`[k 4]` xyxy pixels around each mask; zeros for an empty one."""
        xywh = np.array([coco.toBbox(code) for code in self._codes()], np.float64).reshape(-1, 4)
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)

    def dense(self, index: Sequence[int] | range | None = None) -> Bool[Tensor, "k H W"]:
        """The masks (or those of `index`) as `[k H W]` bool."""
        codes = self._codes(index)
        if not codes:
            return torch.zeros(0, *self.size, dtype=torch.bool)
        columns = coco.decode(codes).T  # [k W H] as it lies in memory: what follows is a view
        return torch.from_numpy(columns.view(np.bool_)).transpose(1, 2)

    def runs(self, index: int) -> Int[np.ndarray, "r 2"]:
        """Where the pixels of one mask begin and end when the image is read column by column: pixel
        (y, x) is number x * H + y."""
        edges = _counts(self.counts[index]).cumsum()
        return edges[: len(edges) // 2 * 2].reshape(-1, 2)

    def labels(self) -> Int[Tensor, "H W"]:
        """`[H W]` mask index under each pixel, -1 for none; where masks overlap the smallest
        wins."""
        labels = torch.full(self.size, -1, dtype=torch.int64)
        for i in np.argsort(-self.areas, kind="stable"):
            labels[self.dense([int(i)])[0]] = int(i)
        return labels

    def take(self, index: Sequence[int]) -> PixelMasks:
        """The masks of `index`, in its order."""
        index = [int(i) for i in index]
        scores = None if self.scores is None else self.scores[index]
        names = None if self.names is None else tuple(self.names[i] for i in index)
        return PixelMasks(self.size, tuple(self.counts[i] for i in index), scores, names)

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO run-length objects, ready for JSON."""
        return [{"size": list(self.size), "counts": code.decode("ascii")} for code in self.counts]

    def _codes(self, index: Sequence[int] | range | None = None) -> list[dict[str, Any]]:
        chosen = self.counts if index is None else [self.counts[i] for i in index]
        return [{"size": list(self.size), "counts": code} for code in chosen]


def _label_counts(labels: np.ndarray) -> tuple[bytes, ...]:
    """The code of each label from 0 on, from the runs of the whole map: 56 labels of 6000 x 4000 in
    0.6 s, one dense mask each 16 s."""
    flat = labels.ravel(order="F")
    if not flat.size:
        return ()
    cut = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start, end = np.r_[0, cut], np.r_[cut, flat.size]
    order = np.argsort(flat[start], kind="stable")
    start, end, label = start[order], end[order], flat[start][order]
    ids, first = np.unique(label, return_index=True)
    codes = []
    for own in np.split(np.stack([start, end], axis=1), first[1:])[int((ids < 0).sum()) :]:
        counts = np.diff(own.ravel(), prepend=0, append=flat.size).tolist()
        codes.append({"size": list(labels.shape), "counts": counts if counts[-1] else counts[:-1]})
    return tuple(code["counts"] for code in coco.frPyObjects(codes, *labels.shape)) if codes else ()


def _coco_counts(value: Any, size: tuple[int, int]) -> bytes:
    high, wide = size
    if isinstance(value, list):
        rings = [ring for ring in value if _points(ring, size) >= 3]  # fewer enclose nothing
        if not rings:
            return coco.encode(np.zeros((high, wide), np.uint8, order="F"))["counts"]
        return coco.merge(coco.frPyObjects(rings, high, wide))["counts"]
    if not isinstance(value, dict) or "counts" not in value:
        raise ValueError(f"expected COCO polygons or run lengths, got {type(value).__name__}")
    stated = tuple(np.ravel(value.get("size", size)).tolist())
    if stated != tuple(size):
        raise ValueError(f"a mask of size {stated} does not fit the image of size {tuple(size)}")
    counts = value["counts"]
    if isinstance(counts, list):
        if not all(isinstance(run, Integral) and int(run) >= 0 for run in counts):
            raise ValueError("run lengths must be whole numbers from 0 on")
        if sum(counts) != high * wide:
            raise ValueError(
                f"run lengths add up to {sum(counts)} pixels, the image has {high * wide}"
            )
        return coco.frPyObjects({"size": [high, wide], "counts": counts}, high, wide)["counts"]
    if not isinstance(counts, str | bytes):
        raise ValueError(
            f"expected run lengths as a list, text or bytes, got {type(counts).__name__}"
        )
    return _checked(counts.encode() if isinstance(counts, str) else counts, size)


def _points(ring: Any, size: tuple[int, int]) -> int:
    """Points of a polygon that pycocotools may draw: it walks along every edge in memory, and
    crashes on NaN or a point far away."""
    try:
        at = np.asarray(ring, np.float64)
    except (TypeError, ValueError, OverflowError):
        at = np.zeros((0, 0))
    if at.ndim != 1:
        raise ValueError("expected a polygon as numbers x, y, x, y, ...")
    way = (
        float(np.abs(np.diff(at[: len(at) // 2 * 2].reshape(-1, 2), axis=0)).max(axis=1).sum())
        if len(at) >= 4
        else 0.0
    )
    if not (np.abs(at) <= 16 * max(size)).all() or way > 16 * (size[0] + 16) * (size[1] + 16):
        raise ValueError(
            f"a polygon leaves the image of size {tuple(size)} by far, or runs through it without end"
        )
    return len(at) // 2


def _checked(code: bytes, size: tuple[int, int]) -> bytes:
    """A compressed code that really describes `size` pixels: pycocotools itself writes past its
    buffer on a forged one."""
    total = int(_counts(code).sum())
    if total != size[0] * size[1]:
        raise ValueError(
            f"a run-length code describes {total} pixels, the image has {size[0] * size[1]}"
        )
    return code


def _counts(code: bytes) -> Int[np.ndarray, "runs"]:
    """The runs (outside, inside, outside, ...) in a compressed code: groups of 5 bits, each run
    less the one before the last."""
    digits = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    if not digits.size:
        return digits
    if digits.min() < 0 or digits.max() > 63:
        raise ValueError(
            f"a run-length code holds the byte {int(digits[(digits < 0) | (digits > 63)][0]) + 48}, which no such code has"
        )
    last = np.flatnonzero(digits < 32)
    if np.diff(np.r_[-1, last, len(digits) - 1]).max() > 7:  # 35 bits
        raise ValueError("a run-length code holds a run longer than any image")
    if not last.size or last[-1] != len(digits) - 1:
        raise ValueError("a run-length code breaks off in the middle")
    first = np.r_[0, last[:-1] + 1]
    length = last - first + 1
    place = np.arange(len(digits)) - np.repeat(first, length)
    counts = np.add.reduceat((digits & 31) << (5 * place), first)
    counts[(digits[last] & 16) > 0] -= (np.int64(1) << (5 * length))[(digits[last] & 16) > 0]
    for start in (1, 2):
        counts[start::2] = counts[start::2].cumsum()
    if (counts < 0).any():
        raise ValueError("a run-length code holds a negative run")
    return counts
