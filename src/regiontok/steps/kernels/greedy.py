"""Exact greedy merging of adjacent regions by the cosine of their mean features: the compiled
kernel.

After: diagnostic study, regions from clustering (row D5; UnSAM's iterative merging, written from
the text).
Differs: similarities are rounded to 2^-20 and ties go to the pair with the lowest first patches, so
that noise in the last bits of a sum decides nothing; cos(0, 0) = 1 and cos(0, x) = 0, where patches
that cancel to below 2^-20 of their lengths count as 0; the whole sequence of merges is recorded, so
that one run serves every threshold and every number of regions; no region is dropped for being
small.

How: a region keeps the SUM of its patches (the cosine of sums is the cosine of means) in float64.
Pairs wait in one binary heap under an int64 key (similarity, first patch, first patch) and are
never removed: each carries the versions its two regions had, and counts only while they still have
them. Below the threshold a pair is not even pushed: it can merge only after one of its regions has
changed, and then it is compared again. Neighbours are linked lists that are joined in O(1) and
cleaned while the union is compared with them.

A patch that is still alone is read where it lies, in float32 if it came so; products and sums are
float64 all the same. At 24x24x1024 0.69 ms against 0.85 ms with patches in float64, at 64x64 14.5
against 19.5 ms (26 with the conversion), and half the memory.

Threads share only what they read. Two of them merged 1.77 / 1.72 times as much as one at 24x24 /
48x48 where the dot products alone gave 1.88 / 1.77 (wall clock, 8 views, best of 40 / 20 turns on
two cores that others used too; no median of that machine means anything). In processor time a view
at 64x64 grows by 9 % beside another, its dot products by 5 %. Arrays kept from call to call would
gain nothing: after the first calls no page faults are left.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

ONE = 1 << 20  # similarities are whole multiples of 1 / ONE
BITS = 20  # of a patch index in a heap key; the similarity stands above two of them
MASK = (1 << BITS) - 1
NOTHING = -2 * ONE  # below every similarity
LAST = (1 << 63) - 1  # above every key

# Reductions may be reassociated, else LLVM does not vectorise them. 5,500 dots of 1,024 on one
# AVX-512 core, float32 / float64 rows:
# 0.65 / 1.2 ms this way; 2.5 / 1.8 ms with 8 or 16 hand-written accumulators (numba leaves SLP
# off); 1.0 / 1.6 ms through an array of
# 64 accumulators. The compiled code fixes the order of a sum, so runs repeat bit by bit; another
# kind of CPU may differ by 1e-16,
# which survives the rounding in about one of 1e10 similarities, and in none where products are
# exact (small integers).
_sums = njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
_exact = njit(nogil=True, error_model="numpy")


# A region is named by its first patch. Records, not one array a field: a region is one cache line,
# and passing few arrays around
# matters (numba counts references at every access to an array in a tuple: half of the time at 24x24
# when this was tried).
_REGION = np.dtype(
    [
        ("norm", np.float64),  # length of the sum of its patches, 0 where they cancel
        ("mass", np.float64),  # sum of their lengths
        (
            "row",
            np.int64,
        ),  # where in sums [n//2 d] the sum stands; -1: one patch alone, read where it lies
        ("parent", np.int64),  # itself, or the region it went into
        ("version", np.int64),  # grows whenever the region changes or ends
        ("seen", np.int64),  # the last visit that met it
        ("head", np.int64),  # first and last link of its list of neighbours, -1 = none
        ("tail", np.int64),
    ],
    align=True,
)
_LINK = np.dtype(
    [("to", np.int64), ("after", np.int64)], align=True
)  # the neighbour, or a region that went into it; the next link
_ENTRY = np.dtype(
    [("key", np.int64), ("stamp", np.int64)], align=True
)  # lowest key first; both regions' versions, summed


@_sums
def dot(x, y):
    total = 0.0
    for i in range(x.shape[0]):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@_sums
def _copy(into, x):
    for i in range(x.shape[0]):  # an array assignment takes two seconds to compile
        into[i] = x[i]


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
def _similarity(patches, sums, regions, a, b):
    """Rounded cosine of two regions, in 1 / ONE."""
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
def _absorb(patches, sums, regions, a, b, used):
    """Add the sum of b to that of a; returns how many rows of sums are in use."""
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
    # patches that cancel leave only rounding, which has no direction: 1.7 + 6 * 1.7 - 7 * 1.7 is
    # not 0 in floating point
    regions[a].norm = norm if norm * ONE > regions[a].mass else 0.0
    return used


@_exact
def _sink(heap, size, hole, key, stamp):
    """Put an entry into the hole and let it sink to its place."""
    heap[
        size
    ].key = LAST  # one place beyond the entries: every child has a sibling, so picking the lower one needs no branch
    child = 2 * hole + 1
    while child < size:
        child += np.int64(heap[child + 1].key < heap[child].key)
        if heap[child].key >= key:
            break
        heap[hole].key, heap[hole].stamp = heap[child].key, heap[child].stamp
        hole, child = child, 2 * child + 1
    heap[hole].key, heap[hole].stamp = key, stamp


@_exact
def _is_current(regions, key, stamp):
    return stamp == regions[(key >> BITS) & MASK].version + regions[key & MASK].version


@_exact
def _sweep(regions, heap, size):
    """Drop every stale entry: at most one a pair of neighbours stays, so half of the heap is free
    again. Returns the new size."""
    kept = np.int64(0)
    for i in range(size):
        if _is_current(regions, heap[i].key, heap[i].stamp):
            heap[kept].key, heap[kept].stamp = heap[i].key, heap[i].stamp
            kept += 1
    for i in range(kept // 2 - 1, -1, -1):
        _sink(heap, kept, i, heap[i].key, heap[i].stamp)
    return kept


@_exact
def _push(regions, heap, size, similarity, a, b):
    """Returns the new size."""
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
def _top(regions, heap, size):
    """Take stale entries off the top; returns the new size."""
    top = np.int64(0)
    while size > 0 and not _is_current(regions, heap[top].key, heap[top].stamp):
        size -= 1
        _sink(heap, size, top, heap[size].key, heap[size].stamp)
    return size


@_exact
def _root(regions, a):
    while regions[a].parent != a:
        regions[a].parent = regions[regions[a].parent].parent
        a = regions[a].parent
    return a


@_exact
def _visit(patches, sums, regions, links, heap, size, a, visit, above, lowest, dots, trace):
    """Compare region a with each neighbour once (those after region `above`); returns the heap's
    size and the pairs compared."""
    previous, link = -1, regions[a].head
    while link >= 0:
        c, follow = _root(regions, links[link].to), links[link].after
        if c == a or regions[c].seen == visit:
            if previous < 0:
                regions[a].head = follow
            else:
                links[previous].after = follow
        else:
            regions[c].seen, links[link].to, previous = visit, c, link
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
def _begin(patches, sums, regions, links, edges, start):
    """Fill sums, regions and links for the start; returns the rows of sums in use."""
    for i in range(patches.shape[0]):
        r = regions[i]
        r.norm = math.sqrt(dot(patches[i], patches[i]))
        r.mass, r.row, r.parent, r.version, r.seen, r.head, r.tail = r.norm, -1, i, 0, -1, -1, -1
    used = np.int64(0)
    for i in range(patches.shape[0]):
        if start[i] >= 0 and start[i] != i:
            used = _absorb(patches, sums, regions, start[i], i, used)
    for i in range(2 * edges.shape[0]):
        a, b = start[edges[i >> 1, i & 1]], start[edges[i >> 1, 1 - (i & 1)]]
        if a >= 0 and b >= 0 and a != b:
            links[i].to, links[i].after = b, -1
            if regions[a].head < 0:
                regions[a].head = i
            else:
                links[regions[a].tail].after = i
            regions[a].tail = i
    return used


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    patches, sums, regions, links, heap, edges, start, lowest, spare, pairs, similarities, trace
):
    used = _begin(patches, sums, regions, links, edges, start)
    for i in range(patches.shape[0]):
        if not math.isfinite(regions[i].norm):
            return 0, NOTHING, -1
    none, size, dots, done = (
        np.int64(-1),
        np.int64(0),
        np.int64(0),
        np.int64(0),
    )  # literals are types: all would compile twice
    for a in range(patches.shape[0]):
        if start[a] == a:
            size, dots = _visit(
                patches, sums, regions, links, heap, size, a, a, a, lowest, dots, trace
            )
    size = _top(regions, heap, size)
    while size > 0 and done < spare:
        key = heap[0].key
        a, b = (key >> BITS) & MASK, key & MASK
        pairs[done, 0], pairs[done, 1], similarities[done] = a, b, ONE - (key >> (2 * BITS))
        used = _absorb(patches, sums, regions, a, b, used)
        regions[b].parent = a
        regions[a].version += 1
        regions[b].version += 1
        links[regions[a].tail].after = regions[
            b
        ].head  # neither list is empty: a and b are neighbours
        visit = patches.shape[0] + done
        size, dots = _visit(
            patches, sums, regions, links, heap, size, a, visit, none, lowest, dots, trace
        )
        done += 1
        size = _top(regions, heap, size)
    return done, NOTHING if size == 0 else ONE - (heap[0].key >> (2 * BITS)), dots


def merge(patches, edges, start, lowest, spare, trace):
    """Merge until no pair reaches `lowest` (in 1 / ONE), or `spare` merges are done.

    `trace` [c 2] takes the first c pairs compared (row of patches, or -1 - row of sums): what a
    benchmark replays; [0 2] for none. Returns pairs [s 2], similarities [s], the similarity of the
    next merge (NOTHING = none) and the number of pairs compared; -1 for the last when a feature is
    NaN or infinite.
    """
    n, e = len(patches), len(edges)
    sums, regions = np.empty((n // 2, patches.shape[1])), np.empty(n, _REGION)
    links, heap = np.empty(2 * e, _LINK), np.empty(2 * e + 2, _ENTRY)
    pairs, similarities = np.empty((n, 2), np.int64), np.empty(n, np.int64)
    done, ahead, dots = _run(
        patches, sums, regions, links, heap, edges, start, lowest, spare, pairs, similarities, trace
    )
    return pairs[:done].copy(), similarities[:done].copy(), ahead, dots
