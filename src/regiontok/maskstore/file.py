"""One file of the mask store: Parquet, rows sorted by key, masks packed; written whole or not at
all, every page with a checksum."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.maskstore.packed import pack, unpack
from regiontok.system.files import replacing
from regiontok.system.need import need

FORMAT = "regiontok mask store 1"
# images that are read and decompressed together; 64 would save 2 % and double the time of a single
# look-up
GROUP = 32
KEY = re.compile("[0-9a-f]{32}")


def file_keys(path: Path, fingerprint: str) -> list[str]:
    """The keys of one file.

    Raises:
        ValueError: not readable, or of another fingerprint.
    """
    return read_file(path, fingerprint, ["key"]).column("key").to_pylist()


def read_file(path: Path, fingerprint: str, columns: Sequence[str] | None = None) -> Any:
    """One file as an Arrow table; raises as `file_keys`."""
    with _opened(path) as file:
        stated = (
            (file.metadata.metadata or {}).get(b"fingerprint", b"none").decode("ascii", "replace")
        )
        if stated != fingerprint:
            raise ValueError(
                f"{path}: holds masks of fingerprint {stated}, the store is {fingerprint}"
            )
        return file.read(columns=columns, use_threads=False)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    pa, pq = need("pyarrow", extra="store"), need("pyarrow.parquet", extra="store")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow.remove_metadata() != _schema():
                raise pa.ArrowInvalid(f"it has other columns: {', '.join(file.schema_arrow.names)}")
            yield file
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: corrupt ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from None


def packed_row(key: str, masks: PixelMasks) -> dict[str, Any]:
    """One image as the store keeps it."""
    if not KEY.fullmatch(key):
        raise ValueError(f"a key is the hash of a picture, 32 hexadecimal digits; got {key!r}")
    runs, starts, lengths = pack(masks)
    row = {
        "key": key,
        "height": masks.size[0],
        "width": masks.size[1],
        "runs": runs,
        "starts": starts,
        "lengths": lengths,
    }
    scores = None if masks.scores is None else np.asarray(masks.scores, np.float64)
    return row | {"scores": scores, "names": None if masks.names is None else list(masks.names)}


def table_of(rows: list[dict[str, Any]]) -> Any:
    """Rows of `packed_row` as an Arrow table."""
    return need("pyarrow", extra="store").Table.from_pylist(rows, _schema())


def _schema() -> Any:
    pa = need("pyarrow", extra="store")
    numbers = {
        "key": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "runs": _list(pa.int32()),
    }
    streams = {"starts": pa.binary(), "lengths": pa.binary()}
    optional = {"scores": _list(pa.float64()), "names": _list(pa.string())}
    return pa.schema([*(numbers | streams | optional).items()])


def _list(kind: Any) -> Any:
    """A list as Parquet itself calls its elements."""
    pa = need("pyarrow", extra="store")
    return pa.list_(pa.field("element", kind))


def write_file(table: Any, path: Path, fingerprint: str) -> None:
    """Write rows that are sorted; the same rows give the same bytes."""
    pq = need("pyarrow.parquet", extra="store")
    options = {
        "compression": "zstd",
        "compression_level": 19,
        "use_dictionary": False,
        "write_statistics": ["key"],
        "write_page_checksum": True,
        "store_schema": False,
        "data_page_size": 1 << 26,  # one page a column and group: zstd sees all of it
    }
    with replacing(path) as part:
        with pq.ParquetWriter(part, table.schema, **options) as writer:
            writer.write_table(table, row_group_size=GROUP)
            writer.add_key_value_metadata({"fingerprint": fingerprint, "format": FORMAT})
        with open(part, "rb") as file:
            os.fsync(file.fileno())


@dataclass(frozen=True, eq=False)
class Group:
    """`GROUP` images as they lie in memory, decompressed; nothing of a mask is read yet."""

    path: Path
    keys: list[str]
    columns: dict[str, Any]

    @classmethod
    def read(cls, path: Path, number: int) -> Group:
        with _opened(path) as file:
            table = file.read_row_group(number, use_threads=False).combine_chunks()
            chunks = {name: table.column(name).chunk(0) for name in table.column_names}
            return cls(path, chunks["key"].to_pylist(), chunks)

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        return list(
            zip(self.columns["height"].to_pylist(), self.columns["width"].to_pylist(), strict=True)
        )

    def masks(self, row: int) -> PixelMasks:
        """The masks of one image."""
        columns = self.columns
        runs = columns["runs"][row].values.to_numpy(zero_copy_only=False).astype(np.int64)
        starts, lengths = (
            np.frombuffer(columns[name][row].as_buffer(), np.uint8)
            for name in ("starts", "lengths")
        )
        scores, names = columns["scores"][row], columns["names"][row]
        try:
            codes = unpack(runs, starts, lengths, self._sizes[row])
            return PixelMasks(
                self._sizes[row],
                codes,
                np.array(scores.values.to_numpy(zero_copy_only=False), np.float64)
                if scores.is_valid
                else None,
                tuple(names.values.to_pylist()) if names.is_valid else None,
            )
        except ValueError as error:
            raise ValueError(f"{self.path}: corrupt at {self.keys[row]} ({error})") from None
