"""A table of boxes, a row a region: Parquet or JSON lines, found again by the image's name."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from regiontok.system.choices import nearest
from regiontok.system.errors import RegiontokError, first_line
from regiontok.system.names import same_name
from regiontok.system.need import need

REQUIRED = ("image", "x0", "y0", "x1", "y1")
OPTIONAL = ("label", "confidence", "text")


class RegionTableError(RegiontokError, ValueError):
    """A table of regions that cannot be read; the message names the file and the row."""


@dataclass(frozen=True)
class TableRegion:
    """One row of a table.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the upright image.
        label: its class, as a number or a name; None for no class.
        confidence: confidence of whatever found it.
        text: what a text region says; "" for an object.
    """

    box: tuple[float, float, float, float]
    label: int | str | None = None
    confidence: float = 1.0
    text: str = ""


class RegionTable:
    """The regions of images by name.

    Args:
        path: a `.parquet` file or JSON lines, with the columns `image` (a path relative to the
            images' folder, or a file's name), `x0`, `y0`, `x1`, `y1`, and, if wanted, `label` (a
            number or a name), `confidence` and `text`.

    Raises:
        RegionTableError: If the file cannot be read, or a column is missing or has a wrong value.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        regions: dict[str, list[TableRegion]] = defaultdict(list)
        for number, row in enumerate(_rows(path)):
            regions[_image_name(path, number, row)].append(_region(path, number, row))
        if not regions:
            raise RegionTableError(f"{path} holds no region")
        self._by_name = dict(regions)
        by_file: dict[str, set[str]] = defaultdict(set)
        for name in self._by_name:
            by_file[PurePosixPath(name).name].add(name)
        self._by_file = dict(by_file)

    def __len__(self) -> int:
        return len(self._by_name)

    def of(self, image: str) -> list[TableRegion]:
        """The regions of an image; none where the table does not name it.

        A name of the table is the end of the image's path, or its file's name.

        Raises:
            RegionTableError: If several images of the table could be meant.
        """
        path = PurePosixPath(same_name(image).replace("\\", "/"))
        for start in range(len(path.parts)):
            name = str(PurePosixPath(*path.parts[start:]))
            if name in self._by_name:
                return self._by_name[name]
        names = sorted(self._by_file.get(path.name, ()))
        if len(names) > 1:
            raise RegionTableError(f"{image}: {self.path} has several of that name: {names[:3]}")
        return self._by_name[names[0]] if names else []


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".parquet":
        pa = need("pyarrow", extra="store")
        try:
            table = need("pyarrow.parquet", extra="store").read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise RegionTableError(f"{path}: cannot be read ({first_line(error)})") from None
        yield from table.to_pylist()
        return
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file):
                if line.strip():
                    yield _parsed(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise RegionTableError(f"{path}: cannot be read ({first_line(error)})") from None


def _parsed(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RegionTableError(f"{path}, row {number}: no JSON ({first_line(error)})") from None
    if not isinstance(row, dict):
        raise RegionTableError(f"{path}, row {number}: expected an object, got {line.strip()[:40]}")
    return row


def _image_name(path: Path, number: int, row: Mapping[str, Any]) -> str:
    if missing := [name for name in REQUIRED if row.get(name) is None]:
        hints = "".join(nearest(name, list(row)) for name in missing)
        raise RegionTableError(
            f"{path}, row {number}: no {', '.join(missing)}{hints}; a row has "
            f"{', '.join(REQUIRED)}, and may have {', '.join(OPTIONAL)}"
        )
    if not isinstance(row["image"], str):
        raise RegionTableError(f"{path}, row {number}: image is a path, not {row['image']!r}")
    return str(PurePosixPath(same_name(row["image"]).replace("\\", "/")))


def _region(path: Path, number: int, row: Mapping[str, Any]) -> TableRegion:
    label, text = row.get("label"), row.get("text")
    confidence = row.get("confidence")
    try:
        box = (float(row["x0"]), float(row["y0"]), float(row["x1"]), float(row["y1"]))
        confidence = 1.0 if confidence is None else float(confidence)
    except (TypeError, ValueError):
        raise RegionTableError(
            f"{path}, row {number}: a side of the box or the confidence is no number"
        ) from None
    if not (label is None or isinstance(label, str) or type(label) is int):
        raise RegionTableError(
            f"{path}, row {number}: label is a whole number or a name, not {label!r}"
        )
    if not (text is None or isinstance(text, str)):
        raise RegionTableError(f"{path}, row {number}: text is text, not {text!r}")
    return TableRegion(box, label, confidence, text or "")
