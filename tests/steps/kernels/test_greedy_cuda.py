"""The batched kernel against the host's, pair by pair and height by height.

It runs on a GPU, and in Triton's interpreter where there is none.

Under TRITON_INTERPRET=1, which counts only before Triton is imported, the same kernel runs on
tensors of the CPU: one test of this file runs the others that way, in a process of their own.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps.kernels.greedy import BITS, LAST, MASK, NOTHING, ONE
from regiontok.steps.kernels.sequence import grid_edges, merge_sequence, merge_sequences
from regiontok.steps.merge import Merge, merge_tree, merge_trees

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
on_gpu = pytest.mark.skipif(not torch.cuda.is_available() or INTERPRETED, reason="needs a GPU")


@pytest.fixture
def device():
    pytest.importorskip("triton")
    if INTERPRETED:
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, or TRITON_INTERPRET=1: test_in_tritons_interpreter runs this too")
    return "cuda"


def assert_same(features, shape, starts, device, **stop):
    """Both kernels from the same starts, in every recorded number."""
    edges = grid_edges(shape)
    batch = merge_sequences(features.to(device), edges, starts, **stop)
    host = features if features.dtype.itemsize >= 4 else features.float()
    for view_features, start, sequence in zip(host.numpy(), starts, batch, strict=True):
        wanted = merge_sequence(view_features, edges, start, **stop)
        assert sequence.pairs.tolist() == wanted.pairs.tolist()
        assert sequence.heights.tolist() == wanted.heights.tolist()
        assert sequence.start.tolist() == wanted.start.tolist()
        assert sequence.floor == wanted.floor


def alone(v, shape):
    return np.tile(np.arange(math.prod(shape)), (v, 1))


def whole_numbers(rng, v, shape, d):
    """Many ties, zeros and sums that cancel."""
    features = rng.integers(-2, 3, (v, math.prod(shape), d)).astype(np.float32)
    features[rng.random(features.shape[:2]) < 0.2] = 0
    return torch.from_numpy(features)


def smooth(rng, v, side, d):
    noise = rng.standard_normal((v, side, side, d))
    for axis in (1, 2):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return torch.from_numpy(noise.reshape(v, side * side, d))


@pytest.mark.skipif(INTERPRETED, reason="runs the others so")
@pytest.mark.slow
def test_in_tritons_interpreter():
    pytest.importorskip("triton")
    options = "-q -p no:cacheprovider -W ignore::RuntimeWarning -m".split()
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "not slow", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "10 passed" in run.stdout, run.stdout


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("limit", ["i32", "i64"])
def test_compiles_for_a_gpu_also_where_there_is_none(limit):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from regiontok.steps.kernels import greedy_cuda as _greedy_cuda

    types = dict.fromkeys(("gram", "norms", "masses"), "*fp64") | dict.fromkeys(
        ("start", "pairs", "spare", "out"), "*i64"
    )
    types |= {"n": "i32", "e": "i32", "limit": limit, "N": "constexpr", "E": "constexpr"}
    source = ASTSource(fn=_greedy_cuda._run, signature=types, constexprs={"N": 1024, "E": 2048})
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": 8, "enable_fp_fusion": False},
    )
    # exact division, once for each of 2048 / 256 pairs: before and in the loop
    assert compiled.asm["ptx"].count("div.rn.f64") == 16
    assert "ld.global.nc" not in compiled.asm["ptx"]  # rows are read again after they were written


def test_ties_zeros_and_sums_that_cancel(device):
    rng = np.random.default_rng(1)
    for shape, d in (((1, 1), 1), ((1, 5), 1), ((4, 4), 1), ((4, 4), 2), ((2, 3, 2), 3)):
        assert_same(whole_numbers(rng, 3, shape, d), shape, alone(3, shape), device)


def test_patches_that_cancel_but_for_rounding_count_as_zero(device):
    features = torch.tensor([[[0.0], [1], [6], [-7], [4]]], dtype=torch.float64) * 1.7
    start = np.array([[0, 0, 0, 0, 4]])
    assert merge_sequences(features.to(device), np.array([[3, 4]]), start)[0].heights.tolist() == [
        0.0
    ]
    assert_same(features, (5, 1), alone(1, (5,)), device)


def test_any_start_and_both_stops(device):
    rng = np.random.default_rng(7)
    shape = (4, 4)
    for stop in (
        {},
        {"threshold": 0.5},
        {"threshold": -1.0},
        {"threshold": 1.0},
        {"threshold": 2.0},
    ):
        starts = rng.integers(-1, 9, (3, 16)) * 7
        assert_same(
            whole_numbers(rng, 3, shape, 3), shape, np.where(starts < 0, -1, starts), device, **stop
        )
    halves = np.tile([0, 0, 0, 0, 4, 5, 6, 7, 8, 8, -1, 11, 12, 13, 14, 15], (3, 1))
    for k in (1, 5, 11):
        assert_same(whole_numbers(rng, 3, shape, 3), shape, halves, device, k=k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_real_features_of_every_type(device, dtype):
    rng = np.random.default_rng(3)
    features = torch.cat(
        [smooth(rng, 2, 6, 33), torch.from_numpy(rng.standard_normal((1, 36, 33)) + 1)]
    )
    assert_same(features.to(dtype), (6, 6), alone(3, (6, 6)), device)
    assert_same(features.to(dtype), (6, 6), alone(3, (6, 6)) // 2, device, threshold=0.4)


def test_at_any_scale_and_one_chunk_after_another(device, monkeypatch):
    # two views at a time
    monkeypatch.setattr("regiontok.steps.kernels.greedy_cuda.WORKSPACE", 16 * 16 * (16 + 3) * 2)
    features = whole_numbers(np.random.default_rng(1), 5, (4, 4), 3).double()
    features *= torch.tensor([1e250, 1.0, 1e-250, 1.7, 2.0**-1060], dtype=torch.float64)[
        :, None, None
    ]
    assert_same(features, (4, 4), alone(5, (4, 4)), device)


def test_what_cannot_be_merged_is_refused_as_on_the_host(device):
    # parts 0-1-2, 3-4 and 5
    features, edges = (torch.ones(3, 6, 2, device=device), np.array([[0, 1], [1, 2], [3, 4]]))
    with pytest.raises(ValueError, match=r"k=2 .* the start has 3 connected parts"):
        merge_sequences(features, edges, alone(3, (6,)), k=2)
    with pytest.raises(ValueError, match=r"k=7 .* the start has 6"):
        merge_sequences(features, edges, alone(3, (6,)), k=7)
    features[1, 4:, 0] = torch.tensor([math.nan, math.inf])
    with pytest.raises(
        ValueError, match="features must be finite; 2 of 6 patches hold NaN or infinity"
    ):
        merge_sequences(features, edges, alone(3, (6,)))
    assert (
        merge_sequences(features[:1], np.zeros((0, 2), np.int64), alone(1, (6,)))[0].pairs.tolist()
        == []
    )


def views(device, seed=0):
    """Grids of two shapes and two types, one of them a clip, with gaps and sources."""
    generator = torch.Generator().manual_seed(seed)
    grids, regions = [], []
    for index, shape in enumerate([(3, 5), (3, 3), (3, 5), (2, 2, 3), (3, 5)]):
        features = (
            torch.randn(*shape, 6, generator=generator)
            .cumsum(-2)
            .to(torch.bfloat16 if index == 4 else torch.float32)
        )
        grids.append(PatchGrid(features.to(device), Frame.stretch(shape[-2:], shape[-2:], (1, 1))))
        view_regions = Regions.singletons(shape)
        if index == 2:
            view_regions = Regions.from_labels(
                torch.arange(15).view(shape) // 2 - 1, torch.arange(7) % 2
            )
        regions.append(view_regions.to(device))
    return regions, grids


def assert_steps_agree(device):
    """Merge and its tree on `device`, against the host's kernel."""
    host_views, device_views = views("cpu"), views(device)
    for step in (Merge(0.6), Merge(k=5)):
        for wanted, result in zip(step.many(*host_views), step.many(*device_views), strict=True):
            assert result.patch.device.type == device
            assert result.labels.tolist() == wanted.labels.tolist()
            assert result.source.tolist() == wanted.source.tolist()
    for wanted, result in zip(
        map(merge_tree, *host_views), merge_trees(*device_views), strict=True
    ):
        assert result.sequence.pairs.tolist() == wanted.sequence.pairs.tolist()
        assert result.cut(k=4).source.tolist() == wanted.cut(k=4).source.tolist()


@pytest.mark.skipif(not INTERPRETED, reason="on a GPU test_merge_on_a_gpu says more")
def test_merge_batches_views_of_one_shape(monkeypatch):
    regions, grids = views("cpu")
    pairs = [tree.sequence.pairs.tolist() for tree in merge_trees(regions, grids)]
    labels = [merged.labels.tolist() for merged in Merge(k=5).many(regions, grids)]
    batches = []

    def counted(features, *arguments, **stop):
        batches.append(list(features.shape))
        return merge_sequences(features, *arguments, **stop)

    monkeypatch.setattr("regiontok.steps.merge._fits_gpu", lambda grid: grid.grid != (3, 3))
    monkeypatch.setattr("regiontok.steps.merge.merge_sequences", counted)
    assert [tree.sequence.pairs.tolist() for tree in merge_trees(regions, grids)] == pairs
    assert batches == [[2, 15, 6], [1, 12, 6], [1, 15, 6]]
    assert [merged.labels.tolist() for merged in Merge(k=5).many(regions, grids)] == labels


class Fetched(torch.utils._python_dispatch.TorchDispatchMode):
    """What leaves the GPU: a list of (type, numbers)."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        on_gpu = [value for value in args if isinstance(value, torch.Tensor) and value.is_cuda]
        if isinstance(result, torch.Tensor | bool | int | float) and not getattr(
            result, "is_cuda", False
        ):
            self.seen += [(value.dtype, value.numel()) for value in on_gpu]
        return result


@on_gpu
def test_merge_on_a_gpu():
    assert_steps_agree("cuda")


@on_gpu
def test_features_never_leave_the_gpu():
    regions, grids = views("cuda")
    with Fetched() as fetched:
        Merge(0.6).many(regions, grids)
    assert fetched.seen, "the merges themselves are fetched"
    assert not [copy for copy in fetched.seen if copy[0].is_floating_point]
    # patch and region of every patch there is
    assert max(count for _, count in fetched.seen) <= 2 * 66


@on_gpu
@pytest.mark.parametrize(
    "lacking",
    [("steps.kernels.greedy_cuda.PATCHES", 8), ("steps.merge._has_triton", lambda: False)],
)
def test_what_the_kernel_cannot_take_goes_to_the_host(monkeypatch, lacking):
    monkeypatch.setattr(f"regiontok.{lacking[0]}", lacking[1])
    monkeypatch.setattr("regiontok.steps.merge.merge_sequences", None)
    assert_steps_agree("cuda")


@on_gpu
def test_memory_on_a_gpu_stays_within_the_workspace(monkeypatch):
    monkeypatch.setattr("regiontok.steps.kernels.greedy_cuda.WORKSPACE", 64 << 20)
    features = smooth(np.random.default_rng(0), 16, 24, 1024).float().cuda()
    torch.cuda.reset_peak_memory_stats()
    allocated = torch.cuda.memory_allocated()
    merge_sequences(features, grid_edges((24, 24)), alone(16, (24, 24)), threshold=0.7)
    assert torch.cuda.max_memory_allocated() - allocated < 96 << 20


@on_gpu
@pytest.mark.parametrize("side", [24, 36, 64])
def test_real_sizes_on_a_gpu(side):
    features = smooth(np.random.default_rng(side), 3, side, 256).float()
    assert_same(features, (side, side), alone(3, (side, side)), "cuda", threshold=0.3)


@on_gpu
def test_runs_repeat_on_a_gpu():
    features = smooth(np.random.default_rng(1), 64, 24, 64).bfloat16().cuda()
    starts = alone(64, (24, 24)) // 2
    first, second = (merge_sequences(features, grid_edges((24, 24)), starts) for _ in range(2))
    for sequence, repeated in zip(first, second, strict=True):
        assert sequence.pairs.tolist() == repeated.pairs.tolist()
        assert sequence.heights.tolist() == repeated.heights.tolist()


def on_gram(features, edges, lowest):
    """The kernel's arithmetic in numpy, one view: pairs and similarities (in 1 / ONE)."""
    features = features.astype(np.float64)
    gram = features @ features.T
    masses = np.linalg.norm(features, axis=1)
    norms = np.sqrt(gram.diagonal())

    def key(products, norm_x, norm_y, x, y):
        cosine = np.clip(products / (norm_x * norm_y), -1, 1)
        similarity = np.floor(cosine * ONE + 0.5).astype(np.int64)
        return (ONE - similarity) << 2 * BITS | np.minimum(x, y) << BITS | np.maximum(x, y)

    x, y = edges.T
    keys, merged = key(gram[x, y], norms[x], norms[y], x, y), []
    while (low := keys.min()) < (ONE - lowest + 1) << 2 * BITS:
        merged.append(low)
        a, b = low >> BITS & MASK, low & MASK
        row = gram[a] + gram[b]
        row[a] = (gram[a, a] + gram[a, b]) + (gram[a, b] + gram[b, b])
        gram[a], gram[:, a] = row, row
        masses[a] += masses[b]
        norms[a] = math.sqrt(row[a])
        assert norms[a] * ONE > masses[a], "regions without direction are no part of this sample"
        x, y = keys >> BITS & MASK, keys & MASK
        changed = np.flatnonzero((keys != LAST) & ((x == a) | (x == b) | (y == a) | (y == b)))
        other = np.where((x[changed] == a) | (x[changed] == b), y[changed], x[changed])
        inner = (other == a) | (other == b)
        keys[changed] = np.where(inner, LAST, key(row[other], norms[a], norms[other], a, other))
    merged = np.array(merged, np.int64)
    return np.stack([merged >> BITS & MASK, merged & MASK], 1), ONE - (merged >> 2 * BITS)


def difference(side, d, flat, seed):
    """Merges, heights that differ from the host's kernel, and whether a pair does."""
    rng = np.random.default_rng(seed)
    features = (
        rng.standard_normal((side**2, d)) + 0.5 if flat else smooth(rng, 1, side, d)[0].numpy()
    ).astype(np.float32)
    wanted = merge_sequence(features, grid_edges((side, side)), np.arange(side**2))
    pairs, similarities = on_gram(features, grid_edges((side, side)), NOTHING)
    if not np.array_equal(pairs, wanted.pairs):
        return len(pairs), 0, 1
    return len(pairs), int((similarities != np.round(wanted.heights * ONE)).sum()), 0


def test_the_emulation_is_the_kernel(device):
    features = smooth(np.random.default_rng(4), 1, 8, 16)
    pairs, similarities = on_gram(features[0].numpy(), grid_edges((8, 8)), NOTHING)
    sequence = merge_sequences(features.to(device), grid_edges((8, 8)), alone(1, (8, 8)))[0]
    assert pairs.tolist() == sequence.pairs.tolist()
    assert similarities.tolist() == (sequence.heights * ONE).tolist()


def count_differences(seeds):
    """How many grids, merges, heights and partitions differ.

    Features are smooth, or noise about a mean; merging goes down to one region.
    """
    cases = [(24, 64), (16, 1024), (24, 384)]
    differences = [
        difference(*case, flat, seed) for seed in seeds for flat in (False, True) for case in cases
    ]
    return (len(differences), *map(sum, zip(*differences, strict=True)))


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="reads nothing of Triton's")
def test_the_gram_matrix_decides_as_sums_do():
    grids, merges, heights, partitions = count_differences(range(2))
    assert (grids, merges) == (12, 4 * (575 + 255 + 575))
    assert (heights, partitions) == (0, 0)


@pytest.mark.skipif(INTERPRETED, reason="reads nothing of Triton's")
@pytest.mark.parametrize(("ratio", "differs"), [(3_000, False), (100_000, True)])
def test_where_patches_nearly_cancel_the_gram_matrix_knows_less(ratio, differs):
    rng = np.random.default_rng(0)
    different = 0
    for _ in range(300):
        x, offset, other = rng.standard_normal((3, 64))
        # the first two cancel but for 1 / ratio of their lengths
        features = np.stack([x, 2 * offset / ratio - x, other + offset])
        gram, total = features @ features.T, features[0] + features[1]
        square = (gram[0, 0] + gram[0, 1]) + (gram[0, 1] + gram[1, 1])
        on_gram = (gram[0, 2] + gram[1, 2]) / math.sqrt(square * gram[2, 2])
        exact = total @ features[2] / math.sqrt(total @ total * gram[2, 2])
        different += math.floor(on_gram * ONE + 0.5) != math.floor(exact * ONE + 0.5)
    assert (different > 0) == differs


@pytest.mark.slow
def test_the_gram_matrix_decides_as_sums_do_in_600_grids():
    grids, merges, heights, partitions = count_differences(range(100))
    assert (grids, merges) == (600, 281_000)
    assert heights <= 2  # 0 when this was written; another CPU adds in another order
    assert partitions == 0
