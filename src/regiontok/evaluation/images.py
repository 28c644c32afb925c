"""The pictures of benchmark questions: where each lies, read when it is asked about."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regiontok.system.need import need

if TYPE_CHECKING:
    from regiontok.core.picture import Picture

Box = tuple[int, int, int, int]
_GROUPS_KEPT = 4  # row groups of Parquet files whose images stay in memory


@dataclass(frozen=True)
class QuestionImage:
    """A picture of a question that has not been read yet.

    Attributes:
        name: what messages call it.
    """

    name: str

    @property
    def problem(self) -> str:
        """Why it cannot be read, as far as that is known without reading it; "" if it is not."""
        return ""

    def read(self) -> Picture:
        """The picture, decoded.

        Raises:
            PictureError: If it is missing or damaged.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ImageFile(QuestionImage):
    """A picture in a file.

    Attributes:
        path: the file; it need not exist.
        crop: (x, y, width, height) in pixels of the part that is shown; None shows all of it.
    """

    path: Path = Path()
    crop: Box | None = None

    @property
    def problem(self) -> str:
        """That the file is missing, or ""."""
        return "" if self.path.is_file() else f"no image file {self.path}"

    def read(self) -> Picture:
        """See `QuestionImage.read`."""
        from regiontok.core.picture import Picture

        picture = Picture.of(self.path)
        if self.crop is None:
            return picture
        x, y, width, height = self.crop
        cropped = picture.pixels[max(y, 0) : y + height, max(x, 0) : x + width]
        return Picture.of(cropped, f"{picture.name} {self.crop}")


@dataclass(frozen=True)
class EncodedImage(QuestionImage):
    """A picture as base64 text, as in a TSV file.

    Attributes:
        text: the text.
    """

    text: str = ""

    @property
    def problem(self) -> str:
        """That there is no text, or ""."""
        return "" if self.text else f"no image data for {self.name}"

    def read(self) -> Picture:
        """See `QuestionImage.read`."""
        from regiontok.core.picture import Picture, PictureError

        try:
            data = base64.b64decode(self.text)
        except (binascii.Error, ValueError) as error:
            raise PictureError(f"{self.name}: no base64 text ({error})") from None
        return Picture.of(data, self.name)


@dataclass(frozen=True)
class ParquetImage(QuestionImage):
    """A picture in a cell of a Parquet file; rows of one group are read together.

    Attributes:
        path: the file.
        column: name of the column, whose cells are bytes, or {bytes, path} as `datasets` writes.
        row: number of the row in the file.
        item: number of the picture in a cell that holds several.
    """

    path: Path = Path()
    column: str = ""
    row: int = 0
    item: int = 0

    def read(self) -> Picture:
        """See `QuestionImage.read`."""
        from regiontok.core.picture import Picture, PictureError

        group, start = _group_of(self.path, self.row)
        data = image_bytes(_group_cells(self.path, group, self.column)[self.row - start])
        if len(data) <= self.item:
            raise PictureError(f"{self.name}: the cell holds no image")
        return Picture.of(data[self.item], self.name)


def image_bytes(cell: Any) -> Sequence[bytes]:
    """The encoded pictures of a cell: bytes, {bytes, path}, or a list of these.

    >>> image_bytes({"bytes": b"x", "path": None}), image_bytes(None)
    ([b'x'], [])
    """
    if isinstance(cell, list | tuple):
        return [data for item in cell for data in image_bytes(item)]
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return [data] if data else []


@lru_cache(maxsize=64)
def _group_starts(path: Path) -> tuple[int, ...]:
    parquet = need("pyarrow.parquet", extra="store")
    metadata = parquet.ParquetFile(path).metadata
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    return tuple(starts)


def _group_of(path: Path, row: int) -> tuple[int, int]:
    """The row group that a row lies in, and the row at which it begins."""
    starts = _group_starts(path)
    group = max(index for index, start in enumerate(starts[:-1]) if start <= row)
    return group, starts[group]


@lru_cache(maxsize=_GROUPS_KEPT)
def _group_cells(path: Path, group: int, column: str) -> list[Any]:
    parquet = need("pyarrow.parquet", extra="store")
    cells: list[Any] = parquet.ParquetFile(path).read_row_group(group, [column])[column].to_pylist()
    return cells
