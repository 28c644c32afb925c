"""Small mask stores, written from numbers: the masks of a number are always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from regiontok.core.masks import PixelMasks
from regiontok.maskstore.layout import SegmenterRecord
from regiontok.maskstore.writer import MaskWriter, compact

STRIPES = SegmenterRecord("stripes(wide=2, version=1)", "weights 1")
OTHER = SegmenterRecord("other(version=1)", "")


def key_of(number: int) -> str:
    """The key of the picture that a number stands for."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def masks_of(number: int, size: tuple[int, int] = (6, 9)) -> PixelMasks:
    """None to three masks that overlap, drawn from the number."""
    dense = np.random.default_rng(number).random((number % 4, *size)) < 0.4
    return PixelMasks.from_dense(dense)


def write_parts(root: Path, numbers: Iterable[int], segmenter: SegmenterRecord = STRIPES) -> Path:
    """Add the masks of some numbers to a store, without sorting them into shards."""
    with MaskWriter(root, segmenter) as writer:
        for number in numbers:
            writer.add(key_of(number), masks_of(number))
    return root


def write_store(root: Path, numbers: Iterable[int], segmenter: SegmenterRecord = STRIPES) -> Path:
    """Add the masks of some numbers to a store, and sort them into shards."""
    write_parts(root, numbers, segmenter)
    compact(root)
    return root


def only_shard(root: Path, segmenter: SegmenterRecord = STRIPES) -> Path:
    """The shard of a store of few images."""
    return root / segmenter.fingerprint / "all.parquet"


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of all files but locks and what a kill left half-written."""
    paths = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def same(left: PixelMasks | None, right: PixelMasks) -> bool:
    """True if both are masks of one size with the same codes and names."""
    return left is not None and (left.size, left.counts, left.names) == (
        right.size,
        right.counts,
        right.names,
    )


def flip(path: Path, share: float) -> None:
    """Damage a byte of a file, at a share of its length."""
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 0x55
    path.write_bytes(data)
