"""Region quality on BSDS500: how well do k regions of patches agree with what people draw?

    python bench/regions_bsds.py --data FOLDER --limit 20 --sources one grid random --out table.md

Every source gives regions on the SAME patch grid (the photo stretched to a square canvas, 24 x 24
patches of 14), with K counted after rounding to patches; patches go back to the photo's pixels and
meet its 4-9 human segmentations. A cell is covering / probabilistic Rand index / variation of
information in bits, and in brackets the mean K that was reached. Covering sums over all photos and
annotators, the other two are means over photos (the benchmark's rule,
`regiontok.measures.covering`). The last line on stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from bsds import Photo, data_root, photos
from region_sources import PATCH, count, factors, on_pixels, source, sources
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from regiontok.core.frame import Frame
from regiontok.core.picture import Picture
from regiontok.measures.covering import RegionScores, dataset_scores, region_scores
from regiontok.settings.spec import SpecError


@dataclass(frozen=True)
class Settings:
    """What is compared: rows, budgets, patches a side and the seed of random features."""

    sources: tuple[str, ...]
    ks: tuple[int, ...]
    grid: int
    seed: int


@dataclass(frozen=True, eq=False)
class Row:
    """A source on a photo: scores and regions at each budget, seconds for all budgets."""

    scores: list[RegionScores]
    regions: list[int]
    seconds: float


def measure(photo: Photo, settings: Settings) -> dict[str, Row]:
    """Measure all sources on a photo."""
    picture, humans = Picture.of(photo.image), photo.humans()
    side = PATCH * settings.grid
    frame = Frame.stretch(picture.size, (side, side), (PATCH, PATCH))
    rows = {}
    for name in settings.sources:
        start = time.perf_counter()
        labels = source(name, settings.grid, settings.seed)(picture, frame, settings.ks)
        seconds = time.perf_counter() - start
        scores = [region_scores(on_pixels(patch_labels, frame), humans) for patch_labels in labels]
        rows[name] = Row(scores, [count(patch_labels) for patch_labels in labels], seconds)
    return rows


def measured(chosen: Sequence[Photo], settings: Settings, workers: int) -> list[dict[str, Row]]:
    """Measure all photos in several processes of one thread each, with progress on stderr.

    The rows come in the order of the photos.
    """
    columns = TextColumn("photos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # spawn: torch and numba keep threads, which a forked child would inherit dead
    with (
        ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("", total=len(chosen))
        futures = [pool.submit(partial(measure, settings=settings), photo) for photo in chosen]
        try:
            for future in as_completed(futures):
                future.result()
                progress.advance(task)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def summary(rows: Sequence[dict[str, Row]], settings: Settings) -> dict[str, dict]:
    """The figures of each source over all photos.

    They are given by budget, and with the best budget for all photos (ODS) and for each (OIS).
    """
    figures = {}
    for name in settings.sources:
        rows_of_source = [row[name] for row in rows]
        whole = dataset_scores([row.scores for row in rows_of_source])
        regions = np.array([row.regions for row in rows_of_source])
        figures[name] = {
            "budgets": [
                {
                    "k": k,
                    "mean_k": round(float(regions[:, i].mean()), 2),
                    "photos_at_k": round(float((regions[:, i] == k).mean()), 3),
                    "covering": round(float(whole.covering[i]), 4),
                    "rand": round(float(whole.rand[i]), 4),
                    "voi": round(float(whole.voi[i]), 4),
                }
                for i, k in enumerate(settings.ks)
            ],
            "covering_ods": round(whole.covering_ods, 4),
            "covering_ois": round(whole.covering_ois, 4),
            "seconds_per_photo": round(float(np.mean([row.seconds for row in rows_of_source])), 3),
        }
    return figures


def markdown(figures: dict[str, dict], settings: Settings, number: int) -> str:
    """The table: a source a row, a budget a column."""

    def cell(budget: dict) -> str:
        scores = f"{budget['covering']:.3f}/{budget['rand']:.3f}/{budget['voi']:.2f}"
        return f"{scores} (K {budget['mean_k']:.1f})"

    lines = [
        f"{number} BSDS500 photos, {settings.grid} x {settings.grid} patches; "
        "covering / Rand index / variation of information (mean K)",
        "",
        "| source | " + " | ".join(f"K={k}" for k in settings.ks) + " | s/photo |",
        "| --- |" + " --- |" * (len(settings.ks) + 1),
    ]
    for name, figures_of_source in figures.items():
        lines.append(
            f"| {name} | "
            + " | ".join(map(cell, figures_of_source["budgets"]))
            + f" | {figures_of_source['seconds_per_photo']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder with bsds500/ (default: $REGIONTOK_DATA)")
    parser.add_argument("--limit", type=int, help="only so many photos, spread evenly over the set")
    parser.add_argument("--grid", type=int, default=24, help="patches a side")
    parser.add_argument("--ks", default="4,8,16,32,64", help="budgets, with commas between")
    parser.add_argument(
        "--sources",
        nargs="+",
        default=tuple(sources(24, 0)),
        help="rows: %(default)s, or the spec of any encoder",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random features")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument(
        "--out", type=Path, help="also write the table (.md) or all figures (.json) there"
    )
    options = parser.parse_args(words)
    try:
        options.ks = tuple(int(k) for k in options.ks.split(","))
    except ValueError:
        parser.error(f"--ks takes whole numbers with commas between, got {options.ks!r}")
    if min(options.grid, options.workers, 1 if options.limit is None else options.limit) < 1:
        parser.error("--grid, --workers and --limit take numbers from 1 on")
    if min(options.ks) < 1 or max(options.ks) > options.grid**2:
        parser.error(
            f"--ks must lie between 1 and the {options.grid**2} patches of the grid, "
            f"got {options.ks}"
        )
    if "grid" in options.sources and (
        without := [k for k in options.ks if not factors(k, (options.grid, options.grid))]
    ):
        parser.error(
            f"{without} blocks do not tile a {options.grid} x {options.grid} grid; "
            "take other --ks, or leave grid out"
        )
    if options.out and options.out.suffix not in (".md", ".json"):
        parser.error(f"--out takes a .md or a .json file, got {options.out}")
    return options


def spread(items: Sequence[Photo], limit: int | None) -> list[Photo]:
    """At most `limit` of the photos, evenly spread."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def main(words: Sequence[str] | None = None) -> int:
    """Run the bench; returns 0, or 2 with one line on stderr for a user's mistake."""
    options = arguments(words)
    settings = Settings(tuple(options.sources), options.ks, options.grid, options.seed)
    start = time.perf_counter()
    try:
        for name in settings.sources:
            source(name, settings.grid, settings.seed)
        chosen = spread(photos(data_root(options.data)), options.limit)
        rows = measured(chosen, settings, options.workers)
    except (SpecError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    figures = summary(rows, settings)
    table = markdown(figures, settings, len(chosen))
    result = {
        "bench": "regions_bsds",
        "photos": len(chosen),
        "grid": [settings.grid, settings.grid],
        "seed": settings.seed,
        "seconds": round(time.perf_counter() - start, 1),
        "sources": figures,
    }
    if options.out:
        options.out.write_text(
            table if options.out.suffix == ".md" else json.dumps(result, indent=1) + "\n"
        )
    print(table)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
