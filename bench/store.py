"""How small the mask store is, and how fast it is read, beside zlib-compressed COCO run lengths.

    python bench/store.py ../shared/data

The masks are the same for both, and of three kinds: COCO's instances and panoptic annotations, and
Felzenszwalb segments of COCO photos (many masks an image, so nearest to what a mask generator
gives). "zlib" is one zlib stream (level 9) of an image's COCO codes and nothing else; the store's
bytes are the whole Parquet file, with keys, sizes and checksums. Reading gives `PixelMasks` with
COCO codes, not decoded: "read" in the order of keys, opening the store included, "look-up" one
image at a time in random order, "zlib" decompressing and splitting the streams that lie in memory.
One thread; rates count the processor's time, so that a busy machine does not show. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.maskstore.layout import SegmenterRecord
from regiontok.maskstore.store import MaskStore
from regiontok.maskstore.writer import MaskWriter, compact
from regiontok.segment.felzenszwalb import Felzenszwalb
from regiontok.segment.stored import Stored

MAKER = SegmenterRecord("bench", "")


def instances(coco: Path) -> list[PixelMasks]:
    """COCO's instances, of the photos that have any."""
    stored = Stored(str(coco / "annotations" / "split" / "instances_dev.json"), missing="empty")
    masks_by_photo = stored([Picture.of(path) for path in sorted((coco / "images").glob("*.jpg"))])
    return [masks for masks in masks_by_photo if len(masks)]


def panoptic(coco: Path) -> list[PixelMasks]:
    """COCO's panoptic masks, from the PNGs: id = R + 256 G + 65,536 B; 0 is no mask."""
    masks_by_photo = []
    for folder in (
        "coco128/panoptic_train2017",
        "coco128/panoptic_val2017",
        "panopticapi_sample/panoptic_examples",
    ):
        for path in sorted((coco / "annotations" / folder).glob("*.png")):
            colours = np.asarray(Image.open(path).convert("RGB")).astype(np.int64)
            masks_by_photo.append(PixelMasks.from_labels(colours @ [1, 256, 65536] - 1))
    return masks_by_photo


def segments(coco: Path, count: int) -> list[PixelMasks]:
    """Felzenszwalb's segments of the first photos."""
    paths = sorted((coco / "images").glob("*.jpg"))[:count]
    return Felzenszwalb()([Picture.of(path) for path in paths])


def rate(job: Callable[[], object], images: int, runs: int) -> float:
    """Images a second of a core's time; the median of `runs`."""
    job()
    taken = []
    for _ in range(runs):
        begin = time.process_time()
        job()
        taken.append(time.process_time() - begin)
    return images / statistics.median(taken)


def measure(all_masks: list[PixelMasks], root: Path, runs: int) -> dict[str, float]:
    """Measure a row of the table."""
    begin = time.process_time()
    with MaskWriter(root, MAKER) as writer:
        for number, masks in enumerate(all_masks):
            writer.add(hashlib.sha256(str(number).encode()).hexdigest()[:32], masks)
    compact(root)
    wrote = time.process_time() - begin
    keys = list(MaskStore(root))
    random.Random(0).shuffle(keys)
    streams = [
        (masks.size, [len(code) for code in masks.counts], zlib.compress(b"".join(masks.counts), 9))
        for masks in all_masks
    ]
    images = len(all_masks)
    return {
        "images": images,
        "masks_per_image": sum(map(len, all_masks)) / images,
        "coco_bytes": sum(sum(map(len, masks.counts)) for masks in all_masks) / images,
        "zlib_bytes": sum(len(data) for _, _, data in streams) / images,
        "store_bytes": sum(path.stat().st_size for path in root.rglob("*.parquet")) / images,
        "read_per_s": rate(lambda: list(MaskStore(root).items()), images, runs),
        "lookup_per_s": rate(
            lambda: [MaskStore(root).get(key) for key in keys[:20]], len(keys[:20]), runs
        ),
        "zlib_read_per_s": rate(lambda: [inflate(*stream) for stream in streams], images, runs),
        "write_ms_per_image": 1000 * wrote / images,
    }


def inflate(size: tuple[int, int], lengths: list[int], data: bytes) -> PixelMasks:
    """Read masks as the baseline does."""
    codes, begin, counts = zlib.decompress(data), 0, []
    for length in lengths:
        counts.append(codes[begin : begin + length])
        begin += length
    return PixelMasks(size, tuple(counts))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder of real data (docs/about/data.md)")
    parser.add_argument("--photos", type=int, default=100, help="photos to segment")
    parser.add_argument("--runs", type=int, default=5)
    words = parser.parse_args()
    coco = words.data / "coco"
    kinds = {
        "instances": instances(coco),
        "panoptic": panoptic(coco),
        "felzenszwalb": segments(coco, words.photos),
    }
    heads = "images masks | bytes/image: COCO zlib store  store/zlib"
    print(f"{'':13s}{heads} | images/s: read look-up zlib | ms/image written")
    rows = {}
    for kind, all_masks in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            rows[kind] = row = measure(all_masks, Path(folder) / "store", words.runs)
        row["store_to_zlib"] = row["store_bytes"] / row["zlib_bytes"]
        sizes = " ".join(f"{row[f'{name}_bytes']:6.0f}" for name in ("coco", "zlib", "store"))
        sizes += f" {row['store_to_zlib']:6.2f}"
        rates = f"{row['read_per_s']:6.0f} {row['lookup_per_s']:5.0f} {row['zlib_read_per_s']:6.0f}"
        head = f"{kind:13s}{row['images']:4.0f} {row['masks_per_image']:5.1f}"
        print(f"{head} | {sizes} | {rates} | {row['write_ms_per_image']:5.1f}")
    numbers = {
        kind: {name: round(value, 3) for name, value in row.items()} for kind, row in rows.items()
    }
    print(json.dumps({"bench": "store", "kinds": numbers}))


if __name__ == "__main__":
    main()
