"""How fast the generated world is made and asked about, and what a blind model gets right.

    python bench/miniworld.py

Rates are pictures a second of processor time on one core, the median of runs over other pictures;
the scenes of `bench/scenes.py` are timed in the same run, so that the two can be compared on a
machine that does other things. It prints tables, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from PIL import Image

from regiontok.miniworld.captions import captions_of
from regiontok.miniworld.kinds.catalogue import questions_of
from regiontok.miniworld.kinds.twins import twins_of
from regiontok.miniworld.priors import priors
from regiontok.miniworld.scenes import make_scene
from regiontok.miniworld.world import WORLD_VERSION, World


def rate(make: Callable[[int], object], start: int, count: int) -> float:
    """How often a second of processor time `make` can be called, over `count` pictures."""
    began = time.process_time()
    for index in range(start, start + count):
        make(index)
    return count / (time.process_time() - began)


def makers(size: int) -> dict[str, Callable[[int], object]]:
    """What is timed, by its name."""
    world = World("train", size=size)

    def asked(index: int) -> None:
        picture = world[index]
        picture.masks  # noqa: B018
        questions_of(world, index, picture)
        captions_of(picture)

    return {
        "scenes, masks": lambda index: make_scene(index, size).masks,
        "pictures": lambda index: world[index],
        "with masks": lambda index: world[index].masks,
        "with all": asked,
        "twins": lambda index: twins_of(world, index),
    }


def speeds(sizes: list[int], count: int, runs: int) -> list[dict[str, float]]:
    """The median rates for each size, printed as they come."""
    names = list(makers(sizes[0]))
    print("  size " + "".join(f"{name:>15}" for name in names))
    rows = []
    for size in sizes:
        timed = makers(size)
        for make in timed.values():
            rate(make, 0, 3)  # compiled, and the sheet of letters read
        found: dict[str, list[float]] = {name: [] for name in names}
        for run in range(runs):
            for name, make in timed.items():
                found[name].append(rate(make, run * count, count))
        medians = {name: round(statistics.median(rates)) for name, rates in found.items()}
        print(f"{size:>6} " + "".join(f"{medians[name]:>15}" for name in names))
        rows.append({"size": size, **medians})
    return rows


def guessed(pictures: int) -> list[dict[str, object]]:
    """The answer priors of the training split, printed."""
    world = World("train", size=128)
    asked = []
    for index in range(pictures):
        picture = world[index]
        asked += [(index, question) for question in questions_of(world, index, picture)]
        if twins := twins_of(world, index, picture):
            asked += [(index, question) for question in twins.questions]
    table = priors(asked)
    print(f"\n{'kind':<22}{'questions':>10}{'chance':>8}{'blind':>8}{'more':>7}")
    for prior in table:
        more = prior.blind - prior.chance
        print(
            f"{prior.kind:<22}{prior.questions:>10}{prior.chance:>8.1f}{prior.blind:>8.1f}"
            f"{more:>+7.1f}"
        )
    return [prior._asdict() for prior in table]


def draw(path: Path, columns: int = 6, rows: int = 3) -> None:
    """Draw the first pictures of the test split side by side."""
    world = World("test", size=192)
    pixels = [world[index].pixels for index in range(columns * rows)]
    lines = [np.concatenate(pixels[row * columns :][:columns], axis=1) for row in range(rows)]
    Image.fromarray(np.concatenate(lines)).save(path)


def main() -> None:
    """Measure, print tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 160, 192, 336])
    parser.add_argument("--count", type=int, default=200, help="pictures in one run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--priors", type=int, default=0, help="pictures for the answer priors")
    parser.add_argument("--picture", type=Path, help="draw pictures of the world here, and stop")
    options = parser.parse_args()
    if options.picture:
        draw(options.picture)
        return
    rows = speeds(options.sizes, options.count, options.runs)
    line = {"bench": "miniworld", "world_version": WORLD_VERSION}
    line |= {"unit": "a second of processor time, one core, median", "runs": options.runs}
    line |= {"count": options.count, "rows": rows, "machine": platform.machine()}
    line |= {"python": platform.python_version(), "numpy": np.__version__}
    line |= {"numba": numba.__version__}
    if options.priors:
        line |= {"pictures": options.priors, "priors": guessed(options.priors)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
