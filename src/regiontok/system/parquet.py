"""Parquet files of our own: written whole or not at all, and opened with every check or refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.files import replacing, replacing_shared
from regiontok.system.need import need
from regiontok.system.storage import Location, opened


class ParquetError(RegiontokError, ValueError):
    """A Parquet file is corrupt, or not one of ours; the message names it and says why."""


@contextmanager
def open_parquet(
    path: Location, schema: Any, file_format: str, *, older: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Open a file that `write_parquet` wrote, as pyarrow's `ParquetFile`.

    Pages are compared with their checksums when they are read. What goes wrong while the file is
    open is reported as if it had gone wrong here.

    Args:
        path: the file.
        schema: the Arrow schema that its columns must have.
        file_format: the name and number of the format that its metadata must state.
        older: formats that may stand there too, with the schema of each.

    Raises:
        MissingPackage: If pyarrow is not installed.
        FileNotFoundError: If there is no such file.
        ParquetError: If the file is corrupt, of another format, or has other columns.
    """
    pa, pq = need("pyarrow", extra="store"), need("pyarrow.parquet", extra="store")
    schemas = {**(older or {}), file_format: schema}
    try:
        with (
            nullcontext(path) if isinstance(path, Path) else opened(path) as source,
            pq.ParquetFile(source, page_checksum_verification=True) as file,
        ):
            _check(file, path, schemas, file_format)
            yield file
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise ParquetError(f"{path}: corrupt ({first_line(error)})") from None


def _check(file: Any, path: Location, schemas: Mapping[str, Any], file_format: str) -> None:
    stated = (file.metadata.metadata or {}).get(b"format", b"none").decode("utf-8", "replace")
    if stated not in schemas:
        raise ParquetError(
            f"{path}: of the format {stated!r}, expected {file_format!r}: make the file anew"
        )
    if file.schema_arrow.remove_metadata() != schemas[stated]:
        names = ", ".join(file.schema_arrow.names)
        raise ParquetError(f"{path}: corrupt (it has other columns: {names})")


def write_parquet(
    table: Any,
    path: Path,
    file_format: str,
    *,
    group_rows: int,
    metadata: Mapping[str, str],
    shared: bool = False,
    **options: Any,
) -> None:
    """Write an Arrow table, compressed by zstd, with a checksum for every page.

    The same table gives the same bytes. They are on the disk before the file gets its name.

    Args:
        table: what is written.
        path: the file, replaced if it is there.
        file_format: what `open_parquet` shall expect.
        group_rows: rows that are read and decompressed together.
        metadata: further words in the file's footer.
        shared: whether several processes may write the file at once; see `replacing_shared`.
        options: what pyarrow's `ParquetWriter` is told beside that.

    Raises:
        MissingPackage: If pyarrow is not installed.
    """
    pq = need("pyarrow.parquet", extra="store")
    options = {
        "compression": "zstd",
        "write_page_checksum": True,
        "store_schema": False,
        **options,
    }
    with (replacing_shared if shared else replacing)(path) as part:
        with pq.ParquetWriter(part, table.schema, **options) as writer:
            writer.write_table(table, row_group_size=group_rows)
            writer.add_key_value_metadata({"format": file_format, **metadata})
        with open(part, "rb") as file:
            os.fsync(file.fileno())


def list_of(kind: Any) -> Any:
    """The Arrow type of a list, with its elements called what Parquet itself calls them."""
    pa = need("pyarrow", extra="store")
    return pa.list_(pa.field("element", kind))
