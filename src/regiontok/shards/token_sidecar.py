"""The tokens of a tar's images: Parquet beside the tar, one row an image.

After: nothing; the layout is ours.
Differs: nothing known.

An image's tokens are the bytes of a safetensors file, the same that `regiontok tokenize` writes for
a single image, so that nothing of them is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load

from regiontok.core.tokens import Tokens
from regiontok.shards.tar import ShardError
from regiontok.system.need import need
from regiontok.system.parquet import ParquetError, open_parquet
from regiontok.system.tensor_files import tensor_bytes

NAME = "tokens"  # files are called TAR.tokens.parquet
FORM = 1  # raise it with every change of what the same settings give
FORMAT = f"regiontok {NAME} {FORM}"
GROUP = 64  # images that are read and decompressed together


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """The tokens of one image of a tar.

    Attributes:
        index: the image's number among the images of its tar.
        key: its WebDataset name.
        size: (H, W) of the decoded, upright image; (0, 0) where it cannot be decoded.
        tokens: its tokens; None where it is set aside.
        reason: why it is set aside; "" where it is not.
    """

    index: int
    key: str
    size: tuple[int, int]
    tokens: Tokens | None
    reason: str = ""

    def row(self) -> dict[str, Any]:
        """The image as a row of the file."""
        return {
            "index": self.index,
            "key": self.key,
            "height": self.size[0],
            "width": self.size[1],
            "count": 0 if self.tokens is None else len(self.tokens),
            "tokens": b"" if self.tokens is None else tensor_bytes(self.tokens.to_tensors()),
            "reason": self.reason,
        }

    @classmethod
    def of(cls, row: dict[str, Any]) -> ImageTokens:
        """The image of a row."""
        tokens = Tokens.from_tensors(load(row["tokens"])) if row["tokens"] else None
        size = (row["height"], row["width"])
        return cls(row["index"], row["key"], size, tokens, row["reason"])


def token_schema() -> Any:
    """The columns of the file."""
    pa = need("pyarrow", extra="store")
    columns = {
        "index": pa.int32(),
        "key": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "count": pa.int32(),
        "tokens": pa.binary(),
        "reason": pa.string(),
    }
    return pa.schema(list(columns.items()))


def read_token_sidecar(path: Path) -> Iterator[ImageTokens]:
    """The images of a file of tokens, in the order of their tar; few are in memory at a time.

    Raises:
        ShardError: If the file is missing or damaged.
    """
    try:
        with open_parquet(path, token_schema(), FORMAT) as file:
            for batch in file.iter_batches(GROUP, use_threads=False):
                yield from map(ImageTokens.of, batch.to_pylist())
    except FileNotFoundError as error:
        raise ShardError(f"{path}: there are no tokens here") from error
    except ParquetError as error:
        raise ShardError(str(error)) from None
