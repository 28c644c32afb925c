"""One Parquet file of the mask store, a row for each image, sorted by key.

Masks are COCO's compressed run-length codes as pycocotools writes them, so other programs can read
a file too; zstd makes them half as long. A form that compresses better is in docs/log.md, with what
it cost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.maskstore.codes import check_codes
from regiontok.system.need import need
from regiontok.system.parquet import list_of, open_parquet, read_groups, write_parquet

FORMAT = "regiontok mask store 2"
# images that are read and decompressed together; 64 would save 2 % of the bytes and double the time
# of a single look-up
GROUP_IMAGES = 32
KEY = re.compile("[0-9a-f]{32}")


def file_keys(path: Path, fingerprint: str) -> list[str]:
    """The keys of one file.

    Raises:
        ValueError: If the file cannot be read, or is of another fingerprint.
    """
    return read_file(path, fingerprint, ["key"]).column("key").to_pylist()


def read_file(path: Path, fingerprint: str, columns: Sequence[str] | None = None) -> Any:
    """One file, or some of its columns, as an Arrow table.

    Raises:
        ValueError: If the file cannot be read, or is of another fingerprint.
    """
    with open_parquet(path, _schema(), FORMAT) as file:
        stated = file.metadata.metadata.get(b"fingerprint", b"none").decode("ascii", "replace")
        if stated != fingerprint:
            raise ValueError(
                f"{path}: holds masks of fingerprint {stated}, the store is {fingerprint}"
            )
        return read_groups(file, path, columns=columns)


def mask_row(key: str, masks: PixelMasks) -> dict[str, Any]:
    """The masks of one image as a row of a file.

    Raises:
        ValueError: If the key is no hash of a picture, or a code does not fit the masks' size.
    """
    if not KEY.fullmatch(key):
        raise ValueError(f"a key is the hash of a picture, 32 hexadecimal digits; got {key!r}")
    check_codes(masks.counts, masks.size)
    return {
        "key": key,
        "height": masks.size[0],
        "width": masks.size[1],
        "codes": list(masks.counts),
        "scores": None if masks.scores is None else np.asarray(masks.scores, np.float64),
        "names": None if masks.names is None else list(masks.names),
    }


def table_of(rows: list[dict[str, Any]]) -> Any:
    """Rows of `mask_row` as an Arrow table."""
    return need("pyarrow", extra="store").Table.from_pylist(rows, _schema())


def write_file(table: Any, path: Path, fingerprint: str) -> None:
    """Write a table whose rows are sorted by key; the same rows give the same bytes."""
    write_parquet(
        table,
        path,
        FORMAT,
        group_rows=GROUP_IMAGES,
        metadata={"fingerprint": fingerprint},
        compression_level=19,
        use_dictionary=False,
        write_statistics=["key"],
        data_page_size=1 << 26,  # one page a column and group: zstd sees all of it
    )


def _schema() -> Any:
    pa = need("pyarrow", extra="store")
    return pa.schema(
        [
            ("key", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("codes", list_of(pa.binary())),
            ("scores", list_of(pa.float64())),
            ("names", list_of(pa.string())),
        ]
    )


@dataclass(frozen=True, eq=False)
class MaskRowGroup:
    """`GROUP_IMAGES` images of a file, decompressed; no mask is read yet.

    Attributes:
        path: the file.
        keys: the key of each image.
        columns: the Arrow array of each column, by its name.
    """

    path: Path
    keys: list[str]
    columns: dict[str, Any]

    @classmethod
    def read(cls, path: Path, number: int) -> MaskRowGroup:
        """Read one group of a file.

        Raises:
            ValueError: If the file cannot be read.
        """
        with open_parquet(path, _schema(), FORMAT) as file:
            table = read_groups(file, path, [number]).combine_chunks()
            columns = {name: table.column(name).chunk(0) for name in table.column_names}
            return cls(path, columns["key"].to_pylist(), columns)

    def masks(self, row: int) -> PixelMasks:
        """The masks of one image.

        Raises:
            ValueError: If a code does not fit the size of the image.
        """
        height, width, codes, scores, names = (
            self.columns[name][row].as_py()
            for name in ("height", "width", "codes", "scores", "names")
        )
        try:
            check_codes(codes, (height, width))
            return PixelMasks(
                (height, width),
                tuple(codes),
                None if scores is None else np.array(scores, np.float64),
                None if names is None else tuple(names),
            )
        except ValueError as error:
            raise ValueError(f"{self.path}: corrupt at {self.keys[row]} ({error})") from None
