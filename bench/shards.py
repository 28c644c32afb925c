"""Images a second out of region shards, against a bare loop over the same bytes and crops: `python bench/shards.py`.

Photos of three sizes (scikit-image's as JPEG, or `--images`) are put into a shard with boxes, and with masks. Each round times, in turn:

    full     the bare loop: read from the tar, decode, crop, resize (bicubic), as an array
    draft    the same, with JPEG decoded at 1/2, 1/4 or 1/8 where the crop allows it
    boxes    `ShardViews`: order, side-car, random crop, flip, N regions as boxes
    masks    the same with run-length masks laid on patches

All in one process, the bare loops with the very crops that the views have drawn. "share" is a row's images a second over those of `full`
and of `draft`, medians over rounds; "differs" is what decoding at a fraction changes, in levels of 255. The last line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import SUFFIXES
from regiontok.data.shard_sidecar import ImageRegions, write_sidecar
from regiontok.data.shard_tar import TarIndex, index_of, write_tar
from regiontok.data.shard_views import Labels, View, ViewSettings
from regiontok.data.shards import ShardViews, Source

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
REGIONS = 16
TARGET = 0.9


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=64, help="images in the shard")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--edges", type=int, nargs="*", default=[400, 640, 1280], help="longer edge of the photos")
    parser.add_argument("--cpu-time", action="store_true", help="processor time of the process: for a busy machine")
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    rows = []
    print(f"{args.count} images to {args.size} x {args.size}, {args.rounds} rounds")
    print(f"{'edge':>5s} {'':7s}{'images/s':>9s}{'of full':>9s}{'of draft':>9s}{'differs':>9s}")
    for edge in args.edges:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(build(Path(folder), photos(args.images, edge, args.count)), args, clock)
        rows.append({"edge": edge, **row})
        for name in ("full", "draft", "boxes", "masks"):
            shares = "".join(f"{row[name] / row[base]:9.1%}" for base in ("full", "draft"))
            print(f"{edge:5d} {name:7s}{row[name]:9.1f}{shares}" + (f"{row['differs']:9.2f}" if name == "draft" else ""))
    reached = all(row[name] >= TARGET * row["full"] for row in rows for name in ("boxes", "masks"))
    clock_name = "processor" if args.cpu_time else "wall"
    print(json.dumps({"bench": "shards", "size": args.size, "clock": clock_name, "reached": reached, "rows": rows}))


def photos(images: Path | None, edge: int, count: int) -> list[bytes]:
    """JPEG files with the given longer edge, the same ones again where there are fewer."""
    if images:
        found = [Image.open(path) for path in sorted(images.rglob("*")) if path.suffix.lower() in SUFFIXES][:count]
    else:
        found = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOS]
    coded = []
    for image in found:
        scale = edge / max(image.size)
        stream = io.BytesIO()
        image.convert("RGB").resize((round(image.width * scale), round(image.height * scale))).save(stream, "JPEG", quality=90)
        coded.append(stream.getvalue())
    return [coded[at % len(coded)] for at in range(count)]


def build(folder: Path, data: list[bytes]) -> Path:
    """A shard of the photos; every region is an ellipse and its box."""
    rng = np.random.default_rng(0)
    tar = folder / "bench-0.tar"
    write_tar(tar, [(f"{at:05}.jpg", one) for at, one in enumerate(data)])
    rows = []
    for at, one in enumerate(data):
        wide, high = Image.open(io.BytesIO(one)).size
        y, x = np.mgrid[:high, :wide]
        dense = []
        for _ in range(REGIONS):
            (cy, cx), (ry, rx) = rng.uniform(0.1, 0.9, 2) * (high, wide), rng.uniform(0.05, 0.3, 2) * (high, wide)
            dense.append(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1)
        masks = PixelMasks.from_dense(np.array(dense))
        rows.append(
            ImageRegions(at, f"{at:05}", (high, wide), masks.boxes, labels=rng.integers(0, 99, REGIONS), masks=masks.counts)
        )
    write_sidecar(tar, rows, config={"made": "bench"})
    (folder / "boxes").mkdir()
    bare = [ImageRegions(row.index, row.key, row.size, row.boxes, labels=row.labels) for row in rows]
    write_sidecar(tar, bare, folder / "boxes", config={"made": "bench"})
    return folder


def measure(folder: Path, args: argparse.Namespace, clock: Callable[[], float]) -> dict[str, Any]:
    """Images a second of every loop, in turn, after one round that is not counted."""
    size = (args.size, args.size)
    boxes = ShardViews([Source(folder, folder / "boxes")], ViewSettings(size), Labels(99))
    masks = ShardViews([Source(folder)], ViewSettings(size, patch=16), Labels(99))
    index = index_of(folder / "bench-0.tar", folder)
    positions = range(args.count)
    views = [boxes[position] for position in positions]
    loops: dict[str, Callable[[], list[Any]]] = {
        "full": lambda: [bare(index, view, size, draft=False) for view in views],
        "draft": lambda: [bare(index, view, size, draft=True) for view in views],
        "boxes": lambda: [boxes[position] for position in positions],
        "masks": lambda: [masks[position] for position in positions],
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(args.rounds + 1):
        for name, loop in loops.items():
            start = clock()
            loop()
            if turn:
                times[name].append(clock() - start)
    pairs = zip(loops["full"](), loops["draft"](), strict=True)
    differs = float(np.mean([np.abs(one.astype(int) - other).mean() for one, other in pairs]))
    return {**{name: round(args.count / median(found), 2) for name, found in times.items()}, "differs": round(differs, 3)}


def bare(index: TarIndex, view: View, size: tuple[int, int], *, draft: bool) -> np.ndarray:
    """What any loader must do: no order, no side-car, no regions."""
    y0, x0, y1, x1 = view.crop
    image = Image.open(io.BytesIO(index.read(view.index)))
    wide = image.width
    if draft:
        ratio = min((y1 - y0) / size[0], (x1 - x0) / size[1])
        shrink = next((scale for scale in (8, 4, 2) if ratio >= scale), 1)
        image.draft("RGB", (image.width // shrink, image.height // shrink))
    shrink = round(wide / image.width)
    box = (x0 / shrink, y0 / shrink, x1 / shrink, y1 / shrink)
    return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC, box=box))


if __name__ == "__main__":
    main()
