"""Changes that disks, networks, other tools and strangers make to files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

WORDS = [
    *(b"null", b"NaN", b"-1", b"0", b"1e999", b"99999999999999999999", b"true", b'"7"', b"7"),
    *(b"[]", b"{}", b'"\\ud83d"', b"[" * 3000, b'{"a":' * 3000, b'""', b"\xff\xfe", b"\0"),
]


def _flipped(data: bytearray, draw: np.random.Generator) -> bytearray:
    for place in draw.integers(0, len(data), int(draw.integers(1, 9))):
        data[place] = draw.choice([0, 255, int(draw.integers(256)), data[place] ^ 1])
    return data


def _flipped_head(data: bytearray, draw: np.random.Generator) -> bytearray:
    head = bytearray(data[:100])
    return _flipped(head, draw) + data[100:]


def _zeroed(data: bytearray, draw: np.random.Generator) -> bytearray:
    start, stop = sorted(draw.integers(0, len(data) + 1, 2))
    data[start:stop] = bytes(int(stop - start))
    return data


def _cut(data: bytearray, draw: np.random.Generator) -> bytearray:
    return data[: int(draw.integers(len(data)))]


def _deleted(data: bytearray, draw: np.random.Generator) -> bytearray:
    start = int(draw.integers(len(data)))
    del data[start : start + int(draw.integers(1, 40))]
    return data


def _inserted(data: bytearray, draw: np.random.Generator) -> bytearray:
    place = int(draw.integers(len(data)))
    data[place:place] = draw.bytes(int(draw.integers(1, 40)))
    return data


def _repeated(data: bytearray, draw: np.random.Generator) -> bytearray:
    start, stop = sorted(draw.integers(0, len(data) + 1, 2))
    return data[:stop] + data[start:]


def _number(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Four bytes become a number that is too large, or a small one."""
    place = int(draw.integers(max(1, len(data) - 4)))
    number = int(draw.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]))
    data[place : place + 4] = number.to_bytes(4, "big" if draw.random() < 0.5 else "little")
    return data


def _word(data: bytearray, draw: np.random.Generator) -> bytearray:
    """A value of a text becomes another one."""
    places = [place for place, byte in enumerate(data[:20000]) if byte in b":,=[ "] or [0]
    start = int(draw.choice(places)) + 1
    ends = [place for place in range(start, min(start + 60, len(data))) if data[place] in b",]}\n"]
    data[start : ends[0] if ends else start] = WORDS[int(draw.integers(len(WORDS)))]
    return data


CHANGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    *(_flipped, _flipped_head, _zeroed, _cut, _deleted, _inserted, _repeated, _number, _word),
)


def mutated(data: bytes, draw: np.random.Generator) -> bytes:
    """A file with one to three changes."""
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 4))):
        if changed:
            changed = CHANGES[int(draw.integers(len(CHANGES)))](changed, draw)
    return bytes(changed)
