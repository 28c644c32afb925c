"""The side-car of a shard: Parquet, one row an image, with all that is known of its regions.

After: RICE, section 3.1 (rows R1, R2: what a region has); the layout is ours, described in
docs/reference/shards.md.
Differs: images are never written again; a shard's side-car can be made anew, or made twice, without
touching its tar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regiontok.shards._boxes import check_boxes
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.report import (
    FORMAT,
    OLDER_FORMAT,
    FailedImage,
    SidecarReport,
    config_hash,
    report_path,
    write_report,
)
from regiontok.shards.tar import ShardError, TarIndex, scan_tar
from regiontok.system.need import need
from regiontok.system.parquet import ParquetError, list_of, open_parquet, read_groups, write_parquet
from regiontok.system.storage import Location

SUFFIX = ".regions.parquet"
GROUP = 128  # images that are read and decompressed together; the order keeps them close
LISTS = ("boxes", "kinds", "labels", "confidences", "masks", "texts")


def write_sidecar(
    tar: Path,
    rows: Iterable[ImageRegions],
    folder: Path | None = None,
    *,
    config: Mapping[str, Any],
    index: TarIndex | None = None,
    errors: Sequence[FailedImage] = (),
    classes: int | None = None,
    centroids: str = "",
) -> SidecarReport:
    """Write a tar's side-car and then its JSON, each whole or not at all.

    A reader takes only a side-car whose JSON exists, so a writer that is killed leaves nothing
    that counts. The same rows give the same bytes, and two writers of them do each other no harm.

    Args:
        tar: the tar.
        rows: the regions of its images, in any order; they are sorted by index.
        folder: the folder of the side-car; by default the tar's.
        config: settings of whatever found the regions.
        index: the tar's index, where it has been read before.
        errors: images of the tar that have no row.
        classes: number of classes that the labels are of; None where it is not known.
        centroids: hash of the centroids by which the images were labelled, if they were.

    Raises:
        ValueError: If `ImageRegions.check` refuses a row, an index comes twice, a label is not
            below `classes`, or the tar has another image at an index.
        ShardError: If the tar is missing or damaged.
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
    index = scan_tar(tar) if index is None else index
    ordered = [_in_tar(row, index) for row in ordered]
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
        offsets=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    # what the JSON says would not hold from here on
    report_path(folder, tar.stem).unlink(missing_ok=True)
    _write(_table(tar.stem, ordered), folder / f"{tar.stem}{SUFFIX}", report)
    write_report(report_path(folder, tar.stem), report)
    return report


def _in_tar(row: ImageRegions, index: TarIndex) -> ImageRegions:
    """A row with its image's place in the tar."""
    key = index.key(row.index) if row.index < len(index) else f"only {len(index)} images"
    if key != row.key:
        raise ValueError(
            f"{index.path}: image {row.index} is {row.key!r} in the side-car, the tar has {key}"
        )
    start, length = index.spans[row.index].tolist()
    return replace(row, span=(start, length))


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
        starts_at = self.scalars.get("start")
        return ImageRegions(
            span=(starts_at[row], self.scalars["length"][row]) if starts_at else None,
            index=self.scalars["index"][row],
            key=self.scalars["key"][row],
            size=(self.scalars["height"][row], self.scalars["width"][row]),
            **lists,
        )


def read_row_group(path: Location, number: int) -> RowGroup:
    """Read one row group of a side-car.

    Raises:
        ShardError: If the file is missing, damaged, or has other columns.
    """
    with _opened(path) as file:
        table = read_groups(file, path, [number]).combine_chunks()
        scalars = {
            name: table.column(name).to_pylist()
            for name in table.column_names
            if name not in ("shard", *LISTS)
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
def _opened(path: Location) -> Iterator[Any]:
    """The side-car as pyarrow's `ParquetFile`; whatever is wrong with it is a ShardError."""
    try:
        older = {OLDER_FORMAT: _schema(places=False)}
        with open_parquet(path, _schema(), FORMAT, older=older) as file:
            yield file
    except FileNotFoundError as error:
        raise ShardError(f"{path}: the side-car is missing") from error
    except ParquetError as error:
        raise ShardError(str(error)) from None


def _schema(*, places: bool = True) -> Any:
    """The columns of a side-car; those of an older one have no places in the tar."""
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
    if places:
        scalars |= {"start": pa.int64(), "length": pa.int64()}
    columns = scalars | {name: list_of(kind) for name, kind in lists.items()}
    return pa.schema(list(columns.items()))


def _table(shard: str, rows: Sequence[ImageRegions]) -> Any:
    places = [row.span or (0, 0) for row in rows]
    table_rows = [
        {
            "shard": shard,
            "index": row.index,
            "key": row.key,
            "height": row.size[0],
            "width": row.size[1],
            "start": start,
            "length": length,
            "boxes": row.boxes.ravel(),
        }
        | {name: list(getattr(row, name)) for name in LISTS if name != "boxes"}
        for row, (start, length) in zip(rows, places, strict=True)
    ]
    return need("pyarrow", extra="store").Table.from_pylist(table_rows, _schema())


def _write(table: Any, path: Path, report: SidecarReport) -> None:
    metadata = {"shard": report.shard, "config_hash": report.config_hash}
    write_parquet(table, path, FORMAT, group_rows=GROUP, metadata=metadata, shared=True)
