"""Exact greedy merging of adjacent regions on a GPU: a batch of views at once, each by one Triton
program on its Gram matrix.

After: diagnostic study, regions from clustering (row D5), as `_greedy` does it: same keys, same
ties, same rounding.
Differs: dot products of sums are sums of dot products: G = F F^T in float64 holds every one of
them, and merging a and b adds row and column b to a. Such a cosine is wrong by some 1e-16 times the
square of (summed lengths / length of the sum). Where that shows after rounding to 2^-20 the two
kernels differ: in none of 281,000 heights and none of 600 partitions, all merged to the end
(tests/steps/kernels/test_greedy_cuda.py, the slow test; G in numpy). It shows where the patches of
a region nearly cancel: in none of 3,000 heights at a ratio of 3,000, 0.3 % at 10,000, 38 % at
100,000, by 1 or 2 of 2^-20; `_greedy` adds the patches themselves.

How: each pair of neighbours is one int64 key (similarity, first patch, first patch) in the
program's registers; the lowest key merges, and the keys that name one of the two are made anew from
rows a and b as they stood before, so that a merge waits for memory once. Pairs that have become one
and the same stay as copies of one key.

What it costs a view of n patches, e pairs of neighbours and d channels: n^2 d multiply-adds in
float64 for G (twice that when it starts from larger regions), 8 n^2 bytes for it; then for each
merge one minimum over e keys, e divisions in float64, two rows of G read, one row and one column
written, all by one multiprocessor. As many views as there are multiprocessors run side by side, but
merges of one view follow one another: their number times the latency of one is the least a batch
can take. The first batch of a size also compiles. Checked in Triton's interpreter, and that it
compiles for sm_90 (no spilling at 24x24); no GPU has run or timed it yet: the tests marked so and
`bench/merge.py` do when they find one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from regiontok.steps.kernels.greedy import BITS, LAST, MASK, ONE

if TYPE_CHECKING:
    from jaxtyping import Float, Int

PATCHES, PAIRS = (
    8192,
    16384,
)  # at most: keys live in registers, and a Gram matrix of 8192 patches is half a GiB
WORKSPACE = (
    4 << 30
)  # bytes for features in float64 and Gram matrices of the views worked on at a time

_ONE = tl.constexpr(ONE)
_BITS = tl.constexpr(BITS)
_MASK = tl.constexpr(MASK)
_LAST = tl.constexpr(LAST)


@triton.jit
def _keys(products, norm_x, norm_y, x, y):
    """Rounded cosine, then the lower and the higher first patch; lowest key first."""
    lengths = norm_x * norm_y
    cosine = products / tl.where(lengths == 0.0, 1.0, lengths)
    cosine = tl.minimum(tl.maximum(cosine, -1.0), 1.0)
    without = tl.where(
        norm_x == norm_y, 1.0, 0.0
    )  # no direction: like its own kind, unlike all else
    similarity = tl.floor(tl.where(lengths == 0.0, without, cosine) * _ONE + 0.5).to(tl.int64)
    return ((_ONE - similarity) << (2 * _BITS)) | (tl.minimum(x, y) << _BITS) | tl.maximum(x, y)


@triton.jit
def _run(
    gram, norms, masses, start, pairs, spare, out, n, e, limit, N: tl.constexpr, E: tl.constexpr
):
    """One view. out [n + 1]: a key for each merge, then the key of the next one; last the number of
    merges."""
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
    left = tl.load(spare + view)
    done = tl.zeros((), tl.int64)
    low = tl.min(keys, 0)
    while (low < limit) & (done < left):
        tl.store(out + done, low)
        a = (low >> _BITS) & _MASK
        b = low & _MASK
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
        low = tl.min(keys, 0)
        tl.debug_barrier()  # all has been read
        tl.store(gram + a * n + patch, row, mask=alive)
        tl.store(gram + patch.to(tl.int64) * n + a, row, mask=alive)
        tl.store(norms + a, norm)
        tl.store(masses + a, mass)
        tl.debug_barrier()  # all has been written
        done += 1
    tl.store(out + done, low)
    tl.store(out + n, done)


def merge_batch(
    features: Float[Tensor, "v n d"],
    edges: Int[Tensor, "e 2"],
    start: Int[Tensor, "v n"],
    lowest: int,
    spare: Int[Tensor, "v"],
) -> Int[Tensor, "v n1"]:
    """Merge each view until no pair reaches `lowest` (in 1 / ONE), or `spare` merges are done.

    Args:
        features: [v n d], any floating type, on the device to work on; `fits(n, e)` holds.
        edges: [e 2] patches that touch, the same for every view; order, direction and repeats do
            not matter. On the host, as start.
        start: [v n] first patch of the region each patch starts in, -1 = in none.
        lowest: see above.
        spare: [v] at most so many merges.

    Returns [v n + 1] int64 on the device, without waiting for it: a view's merges as keys (1 -
    similarity, first patch, first patch), then the key of the merge that would come next; in the
    last place their number, -1 when a feature is NaN or infinite.
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
        for part in (slice(at, at + step) for at in range(0, v, step)):
            gram, norms, masses, finite = _begin(features[part], start[part], joined)
            views = (
                gram,
                norms,
                masses,
                start[part],
                pairs[part],
                torch.where(finite, spare[part], 0),
                out[part],
            )
            # no sum here has a product that is not exact, so that fusing could change nothing;
            # Triton wants it said
            _run[(len(gram),)](*views, n, e, limit, **size, num_warps=warps, enable_fp_fusion=False)
            out[part, n].masked_fill_(~finite, -1)
    return out


def fits(n: int, e: int) -> bool:
    """Whether views of n patches and e pairs of neighbours can be merged here."""
    return 0 < n <= PATCHES and e <= PAIRS


def _block(size: int) -> int:
    return max(64, triton.next_power_of_2(size))


def _begin(features: Tensor, start: Tensor, joined: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gram matrices [v n n], lengths of sums [v n], summed lengths [v n] at the start, and which
    views are finite [v]."""
    sums = _scaled(features) if features.dtype == torch.float64 else features.double()
    masses = torch.linalg.vector_norm(sums, dim=-1)
    finite = masses.isfinite().all(-1)
    if (
        joined
    ):  # a product with zeros and ones adds in one order in every run; index_add_ on a GPU does not
        member = (
            start[:, None, :] == torch.arange(start.shape[1], device=start.device)[:, None]
        ).double()
        sums, masses = member @ sums, (member @ masses[..., None])[..., 0]
    gram = sums @ sums.mT
    norms = gram.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    return gram, torch.where(norms * ONE > masses, norms, 0.0), masses, finite


def _scaled(features: Tensor) -> Tensor:
    """Views so large or small that squares would leave float64's range, by a power of two (exact);
    all else as it is."""
    peak = features.abs().amax((-2, -1), keepdim=True)
    inside = ((peak > 1e-100) & (peak < 1e100)) | (peak == 0) | ~peak.isfinite()
    power = torch.where(inside, 0, -torch.frexp(peak)[1])
    half = torch.div(power, 2, rounding_mode="floor")
    return features * half.double().exp2() * (power - half).double().exp2()
