"""Exact greedy merging of adjacent regions by the cosine of their mean features: the compiled kernel.

After: diagnostic study, regions from clustering (row D5; UnSAM's iterative merging, written from the text).
Differs: similarities are rounded to 2^-20 and ties go to the pair with the lowest first patches, so that noise in the last bits of
    a sum decides nothing; cos(0, 0) = 1 and cos(0, x) = 0; the whole sequence of merges is recorded, so that one run serves every
    threshold and every number of regions; no region is dropped for being small.

How: a region keeps the SUM of its patches (the cosine of sums is the cosine of means) in float64; a patch that is still alone is read
where it lies. Pairs wait in one binary heap under an int64 key (similarity, first patch, first patch) and are never removed: each
carries the versions its two regions had, and counts only while they still have them. Neighbours are linked lists that are joined
in O(1) and cleaned while the new region's similarities are computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ONE = 1 << 20  # similarities are whole multiples of 1 / ONE
_BITS = 20  # of a patch index in a heap key; the similarity stands above two of them
_MASK = (1 << _BITS) - 1
_NOTHING = -2 * ONE  # below every similarity

# Reductions may be reassociated, else LLVM does not vectorise them: 5,500 dots of 1,024 take 0.65 ms (float32) and 1.2 ms (float64)
# this way, 2.5 and 1.8 ms with 8 or 16 hand-written accumulators (numba leaves SLP off), 1.0 and 1.6 ms through an accumulator array.
# The order of a sum is fixed by the compiled code, so runs repeat; another CPU may differ by 1e-16, which survives the rounding in
# about one of 1e10 similarities and never where products are exact (integers, one-hot, binary features).
_sums = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
_exact = njit(cache=True, nogil=True, error_model="numpy")


class _Regions(NamedTuple):
    """Arrays over regions; a region is named by its first patch."""

    patches: np.ndarray  # [n d] float32 is kept as it came: half the memory traffic, and products in float64 are exact
    sums: np.ndarray  # [n//2 d] float64 sums of regions of two patches or more
    row: np.ndarray  # [n] the region's row of sums, -1 = it is one patch
    norm: np.ndarray  # [n] length of the sum, 0 where it vanishes
    mass: np.ndarray  # [n] sum of the patches' lengths
    parent: np.ndarray  # [n] the region a merged one went into
    version: np.ndarray  # [n] grows whenever the region changes or ends
    seen: np.ndarray  # [n] the last visit that met the region
    head: np.ndarray  # [n] first and last link of the list of neighbours, -1 = none
    tail: np.ndarray  # [n]
    after: np.ndarray  # [2e] the next link
    to: np.ndarray  # [2e] the neighbour: it, or a region that has gone into it


class _Heap(NamedTuple):
    keys: np.ndarray  # [c] int64, lowest first
    stamps: np.ndarray  # [c] int64, sum of both versions
    size: np.ndarray  # [1]


@_sums
def _dot(x, y):
    total = 0.0
    for i in range(x.shape[0]):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@_sums
def _add(into, x):
    """into += x; returns the squared length of the sum."""
    total = 0.0
    for i in range(x.shape[0]):
        value = into[i] + np.float64(x[i])
        into[i] = value
        total += value * value
    return total


@_exact
def _similarity(r, a, b):
    """Rounded cosine of two regions, in 1 / ONE."""
    norms = r.norm[a] * r.norm[b]
    if norms == 0.0:
        return ONE if r.norm[a] == r.norm[b] else 0
    x, y = r.row[a], r.row[b]
    if x < 0:
        dot = _dot(r.patches[a], r.patches[b]) if y < 0 else _dot(r.sums[y], r.patches[a])
    else:
        dot = _dot(r.sums[x], r.patches[b]) if y < 0 else _dot(r.sums[x], r.sums[y])
    return np.int64(math.floor(dot / norms * ONE + 0.5))


@_exact
def _absorb(r, a, b, used):
    """Add the sum of b to that of a; returns how many rows of sums are in use."""
    x, y = r.row[a], r.row[b]
    if x < 0 and y < 0:
        x = used
        used += 1
        r.sums[x] = r.patches[a]
        square = _add(r.sums[x], r.patches[b])
    elif x < 0:
        x = y
        square = _add(r.sums[x], r.patches[a])
    elif y < 0:
        square = _add(r.sums[x], r.patches[b])
    else:
        square = _add(r.sums[x], r.sums[y])
    r.row[a] = x
    r.mass[a] += r.mass[b]
    norm = math.sqrt(square)
    # patches that cancel leave only rounding, which has no direction: 1.7 + 3.4 - 5.1 is not 0 in floating point
    r.norm[a] = norm if norm * ONE > r.mass[a] else 0.0
    return used


@_exact
def _sink(heap, hole, key, stamp):
    """Put an entry into the hole and let it sink to its place."""
    keys, stamps, size = heap.keys, heap.stamps, heap.size[0]
    child = 2 * hole + 1
    while child < size:
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[hole], stamps[hole] = keys[child], stamps[child]
        hole, child = child, 2 * child + 1
    keys[hole], stamps[hole] = key, stamp


@_exact
def _is_current(r, key, stamp):
    return stamp == r.version[(key >> _BITS) & _MASK] + r.version[key & _MASK]


@_exact
def _sweep(r, heap):
    """Drop every stale entry: at most one a pair of neighbours stays, so half of the heap is free again."""
    kept = 0
    for i in range(heap.size[0]):
        if _is_current(r, heap.keys[i], heap.stamps[i]):
            heap.keys[kept], heap.stamps[kept] = heap.keys[i], heap.stamps[i]
            kept += 1
    heap.size[0] = kept
    for i in range(kept // 2 - 1, -1, -1):
        _sink(heap, i, heap.keys[i], heap.stamps[i])


@_exact
def _push(r, heap, similarity, a, b):
    if heap.size[0] == heap.keys.shape[0]:
        _sweep(r, heap)
    low, high = min(a, b), max(a, b)
    key = ((ONE - similarity) << (2 * _BITS)) | (low << _BITS) | high
    hole = heap.size[0]
    heap.size[0] += 1
    while hole > 0 and heap.keys[(hole - 1) // 2] > key:
        up = (hole - 1) // 2
        heap.keys[hole], heap.stamps[hole] = heap.keys[up], heap.stamps[up]
        hole = up
    heap.keys[hole], heap.stamps[hole] = key, r.version[a] + r.version[b]


@_exact
def _top(r, heap):
    """Take stale entries off the top; returns the best key, -1 when the heap is empty."""
    while heap.size[0] > 0:
        key = heap.keys[0]
        if _is_current(r, key, heap.stamps[0]):
            return key
        heap.size[0] -= 1
        last = heap.size[0]
        _sink(heap, 0, heap.keys[last], heap.stamps[last])
    return -1


@_exact
def _visit(r, heap, a, visit, later, lowest, dots, trace):
    """Compare region a with each neighbour once (only later ones when `later`); returns the dot products so far."""
    previous, link = -1, r.head[a]
    while link >= 0:
        c, follow = r.to[link], r.after[link]
        while r.parent[c] != c:
            r.parent[c] = r.parent[r.parent[c]]
            c = r.parent[c]
        if c == a or r.seen[c] == visit:
            if previous < 0:
                r.head[a] = follow
            else:
                r.after[previous] = follow
        else:
            r.seen[c], r.to[link] = visit, c
            previous = link
            if c > a or not later:
                if dots < trace.shape[0]:
                    trace[dots, 0] = a if r.row[a] < 0 else -1 - r.row[a]
                    trace[dots, 1] = c if r.row[c] < 0 else -1 - r.row[c]
                dots += 1
                similarity = _similarity(r, a, c)
                if similarity >= lowest:
                    _push(r, heap, similarity, a, c)
        link = follow
    r.tail[a] = previous
    return dots


@_exact
def _link(r, a, b, link):
    """Append b to the neighbours of a."""
    r.to[link], r.after[link] = b, -1
    if r.head[a] < 0:
        r.head[a] = link
    else:
        r.after[r.tail[a]] = link
    r.tail[a] = link


@_exact
def _begin(patches, edges, start):
    """Sums and neighbours of the starting regions; returns them and the rows of sums in use."""
    n, links = patches.shape[0], 2 * edges.shape[0]
    r = _Regions(
        patches, np.empty((n // 2, patches.shape[1])), np.full(n, -1), np.empty(n), np.empty(n), np.arange(n), np.zeros(n, np.int64),
        np.full(n, -1), np.full(n, -1), np.full(n, -1), np.empty(links, np.int64), np.empty(links, np.int64),
    )  # fmt: skip
    for i in range(n):
        r.norm[i] = math.sqrt(_dot(patches[i], patches[i]))
        r.mass[i] = r.norm[i]
    used = 0
    for i in range(n):
        if 0 <= start[i] < i:
            used = _absorb(r, start[i], i, used)
    for i in range(edges.shape[0]):
        a, b = start[edges[i, 0]], start[edges[i, 1]]
        if a >= 0 and b >= 0 and a != b:
            _link(r, a, b, 2 * i)
            _link(r, b, a, 2 * i + 1)
    return r, used


@_exact
def merge(patches, edges, start, lowest, spare, trace):
    """Merge until no pair reaches `lowest` (in 1 / ONE), or `spare` merges are done.

    `trace` [c 2] takes the first c pairs compared (row of patches, or -1 - row of sums): what a benchmark replays; [0 2] for none.
    Returns pairs [s 2], similarities [s], the similarity of the next merge (_NOTHING = none) and the number of pairs compared;
    -1 for the last when a feature is NaN or infinite.
    """
    n = patches.shape[0]
    r, used = _begin(patches, edges, start)
    pairs, similarities = np.empty((max(min(n, spare), 0), 2), np.int64), np.empty(max(min(n, spare), 0), np.int64)
    if not np.isfinite(r.norm).all():
        return pairs[:0], similarities[:0], np.int64(_NOTHING), -1
    heap = _Heap(np.empty(2 * edges.shape[0] + 1, np.int64), np.empty(2 * edges.shape[0] + 1, np.int64), np.zeros(1, np.int64))
    dots, done = 0, 0
    for a in range(n):
        if start[a] == a:
            dots = _visit(r, heap, a, a, True, lowest, dots, trace)
    key = _top(r, heap)
    while key >= 0 and done < spare:
        a, b = (key >> _BITS) & _MASK, key & _MASK
        pairs[done, 0], pairs[done, 1], similarities[done] = a, b, ONE - (key >> (2 * _BITS))
        used = _absorb(r, a, b, used)
        r.parent[b] = a
        r.version[a] += 1
        r.version[b] += 1
        r.after[r.tail[a]] = r.head[b]  # both lists hold at least each other
        r.tail[a] = r.tail[b]
        dots = _visit(r, heap, a, n + done, False, lowest, dots, trace)
        done += 1
        key = _top(r, heap)
    ahead = np.int64(_NOTHING) if key < 0 else ONE - (key >> (2 * _BITS))
    return pairs[:done].copy(), similarities[:done].copy(), ahead, dots
