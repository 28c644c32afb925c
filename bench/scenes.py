"""How many generated scenes one core makes a second, masks included.

    python bench/scenes.py

It prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import numba
import numpy as np

from regiontok.miniworld.scenes import SCENES_VERSION, scenes


def rate(start: int, count: int, size: int, masks: bool) -> float:
    """Scenes a second over `count` seeds, with their masks or only with labels."""
    began = time.perf_counter()
    for scene in scenes(start, count, size=size):
        if masks:
            scene.masks  # noqa: B018
    return count / (time.perf_counter() - began)


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 192, 256])
    parser.add_argument("--count", type=int, default=400, help="scenes in one run")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    began = time.perf_counter()
    rate(0, 40, 64, True)
    warm = time.perf_counter() - began
    result = []
    print("  pixels  labels only/s   with masks/s  slowest run  fastest run")
    for size in options.sizes:
        # Runs use different seeds, so their spread holds the scenes' own as well as the machine's.
        labels = [
            rate(run * options.count, options.count, size, False) for run in range(options.runs)
        ]
        masks = [
            rate(run * options.count, options.count, size, True) for run in range(options.runs)
        ]
        row = {
            "size": size,
            "labels": round(statistics.median(labels)),
            "masks": round(statistics.median(masks)),
        }
        row |= {"slowest": round(min(masks)), "fastest": round(max(masks))}
        result.append(row)
        rates = f"{row['labels']:>14} {row['masks']:>14}"
        print(f"{size:>8} {rates} {row['slowest']:>12} {row['fastest']:>12}")
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    versions |= {"numba": numba.__version__}
    line = {"bench": "scenes", "scenes_version": SCENES_VERSION}
    line |= {"unit": "scenes/s, one core, median", "runs": options.runs, "count": options.count}
    line |= {"first_use_s": round(warm, 2), "rows": result, "machine": platform.machine()}
    print(json.dumps(line | versions))


if __name__ == "__main__":
    main()
