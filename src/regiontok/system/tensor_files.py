"""Safetensors files whose bytes are a function of what they hold, and the text they carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

_LENGTH = 8  # bytes of the header's length; a header is padded to a multiple of them
_LONGEST_HEADER = 100_000_000  # what safetensors itself takes at most


def save_file(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors, and texts beside them, as safetensors."""
    path.write_bytes(tensor_bytes(tensors, metadata))


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Tensors, and texts beside them, as the bytes of a safetensors file.

    The library writes the entries of a header in an order that changes from process to process;
    here they are sorted.
    """
    data = save(dict(tensors), dict(metadata) if metadata else None)
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    header = json.loads(data[_LENGTH:end])
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH)
    return b"".join((len(text).to_bytes(_LENGTH, "little"), text, memoryview(data)[end:]))


def read_metadata(path: Path) -> dict[str, Any] | None:
    """The texts of a safetensors file; None if it is none that can be read.

    Only the header is read.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if length > _LONGEST_HEADER:
                return None
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError):
        return None
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else None
