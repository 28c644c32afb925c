"""An image as the stages have found it: labelled boxes and lines of text, as one list of regions.

After: RICE, section 3.1 (rows R1, R2: object regions with the number of their cluster, text regions
with what is read there).
Differs: an object has one label, its nearest centre. The box of a line of text is upright and holds
the four corners that the reader gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from regiontok.curate.kept import LEFT_OUT
from regiontok.curate.propose import NO_REGION
from regiontok.curate.scripts import misread_lines
from regiontok.curate.text_readers import TextLines
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.report import FailedImage

if TYPE_CHECKING:
    from jaxtyping import Float

Row = Mapping[str, Any]  # of a stage's file


@dataclass(frozen=True, eq=False)
class CuratedImage:
    """What the stages have found in an image.

    Attributes:
        regions: its regions.
        reason: why it has none; "" where it has some.
    """

    regions: ImageRegions
    reason: str

    @property
    def failure(self) -> FailedImage | None:
        """The image as one that stays and that no stage could read; None if it is not so."""
        if self.reason in ("", LEFT_OUT, NO_REGION):
            return None
        return FailedImage(self.regions.index, self.regions.key, self.reason)

    def row(self) -> dict[str, Any]:
        """How many regions it has of each kind."""
        texts = int(self.regions.kinds.sum())
        return {
            "index": self.regions.index,
            "objects": len(self.regions) - texts,
            "texts": texts,
            "reason": self.reason,
        }


@dataclass
class _Columns:
    """The regions of an image, column by column."""

    boxes: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    masks: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)


def curated_image(
    key: str,
    size: tuple[int, int],
    proposed: Row,
    labelled: Row,
    read: Row | None,
    *,
    score: float,
) -> CuratedImage:
    """The regions of an image, objects first.

    Args:
        key: its name in the tar.
        size: (H, W) of the upright image.
        proposed: its row of the stage "propose".
        labelled: its row of the stage "label".
        read: its row of the stage "ocr"; None where no text is read.
        score: lines of text above this confidence are used, but for those that `misread_lines`
            names.
    """
    columns = _Columns()
    if not proposed["reason"] and not labelled["reason"]:
        _add_objects(columns, proposed, labelled)
    objects = len(columns.boxes)
    if read is not None and not read["reason"]:
        _add_lines(columns, read, size, score)
    regions = ImageRegions(
        index=proposed["index"],
        key=key,
        size=size,
        boxes=np.array(columns.boxes, np.float32),
        kinds=np.arange(len(columns.boxes)) >= objects,
        labels=np.array(columns.labels),
        masks=columns.masks if any(columns.masks) else (),
        texts=columns.texts,
        confidences=np.array(columns.confidences),
    )
    reasons = [row["reason"] for row in (proposed, labelled, read) if row and row["reason"]]
    reason = reasons[0] if reasons else NO_REGION
    return CuratedImage(regions, "" if len(regions) else reason)


def _add_objects(columns: _Columns, proposed: Row, labelled: Row) -> None:
    count = len(proposed["scores"])
    top = len(labelled["ids"]) // max(count, 1)
    columns.boxes += np.reshape(proposed["boxes"], (-1, 4)).tolist()
    columns.labels += labelled["ids"][:: max(top, 1)]
    columns.masks += proposed["masks"] or [b""] * count
    columns.texts += [""] * count
    columns.confidences += proposed["scores"]


def _add_lines(columns: _Columns, read: Row, size: tuple[int, int], score: float) -> None:
    lines = TextLines.of(read["polygons"], read["texts"], read["scores"])
    misread = misread_lines(lines)
    boxes = upright_boxes(lines.polygons, size)
    columns_of_lines = zip(boxes, read["texts"], read["scores"], misread, strict=True)
    for box, text, confidence, is_misread in columns_of_lines:
        is_empty = box[2] <= box[0] or box[3] <= box[1]
        if confidence <= score or is_misread or is_empty or not text.strip():
            continue
        columns.boxes.append(box.tolist())
        columns.labels.append(-1)
        columns.masks.append(b"")
        columns.texts.append(text)
        columns.confidences.append(confidence)


def upright_boxes(
    corners: Float[np.ndarray, "m 4 2"], size: tuple[int, int]
) -> Float[np.ndarray, "m 4"]:
    """The xyxy boxes that hold four corners each, cut to an image of `size` (H, W).

    >>> upright_boxes(np.array([[[-2, 3], [4, 1], [5, 6], [0, 8]]]), (7, 9)).tolist()
    [[0.0, 1.0, 5.0, 7.0]]
    """
    height, width = size
    ends = np.concatenate([corners.min(1), corners.max(1)], 1)
    cut: np.ndarray = ends.clip(0, [width, height, width, height]).astype(np.float32)
    return cut
