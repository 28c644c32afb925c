"""RefCOCO, RefCOCO+ and RefCOCOg from the files in which they are published.

After: the references of REFER (Yu et al. 2016; Mao et al. 2016 for RefCOCOg): `refs(unc).p`,
`refs(google).p` or `refs(umd).p` with COCO's `instances.json`; the same sets as Parquet files on
the Hub (the columns of jxu124/refcoco and of lmms-lab/RefCOCO); JSON lines with boxes.
Differs: a pickle is never unpickled (see `plain_pickle`). A reference that cannot be used is set
aside and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import PictureError
from regiontok.evaluation.folder import BenchFolder
from regiontok.evaluation.images import QuestionImage
from regiontok.evaluation.tables import BenchDataError, Row, rows_of
from regiontok.probe.coco_json import CocoJson, CocoJsonError
from regiontok.probe.refer.plain_pickle import read_plain_pickle
from regiontok.probe.refer.referred import Referred, ReferringDataError, ReferringSet
from regiontok.segment.formats.rle import codes_of
from regiontok.system.strict_json import parse_json

SPLITS = {"val": ("val", "validation"), "test": ("test",), "train": ("train",)}
_PICKLES = (".p", ".pkl", ".pickle")
_NO_SENTENCE, _NO_MASK, _EMPTY = "no words", "no mask", "an empty mask"
_OUTSIDE, _UNREADABLE = "a box outside the picture", "a mask that cannot be read"
_NO_PICTURE = "a picture that is missing or damaged"


class _Unusable(ReferringDataError):
    """A reference that is set aside; its text is the reason."""


@dataclass(frozen=True)
class PublishedFiles:
    """Where a published set lies.

    Attributes:
        references: the file of references: a pickle, Parquet, JSON, or JSON lines.
        images: the folder of the pictures; None where the references hold them.
        instances: COCO's instances with the masks; None where the references hold them.
    """

    references: Path
    images: Path | None = None
    instances: Path | None = None


def published_set(files: PublishedFiles, split: str = "", *, limit: int = 0) -> ReferringSet:
    """The expressions of a published set.

    Args:
        files: where it lies.
        split: "train", "val", "test", "testA" or "testB"; "" takes all.
        limit: expressions at most; 0 takes all.

    Raises:
        ReferringDataError: If the files cannot be read, hold no such split, or no expression of
            theirs can be used; the reasons are counted.
        PickleRefused: If a pickle is damaged or holds more than plain data.
    """
    rows = [row for row in _rows(files.references) if _in_split(row, split)]
    if not rows:
        raise ReferringDataError(f"{files.references} holds no reference of the split {split!r}")
    instances = None if files.instances is None else _instances(files.instances)
    reader = _Reader(files, instances)
    samples: list[Referred] = []
    aside: Counter[str] = Counter()
    for number, row in enumerate(rows):
        try:
            samples.extend(reader.samples(row, number, aside))
        except _Unusable as reason:
            aside[str(reason)] += 1
        if limit and len(samples) >= limit:
            break
    name = f"{files.references}{f' ({split})' if split else ''}"
    return ReferringSet(tuple(samples[: limit or None]), aside, name)


@dataclass(frozen=True)
class _Reader:
    files: PublishedFiles
    instances: CocoJson | None

    def samples(self, row: Row, number: int, aside: Counter[str]) -> Iterator[Referred]:
        """The expressions of a reference.

        Raises:
            _Unusable: If its mask, its box or its picture cannot be used.
        """
        annotation = self._annotation(row)
        image = self._image(row)
        size = self._size(row, image)
        segmentation = annotation.get("segmentation")
        if segmentation is None or segmentation == []:
            raise _Unusable(_NO_MASK)
        masks = _masks(segmentation, size)
        if not masks.areas[0]:
            raise _Unusable(_EMPTY)
        _check_box(row, annotation, size)
        x0, y0, x1, y1 = masks.boxes[0].tolist()
        for place, words in enumerate(_sentences(row)):
            if not words.strip():
                aside[_NO_SENTENCE] += 1
                continue
            id_ = f"{row.get('ref_id', number)}/{place}"
            yield Referred(id_, words.strip(), image, size, masks.counts[0], (x0, y0, x1, y1))

    def _image(self, row: Row) -> QuestionImage:
        """The picture of a reference."""
        listed = None if self.instances is None else self.instances.images.get(row.get("image_id"))
        named = row if listed is None else {**row, "listed": listed.get("file_name")}
        root = self.files.images or self.files.references.parent
        folder = BenchFolder(self.files.references.parent, (root,))
        columns = ("listed", "image", "image_path", "img_path", "file_name")
        image = folder.picture(named, *columns)
        if image.problem:
            raise _Unusable(_NO_PICTURE)
        return image

    def _annotation(self, row: Row) -> Mapping[str, Any]:
        """What holds the mask: the row, COCO's annotation in it, or that of the instances."""
        if row.get("segmentation") is not None:
            return row
        if isinstance(row.get("raw_anns"), str):
            parsed = parse_json(row["raw_anns"])
            return parsed if isinstance(parsed, dict) else {}
        if self.instances is None:
            raise ReferringDataError(
                f"{self.files.references} holds no masks: say where COCO's instances.json lies"
            )
        annotation = self.instances.annotations.get(row.get("ann_id"))
        annotation = annotation or self.instances.at_box(row.get("image_id"), row.get("bbox"))
        if annotation is None:
            raise _Unusable(_NO_MASK)
        return annotation

    def _size(self, row: Row, image: QuestionImage) -> tuple[int, int]:
        """(H, W) of the picture, from what says it; the picture itself is read if nothing does."""
        info = row.get("raw_image_info")
        sources: list[Any] = [
            None if self.instances is None else self.instances.images.get(row.get("image_id")),
            parse_json(info) if isinstance(info, str) else None,
            row,
        ]
        for source in sources:
            if source and isinstance(source.get("height"), int):
                return int(source["height"]), int(source["width"])
        try:
            return image.read().size
        except PictureError:
            raise _Unusable(_NO_PICTURE) from None


def _instances(path: Path) -> CocoJson:
    """COCO's instances; categories are not read."""
    try:
        return CocoJson.read(path, ("images", "annotations"))
    except CocoJsonError as error:
        raise ReferringDataError(str(error)) from None


def _rows(path: Path) -> Sequence[Row]:
    """The references of a file, one a row."""
    if path.suffix.lower() in _PICKLES:
        rows = read_plain_pickle(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ReferringDataError(
                f"{path} holds no list of references: is it REFER's refs(...).p?"
            )
        return rows
    try:
        return rows_of(path)
    except BenchDataError as error:
        raise ReferringDataError(str(error)) from None


def _in_split(row: Row, split: str) -> bool:
    if not split:
        return True
    return row.get("split") in SPLITS.get(split, (split,))


def _sentences(row: Row) -> list[str]:
    """The expressions of a reference, in any of the published forms."""
    listed = row.get("sentences", row.get("answer"))
    if isinstance(listed, Sequence) and not isinstance(listed, str):
        texts = [
            sentence.get("sent", sentence.get("raw", ""))
            if isinstance(sentence, dict)
            else sentence
            for sentence in listed
        ]
    else:
        texts = [row.get("expression", row.get("sentence", listed or ""))]
    return [text if isinstance(text, str) else "" for text in texts] or [""]


def _masks(segmentation: Any, size: tuple[int, int]) -> PixelMasks:
    flat = isinstance(segmentation, list) and isinstance(segmentation[0], int | float)
    value = [segmentation] if flat else segmentation
    try:
        return PixelMasks(size, codes_of([{"segmentation": value}], size))
    except ValueError:
        raise _Unusable(_UNREADABLE) from None


def _check_box(row: Row, annotation: Mapping[str, Any], size: tuple[int, int]) -> None:
    """Set a reference aside whose annotated box (x, y, width, height) leaves the picture."""
    box = annotation.get("bbox")
    if box is None or annotation is row:  # boxes of rows have several forms
        return
    height, width = size
    try:
        x, y, box_width, box_height = map(float, box)
    except (TypeError, ValueError):
        raise _Unusable(_OUTSIDE) from None
    inside = min(x, y) >= -1 and x + box_width <= width + 1 and y + box_height <= height + 1
    if not (inside and min(box_width, box_height) > 0):
        raise _Unusable(_OUTSIDE)
