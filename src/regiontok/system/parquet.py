"""Parquet files of our own: written whole or not at all, and opened with every check or refused."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.files import replacing, replacing_shared
from regiontok.system.need import need
from regiontok.system.storage import Location, file_bytes, opened

# The most memory that is filled at once by what a file claims to hold: 64 kB may be 2 GB.
MOST_BYTES = 2**30
MOST_GROUP_BYTES = 2**28  # of one row group, whose values become Python's own
_BYTES_A_VALUE = 12  # an offset, and where lists begin and end
_DICTIONARY = frozenset(("PLAIN_DICTIONARY", "RLE_DICTIONARY"))
_ENCODINGS = frozenset(("PLAIN", "RLE", "BIT_PACKED")) | _DICTIONARY


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
            _source(path) as source,
            pq.ParquetFile(source, page_checksum_verification=True) as file,
        ):
            _check(file, path, schemas, file_format)
            yield file
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise ParquetError(f"{path}: corrupt ({first_line(error)})") from None


def _source(path: Location) -> AbstractContextManager[Any]:
    """What pyarrow reads a file from: its path, or an opened file of a store."""
    return nullcontext(path) if isinstance(path, Path) else opened(path)


def read_groups(
    file: Any,
    path: Location,
    numbers: Sequence[int] | None = None,
    columns: Sequence[str] | None = None,
) -> Any:
    """Row groups of an opened file as one Arrow table, if they claim no more than they may.

    Args:
        file: what `open_parquet` gave.
        path: its path, for messages.
        numbers: which row groups; None reads all.
        columns: names of the columns that are read; None reads all.

    Raises:
        ParquetError: If the groups would take more memory than `MOST_GROUP_BYTES`, or all of them
            more than `MOST_BYTES`, which their heads say before anything is read.
    """
    most = MOST_BYTES if numbers is None else MOST_GROUP_BYTES
    numbers = range(file.metadata.num_row_groups) if numbers is None else numbers
    if any(not 0 <= number < file.metadata.num_row_groups for number in numbers):
        raise ParquetError(f"{path}: corrupt (it has {file.metadata.num_row_groups} row groups)")
    claimed = sum(_claimed_bytes(file, path, number, columns) for number in numbers)
    if claimed > most:
        raise ParquetError(
            f"{path}: {file_bytes(path)} bytes that claim to be {claimed / 2**30:.1f} GiB, more "
            f"than the {most / 2**30:.2f} GiB that are read at once; it is damaged, or not one of "
            "ours"
        )
    return file.read_row_groups(list(numbers), columns=columns, use_threads=False)


def _claimed_bytes(file: Any, path: Location, number: int, columns: Sequence[str] | None) -> int:
    """The most memory that a row group takes when it is read, as its head says."""
    group, claimed = file.metadata.row_group(number), 0
    for index in range(group.num_columns):
        column = group.column(index)
        if columns is not None and column.path_in_schema.split(".")[0] not in columns:
            continue
        encodings = set(column.encodings)
        if encodings - _ENCODINGS:
            raise ParquetError(
                f"{path}: corrupt (its column {column.path_in_schema} is encoded as "
                f"{', '.join(sorted(encodings - _ENCODINGS))})"
            )
        flat = column.total_uncompressed_size + _BYTES_A_VALUE * column.num_values
        claimed += flat
        is_dictionary = column.physical_type == "BYTE_ARRAY" and encodings & _DICTIONARY
        repeats = column.num_values * column.total_uncompressed_size
        if is_dictionary and flat <= MOST_BYTES < repeats:  # few long texts may stand for many
            claimed += _repeated_bytes(path, number, column.path_in_schema)
    return claimed


def _repeated_bytes(path: Location, number: int, column: str) -> int:
    """The bytes of a column of texts that is stored as a dictionary, once it is written out."""
    pa, pq = need("pyarrow", extra="store"), need("pyarrow.parquet", extra="store")
    pc = need("pyarrow.compute", extra="store")
    with _source(path) as source, pq.ParquetFile(source, read_dictionary=[column]) as file:
        values = file.read_row_group(number, columns=[column], use_threads=False).column(0)
    total = 0
    for chunk in values.chunks:
        flat = chunk.flatten() if pa.types.is_list(chunk.type) else chunk
        lengths = pc.binary_length(flat.dictionary)
        total += pc.sum(pc.take(lengths, flat.indices)).as_py() or 0
    return int(total)


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
    write_tables(
        (table,),
        table.schema,
        path,
        file_format,
        group_rows=group_rows,
        metadata=metadata,
        shared=shared,
        **options,
    )


def write_tables(
    tables: Iterable[Any],
    schema: Any,
    path: Path,
    file_format: str,
    *,
    group_rows: int,
    metadata: Mapping[str, str],
    shared: bool = False,
    **options: Any,
) -> None:
    """Write Arrow tables of one schema one behind the other, as `write_parquet` does one.

    They are asked for as they are written, so that one at a time is in memory; where that raises an
    error, nothing is written.

    Args:
        tables: what is written.
        schema: their schema.
        path: the file, replaced if it is there.
        file_format: what `open_parquet` shall expect.
        group_rows: rows that are read and decompressed together; a table begins a new group.
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
    with (replacing_shared if shared else replacing)(path) as temporary:
        with pq.ParquetWriter(temporary, schema, **options) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=group_rows)
            # without `store_schema` the words of the schema would be lost
            words = {name.decode(): word.decode() for name, word in (schema.metadata or {}).items()}
            writer.add_key_value_metadata({**words, "format": file_format, **metadata})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())


def list_of(kind: Any) -> Any:
    """The Arrow type of a list, with its elements called what Parquet itself calls them."""
    pa = need("pyarrow", extra="store")
    return pa.list_(pa.field("element", kind))
