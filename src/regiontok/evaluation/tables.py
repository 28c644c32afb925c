"""Rows of benchmark files as they are published: TSV, CSV, JSON, JSON lines and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regiontok.evaluation.images import ParquetImage
from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.need import need
from regiontok.system.strict_json import parse_json

Row = Mapping[str, Any]
_LONGEST_FIELD = 2**31 - 1  # of a TSV file, whose fields are whole pictures


class BenchDataError(RegiontokError, ValueError):
    """A benchmark's folder or file is not as it is published; the message says what is wrong."""


def rows_of(path: Path) -> list[Row]:
    """The rows of a file; its suffix and its beginning say how they are written.

    A JSON file holds a list, an object of rows by their keys (each row then has the key as
    "key"), an object whose "data", "questions" or "annotations" is the list, or a JSON object a
    line. Images of Parquet cells come as tuples of `ParquetImage`, which are read later.

    Raises:
        BenchDataError: If the file cannot be read so.
    """
    try:
        return list(_READERS.get(path.suffix.lower(), _json_rows)(path))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        if isinstance(error, BenchDataError):
            raise
        raise BenchDataError(f"{path} cannot be read: {first_line(error)}") from None


def check_columns(path: Path, rows: Sequence[Row], needed: Sequence[str]) -> None:
    """Raise if a file lacks columns that its bench reads.

    Raises:
        BenchDataError: If it has no rows, or columns are missing; they and those that are there
            are named.
    """
    if not rows:
        raise BenchDataError(f"{path} holds no rows")
    columns = list(rows[0])
    missing = [name for name in needed if name not in columns]
    if missing:
        raise BenchDataError(
            f"{path} has no column {', '.join(missing)}: it has {', '.join(columns)}; is it "
            "another version of the benchmark?"
        )


def _csv_rows(path: Path, delimiter: str = ",") -> Iterator[Row]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=delimiter == ",")
            for row in reader:
                yield {str(name): value for name, value in row.items()}
    finally:
        csv.field_size_limit(before)


def _tsv_rows(path: Path) -> Iterator[Row]:
    return _csv_rows(path, "\t")


def _json_rows(path: Path) -> list[Row]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = parse_json(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise BenchDataError(f"{path} is no JSON: {first_line(error)}") from None
        return [_json_line(path, number, line) for number, line in enumerate(lines, start=1)]
    if isinstance(content, list):
        return _checked(path, content)
    if isinstance(content, dict):
        for name in ("data", "questions", "annotations"):
            if isinstance(content.get(name), list):
                return _checked(path, content[name])
        if content and all(isinstance(row, dict) for row in content.values()):
            return [{"key": key, **row} for key, row in content.items()]
        return [content]
    raise BenchDataError(f"{path} holds no list of rows, but a {type(content).__name__}")


def _json_line(path: Path, number: int, line: str) -> Row:
    try:
        row = parse_json(line)
    except ValueError:
        raise BenchDataError(f"{path}: line {number} is no JSON: {line[:60]!r}") from None
    return _checked(path, [row])[0]


def _checked(path: Path, rows: Sequence[Any]) -> list[Row]:
    for row in rows:
        if not isinstance(row, dict):
            raise BenchDataError(f"{path} holds {type(row).__name__}s, where rows are objects")
    return list(rows)


def _parquet_rows(path: Path) -> list[Row]:
    pa, parquet = need("pyarrow", extra="store"), need("pyarrow.parquet", extra="store")
    try:
        file = parquet.ParquetFile(path)
        pictures = [field.name for field in file.schema_arrow if _holds_pictures(field.type)]
        names = [name for name in file.schema_arrow.names if name not in pictures]
        columns = file.read(names).to_pydict() if names else {}
        count = file.metadata.num_rows
    except pa.ArrowException as error:
        raise BenchDataError(f"{path} cannot be read: {first_line(error)}") from None
    return [
        {
            **{name: columns[name][row] for name in names},
            **{name: ParquetImage(f"{path.name} row {row}", path, name, row) for name in pictures},
        }
        for row in range(count)
    ]


def _holds_pictures(arrow_type: Any) -> bool:
    """True for a column of bytes, of {bytes, path}, or of lists of these."""
    types = need("pyarrow.types", extra="store")
    if types.is_list(arrow_type) or types.is_large_list(arrow_type):
        return _holds_pictures(arrow_type.value_type)
    if types.is_struct(arrow_type):
        return any(arrow_type.field(i).name == "bytes" for i in range(arrow_type.num_fields))
    return bool(types.is_binary(arrow_type) or types.is_large_binary(arrow_type))


_READERS = {
    ".tsv": _tsv_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
    ".json": _json_rows,
    ".jsonl": _json_rows,
}
