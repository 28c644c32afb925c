"""How long exact greedy merging takes, against the dot products it cannot do without.

    python bench/merge.py

Features are Gaussian noise smoothed over the grid (sigma = side / 21 patches; about 160 regions are
left at 0.7), one image a seed. "dots" replays exactly the pairs that the run compared, in its
order, from rows of the same precision at the same places (float32 patches, float64 sums; products
and sums in float64): no heap, no neighbours, no merging and no norms. The two are timed in turn on
one thread, so that a busy machine slows both. "2 threads" is a pool of two over distinct images
against one thread over the same images, and "of dots" the same for the replayed dot products alone:
what two cores and their memory give at all. Each of these is the best of the runs over the best,
since another process on either core halves what two threads can gain; the medians are in the JSON.

With a GPU there are more rows: 64 views at once, of 24 x 24 at the encoder's width. "merge" is the
sequences of all views, fetched to the host, "step" the whole of `Merge(0.7).many` with regions on
the GPU, "encoder" the forward of a ViT-L/14-336 with random weights in bfloat16 for 64 pictures.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit
from scipy.ndimage import gaussian_filter

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Regions
from regiontok.steps.kernels.greedy import ONE, dot, merge
from regiontok.steps.kernels.sequence import grid_edges, merge_sequence, merge_sequences
from regiontok.steps.merge import Merge


def smooth_features(side: int, width: int, seed: int) -> np.ndarray:
    """The features of an image, `[side^2 width]` float32."""
    noise = np.random.default_rng(seed).standard_normal((side, side, width), dtype=np.float32)
    return gaussian_filter(noise, (side / 21, side / 21, 0), mode="nearest").reshape(
        side * side, width
    )


@njit(nogil=True)
def replay(patches, sums, trace):
    total = 0.0
    for i in range(trace.shape[0]):
        a, b = trace[i, 0], trace[i, 1]
        if a >= 0 and b >= 0:
            total += dot(patches[a], patches[b])
        elif b >= 0:
            total += dot(sums[-1 - a], patches[b])
        elif a >= 0:
            total += dot(sums[-1 - b], patches[a])
        else:
            total += dot(sums[-1 - a], sums[-1 - b])
    return total


def runs_of(jobs: list[Callable[[], object]], runs: int) -> np.ndarray:
    """The seconds of each job and run `[jobs runs]`; all jobs run in turn."""
    taken = np.empty((len(jobs), runs + 1))
    for run in range(runs + 1):
        for index, job in enumerate(jobs):
            begin = time.perf_counter()
            job()
            taken[index, run] = time.perf_counter() - begin
    return taken[:, 1:]  # the first one warms up


def seconds(jobs: list[Callable[[], object]], runs: int) -> list[float]:
    """The median seconds of each job."""
    return np.median(runs_of(jobs, runs), axis=1).tolist()


def measure(side: int, width: int, threshold: float, runs: int, seed: int) -> dict[str, float]:
    """Measure a row of the table."""
    features = smooth_features(side, width, seed)
    edges, start = grid_edges((side, side)), np.arange(side * side)
    trace, merges = traced(features, edges, start, threshold)
    sums = np.random.default_rng(seed).standard_normal((len(start) // 2, width))
    whole, dots = seconds(
        [
            lambda: merge_sequence(features, edges, start, threshold=threshold),
            lambda: replay(features, sums, trace),
        ],
        runs,
    )
    row = {"side": side, "regions": len(start) - merges, "pairs": len(trace)}
    row["float32_pairs"] = int((trace >= 0).all(axis=1).sum())
    return row | {"merge_ms": whole * 1e3, "dots_ms": dots * 1e3, "ratio": whole / dots}


def traced(
    features: np.ndarray, edges: np.ndarray, start: np.ndarray, threshold: float
) -> tuple[np.ndarray, int]:
    """The pairs that are compared, and the number of merges."""
    lowest, n = math.ceil(threshold * ONE), len(start)
    compared = merge(features, edges, start, lowest, n, np.empty((0, 2), np.int64))[3]
    trace = np.empty((compared, 2), np.int64)
    return trace, len(merge(features, edges, start, lowest, n, trace)[0])


def speed_up(side: int, width: int, threshold: float, runs: int, seed: int) -> dict[str, float]:
    """The time of one thread over that of two on 8 images: of merging and of its dot products."""
    images = [smooth_features(side, width, seed + i) for i in range(8)]
    edges, start = grid_edges((side, side)), np.arange(side * side)
    traces = [traced(features, edges, start, threshold)[0] for features in images]
    sums = [np.random.default_rng(i).standard_normal((side * side // 2, width)) for i in range(8)]

    def merge_view(features: np.ndarray) -> object:
        return merge_sequence(features, edges, start, threshold=threshold)

    with ThreadPoolExecutor(1) as single, ThreadPoolExecutor(2) as double:
        whole = [lambda pool=pool: list(pool.map(merge_view, images)) for pool in (single, double)]
        # twice over: they last about as long as merging, and so meet other processes as often
        dots = [
            lambda pool=pool: list(pool.map(replay, images * 2, sums * 2, traces * 2))
            for pool in (single, double)
        ]
        times = runs_of([*whole, *dots], runs)
    best, middle = times.min(axis=1), np.median(times, axis=1)
    ratios = {"two_threads": best[0] / best[1], "two_threads_dots": best[2] / best[3]}
    return ratios | {
        "two_threads_median": middle[0] / middle[1],
        "two_threads_dots_median": middle[2] / middle[3],
    }


def on_gpu(threshold: float, runs: int, seed: int, batch: int = 64) -> dict[str, float]:
    """The milliseconds of a batch in merging, the step around it and the encoder before it."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    encoder = CLIPVisionModel(config).to("cuda", torch.bfloat16).eval()
    pixels = torch.randn(batch, 3, 336, 336, device="cuda", dtype=torch.bfloat16)
    features = torch.from_numpy(
        np.stack([smooth_features(24, 1024, seed + i) for i in range(batch)])
    ).to("cuda", torch.bfloat16)
    grids = [
        PatchGrid(
            features_of_view.view(24, 24, -1), Frame.stretch((336, 336), (336, 336), (14, 14))
        )
        for features_of_view in features
    ]
    regions = [Regions.singletons((24, 24)).to("cuda")] * batch
    starts, edges = np.tile(np.arange(576), (batch, 1)), grid_edges((24, 24))

    def waited(job: Callable[[], object]) -> None:
        with torch.inference_mode():
            job()
        torch.cuda.synchronize()

    jobs = [
        lambda: merge_sequences(features, edges, starts, threshold=threshold),
        lambda: Merge(threshold).many(regions, grids),
        lambda: encoder(pixel_values=pixels),
    ]
    merging, step, encoding = seconds([lambda job=job: waited(job) for job in jobs], runs)
    row = {
        "batch": batch,
        "merge_ms": merging * 1e3,
        "step_ms": step * 1e3,
        "encoder_ms": encoding * 1e3,
    }
    return row | {
        "merge_share": merging / encoding,
        "step_share": step / encoding,
        "device": torch.cuda.get_device_name(),
    }


def first_call(dtype: type) -> float:
    """The seconds of the first call in this process: numba loads from its cache, or compiles."""
    begin = time.perf_counter()
    merge_sequence(np.ones((4, 2), dtype), grid_edges((2, 2)), np.arange(4))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sides",
        type=int,
        nargs="+",
        default=[24, 36, 48, 64],
        help="grids of side x side patches",
    )
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--runs", type=int, default=15, help="medians are over so many")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    first = first_call(np.float32)
    print("side  regions  pairs  merge ms  dots ms  ratio  2 threads  of dots")
    rows = []
    for side in options.sides:
        row = measure(side, options.width, options.threshold, options.runs, options.seed)
        row |= speed_up(
            side, options.width, options.threshold, max(3, options.runs // 3), options.seed
        )
        print(
            f"{side:4d} {row['regions']:8d} {row['pairs']:6d} {row['merge_ms']:9.2f}"
            f" {row['dots_ms']:8.2f} {row['ratio']:6.2f}"
            f" {row['two_threads']:9.2f}x {row['two_threads_dots']:7.2f}x"
        )
        rows.append(row)
    smallest, largest = rows[0], rows[-1]
    growth = {}
    if smallest["side"] != largest["side"]:
        patches = 2 * math.log(largest["side"] / smallest["side"])
        growth = {
            key: math.log(largest[key] / smallest[key]) / patches for key in ("merge_ms", "pairs")
        }
        print(
            f"from {smallest['side']} to {largest['side']}: "
            f"time grows as n^{growth['merge_ms']:.2f}, pairs as n^{growth['pairs']:.2f}"
        )
    print(f"first call {first:.2f} s")
    gpu = (
        on_gpu(options.threshold, options.runs, options.seed) if torch.cuda.is_available() else None
    )
    if gpu:
        print(
            f"{gpu['device']}, a batch of {gpu['batch']}: merge {gpu['merge_ms']:.2f} ms,"
            f" step {gpu['step_ms']:.2f} ms, encoder {gpu['encoder_ms']:.2f} ms:"
            f" {gpu['merge_share']:.1%} and {gpu['step_share']:.1%} of it"
        )
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    print(
        json.dumps(
            {
                "bench": "merge",
                **vars(options),
                "rows": rows,
                "growth": growth,
                "first_call_s": first,
                "gpu": gpu,
                **machine,
            }
        )
    )


if __name__ == "__main__":
    main()
