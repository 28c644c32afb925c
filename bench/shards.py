"""Images a second out of region shards, against a bare loop over the same bytes and crops.

    python bench/shards.py
    python bench/shards.py --workers 1 2

Photos of three sizes (scikit-image's as JPEG, or `--images`) are put into a shard with boxes, and
into one with masks. Each round times, in turn:

    full     the bare loop: read from the tar, decode, crop, resize (bicubic), as an array
    draft    the same, with JPEG decoded at 1/2, 1/4 or 1/8 where the crop allows it
    boxes    `ShardViews`: order, side-car, random crop, flip, N regions as boxes
    masks    the same with run-length masks laid on patches

All four run in one process, the bare loops with the very crops that the views have drawn. The
shares are a row's images a second over those of `full` and of `draft`, medians over rounds;
"differs" is what decoding at a fraction changes, in levels of 255. The last line is JSON.

`--workers 1 2` also times draft, boxes and masks behind torch's DataLoader with so many workers (a
row "boxes x2"): batches of 16, put together and handed over by the workers, from when they are all
at work. It is always wall time, since workers are processes, so it wants a quiet machine with a
core for each worker and one for the loop; a row's share there is of the draft loop behind as many
workers.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import SUFFIXES
from regiontok.shards.batch import collate
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.sidecar import write_sidecar
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews
from regiontok.shards.tar import TarIndex, open_index, write_tar
from regiontok.shards.views import LabelSpace, View, ViewSettings

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
REGIONS = 16
TARGET = 0.9
BATCH, PASSES = 16, 8  # behind a DataLoader


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=64, help="images in the shard")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument(
        "--edges", type=int, nargs="*", default=[400, 640, 1280], help="longer edge of the photos"
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor time of the process: for a busy machine"
    )
    parser.add_argument(
        "--workers",
        type=int,
        nargs="*",
        default=[],
        help="also behind a DataLoader with so many workers",
    )
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    rows = []
    print(f"{args.count} images to {args.size} x {args.size}, {args.rounds} rounds")
    print(f"{'edge':>5s} {'':9s}{'images/s':>9s}{'of full':>9s}{'of draft':>9s}{'differs':>9s}")
    for edge in args.edges:
        with tempfile.TemporaryDirectory() as folder:
            sets = datasets(
                build(Path(folder), photos(args.images, edge, args.count)),
                args.count,
                (args.size, args.size),
            )
            row = {"edge": edge, **in_turn(sets, args, clock), "differs": differs(sets, args.count)}
            show(row, ("full", "draft", "boxes", "masks"), ("full", "draft"))
            for workers in args.workers:
                row |= (rates := behind_loader(sets, args, workers))
                show(row, tuple(rates), (f"draft x{workers}",))
        rows.append(row)
    reached = all(
        row[name] >= TARGET * max(row["full"], row["draft"])
        for row in rows
        for name in ("boxes", "masks")
    )
    clock_name = "processor" if args.cpu_time else "wall"
    result = {"bench": "shards", "size": args.size, "clock": clock_name}
    print(json.dumps(result | {"reached": reached, "rows": rows}))


def show(row: dict[str, Any], names: tuple[str, ...], bases: tuple[str, ...]) -> None:
    """Print a line for each name: images a second, and their shares of the bases' numbers.

    The last base stands under "of draft".
    """
    for name in names:
        shares = "".join(f"{row[name] / row[base]:9.1%}" for base in bases).rjust(18)
        differs = f"{row['differs']:9.2f}" if name == "draft" else ""
        print(f"{row['edge']:5d} {name:9s}{row[name]:9.1f}{shares}{differs}")


def photos(folder: Path | None, edge: int, count: int) -> list[bytes]:
    """JPEG files with this longer edge, `count` of them; the same ones again if there are fewer."""
    if folder:
        images = [
            Image.open(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in SUFFIXES
        ][:count]
    else:
        images = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOS]
    coded = []
    for image in images:
        scale = edge / max(image.size)
        stream = io.BytesIO()
        image.convert("RGB").resize((round(image.width * scale), round(image.height * scale))).save(
            stream, "JPEG", quality=90
        )
        coded.append(stream.getvalue())
    return [coded[index % len(coded)] for index in range(count)]


def build(folder: Path, data: list[bytes]) -> Path:
    """Write a shard of the photos, in which every region is an ellipse and its box."""
    rng = np.random.default_rng(0)
    tar = folder / "bench-0.tar"
    write_tar(tar, [(f"{index:05}.jpg", file) for index, file in enumerate(data)])
    rows = []
    for index, file in enumerate(data):
        width, height = Image.open(io.BytesIO(file)).size
        y, x = np.mgrid[:height, :width]
        dense = []
        for _ in range(REGIONS):
            (cy, cx), (ry, rx) = (
                rng.uniform(0.1, 0.9, 2) * (height, width),
                rng.uniform(0.05, 0.3, 2) * (height, width),
            )
            dense.append(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1)
        masks = PixelMasks.from_dense(np.array(dense))
        rows.append(
            ImageRegions(
                index,
                f"{index:05}",
                (height, width),
                masks.boxes,
                labels=rng.integers(0, 99, REGIONS),
                masks=masks.counts,
            )
        )
    write_sidecar(tar, rows, config={"made": "bench"})
    (folder / "boxes").mkdir()
    bare = [
        ImageRegions(row.index, row.key, row.size, row.boxes, labels=row.labels) for row in rows
    ]
    write_sidecar(tar, bare, folder / "boxes", config={"made": "bench"})
    return folder


@dataclass
class Bare(Dataset):
    """A loader that does the least for the crops of some views.

    It has no order, no side-car and no regions.
    """

    index: TarIndex
    views: list[View]
    size: tuple[int, int]
    draft: bool

    def __getitem__(self, position: int) -> np.ndarray:
        """The pixels of a crop, `[H W 3]` uint8."""
        view = self.views[position]
        return draft_crop(self.index.read(view.index), view.crop, self.size, self.draft)


def draft_crop(
    data: bytes, crop: tuple[int, int, int, int], size: tuple[int, int], draft: bool = True
) -> np.ndarray:
    """The pixels of a JPEG's crop by Pillow alone, decoded at a fraction where that will do."""
    y0, x0, y1, x1 = crop
    image = Image.open(io.BytesIO(data))
    full_width = image.width
    if draft:
        ratio = min((y1 - y0) / size[0], (x1 - x0) / size[1])
        shrink = next((scale for scale in (8, 4, 2) if ratio >= scale), 1)
        image.draft("RGB", (image.width // shrink, image.height // shrink))
    shrink = round(full_width / image.width)
    box = (x0 / shrink, y0 / shrink, x1 / shrink, y1 / shrink)
    return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC, box=box))


def datasets(folder: Path, count: int, size: tuple[int, int]) -> dict[str, Dataset]:
    """The loaders that are measured: position 0..count-1 -> a view, or the pixels of that view."""
    boxes = ShardViews([ShardSource(folder, folder / "boxes")], ViewSettings(size), LabelSpace(99))
    masks = ShardViews([ShardSource(folder)], ViewSettings(size, patch=16), LabelSpace(99))
    index = open_index(folder / "bench-0.tar", folder)
    views = [boxes[position] for position in range(count)]
    return {
        "full": Bare(index, views, size, False),
        "draft": Bare(index, views, size, True),
        "boxes": boxes,
        "masks": masks,
    }


def in_turn(
    sets: dict[str, Dataset], args: argparse.Namespace, clock: Callable[[], float]
) -> dict[str, float]:
    """Images a second of each loader in this process, after a round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in sets}
    for turn in range(args.rounds + 1):
        for name, dataset in sets.items():
            start = clock()
            _ = [dataset[position] for position in range(args.count)]
            if turn:
                times[name].append(clock() - start)
    return {name: round(args.count / median(durations), 2) for name, durations in times.items()}


def differs(sets: dict[str, Dataset], count: int) -> float:
    """The mean difference of the two bare loops, in levels of 255."""
    pairs = (
        (sets["full"][position].astype(int), sets["draft"][position]) for position in range(count)
    )
    return round(float(np.mean([np.abs(full - draft).mean() for full, draft in pairs])), 3)


def stacked(pixels: list[np.ndarray]) -> torch.Tensor:
    """A batch of the bare loop, `[b H W 3]` uint8."""
    return torch.from_numpy(np.stack(pixels))


def behind_loader(
    sets: dict[str, Dataset], args: argparse.Namespace, workers: int
) -> dict[str, float]:
    """Images a second, wall time, of all loaders but `full` behind a DataLoader.

    Batches that are prefetched while the workers start are not counted.
    """
    rates: dict[str, list[float]] = {name: [] for name in ("draft", "boxes", "masks")}
    positions = [*range(args.count)] * PASSES
    for _ in range(args.rounds):
        for name, measured in rates.items():
            merge = stacked if name == "draft" else collate
            batches = iter(
                DataLoader(
                    sets[name], BATCH, sampler=positions, num_workers=workers, collate_fn=merge
                )
            )
            _ = [*islice(batches, 2 * workers + 1)]
            start = time.perf_counter()
            images = sum(map(len, batches))
            measured.append(images / (time.perf_counter() - start))
    return {f"{name} x{workers}": round(median(measured), 2) for name, measured in rates.items()}


if __name__ == "__main__":
    main()
