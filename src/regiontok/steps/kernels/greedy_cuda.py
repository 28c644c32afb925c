"""Exact greedy merging of adjacent regions on a GPU, a batch of views at once.

Each view is merged by one Triton program on its Gram matrix.

After: diagnostic study, regions from clustering (row D5), as `greedy` does it: same keys, same
ties, same rounding.
Differs: dot products of sums are sums of dot products: G = F F^T in float64 holds every one of
them, and merging a and b adds row and column b to a. Such a cosine is wrong by some 1e-16 times the
square of (summed lengths / length of the sum). Where that shows after rounding to 2^-20 the two
kernels differ: in none of 281,000 heights of 600 grids (tests/steps/kernels/test_greedy_cuda.py,
the slow test), but in 0.3 % of the heights where patches of a region nearly cancel, at a ratio of
10,000; `greedy` adds the patches themselves (docs/log.md has more).

How it works: each pair of neighbours is one int64 key (similarity, first patch, first patch) in the
program's registers; the lowest key merges, and the keys that name one of the two are made anew from
rows a and b as they were, so that a merge waits for memory once. Pairs that have become one and the
same stay as copies of one key.

What it costs for a view of n patches, e pairs of neighbours and d channels: n^2 d multiply-adds in
float64 for G (twice that when it starts from larger regions) and 8 n^2 bytes for it; then for each
merge one minimum over e keys, e divisions in float64, two rows of G read, one row and one column
written, all by one multiprocessor. As many views as there are multiprocessors run side by side, but
merges of one view follow one another: their number times the latency of one is the least a batch
can take. The first batch of a size also compiles. It was checked in Triton's interpreter, and that
it compiles for sm_90 (no spilling at 24x24); no GPU has run or timed it yet: the tests marked so
and `bench/merge.py` do when they find one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from regiontok.steps.kernels.greedy import BITS, LAST, MASK, ONE

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

PATCHES = 8192  # largest number of patches: their Gram matrix takes half a GiB
PAIRS = 16384  # largest number of pairs of neighbours: their keys live in registers
# Bytes for the features in float64 and the Gram matrices of the views worked on at a time.
WORKSPACE = 4 << 30

_ONE = tl.constexpr(ONE)
_BITS = tl.constexpr(BITS)
_MASK = tl.constexpr(MASK)
_LAST = tl.constexpr(LAST)


@triton.jit
def _keys(products, norm_x, norm_y, x, y):
    """The keys of pairs of regions x and y: their rounded cosine, then both first patches."""
    lengths = norm_x * norm_y
    cosine = products / tl.where(lengths == 0.0, 1.0, lengths)
    cosine = tl.minimum(tl.maximum(cosine, -1.0), 1.0)
    # A region without direction is like its own kind and unlike all others.
    undirected = tl.where(norm_x == norm_y, 1.0, 0.0)
    similarity = tl.floor(tl.where(lengths == 0.0, undirected, cosine) * _ONE + 0.5).to(tl.int64)
    return ((_ONE - similarity) << (2 * _BITS)) | (tl.minimum(x, y) << _BITS) | tl.maximum(x, y)


@triton.jit
def _run(
    gram, norms, masses, start, pairs, spare, out, n, e, limit, N: tl.constexpr, E: tl.constexpr
):
    """Merge one view of n patches and e pairs; `merge_batch` makes the arguments.

    N and E are the powers of two that hold n and e; `limit` is a key above those that may merge.
    `out` `[n + 1]` takes a key for each merge, then the key of the next one; its last place takes
    the number of merges.
    """
    view = tl.program_id(0).to(tl.int64)
    gram += view * n * n
    norms += view * n
    masses += view * n
    pairs += view * e * 2
    out += view * (n + 1)
    patch = tl.arange(0, N)
    alive = tl.load(start + view * n + patch, mask=patch < n, other=-1) == patch
    pair = tl.arange(0, E)
    x = tl.load(pairs + 2 * pair, mask=pair < e, other=-1)
    y = tl.load(pairs + 2 * pair + 1, mask=pair < e, other=-1)
    real = (x >= 0) & (y >= 0) & (x != y)
    products = tl.load(gram + x * n + y, mask=real, other=0.0)
    norm_x = tl.load(norms + x, mask=real, other=1.0)
    norm_y = tl.load(norms + y, mask=real, other=1.0)
    keys = tl.where(real, _keys(products, norm_x, norm_y, x, y), _LAST)
    allowed = tl.load(spare + view)
    done = tl.zeros((), tl.int64)
    lowest = tl.min(keys, 0)
    while (lowest < limit) & (done < allowed):
        tl.store(out + done, lowest)
        a = (lowest >> _BITS) & _MASK
        b = lowest & _MASK
        alive = alive & (patch != b)
        row = tl.load(gram + a * n + patch, mask=alive, other=0.0) + tl.load(
            gram + b * n + patch, mask=alive, other=0.0
        )
        between = tl.load(gram + a * n + b)
        square = (tl.load(gram + a * n + a) + between) + (between + tl.load(gram + b * n + b))
        row = tl.where(patch == a, square, row)
        mass = tl.load(masses + a) + tl.load(masses + b)
        norm = tl.sqrt(tl.maximum(square, 0.0))
        norm = tl.where(norm * _ONE > mass, norm, 0.0)
        x = (keys >> _BITS) & _MASK
        y = keys & _MASK
        first = (x == a) | (x == b)
        changed = first | (y == a) | (y == b)
        other = tl.where(first, y, x)
        inner = (other == a) | (other == b)
        outer = changed & (inner == 0)
        products = tl.load(gram + a * n + other, mask=outer, other=0.0) + tl.load(
            gram + b * n + other, mask=outer, other=0.0
        )
        norm_other = tl.load(norms + other, mask=outer, other=1.0)
        fresh = tl.where(inner, _LAST, _keys(products, norm, norm_other, a, other))
        keys = tl.where(changed, fresh, keys)
        lowest = tl.min(keys, 0)
        tl.debug_barrier()  # every thread has read
        tl.store(gram + a * n + patch, row, mask=alive)
        tl.store(gram + patch.to(tl.int64) * n + a, row, mask=alive)
        tl.store(norms + a, norm)
        tl.store(masses + a, mass)
        tl.debug_barrier()  # every thread has written
        done += 1
    tl.store(out + done, lowest)
    tl.store(out + n, done)


def merge_batch(
    features: Float[Tensor, "v n d"],
    edges: Int[Tensor, "e 2"],
    start: Int[Tensor, "v n"],
    lowest: int,
    spare: Int[Tensor, "v"],
) -> Int[Tensor, "v n1"]:
    """Merge each view until no pair reaches the similarity `lowest`, or `spare` merges are done.

    Args:
        features: features of any floating type, on the device to work on; `fits(n, e)` holds.
        edges: patches that touch, the same for every view; order, direction and repeats do not
            matter. They lie on the host, as `start` does.
        start: first patch of the region that each patch starts in, -1 for none.
        lowest: lowest similarity at which regions merge, in multiples of 1 / ONE.
        spare: largest number of merges of each view.

    Returns:
        `[v n + 1]` int64 on the device, without waiting for it: the merges of a view as keys (1 -
        similarity, first patch, first patch), then the key of the merge that would come next; in
        the last place the number of merges, -1 if a feature is NaN or infinite.
    """
    (v, n, d), e, device = features.shape, len(edges), features.device
    out = torch.zeros((v, n + 1), dtype=torch.int64, device=device)
    pairs = start[:, edges.flatten()].to(device)
    joined = bool(((start >= 0) & (start != torch.arange(n))).any())
    start, spare = start.contiguous().to(device), spare.contiguous().to(device)
    limit = (ONE - lowest + 1) << (2 * BITS)  # keys below it stand for `lowest` and more
    size = {"N": _block(n), "E": _block(e)}
    warps = max(4, min(32, size["E"] // 256))
    step = max(1, WORKSPACE // (16 * n * (n + d)))
    with torch.cuda.device_of(features):  # Triton launches on the current device
        for views in (slice(first, first + step) for first in range(0, v, step)):
            gram, norms, masses, finite = _begin(features[views], start[views], joined)
            # No sum in the program has a product that is not exact, so fusing could change
            # nothing; Triton wants it said.
            _run[(len(gram),)](
                gram=gram,
                norms=norms,
                masses=masses,
                start=start[views],
                pairs=pairs[views],
                spare=torch.where(finite, spare[views], 0),
                out=out[views],
                n=n,
                e=e,
                limit=limit,
                **size,
                num_warps=warps,
                enable_fp_fusion=False,
            )
            out[views, n].masked_fill_(~finite, -1)
    return out


def fits(n: int, e: int) -> bool:
    """Whether views of n patches and e pairs of neighbours can be merged here."""
    return 0 < n <= PATCHES and e <= PAIRS


def _block(size: int) -> int:
    return max(64, int(triton.next_power_of_2(size)))


def _begin(
    features: Float[Tensor, "v n d"], start: Int[Tensor, "v n"], joined: bool
) -> tuple[Float[Tensor, "v n n"], Float[Tensor, "v n"], Float[Tensor, "v n"], Bool[Tensor, "v"]]:
    """The regions at the start: Gram matrices, lengths of sums, summed lengths, finite views.

    `joined` says that some region has more than one patch.
    """
    sums = _scaled(features) if features.dtype == torch.float64 else features.double()
    masses = torch.linalg.vector_norm(sums, dim=-1)
    finite = masses.isfinite().all(-1)
    if joined:
        # A product with zeros and ones adds in the same order in every run; index_add_ on a GPU
        # does not.
        first = torch.arange(start.shape[1], device=start.device)
        member = (start[:, None, :] == first[:, None]).double()
        sums, masses = member @ sums, (member @ masses[..., None])[..., 0]
    gram = sums @ sums.mT
    norms = gram.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    return gram, torch.where(norms * ONE > masses, norms, 0.0), masses, finite


def _scaled(features: Float[Tensor, "v n d"]) -> Float[Tensor, "v n d"]:
    """Views so large or small that squares would leave float64's range, scaled by a power of two.

    Such a scale is exact; all other views stay as they are.
    """
    peak = features.abs().amax((-2, -1), keepdim=True)
    inside = ((peak > 1e-100) & (peak < 1e100)) | (peak == 0) | ~peak.isfinite()
    power = torch.where(inside, 0, -torch.frexp(peak)[1])
    half = torch.div(power, 2, rounding_mode="floor")
    return features * half.double().exp2() * (power - half).double().exp2()
