"""Images a second that one rank of a run reads out of many shards, against a bare loop.

    python bench/shards_run.py

`--shards` shards of `--per-shard` images, of which the first rank of `--ranks` reads its part of
steps of `--batch` images by `load_steps`, from a random step on, another one each round. The bare
loop has the very same images and crops in a list, and decodes them (Pillow, draft mode) behind a
DataLoader with as many workers. Batches that are read while workers start are not counted, and
caches are empty at the start of each round. The last line is JSON.

It is wall time, so it wants a quiet machine with a core for each worker. Both loops run in turn;
shares are medians over rounds.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from regiontok.shards.batch import RegionBatch
from regiontok.shards.loading import load_steps
from regiontok.shards.sidecar import read_row_group, write_sidecar
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews
from regiontok.shards.tar import write_tar
from regiontok.shards.views import LabelSpace, ViewSettings
from shards import TARGET, build, draft_crop, photos, stacked


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=64, help="different photos")
    parser.add_argument("--edges", type=int, nargs="*", default=[400, 640])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--shards", type=int, default=240)
    parser.add_argument("--per-shard", type=int, default=64)
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32768, help="images of a step of all ranks")
    parser.add_argument("--steps", type=int, default=4, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print(
        f"{args.shards} shards of {args.per_shard}, a rank of {args.ranks}, {args.workers} workers"
    )
    print(f"{'edge':>5s} {'':9s}{'images/s':>9s}{'of bare':>9s}    lowest and highest round")
    rows = []
    for edge in args.edges:
        with tempfile.TemporaryDirectory() as folder:
            sources = build_many(Path(folder), photos(args.images, edge, args.count), args)
            rows += [
                run_row(edge, name, views, args, args.workers) for name, views in sources.items()
            ]
    reached = all(row["share"] >= TARGET for row in rows)
    print(json.dumps({"bench": "shards_run", "reached": reached, "rows": rows}))


def build_many(folder: Path, data: list[bytes], args: argparse.Namespace) -> dict[str, ShardViews]:
    """Write shards that are all the same photos in another order; the views of boxes and masks."""
    build(folder, data)
    groups = [read_row_group(place / "bench-0.regions.parquet", 0) for place in _folders(folder)]
    (folder / "bench-0.tar").unlink()
    for place in _folders(folder):
        for path in place.glob("bench-0.regions.*"):
            path.unlink()
    rng = np.random.default_rng(1)
    for shard in range(args.shards):
        chosen = rng.integers(0, len(data), args.per_shard)
        tar = folder / f"bench-{shard:04}.tar"
        write_tar(tar, [(f"{index:05}.jpg", data[photo]) for index, photo in enumerate(chosen)])
        for place, group in zip(_folders(folder), groups, strict=True):
            rows = [
                replace(group[int(photo)], index=index, key=f"{index:05}", span=None)
                for index, photo in enumerate(chosen)
            ]
            write_sidecar(tar, rows, place, config={"made": "bench"})
    size = (args.size, args.size)
    boxes = ShardViews([ShardSource(folder, folder / "boxes")], ViewSettings(size), LabelSpace(99))
    masks = ShardViews([ShardSource(folder)], ViewSettings(size, patch=16), LabelSpace(99))
    return {"boxes": boxes, "masks": masks}


def _folders(folder: Path) -> tuple[Path, Path]:
    return folder / "boxes", folder


@dataclass
class BareList(Dataset):
    """The same crops from a list of what to read: (tar, first byte, bytes, crop) each."""

    crops: list[tuple[Path, tuple[int, int], tuple[int, int, int, int]]]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, position: int) -> np.ndarray:
        """The pixels of a crop, `[H W 3]` uint8."""
        tar, (start, length), crop = self.crops[position]
        with open(tar, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), length, start)
        return draft_crop(data, crop, self.size)


def run_row(
    edge: int, name: str, views: ShardViews, args: argparse.Namespace, workers: int
) -> dict[str, Any]:
    """One row of the table: medians over rounds, each from a step of its own."""
    rng = np.random.default_rng(edge)
    ours, bare = [], []
    for _ in range(args.rounds):
        start = int(rng.integers(0, 1000))
        steps = range(start, start + args.steps)
        crops = [
            crop_of(views, int(position))
            for step in steps
            for position in views.order.part(step * args.batch, args.batch, 0, args.ranks)
        ]
        share = args.batch // args.ranks
        ours.append(rate_of(loaded(views, steps, args, workers)))
        dataset = BareList(crops, (args.size, args.size))
        bare.append(
            rate_of(
                iter(
                    DataLoader(dataset, share // workers, num_workers=workers, collate_fn=stacked)
                ),
                skip=2 * workers,
            )
        )
    shares = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    row = {"edge": edge, "name": name, "ours": median(ours), "bare": median(bare)}
    row |= {"share": median(shares), "lowest": min(shares), "highest": max(shares)}
    print(
        f"{edge:5d} {name:9s}{row['ours']:9.1f}{row['share']:9.1%}    "
        f"{row['lowest']:.1%} to {row['highest']:.1%}"
    )
    return {
        key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()
    }


def crop_of(views: ShardViews, position: int) -> tuple[Path, tuple[int, int], tuple]:
    """Where the image of a position lies, and the crop that its view has drawn."""
    address = views.order.address(position)
    row, view = views.row(address), views[position]
    return views.shards[address.source][address.shard].tar, row.span, view.crop


def loaded(
    views: ShardViews, steps: range, args: argparse.Namespace, workers: int
) -> Iterator[RegionBatch]:
    """The rank's batches, from views whose caches are empty."""
    fresh = copy.copy(views)
    fresh.__setstate__(views.__getstate__())
    return load_steps(
        fresh,
        batch=args.batch,
        start=steps.start,
        stop=steps.stop,
        ranks=args.ranks,
        workers=workers,
    )


def rate_of(batches: Iterator[Any], skip: int = 2) -> float:
    """Images a second of the batches behind the first ones, wall time."""
    _ = [*islice(batches, skip)]
    start = time.perf_counter()
    images = sum(map(len, batches))
    return images / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
