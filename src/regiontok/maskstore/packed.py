"""The masks of one image as three columns that compress well: the form in which the mask store
keeps run lengths.

Read column by column, a run that belongs to the same edge begins one picture height after the one
before it and is about as long. So of each run the store keeps how much its start and its length
differ from that, as two streams of variable-length bytes. After zstd they take a fifth less than
zlib makes of COCO's code, whose characters hold 5 bits each (`python bench/store.py` prints both).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from regiontok.core.masks import PixelMasks

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8

DAMAGE = (
    "",
    "a stream of runs ends too early",
    "a run lies outside the image",
    "a stream of runs goes on too long",
)
_compiled = njit(cache=True, nogil=True)


def pack(masks: PixelMasks) -> tuple[Int[np.ndarray, "k"], bytes, bytes]:
    """Runs of each mask, and the streams of their starts and their lengths.

    Raises:
        ValueError: a code that does not describe the image's pixels.

    >>> runs, starts, lengths = pack(PixelMasks.from_labels(np.array([[0, 0, 1], [0, 2, 1]])))
    >>> runs.tolist(), list(starts), list(lengths)
    ([1, 1, 1], [0, 8, 6], [6, 4, 2])
    """
    each = [masks.runs(index) for index in range(len(masks))]
    runs = np.array([len(one) for one in each], np.int64)
    edges = np.concatenate(each) if each else np.zeros((0, 2), np.int64)
    high, wide = masks.size
    if edges.size and edges.max() > high * wide:
        raise ValueError(
            f"a run-length code describes more pixels than the {high * wide} of the image"
        )
    starts, lengths = edges[:, 0], edges[:, 1] - edges[:, 0]
    first = (np.cumsum(runs) - runs)[runs > 0]
    ahead, longer = np.diff(starts, prepend=0) - high, np.diff(lengths, prepend=0)
    ahead[first], longer[first] = starts[first], lengths[first]
    return runs, _varint(ahead), _varint(longer)


def unpack(
    runs: Int[np.ndarray, "k"],
    starts: UInt8[np.ndarray, "s"],
    lengths: UInt8[np.ndarray, "l"],
    size: tuple[int, int],
) -> tuple[bytes, ...]:
    """The compressed COCO code of each mask; a code in COCO's own canonical form comes back byte
    for byte.

    Raises:
        ValueError: streams that describe no runs of an image of `size`.
    """
    total = int(runs.sum())
    if (runs < 0).any() or total > min(
        len(starts), len(lengths)
    ):  # a run takes a byte of each stream at least
        raise ValueError(DAMAGE[1])
    out = np.empty(7 * 2 * (total + len(runs)), np.uint8)  # 7 characters hold 35 bits
    ends = np.empty(len(runs), np.int64)
    damage = _to_coco(runs, starts, lengths, size[0], size[0] * size[1], out, ends)
    if damage:
        raise ValueError(DAMAGE[damage])
    codes, begin = out[: int(ends[-1]) if len(ends) else 0].tobytes(), 0
    found = []
    for end in ends.tolist():
        found.append(codes[begin:end])
        begin = end
    return tuple(found)


def _varint(values: Int[np.ndarray, "n"]) -> bytes:
    """Signs folded in (0, -1, 1, -2 -> 0, 1, 2, 3), then 7 bits a byte, the lowest first; the top
    bit says that more follow."""
    values = np.where(values < 0, -2 * values - 1, 2 * values)
    length = np.ones(len(values), np.int64)
    for bits in (7, 14, 21, 28):
        length += values >> bits > 0
    first = np.cumsum(length) - length
    out = np.zeros(int(length.sum()), np.uint8)
    for place in range(int(length.max(initial=0))):
        here = length > place
        more = np.where(length[here] > place + 1, 128, 0)
        out[first[here] + place] = (values[here] >> 7 * place & 127) | more
    return out.tobytes()


@_compiled
def _read(stream, at):
    """One number and the place behind it; -1 where the stream breaks off or holds a number of more
    than 35 bits."""
    value, shift = np.int64(0), np.int64(0)
    while at < len(stream) and shift < 35:
        byte = np.int64(stream[at])
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (-((value + 1) >> 1) if value & 1 else value >> 1), at
        shift += 7
    return np.int64(0), np.int64(-1)


@_compiled
def _write(value, out, at):
    """One number as COCO's characters: 5 bits each from 48 on, bit 5 says that more follow, the
    sign is bit 4 of the last."""
    while True:
        digit = value & 31
        value >>= 5
        more = value != -1 if digit & 16 else value != 0
        out[at] = digit + (80 if more else 48)
        at += 1
        if not more:
            return at


@_compiled
def _to_coco(runs, starts, lengths, high, pixels, out, ends):
    """Fill `out` with the codes and `ends` with where each ends; 0, or the number of the damage
    found."""
    at_start, at_length, at = np.int64(0), np.int64(0), np.int64(0)
    for mask in range(len(runs)):
        start, length, end, gap = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        for run in range(runs[mask]):
            ahead, at_start = _read(starts, at_start)
            longer, at_length = _read(lengths, at_length)
            if at_start < 0 or at_length < 0:
                return 1
            before = length
            start += ahead + (high if run else 0)
            length += longer
            if start < end or length < 0 or start + length > pixels:
                return 2
            # from the fourth number on COCO keeps the difference from the one before the last
            at = _write(start - end - (gap if run > 1 else 0), out, at)
            at = _write(length - (before if run else 0), out, at)
            gap, end = start - end, start + length
        if end < pixels or not runs[mask]:
            at = _write(pixels - end - (gap if runs[mask] > 1 else 0), out, at)
        ends[mask] = at
    return 0 if at_start == len(starts) and at_length == len(lengths) else 3
