"""The regions of one image of a shard: boxes, kinds, labels, masks, texts, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.shards.tar import TarImage

KINDS = ("object", "text")


@dataclass(frozen=True, eq=False)
class ImageRegions:
    """The regions of one image of a shard.

    Attributes:
        index: the image's number among the images of its tar.
        key: its WebDataset name, by which a reader sees that tar and side-car belong together.
        size: (H, W) of the decoded, upright image.
        boxes: `[k 4]` float32, xyxy in its pixels.
        kinds: `[k]` int8: 0 for an object, 1 for text; by default a region with a text is text.
        labels: `[k]` int64 class of an object, -1 for none, which is the default.
        masks: k compressed COCO run-length codes of the image's size, `b""` for a region that is
            its box; empty if no region has one.
        texts: k strings, "" for none; empty if no region has one.
        confidences: `[k]` float32 confidence of the segmenter or text reader; by default 1.
        span: first byte and number of bytes of the image in its tar; the writer looks them up, and
            a reader of an older side-car does not know them.

    Raises:
        ValueError: If a field has another number of entries than there are boxes.

    >>> regions = ImageRegions(0, "cat", (4, 6), np.array([[0, 0, 3, 2]]), labels=np.array([7]))
    >>> regions.kinds.tolist(), regions.confidences.tolist()
    ([0], [1.0])
    """

    index: int
    key: str
    size: tuple[int, int]
    boxes: np.ndarray
    kinds: np.ndarray = None  # type: ignore[assignment]  # filled below, as the next
    labels: np.ndarray = None  # type: ignore[assignment]
    masks: Sequence[bytes] = ()
    texts: Sequence[str] = ()
    confidences: np.ndarray = None  # type: ignore[assignment]
    span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        count = len(boxes)
        texts = tuple(self.texts) or ("",) * count
        kinds, labels, confidences = self.kinds, self.labels, self.confidences
        if kinds is None:
            kinds = np.array([bool(text) for text in texts])
        if labels is None:
            labels = np.full(count, -1)
        if confidences is None:
            confidences = np.ones(count)
        filled: dict[str, Any] = {
            "boxes": boxes,
            "kinds": np.asarray(kinds, np.int8),
            "labels": np.asarray(labels, np.int64),
            "masks": tuple(self.masks) or (b"",) * count,
            "texts": texts,
            "confidences": np.asarray(confidences, np.float32),
        }
        for name, values in filled.items():
            if len(values) != count:
                raise ValueError(f"image {self.index} has {count} boxes and {len(values)} {name}")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def place(self) -> TarImage | None:
        """The image's place in its tar, where it is known."""
        return TarImage(self.index, self.key, *self.span) if self.span else None

    def check(self) -> None:
        """Check what a writer must not let through.

        Raises:
            ValueError: If a box is empty, not finite or outside the image, a mask has another size,
                or a kind is unknown.
        """
        height, width = self.size
        boxes, name = self.boxes, f"image {self.index} ({self.key})"
        inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        inside &= (boxes[:, 2] <= width) & (boxes[:, 3] <= height)  # NaN compares False
        if not inside.all():
            region = int(np.flatnonzero(~inside)[0])
            raise ValueError(
                f"{name}: box {region} {boxes[region].tolist()} is no xyxy box "
                f"within the image of size {self.size}"
            )
        if len(self) and (self.kinds.min() < 0 or self.kinds.max() >= len(KINDS)):
            kinds = sorted(set(self.kinds.tolist()))
            raise ValueError(f"{name}: kinds must be 0 (object) or 1 (text), got {kinds}")
        try:
            PixelMasks.from_coco([{"counts": code} for code in self.masks if code], self.size)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
