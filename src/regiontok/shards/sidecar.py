"""The side-car of a shard: Parquet, one row an image, with the boxes, masks, labels and text of its
regions.

After: RICE, section 3.1 (rows R1, R2: what a region has); the layout is ours, docs/reference/shards.md
describes it.
Differs: images are never written again; a shard's side-car can be made anew, or made twice, without
touching its tar.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.shards.tar import ShardError
from regiontok.system.files import replacing
from regiontok.system.need import need

FORMAT = "regiontok regions 1"
SUFFIX = ".regions.parquet"
GROUP = 128  # images that are read and decompressed together; the order keeps them close
KINDS = ("object", "text")
LISTS = ("boxes", "kinds", "labels", "confidences", "masks", "texts")


@dataclass(frozen=True, eq=False)
class ImageRegions:
    """The regions of one image of a shard.

    Attributes:
        index: the image's number among the images of its tar.
        key: its WebDataset name, to see that tar and side-car belong together.
        size: (H, W) of the decoded, upright image.
        boxes: `[k 4]` float32, xyxy in its pixels.
        kinds: `[k]` int8: 0 object, 1 text.
        labels: `[k]` int64 class of an object, -1 for none.
        masks: k compressed COCO run-length codes of the image's size, `b""` for a region that is
            its box; or empty: no region has one.
        texts: k strings, "" for none; or empty.
        confidences: `[k]` float32 of what found the region; default 1.

    >>> ImageRegions(0, "cat", (4, 6), np.array([[0, 0, 3, 2]]), labels=np.array([7])).kinds.tolist()
    [0]
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
        filled: dict[str, Any] = {
            "boxes": boxes,
            "kinds": np.array([bool(text) for text in texts], np.int8)
            if self.kinds is None
            else self.kinds,
            "labels": np.full(count, -1, np.int64) if self.labels is None else self.labels,
            "masks": tuple(self.masks) or (b"",) * count,
            "texts": texts,
            "confidences": np.ones(count, np.float32)
            if self.confidences is None
            else self.confidences,
        }
        for name, dtype in (("kinds", np.int8), ("labels", np.int64), ("confidences", np.float32)):
            filled[name] = np.asarray(filled[name], dtype)
        for name, values in filled.items():
            if len(values) != count:
                raise ValueError(f"image {self.index} has {count} boxes and {len(values)} {name}")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.boxes)

    def check(self) -> None:
        """What a writer must not let through.

        Raises:
            ValueError: a box that is empty, not finite or outside the image; a mask of another
                size; an unknown kind.
        """
        (high, wide), boxes, where = self.size, self.boxes, f"image {self.index} ({self.key})"
        inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        inside &= (boxes[:, 2] <= wide) & (boxes[:, 3] <= high)  # NaN compares False
        if not inside.all():
            place = int(np.flatnonzero(~inside)[0])
            raise ValueError(
                f"{where}: box {place} {boxes[place].tolist()} is no xyxy box within the image of size {self.size}"
            )
        if len(self) and (self.kinds.min() < 0 or self.kinds.max() >= len(KINDS)):
            raise ValueError(
                f"{where}: kinds must be 0 (object) or 1 (text), got {sorted(set(self.kinds.tolist()))}"
            )
        try:
            PixelMasks.from_coco([{"counts": code} for code in self.masks if code], self.size)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


@dataclass(frozen=True)
class Failure:
    """An image that has no row, and why."""

    index: int
    key: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What the JSON beside a side-car says.

    Attributes:
        shard: name of the tar, without its suffix.
        bytes: of the tar: a shorter one is cut off.
        images, regions, texts, masks: rows, regions of both kinds, those that are text, those that
            have a mask.
        errors: images of the tar without a row.
        config, config_hash: what made it, as given, and the hash of that.
    """

    shard: str
    bytes: int
    images: int
    regions: int
    texts: int
    masks: int
    errors: tuple[Failure, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    config_hash: str = ""


def config_hash(config: Mapping[str, Any]) -> str:
    """The hash of a configuration: the same for any order of its keys.

    >>> config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:32]


def write_sidecar(
    tar: Path,
    rows: Iterable[ImageRegions],
    folder: Path | None = None,
    *,
    config: Mapping[str, Any],
    errors: Sequence[Failure] = (),
) -> Report:
    """Write a tar's side-car (default: beside it) and then its JSON, each there whole or not at
    all.

    A reader takes only a side-car whose JSON is there, so a writer that is killed leaves nothing
    that counts. Rows come in any order and are sorted by index; the same rows give the same bytes.

    Raises:
        ValueError: a row that `ImageRegions.check` refuses, or an index that comes twice.
        OSError: no such tar.
    """
    folder = tar.parent if folder is None else folder
    ordered = sorted(rows, key=lambda row: row.index)
    for before, row in zip([None, *ordered], ordered, strict=False):
        row.check()
        if before is not None and before.index == row.index:
            raise ValueError(f"{tar.stem}: image {row.index} has two rows")
    kinds = [np.asarray(row.kinds) for row in ordered]
    report = Report(
        shard=tar.stem,
        bytes=tar.stat().st_size,
        images=len(ordered),
        regions=sum(map(len, ordered)),
        texts=int(sum((own == 1).sum() for own in kinds)),
        masks=sum(bool(code) for row in ordered for code in row.masks),
        errors=tuple(errors),
        config=dict(config),
        config_hash=config_hash(config),
    )
    folder.mkdir(parents=True, exist_ok=True)
    report_path(folder, tar.stem).unlink(
        missing_ok=True
    )  # what it says would not hold from here on
    _write(_table(tar.stem, ordered), folder / f"{tar.stem}{SUFFIX}", report)
    stated = {
        "format": FORMAT,
        **report.__dict__,
        "errors": [error.__dict__ for error in report.errors],
    }
    with replacing(report_path(folder, tar.stem)) as part:
        part.write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
    return report


def report_path(folder: Path, shard: str) -> Path:
    """Where the JSON beside a shard's side-car is."""
    return folder / f"{shard}.regions.json"


def read_report(path: Path) -> Report:
    """What the JSON beside a side-car says.

    Raises:
        ShardError: missing, damaged, or of another format.
    """
    try:
        stated = json.loads(path.read_bytes())
        if stated.pop("format") != FORMAT:
            raise ShardError(f"{path}: of another format than {FORMAT!r}")
        return Report(**{**stated, "errors": tuple(Failure(**error) for error in stated["errors"])})
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise (
            error if isinstance(error, ShardError) else ShardError(f"{path}: damaged ({error})")
        ) from None


@dataclass(frozen=True, eq=False)
class RowGroup:
    """Some images of a side-car as they lie in memory; a row is cut out of flat arrays and lists
    when it is asked for."""

    single: dict[str, list]
    starts: dict[str, list[int]]
    values: dict[str, Any]

    def __getitem__(self, row: int) -> ImageRegions:
        own = {
            name: self.values[name][starts[row] : starts[row + 1]]
            for name, starts in self.starts.items()
        }
        return ImageRegions(
            index=self.single["index"][row],
            key=self.single["key"][row],
            size=(self.single["height"][row], self.single["width"][row]),
            **own,
        )


def read_group(path: Path, number: int) -> RowGroup:
    """One row group of a side-car.

    Raises:
        ShardError: missing, damaged, or with other columns.
    """
    with _opened(path) as file:
        table = file.read_row_group(number, use_threads=False).combine_chunks()
        single = {
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
        return RowGroup(single, starts, values)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    pa, pq = need("pyarrow", extra="store"), need("pyarrow.parquet", extra="store")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow.remove_metadata() != _schema():
                raise ShardError(
                    f"{path}: not a side-car of the format {FORMAT!r}: its columns are {file.schema_arrow.names}"
                )
            yield file
    except FileNotFoundError as error:
        raise ShardError(f"{path}: the side-car is missing") from error
    except (pa.ArrowException, OSError, IndexError) as error:
        raise ShardError(
            f"{path}: damaged ({(str(error).splitlines() or [type(error).__name__])[0]})"
        ) from None


def _schema() -> Any:
    pa = need("pyarrow", extra="store")
    single = {
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
    return pa.schema(
        [
            *single.items(),
            *((name, pa.list_(pa.field("element", kind))) for name, kind in lists.items()),
        ]
    )


def _table(shard: str, rows: Sequence[ImageRegions]) -> Any:
    single = [
        {
            "shard": shard,
            "index": row.index,
            "key": row.key,
            "height": row.size[0],
            "width": row.size[1],
        }
        for row in rows
    ]
    lists = ("kinds", "labels", "confidences", "masks", "texts")
    full = [
        {**one, "boxes": row.boxes.ravel(), **{name: list(getattr(row, name)) for name in lists}}
        for one, row in zip(single, rows, strict=True)
    ]
    return need("pyarrow", extra="store").Table.from_pylist(full, _schema())


def _write(table: Any, path: Path, report: Report) -> None:
    pq = need("pyarrow.parquet", extra="store")
    with replacing(path) as part:
        options = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
        with pq.ParquetWriter(part, table.schema, **options) as writer:
            writer.write_table(table, row_group_size=GROUP)
            writer.add_key_value_metadata(
                {"format": FORMAT, "shard": report.shard, "config_hash": report.config_hash}
            )
        with open(part, "rb") as file:
            os.fsync(file.fileno())
