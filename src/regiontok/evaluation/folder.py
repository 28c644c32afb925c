"""BenchFolder: where a benchmark's published files lie, and the pictures beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from regiontok.evaluation.images import EncodedImage, ImageFile, ParquetImage, QuestionImage
from regiontok.evaluation.tables import BenchDataError, Row, check_columns, rows_of

# folders in which benchmarks and those who fetch them keep pictures
_PICTURE_FOLDERS = ("", "images", "val2014", "val2017", "train2014", "imgs", "img", "image")
_SUFFIXES = ("", ".jpg", ".png", ".jpeg")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64}")  # no path has so many letters without a dot


@dataclass(frozen=True)
class BenchFolder:
    """A folder with the files of a benchmark.

    Attributes:
        path: the folder.
        pictures: further folders in which pictures are looked for, before those of `path`.
    """

    path: Path
    pictures: tuple[Path, ...] = ()

    def files(self, patterns: Sequence[str]) -> list[Path]:
        """The files that match, in the order of the patterns, then of their names.

        Args:
            patterns: published names, or globs. Of files that differ in their suffix alone, which
                are the same rows in another form, the first counts.

        Raises:
            BenchDataError: If there is no folder, or no such file in it; the names are said.
        """
        if not self.path.is_dir():
            raise BenchDataError(f"{self.path} is no folder: --data names a benchmark's folder")
        by_stem: dict[str, Path] = {}
        for pattern in patterns:
            for path in sorted(self.path.glob(pattern)):
                by_stem.setdefault(str(path.with_suffix("")).lower(), path)
        if not by_stem:
            raise BenchDataError(
                f"{self.path} holds none of {', '.join(patterns)}: give the folder with the "
                "benchmark's published files"
            )
        return list(by_stem.values())

    def rows(self, path: Path, columns: Sequence[str] = ()) -> list[Row]:
        """The rows of one of its files, which must have these columns.

        Raises:
            BenchDataError: If it cannot be read, or lacks a column.
        """
        rows = rows_of(path)
        check_columns(path, rows, columns)
        return rows

    def image(self, name: str, beside: Sequence[str] = ()) -> ImageFile:
        """The picture of a name, wherever it lies; one that is nowhere is said when it is read.

        Args:
            name: its published name, with or without folders and suffix; COCO's long names are
                found under their short ones, too.
            beside: further sub-folders of the folder.
        """
        tail = Path(name).name
        names = dict.fromkeys(filter(None, (name, tail, tail.rpartition("_")[2])))
        for candidate in names:
            for folder in _existing((*self.pictures, self.path), (*beside, *_PICTURE_FOLDERS)):
                for suffix in _SUFFIXES:
                    path = os.path.join(folder, candidate + suffix)
                    if os.path.isfile(path):
                        return ImageFile(name, Path(path))
        return ImageFile(name, self.path / name)

    def picture(self, row: Row, *columns: str, beside: Sequence[str] = ()) -> QuestionImage:
        """The picture of a row: a Parquet cell, base64 text, or the name of a file.

        Args:
            row: the row.
            columns: columns that may hold it; the first that is there and not empty does.
            beside: see `image`.
        """
        for column in columns:
            value: Any = row.get(column)
            if isinstance(value, ParquetImage):
                return value
            if isinstance(value, str) and value:
                if _BASE64.match(value):
                    return EncodedImage(column, value)
                return self.image(value, beside)
        return ImageFile(columns[0], self.path / f"(no {' or '.join(columns)})")


@lru_cache(maxsize=64)
def _existing(roots: tuple[Path, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The folders of these names, below each root, that are there; "" is the root itself."""
    folders = dict.fromkeys(os.path.join(root, name) for root in roots for name in names)
    return tuple(folder for folder in folders if os.path.isdir(folder))
