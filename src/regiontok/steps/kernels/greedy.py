"""Exact greedy merging of adjacent regions by the cosine of their mean features, compiled.

After: diagnostic study, regions from clustering (row D5; UnSAM's iterative merging, written from
the text).
Differs: similarities are rounded to 2^-20 and ties go to the pair with the lowest first patches, so
that noise in the last bits of a sum decides nothing; cos(0, 0) = 1 and cos(0, x) = 0, where patches
that cancel to below 2^-20 of their lengths count as 0; the whole sequence of merges is recorded, so
that one run serves every threshold and every number of regions; no region is dropped for being
small.

How it works: a region keeps the SUM of its patches in float64 (the cosine of sums is the cosine of
means). Pairs wait in one binary heap under an int64 key (similarity, first patch, first patch) and
are never removed: each carries the versions that its two regions had, and counts only while they
still have them. A pair below the threshold is not even pushed: it can merge only after one of its
regions has changed, and then it is compared again. Neighbours are linked lists that are joined in
O(1) and cleaned while the union is compared with them.

A patch that is still alone is read where it lies, in float32 if it came so; products and sums are
float64 all the same: at 64x64x1024 this takes 14.5 ms, against 19.5 with patches in float64.
Threads share only what they read (docs/log.md has what two of them gain).

In the kernels a and b are regions, c is a neighbour, i is a patch, an edge or an entry, x and y are
rows of numbers; kernels call each other by position. They all stand in this file because numba's
cache of `_run` is renewed only when the file of `_run` itself changes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numba import njit

from regiontok.system.compiled import compiled

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ONE = 1 << 20  # the similarity 1: similarities are integers, the cosine in multiples of 1 / ONE
BITS = 20  # bits of a patch index in a heap key; the similarity stands above two of them
MASK = (1 << BITS) - 1  # a patch index of a key
NOTHING = -2 * ONE  # below every similarity
LAST = (1 << 63) - 1  # above every key

# Reductions may be reassociated, else LLVM does not vectorise them: 5,500 dots of 1,024 in 0.65 ms,
# against 2.5 ms with hand-written accumulators (one AVX-512 core; docs/log.md). The compiled code
# fixes the order of a sum, so runs repeat bit by bit. Another kind of CPU may differ by 1e-16: that
# changes about one of 1e10 similarities after rounding, and none where products are exact.
_sums = njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
_exact = njit(nogil=True, error_model="numpy")

# A region is named by its first patch. It is a record and not a row in one array a field: so it is
# one cache line, and few arrays are passed around (numba counts references at every access to an
# array in a tuple, which took half of the time at 24x24).
_REGION = np.dtype(
    [
        ("norm", np.float64),  # length of the sum of its patches, 0 where they cancel
        ("mass", np.float64),  # sum of their lengths
        ("row", np.int64),  # row of `sums` with its sum; -1: one patch alone, read where it lies
        ("parent", np.int64),  # itself, or the region it went into
        ("version", np.int64),  # grows whenever the region changes or ends
        ("visit", np.int64),  # number of the last visit that met it
        ("head", np.int64),  # first link of its list of neighbours, -1 = none
        ("tail", np.int64),  # last link of that list
    ],
    align=True,
)
# A link of such a list: a neighbour (or a region that has gone into the neighbour), the next link.
_LINK = np.dtype([("to", np.int64), ("next", np.int64)], align=True)
# An entry of the heap, lowest key first; the stamp is the sum of both regions' versions.
_ENTRY = np.dtype([("key", np.int64), ("stamp", np.int64)], align=True)

Records: TypeAlias = "np.ndarray[Any, Any]"  # of one of the three kinds above
Integer: TypeAlias = "int | np.signedinteger[Any]"  # a literal is a type of its own in numba


@_sums
def dot(x: Float[np.ndarray, "d"], y: Float[np.ndarray, "d"]) -> float:
    """The dot product of two rows, in float64 whatever their type."""
    total = 0.0
    for i in range(x.shape[0]):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@_sums
def _copy(target: Float[np.ndarray, "d"], x: Float[np.ndarray, "d"]) -> None:
    """target = x; as an array assignment it would take two seconds to compile."""
    for i in range(x.shape[0]):
        target[i] = x[i]


@_sums
def _add(target: Float[np.ndarray, "d"], x: Float[np.ndarray, "d"]) -> float:
    """target += x; returns the squared length of the sum."""
    total = 0.0
    for i in range(x.shape[0]):
        value = target[i] + np.float64(x[i])
        target[i] = value
        total += value * value
    return total


@_exact
def _similarity(
    patches: np.ndarray, sums: np.ndarray, regions: Records, a: Integer, b: Integer
) -> Integer:
    """The rounded cosine of two regions, in multiples of 1 / ONE."""
    norms = regions[a].norm * regions[b].norm
    if norms == 0.0:
        return ONE if regions[a].norm == regions[b].norm else 0
    x, y = regions[a].row, regions[b].row
    if x < 0:
        product = dot(patches[a], patches[b]) if y < 0 else dot(sums[y], patches[a])
    else:
        product = dot(sums[x], patches[b]) if y < 0 else dot(sums[x], sums[y])
    return np.int64(math.floor(max(-1.0, min(product / norms, 1.0)) * ONE + 0.5))


@_exact
def _absorb(
    patches: np.ndarray, sums: np.ndarray, regions: Records, a: Integer, b: Integer, used: Integer
) -> Integer:
    """Add the sum of b to that of a; returns how many rows of `sums` are in use."""
    x, y = regions[a].row, regions[b].row
    if x < 0 and y < 0:
        x = used
        used += 1
        _copy(sums[x], patches[a])
        square = _add(sums[x], patches[b])
    elif x < 0:
        x = y
        square = _add(sums[x], patches[a])
    elif y < 0:
        square = _add(sums[x], patches[b])
    else:
        square = _add(sums[x], sums[y])
    regions[a].row = x
    regions[a].mass += regions[b].mass
    norm = math.sqrt(square)
    # Patches that cancel leave only rounding, which has no direction: 1.7 + 6 * 1.7 - 7 * 1.7 is
    # not 0 in floating point.
    regions[a].norm = norm if norm * ONE > regions[a].mass else 0.0
    return used


@_exact
def _sink(heap: Records, size: Integer, hole: Integer, key: Integer, stamp: Integer) -> None:
    """Put an entry into the hole and let it sink to its place."""
    # The place behind the entries makes every child have a sibling: no branch picks the lower one.
    heap[size].key = LAST
    child: Integer = 2 * hole + 1
    while child < size:
        child += np.int64(heap[child + 1].key < heap[child].key)
        if heap[child].key >= key:
            break
        heap[hole].key, heap[hole].stamp = heap[child].key, heap[child].stamp
        hole, child = child, 2 * child + 1
    heap[hole].key, heap[hole].stamp = key, stamp


@_exact
def _is_current(regions: Records, key: Integer, stamp: Integer) -> bool:
    """Whether both regions of an entry are as they were when it was pushed."""
    current: bool = stamp == regions[(key >> BITS) & MASK].version + regions[key & MASK].version
    return current


@_exact
def _sweep(regions: Records, heap: Records, size: Integer) -> Integer:
    """Drop every stale entry; returns the new size.

    At most one entry a pair of neighbours stays, so half of the heap is free again.
    """
    current: Integer = np.int64(0)
    for i in range(size):
        if _is_current(regions, heap[i].key, heap[i].stamp):
            heap[current].key, heap[current].stamp = heap[i].key, heap[i].stamp
            current += 1
    for i in range(current // 2 - 1, -1, -1):
        _sink(heap, current, i, heap[i].key, heap[i].stamp)
    return current


@_exact
def _push(
    regions: Records, heap: Records, size: Integer, similarity: Integer, a: Integer, b: Integer
) -> Integer:
    """Push the pair of regions a and b; returns the new size of the heap."""
    if size == heap.shape[0] - 1:
        size = _sweep(regions, heap, size)
    key = ((ONE - similarity) << (2 * BITS)) | (min(a, b) << BITS) | max(a, b)
    hole = size
    while hole > 0 and heap[(hole - 1) >> 1].key > key:
        up = (hole - 1) >> 1
        heap[hole].key, heap[hole].stamp = heap[up].key, heap[up].stamp
        hole = up
    heap[hole].key, heap[hole].stamp = key, regions[a].version + regions[b].version
    return size + 1


@_exact
def _drop_stale_top(regions: Records, heap: Records, size: Integer) -> Integer:
    """Take stale entries off the top; returns the new size."""
    top: Integer = np.int64(0)
    while size > 0 and not _is_current(regions, heap[top].key, heap[top].stamp):
        size -= 1
        _sink(heap, size, top, heap[size].key, heap[size].stamp)
    return size


@_exact
def _root(regions: Records, a: Integer) -> Integer:
    """The region that a is part of now."""
    while regions[a].parent != a:
        regions[a].parent = regions[regions[a].parent].parent
        a = regions[a].parent
    return a


@_exact
def _visit(
    patches: np.ndarray,
    sums: np.ndarray,
    regions: Records,
    links: Records,
    heap: Records,
    size: Integer,
    a: Integer,
    visit: Integer,
    above: Integer,
    lowest: Integer,
    dots: Integer,
    trace: Int[np.ndarray, "c 2"],
) -> tuple[Integer, Integer]:
    """Compare region a with each neighbour behind region `above`, once.

    Returns the size of the heap and how many pairs have been compared.
    """
    previous, link = -1, regions[a].head
    while link >= 0:
        c, follow = _root(regions, links[link].to), links[link].next
        if c == a or regions[c].visit == visit:  # met before: take the link out
            if previous < 0:
                regions[a].head = follow
            else:
                links[previous].next = follow
        else:
            regions[c].visit, links[link].to, previous = visit, c, link
            if c > above:
                if dots < trace.shape[0]:
                    trace[dots, 0] = a if regions[a].row < 0 else -1 - regions[a].row
                    trace[dots, 1] = c if regions[c].row < 0 else -1 - regions[c].row
                dots += 1
                similarity = _similarity(patches, sums, regions, a, c)
                if similarity >= lowest:
                    size = _push(regions, heap, size, similarity, a, c)
        link = follow
    regions[a].tail = previous
    return size, dots


@_exact
def _begin(
    patches: np.ndarray,
    sums: np.ndarray,
    regions: Records,
    links: Records,
    edges: Int[np.ndarray, "e 2"],
    start: Int[np.ndarray, "n"],
) -> Integer:
    """Fill sums, regions and links for the start; returns the rows of `sums` in use."""
    for i in range(patches.shape[0]):
        r = regions[i]
        r.norm = math.sqrt(dot(patches[i], patches[i]))
        r.mass, r.row, r.parent, r.version = r.norm, -1, i, 0
        r.visit, r.head, r.tail = -1, -1, -1
    used: Integer = np.int64(0)
    for i in range(patches.shape[0]):
        if start[i] >= 0 and start[i] != i:
            used = _absorb(patches, sums, regions, start[i], i, used)
    for i in range(2 * edges.shape[0]):  # each edge both ways
        a, b = start[edges[i >> 1, i & 1]], start[edges[i >> 1, 1 - (i & 1)]]
        if a >= 0 and b >= 0 and a != b:
            links[i].to, links[i].next = b, -1
            if regions[a].head < 0:
                regions[a].head = i
            else:
                links[regions[a].tail].next = i
            regions[a].tail = i
    return used


@compiled(error_model="numpy")
def _run(
    patches: np.ndarray,
    sums: np.ndarray,
    regions: Records,
    links: Records,
    heap: Records,
    edges: Int[np.ndarray, "e 2"],
    start: Int[np.ndarray, "n"],
    lowest: Integer,
    spare: Integer,
    pairs: Int[np.ndarray, "n 2"],
    similarities: Int[np.ndarray, "n"],
    trace: Int[np.ndarray, "c 2"],
) -> tuple[Integer, Integer, Integer]:
    """Fill `pairs` and `similarities`; returns their number and the last two results of `merge`."""
    used = _begin(patches, sums, regions, links, edges, start)
    for i in range(patches.shape[0]):
        if not math.isfinite(regions[i].norm):
            return 0, NOTHING, -1
    # With literals, which are types of their own in numba, all kernels would compile twice.
    size: Integer = np.int64(0)
    dots: Integer = np.int64(0)
    done: Integer = np.int64(0)
    none: Integer = np.int64(-1)
    for a in range(patches.shape[0]):
        if start[a] == a:
            size, dots = _visit(
                patches, sums, regions, links, heap, size, a, a, a, lowest, dots, trace
            )
    size = _drop_stale_top(regions, heap, size)
    while size > 0 and done < spare:
        key = heap[0].key
        a, b = (key >> BITS) & MASK, key & MASK
        pairs[done, 0], pairs[done, 1], similarities[done] = a, b, ONE - (key >> (2 * BITS))
        used = _absorb(patches, sums, regions, a, b, used)
        regions[b].parent = a
        regions[a].version += 1
        regions[b].version += 1
        # Neither list is empty, for a and b are neighbours.
        links[regions[a].tail].next = regions[b].head
        visit = patches.shape[0] + done
        size, dots = _visit(
            patches, sums, regions, links, heap, size, a, visit, none, lowest, dots, trace
        )
        done += 1
        size = _drop_stale_top(regions, heap, size)
    return done, NOTHING if size == 0 else ONE - (heap[0].key >> (2 * BITS)), dots


def merge(
    patches: Float[np.ndarray, "n d"],
    edges: Int[np.ndarray, "e 2"],
    start: Int[np.ndarray, "n"],
    lowest: int,
    spare: int,
    trace: Int[np.ndarray, "c 2"],
) -> tuple[Int[np.ndarray, "s 2"], Int[np.ndarray, "s"], int, int]:
    """Merge until no pair reaches the similarity `lowest`, or `spare` merges are done.

    Args:
        patches: features of the patches, float32 or float64.
        edges: pairs of patches that touch.
        start: first patch of the region that each patch starts in, -1 for none.
        lowest: lowest similarity at which regions merge, in multiples of 1 / ONE.
        spare: largest number of merges.
        trace: takes the first c pairs that are compared (a row of `patches`, or -1 - a row of the
            sums), for a benchmark to replay; `[0 2]` for none.

    Returns:
        The pairs merged, their similarities, the similarity of the merge that would come next
        (NOTHING if there is none), and the number of pairs compared, which is -1 if a feature is
        NaN or infinite.
    """
    n, e = len(patches), len(edges)
    pairs, similarities = np.empty((n, 2), np.int64), np.empty(n, np.int64)
    done, next_similarity, dots = _run(
        patches=patches,
        sums=np.empty((n // 2, patches.shape[1])),
        regions=np.empty(n, _REGION),
        links=np.empty(2 * e, _LINK),
        heap=np.empty(2 * e + 2, _ENTRY),
        edges=edges,
        start=start,
        lowest=lowest,
        spare=spare,
        pairs=pairs,
        similarities=similarities,
        trace=trace,
    )
    return pairs[:done].copy(), similarities[:done].copy(), int(next_similarity), int(dots)
