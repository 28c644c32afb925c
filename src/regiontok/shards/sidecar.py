"""The side-car of a shard: Parquet, one row an image, with all that is known of its regions.

After: RICE, section 3.1 (rows R1, R2: what a region has); the layout is ours, described in
docs/reference/shards.md.
Differs: images are never written again; a shard's side-car can be made anew, or made twice, without
touching its tar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.shards._boxes import are_inside, check_boxes
from regiontok.shards.report import (
    FORMAT,
    FailedImage,
    SidecarReport,
    config_hash,
    report_path,
    write_report,
)
from regiontok.shards.tar import ShardError
from regiontok.system.need import need
from regiontok.system.parquet import ParquetError, list_of, open_parquet, read_groups, write_parquet

SUFFIX = ".regions.parquet"
GROUP = 128  # images that are read and decompressed together; the order keeps them close
KINDS = ("object", "text")
LISTS = ("boxes", "kinds", "labels", "confidences", "masks", "texts")


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

    def check(self) -> None:
        """Check what a writer must not let through.

        Raises:
            ValueError: If a box is empty, not finite or outside the image, a mask has another size,
                or a kind is unknown.
        """
        height, width = self.size
        boxes, name = self.boxes, f"image {self.index} ({self.key})"
        inside = are_inside(boxes, np.array([[width, height]]))
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


def write_sidecar(
    tar: Path,
    rows: Iterable[ImageRegions],
    folder: Path | None = None,
    *,
    config: Mapping[str, Any],
    errors: Sequence[FailedImage] = (),
    classes: int | None = None,
    centroids: str = "",
) -> SidecarReport:
    """Write a tar's side-car and then its JSON, each whole or not at all.

    A reader takes only a side-car whose JSON exists, so a writer that is killed leaves nothing
    that counts. The same rows give the same bytes.

    Args:
        tar: the tar.
        rows: the regions of its images, in any order; they are sorted by index.
        folder: the folder of the side-car; by default the tar's.
        config: settings of whatever found the regions.
        errors: images of the tar that have no row.
        classes: number of classes that the labels are of; None where it is not known.
        centroids: hash of the centroids by which the images were labelled, if they were.

    Raises:
        ValueError: If `ImageRegions.check` refuses a row, an index comes twice, or a label is not
            below `classes`.
        OSError: If there is no such tar.
    """
    folder = tar.parent if folder is None else folder
    ordered = sorted(rows, key=lambda row: row.index)
    for previous, row in zip([None, *ordered], ordered, strict=False):
        row.check()
        if previous is not None and previous.index == row.index:
            raise ValueError(f"{tar.stem}: image {row.index} has two rows")
        if classes is not None and len(row) and row.labels.max() >= classes:
            raise ValueError(
                f"{tar.stem}: image {row.index} has the label {row.labels.max()} of {classes} "
                "classes"
            )
    report = SidecarReport(
        shard=tar.stem,
        bytes=tar.stat().st_size,
        images=len(ordered),
        regions=sum(map(len, ordered)),
        texts=sum(int((row.kinds == 1).sum()) for row in ordered),
        masks=sum(bool(code) for row in ordered for code in row.masks),
        errors=tuple(errors),
        config=dict(config),
        config_hash=config_hash(config),
        classes=classes,
        centroids=centroids,
    )
    folder.mkdir(parents=True, exist_ok=True)
    # what the JSON says would not hold from here on
    report_path(folder, tar.stem).unlink(missing_ok=True)
    _write(_table(tar.stem, ordered), folder / f"{tar.stem}{SUFFIX}", report)
    write_report(report_path(folder, tar.stem), report)
    return report


@dataclass(frozen=True, eq=False)
class RowGroup:
    """Some images of a side-car as they lie in memory.

    A row is cut out of flat arrays and lists when it is asked for.

    Attributes:
        scalars: the columns with one value an image.
        starts: for each list column, where the values of an image start.
        values: for each list column, the values of all images.
    """

    scalars: dict[str, list[Any]]
    starts: dict[str, list[int]]
    values: dict[str, Any]

    def __getitem__(self, row: int) -> ImageRegions:
        lists = {
            name: self.values[name][starts[row] : starts[row + 1]]
            for name, starts in self.starts.items()
        }
        return ImageRegions(
            index=self.scalars["index"][row],
            key=self.scalars["key"][row],
            size=(self.scalars["height"][row], self.scalars["width"][row]),
            **lists,
        )


def read_row_group(path: Path, number: int) -> RowGroup:
    """Read one row group of a side-car.

    Raises:
        ShardError: If the file is missing, damaged, or has other columns.
    """
    with _opened(path) as file:
        table = read_groups(file, path, [number]).combine_chunks()
        scalars = {
            name: table.column(name).to_pylist() for name in ("index", "key", "height", "width")
        }
        columns = {name: table.column(name).chunk(0) for name in LISTS}
        starts = {name: column.offsets.tolist() for name, column in columns.items()}
        values = {
            name: column.values.tolist()
            if name in ("masks", "texts")
            else column.values.to_numpy(zero_copy_only=False)
            for name, column in columns.items()
        }
        check_boxes(path, scalars, starts["boxes"], values["boxes"])
        return RowGroup(scalars, starts, values)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The side-car as pyarrow's `ParquetFile`; whatever is wrong with it is a ShardError."""
    try:
        with open_parquet(path, _schema(), FORMAT) as file:
            yield file
    except FileNotFoundError as error:
        raise ShardError(f"{path}: the side-car is missing") from error
    except ParquetError as error:
        raise ShardError(str(error)) from None


def _schema() -> Any:
    pa = need("pyarrow", extra="store")
    scalars = {
        "shard": pa.string(),
        "index": pa.int32(),
        "key": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
    }
    lists = {
        "boxes": pa.float32(),
        "kinds": pa.int8(),
        "labels": pa.int64(),
        "confidences": pa.float32(),
        "masks": pa.binary(),
        "texts": pa.string(),
    }
    columns = scalars | {name: list_of(kind) for name, kind in lists.items()}
    return pa.schema(list(columns.items()))


def _table(shard: str, rows: Sequence[ImageRegions]) -> Any:
    table_rows = [
        {
            "shard": shard,
            "index": row.index,
            "key": row.key,
            "height": row.size[0],
            "width": row.size[1],
            "boxes": row.boxes.ravel(),
        }
        | {name: list(getattr(row, name)) for name in LISTS if name != "boxes"}
        for row in rows
    ]
    return need("pyarrow", extra="store").Table.from_pylist(table_rows, _schema())


def _write(table: Any, path: Path, report: SidecarReport) -> None:
    metadata = {"shard": report.shard, "config_hash": report.config_hash}
    write_parquet(table, path, FORMAT, group_rows=GROUP, metadata=metadata)
