"""GGUF files that tests write: metadata, and tensors of any of the encodings that are read."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

CODES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 8}


def write_gguf(
    path: Path,
    fields: Mapping[str, Any],
    tensors: Mapping[str, tuple[tuple[int, ...], int, bytes]],
) -> Path:
    """Write a file; a tensor is its shape, the code of its encoding, and its bytes."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    header += b"".join(text(name) + value(field) for name, field in fields.items())
    data = b""
    for name, (shape, code, raw) in tensors.items():
        header += text(name) + struct.pack("<I", len(shape))
        header += struct.pack(f"<{len(shape)}Q", *shape[::-1]) + struct.pack("<IQ", code, len(data))
        data += raw + bytes(-len(raw) % 32)
    path.write_bytes(header + bytes(-len(header) % 32) + data)
    return path


def text(value: str) -> bytes:
    """A string with its length in front."""
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(field: Any) -> bytes:
    """A value of the metadata with its type in front."""
    if isinstance(field, list):
        kind, _ = _typed(field[0])
        items = b"".join(_typed(item)[1] for item in field)
        return struct.pack("<IIQ", 9, kind, len(field)) + items
    kind, raw = _typed(field)
    return struct.pack("<I", kind) + raw


def _typed(item: Any) -> tuple[int, bytes]:
    if isinstance(item, bool):
        return 7, struct.pack("<?", item)
    if isinstance(item, int):
        return 4, struct.pack("<I", item)
    if isinstance(item, float):
        return 6, struct.pack("<f", item)
    return 8, text(item)


def plain(values: np.ndarray) -> tuple[tuple[int, ...], int, bytes]:
    """A tensor in float32."""
    return values.shape, CODES["f32"], values.astype("<f4").tobytes()
