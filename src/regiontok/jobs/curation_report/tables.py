"""What a curation has found, as flat tables: a row a region, a row a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regiontok.curate.kept import LEFT_OUT
from regiontok.curate.pipeline import Pipeline
from regiontok.curate.sources import Source
from regiontok.curate.stage_files import is_done, read_rows
from regiontok.curate.steps import PieceStep

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

MOST_TARS = 64  # that are read, evenly spread: 640,000 images are enough for a histogram


@dataclass(frozen=True, eq=False)
class RegionTable:
    """The regions of some tars.

    Attributes:
        tar: `[k]` number of the tar, among those that are read.
        image: `[k]` number of the image in it.
        boxes: `[k 4]` xyxy in pixels of the image.
        labels: `[k]` nearest centroid; -1 where the tar is not labelled yet.
        cosines: `[k]` cosine with it; NaN where the tar is not labelled yet.
        each_image: number of regions of each image that stays.
    """

    tar: Int[np.ndarray, "k"]
    image: Int[np.ndarray, "k"]
    boxes: Float[np.ndarray, "k 4"]
    labels: Int[np.ndarray, "k"]
    cosines: Float[np.ndarray, "k"]
    each_image: Int[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class LineTable:
    """The lines of text of some tars.

    Attributes:
        tar: `[m]` number of the tar, among those that are read.
        image: `[m]` number of the image in it.
        polygons: `[m 4 2]` corners in pixels of the image.
        scores: `[m]` confidence.
        texts: what is read.
        each_image: number of lines of each image that stays.
    """

    tar: Int[np.ndarray, "m"]
    image: Int[np.ndarray, "m"]
    polygons: Float[np.ndarray, "m 4 2"]
    scores: Float[np.ndarray, "m"]
    texts: Sequence[str]
    each_image: Int[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.texts)


def read_tars(tars: Sequence[Source], most: int = MOST_TARS) -> list[Source]:
    """The tars that are read: all, or some that are evenly spread.

    >>> read_tars([*range(9)], most=3)
    [0, 3, 6]
    """
    count = min(most, len(tars))
    return [tars[place * len(tars) // count] for place in range(count)]


def region_table(pipeline: Pipeline, tars: Sequence[Source]) -> RegionTable:
    """The regions of some tars, as far as they are proposed and labelled."""
    propose, label = pipeline.step("propose"), pipeline.step("label")
    parts = []
    for number, tar in enumerate(tars):
        boxes = _rows(propose, tar, ["index", "boxes", "reason"])
        if boxes is None:
            continue
        counts, stays = _lengths(boxes["boxes"]) // 4, _stays(boxes)
        ids = _rows(label, tar, ["ids", "scores"])
        labels, cosines = _nearest(ids, counts)
        image = boxes["index"].to_numpy().repeat(counts)
        parts.append(
            (
                np.full(len(image), number),
                image,
                _values(boxes["boxes"]).reshape(-1, 4),
                labels,
                cosines,
                counts[stays],
            )
        )
    return RegionTable(*_joined(parts, np.zeros((0, 4))))


def line_table(pipeline: Pipeline, tars: Sequence[Source]) -> LineTable | None:
    """The lines of text of some tars, as far as they are read; None in a plan without text."""
    if "ocr" not in pipeline.names:
        return None
    step = pipeline.step("ocr")
    parts, texts = [], list[str]()
    for number, tar in enumerate(tars):
        rows = _rows(step, tar, None)
        if rows is None:
            continue
        counts = _lengths(rows["texts"])
        image = rows["index"].to_numpy().repeat(counts)
        polygons = _values(rows["polygons"]).reshape(-1, 4, 2)
        scores = _values(rows["scores"])
        parts.append((np.full(len(image), number), image, polygons, scores, counts[_stays(rows)]))
        texts += _flat(rows["texts"]).to_pylist()
    numbers, images, polygons, scores, each = _joined(parts, np.zeros((0, 4, 2)))[:5]
    return LineTable(numbers, images, polygons, scores, texts, each)


def _joined(parts: Sequence[tuple[np.ndarray, ...]], places: np.ndarray) -> list[np.ndarray]:
    """The columns of all tars; empty ones where there is no tar, the third of them `places`."""
    if parts:
        return [np.concatenate(column) for column in zip(*parts, strict=True)]
    none = np.zeros(0, int)
    return [none, none, places, none, none, none]


def _rows(step: Any, tar: Source, columns: Sequence[str] | None) -> Any:
    """The rows of a stage; None where they are not there yet."""
    if not isinstance(step, PieceStep) or not is_done(step.stage, step.curation.out, tar):
        return None
    return read_rows(step.stage, step.curation.out, tar, columns)


def _stays(rows: Any) -> Bool[np.ndarray, "n"]:
    return np.array([reason != LEFT_OUT for reason in rows["reason"].to_pylist()], bool)


def _nearest(
    rows: Any, counts: Int[np.ndarray, "n"]
) -> tuple[Int[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """The nearest centroid of each region, and the cosine with it."""
    regions = int(counts.sum())
    labels, cosines = np.full(regions, -1), np.full(regions, np.nan)
    if rows is None:
        return labels, cosines
    of_image = _lengths(rows["ids"])
    has_labels = of_image > 0  # an image that could not be encoded has regions without labels
    tops = of_image[has_labels] // counts[has_labels]
    starts = (of_image.cumsum() - of_image)[has_labels]
    few = counts[has_labels]
    place = np.arange(few.sum()) - (few.cumsum() - few).repeat(few)  # within the image
    first = starts.repeat(few) + tops.repeat(few) * place
    is_labelled = has_labels.repeat(counts)
    labels[is_labelled] = _values(rows["ids"])[first]
    cosines[is_labelled] = _values(rows["scores"])[first]
    return labels, cosines


def _flat(column: Any) -> Any:
    """The values of a column of lists, one after the other."""
    return column.combine_chunks().flatten()


def _values(column: Any) -> np.ndarray:
    values: np.ndarray = _flat(column).to_numpy(zero_copy_only=False)
    return values


def _lengths(column: Any) -> Int[np.ndarray, "n"]:
    lengths: np.ndarray = column.combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
    return lengths.astype(int)
