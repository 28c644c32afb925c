"""How long exact greedy merging takes, against the dot products it cannot do without.

    python bench/merge.py

Features are Gaussian noise smoothed over the grid (sigma = side / 21 patches; about 160 regions are left at 0.7), one image a seed.
"dots" replays exactly the pairs the run compared, in its order, from rows of the same precision at the same places (float32 patches,
float64 sums; products and sums in float64): no heap, no neighbours, no merging and no norms. Both are timed in turn on one thread, so
that a busy machine slows both. "2 threads" is a pool of two over distinct images against one thread over the same images.
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
from numba import njit
from scipy.ndimage import gaussian_filter

from regiontok.steps._greedy import ONE, dot, merge
from regiontok.steps._sequence import grid_edges, merge_sequence


def smooth_features(side: int, width: int, seed: int) -> np.ndarray:
    """`[side^2 width]` float32."""
    noise = np.random.default_rng(seed).standard_normal((side, side, width), dtype=np.float32)
    return gaussian_filter(noise, (side / 21, side / 21, 0), mode="nearest").reshape(side * side, width)


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


def seconds(jobs: list[Callable[[], object]], runs: int) -> list[float]:
    """The median of each job, all of them run in turn."""
    taken: list[list[float]] = [[] for _ in jobs]
    for run in range(runs + 1):
        for times, job in zip(taken, jobs, strict=True):
            begin = time.perf_counter()
            job()
            if run:  # the first one warms up
                times.append(time.perf_counter() - begin)
    return [float(np.median(times)) for times in taken]


def measure(side: int, width: int, threshold: float, runs: int, seed: int) -> dict[str, float]:
    """One row of the table."""
    features, edges, start = smooth_features(side, width, seed), grid_edges((side, side)), np.arange(side * side)
    lowest, n = math.ceil(threshold * ONE), side * side
    compared = merge(features, edges, start, lowest, n, np.empty((0, 2), np.int64))[3]
    trace = np.empty((compared, 2), np.int64)
    pairs = merge(features, edges, start, lowest, n, trace)[0]
    sums = np.random.default_rng(seed).standard_normal((n // 2, width))
    whole, dots = seconds(
        [lambda: merge_sequence(features, edges, start, threshold=threshold), lambda: replay(features, sums, trace)], runs
    )
    row = {"side": side, "regions": n - len(pairs), "pairs": compared, "float32_pairs": int((trace >= 0).all(axis=1).sum())}
    return row | {"merge_ms": whole * 1e3, "dots_ms": dots * 1e3, "ratio": whole / dots}


def speed_up(side: int, width: int, threshold: float, runs: int, seed: int) -> float:
    """Time of one thread over time of two, 8 images."""
    images = [smooth_features(side, width, seed + i) for i in range(8)]
    edges, start = grid_edges((side, side)), np.arange(side * side)

    def one(features: np.ndarray) -> object:
        return merge_sequence(features, edges, start, threshold=threshold)

    with ThreadPoolExecutor(1) as single, ThreadPoolExecutor(2) as double:
        alone, together = seconds([lambda: list(single.map(one, images)), lambda: list(double.map(one, images))], runs)
    return alone / together


def first_call(dtype: type) -> float:
    """Seconds of the first call in this process: loading from numba's cache, or compiling where there is none."""
    begin = time.perf_counter()
    merge_sequence(np.ones((4, 2), dtype), grid_edges((2, 2)), np.arange(4))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[24, 36, 48, 64], help="grids of side x side patches")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--runs", type=int, default=15, help="medians are over so many")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    first = first_call(np.float32)
    print("side  regions  pairs  merge ms  dots ms  ratio  2 threads")
    rows = []
    for side in given.sides:
        row = measure(side, given.width, given.threshold, given.runs, given.seed)
        row["two_threads"] = speed_up(side, given.width, given.threshold, max(3, given.runs // 3), given.seed)
        print(
            f"{side:4d} {row['regions']:8d} {row['pairs']:6d} {row['merge_ms']:9.2f} {row['dots_ms']:8.2f} {row['ratio']:6.2f}"
            f" {row['two_threads']:9.2f}x"
        )
        rows.append(row)
    low, high = rows[0], rows[-1]
    growth = {}
    if low["side"] != high["side"]:
        patches = 2 * math.log(high["side"] / low["side"])
        growth = {key: math.log(high[key] / low[key]) / patches for key in ("merge_ms", "pairs")}
        print(
            f"from {low['side']} to {high['side']}: time grows as n^{growth['merge_ms']:.2f}, pairs as n^{growth['pairs']:.2f}"
        )
    print(f"first call {first:.2f} s")
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    print(json.dumps({"bench": "merge", **vars(given), "rows": rows, "growth": growth, "first_call_s": first, **machine}))


if __name__ == "__main__":
    main()
