"""GGUF files, llama.cpp's format of a model in one file: its metadata and its tensors as float32.

Only what is asked for is decoded; a file says where its tensors lie, and every length is checked
against the file's own before anything is read.

After: the GGUF specification of ggml (versions 2 and 3, little-endian), and ggml's blocks Q4_0,
Q4_1 and Q8_0.
Differs: arrays of arrays and other kinds of blocks are refused.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regiontok.system.errors import UnusableModel

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

MAGIC = b"GGUF"
VERSIONS = (2, 3)
BLOCK = 32  # values of one block of Q4_0, Q4_1 and Q8_0
MOST_DIMENSIONS = 4
# numbers of metadata by the code of their type
_NUMBERS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?"))) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class GGUFError(UnusableModel):
    """A file that is no GGUF file, is damaged, or holds what cannot be decoded."""


@dataclass(frozen=True)
class _Encoding:
    """How the values of a tensor are encoded: in blocks of so many values and bytes."""

    values: int
    size: int
    decode: Callable[[UInt8[np.ndarray, "blocks size"]], np.ndarray]


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies, and how it is encoded."""

    shape: tuple[int, ...]
    encoding: _Encoding
    start: int
    size: int


@dataclass(frozen=True, eq=False)
class GGUF:
    """What a GGUF file holds.

    Attributes:
        path: the file.
        fields: its metadata by name.
    """

    path: Path
    fields: Mapping[str, Any]
    _content: mmap.mmap
    _tensors: Mapping[str, _Tensor]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tensors, as they lie in the file."""
        return tuple(self._tensors)

    def field(self, name: str, kind: type[Any]) -> Any:
        """A field of the metadata.

        Raises:
            GGUFError: If it is not there, or of another kind.
        """
        value = self.fields.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise GGUFError(f"{self.path}: its metadata has no {name} of type {kind.__name__}")
        return value

    def tensor(self, name: str) -> Float[np.ndarray, "..."]:
        """A tensor as float32, its last axis the one along which its values lie.

        Raises:
            GGUFError: If there is no such tensor.
        """
        if name not in self._tensors:
            raise GGUFError(f"{self.path} has no tensor {name}")
        place = self._tensors[name]
        raw = np.frombuffer(self._content, np.uint8, place.size, place.start)
        blocks = raw.reshape(-1, place.encoding.size)
        decoded: np.ndarray = place.encoding.decode(blocks).reshape(place.shape)
        return decoded


def read_gguf(path: str | Path) -> GGUF:
    """The metadata of a GGUF file, and where its tensors lie.

    Raises:
        GGUFError: If the file cannot be read, is no GGUF file, or is damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise GGUFError(f"{path} cannot be read ({error})") from None
    cursor = _Cursor(path, content)
    if cursor.take(4) != MAGIC or cursor.number("I") not in VERSIONS:
        raise GGUFError(f"{path} is no GGUF file of version {' or '.join(map(str, VERSIONS))}")
    tensor_count, field_count = cursor.number("Q"), cursor.number("Q")
    fields: dict[str, Any] = {}
    for _ in range(cursor.checked_count(field_count, least=13)):
        name = cursor.new_name(fields)
        fields[name] = cursor.value(cursor.number("I"))
    return GGUF(path, fields, content, _read_places(cursor, fields, tensor_count))


def _read_places(
    cursor: _Cursor, fields: Mapping[str, Any], tensor_count: int
) -> dict[str, _Tensor]:
    """Where the tensors lie; the cursor stands in front of their list."""
    found: dict[str, tuple[tuple[int, ...], _Encoding, int]] = {}
    for _ in range(cursor.checked_count(tensor_count, least=24)):
        name = cursor.new_name(found)
        dimensions = cursor.number("I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise cursor.damaged(f"{name} has {dimensions} dimensions")
        shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
        kind, offset = cursor.number("I"), cursor.number("Q")
        if kind not in _ENCODINGS:
            raise GGUFError(
                f"{cursor.path}: {name} is encoded as ggml's type {kind}, and only "
                f"{', '.join(map(str, _ENCODINGS))} are decoded here"
            )
        found[name] = shape, _ENCODINGS[kind], offset
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise cursor.damaged(f"an alignment of {alignment!r}")
    first = -(-cursor.position // alignment) * alignment
    tensors = {}
    for name, (shape, encoding, offset) in found.items():
        size = prod(shape) // encoding.values * encoding.size
        if shape[-1] % encoding.values or first + offset + size > len(cursor.content):
            raise cursor.damaged(f"{name} of shape {list(shape)} does not lie within the file")
        tensors[name] = _Tensor(shape, encoding, first + offset, size)
    return tensors


@dataclass
class _Cursor:
    """Reads a file from its start on, never beyond its end."""

    path: Path
    content: mmap.mmap
    position: int = 0

    def damaged(self, reason: str) -> GGUFError:
        return GGUFError(f"{self.path} is damaged: {reason}")

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.content):
            raise self.damaged(f"it ends at {len(self.content)} bytes, within its header")
        start, self.position = self.position, end
        return self.content[start:end]

    def number(self, form: str) -> Any:
        form = f"<{form}"
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def checked_count(self, count: int, *, least: int) -> int:
        """A number of entries, of which each takes so many bytes at least."""
        if count * least > len(self.content) - self.position:
            raise self.damaged(f"{count} entries do not fit into it")
        return count

    def text(self) -> str:
        raw = self.take(self.number("Q"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged(f"{raw[:40]!r} is no UTF-8 text") from None

    def new_name(self, before: Mapping[str, Any]) -> str:
        name = self.text()
        if name in before:
            raise self.damaged(f"{name} is there twice")
        return name

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind != _ARRAY:
            raise self.damaged(f"metadata of the unknown type {kind}")
        item, count = self.number("I"), self.number("Q")
        if item == _STRING:
            return [self.text() for _ in range(self.checked_count(count, least=8))]
        if item not in _NUMBERS:
            raise self.damaged(f"an array of the type {item}")
        size = struct.calcsize(f"<{_NUMBERS[item]}")
        raw = self.take(self.checked_count(count, least=size) * size)
        return list(struct.unpack(f"<{count}{_NUMBERS[item]}", raw))


def _floats(dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    def decode(blocks: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(blocks).view(dtype).astype(np.float32)

    return decode


def _halves(blocks: np.ndarray) -> np.ndarray:
    """The float16 numbers in front of blocks, as float32 `[blocks numbers]`."""
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _nibbles(blocks: np.ndarray) -> np.ndarray:
    """The low halves of the bytes of each block, then the high ones, as float32 `[blocks 32]`."""
    return np.concatenate([blocks & 15, blocks >> 4], axis=1).astype(np.float32)


def _q4_0(blocks: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = _halves(blocks[:, :2]) * (_nibbles(blocks[:, 2:]) - 8)
    return shifted


def _q4_1(blocks: np.ndarray) -> np.ndarray:
    scale, least = np.split(_halves(blocks[:, :4]), 2, axis=1)
    shifted: np.ndarray = scale * _nibbles(blocks[:, 4:]) + least
    return shifted


def _q8_0(blocks: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = _halves(blocks[:, :2]) * blocks[:, 2:].view(np.int8).astype(np.float32)
    return scaled


# by the number of ggml's type
_ENCODINGS = {
    0: _Encoding(1, 4, _floats("<f4")),
    1: _Encoding(1, 2, _floats("<f2")),
    2: _Encoding(BLOCK, 18, _q4_0),
    3: _Encoding(BLOCK, 20, _q4_1),
    8: _Encoding(BLOCK, 34, _q8_0),
}
