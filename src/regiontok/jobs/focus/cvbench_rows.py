"""The questions of CV-Bench and MMVP out of their published files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regiontok.jobs.focus.questions import NoFocusData
from regiontok.system.errors import first_line
from regiontok.system.need import need

MMVP_FILES = ("Questions.csv", "visual_patterns.csv")
CVBENCH_COLUMNS = ("idx", "question", "choices", "answer", "source_filename")


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A question as a file has it.

    Attributes:
        id: its number in the file; "" if it has none.
        image: file name of the photo that the masks are of.
        question: the question.
        choices: its options.
        answer: the letter of the right one, or "".
        asked: the whole text that is asked, in place of question and choices; "" for these.
        filename: path of the picture as the bench shows it; "" if it has none of its own.
        picture: the picture's bytes, if the file holds them.
        from_cvbench: whether the row is CV-Bench's.
    """

    id: str
    image: str
    question: str = ""
    choices: Sequence[str] = ()
    answer: str = ""
    asked: str = ""
    filename: str = ""
    picture: bytes | None = None
    from_cvbench: bool = False


def question_rows(files: Sequence[Path]) -> Iterator[Row]:
    """All questions of a folder's files: CV-Bench's JSON lines or Parquet, and MMVP's tables.

    Raises:
        NoFocusData: If one of them lacks a column, or cannot be read; the message names it.
    """
    for path in files:
        if path.suffix == ".jsonl":
            yield from (_cvbench_row(path, row) for row in _json_lines(path))
        elif path.suffix == ".parquet":
            yield from (_cvbench_row(path, row) for row in _parquet_rows(path))
    tables = {path.name: path for path in files if path.name in MMVP_FILES}
    for name in MMVP_FILES:
        if name in tables:
            yield from _mmvp_rows(tables[name])
            return


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise NoFocusData(f"{path}, line {number}, is no JSON ({error})") from None


def _parquet_rows(path: Path) -> Iterator[Any]:
    pa, pq = need("pyarrow", extra="store"), need("pyarrow.parquet", extra="store")
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(64):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise NoFocusData(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def _cvbench_row(path: Path, row: Any) -> Row:
    if not isinstance(row, Mapping):
        raise NoFocusData(f"{path}: expected objects, got {type(row).__name__}")
    if absent := [name for name in CVBENCH_COLUMNS if name not in row]:
        raise NoFocusData(
            f"{path}: not CV-Bench's columns: {', '.join(absent)} missing, got {', '.join(row)}"
        )
    image = row.get("image")
    return Row(
        id=str(row["idx"]),
        image=str(row["source_filename"]),
        question=str(row["question"]),
        choices=tuple(map(str, row["choices"])),
        answer=str(row["answer"]).strip("() "),
        filename=str(row.get("filename") or ""),
        picture=image.get("bytes") if isinstance(image, Mapping) else None,
        from_cvbench=True,
    )


def _mmvp_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, skipinitialspace=True):
            try:
                options = re.split(r"\s*\([a-z]\)\s*", row["Options"])[1:]
                yield Row(
                    id=row["Index"],
                    image=f"{row['Index']}.jpg",
                    question=row["Question"],
                    choices=tuple(options),
                    answer=row["Correct Answer"].strip("() ").upper(),
                )
            except KeyError as error:
                raise NoFocusData(f"{path}: not MMVP's columns: {error} missing") from None
