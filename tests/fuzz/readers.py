"""The readers of files that come from elsewhere, each with a whole file to begin with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from regiontok.core.animation import Animation
from regiontok.core.picture import Picture
from regiontok.data.records import read
from regiontok.jobs.human_segmentations import read_human_segmentations
from regiontok.jobs.masks.image_sources import image_sources
from regiontok.jobs.migrate.mask_arrays import read_mask_array, stored_size
from regiontok.jobs.shards.region_table import RegionTable
from regiontok.maskstore.store import MaskStore
from regiontok.segment.stored import Stored
from regiontok.settings.recipe import Data, load_recipe
from regiontok.shards.report import read_report, report_path
from regiontok.shards.sidecar import ImageRegions, read_row_group, write_sidecar
from regiontok.shards.tar import open_index, write_tar
from regiontok.system.checkpoint import checkpoint_tensors
from regiontok.system.checkpoint import read_json as read_config
from regiontok.system.weights import file_tensors
from samples.mask_stores import write_store

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
PICTURE = Picture.of(PIXELS, name="a.jpg")
MASKS = np.random.default_rng(1).random((3, 24, 36)) < 0.4


@dataclass(frozen=True)
class Reader:
    """A reader and what it reads.

    Attributes:
        name: what failures call it.
        file: the file that is changed, relative to a folder.
        make: writes whole files into a folder.
        read: reads the folder.
    """

    name: str
    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def encoded(form: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, form, **options)
    return file.getvalue()


def _writes(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def _picture(form: str, **options) -> Reader:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    data = encoded(form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}), **options)

    def read_picture(folder: Path) -> None:
        content = (folder / "a").read_bytes()
        with suppress(ValueError):
            stored_size(content)
        Picture.of(folder / "a")

    return Reader(f"picture {form} {options or ''}", "a", _writes("a", data), read_picture)


def _animation(folder: Path) -> None:
    animation = Animation(folder / "a.gif")
    try:
        list(animation.timed_frames())
    finally:
        animation.close()


def _stored(name: str, content: bytes) -> Reader:
    return Reader(
        f"masks {name}",
        name,
        _writes(name, content),
        lambda folder: Stored(str(folder / name))([PICTURE]),
    )


def _png_of_labels() -> bytes:
    file = io.BytesIO()
    Image.fromarray(MASKS[0].astype(np.uint8) * 3).save(file, "PNG")
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, masks=MASKS)
    return file.getvalue()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, MASKS)
    return file.getvalue()


COCO = {
    "images": [{"id": 7, "file_name": "a.jpg", "height": 24, "width": 36}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]},
        {"id": 2, "image_id": 7, "segmentation": {"size": [24, 36], "counts": [100, 64, 700]}},
    ],
}
RLE = {"size": [24, 36], "masks": [{"size": [24, 36], "counts": [100, 64, 700]}], "scores": [0.5]}
RECORDS = [
    {
        "id": number,
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat?"},
            {"from": "gpt", "value": "A cat."},
        ],
    }
    for number in range(3)
]
RECIPE = b"""what = "a recipe of mine"
[tokenizer]
encoder = "filters(size=112)"
regions = "merge(0.7) | sort('com')"
pool = "mean"
"""
TABLE = b'{"image": "a.png", "x0": 0, "y0": 0, "x1": 9, "y1": 9, "label": 1, "confidence": 0.5}\n'


def _make_records(folder: Path) -> None:
    (folder / "a.png").write_bytes(encoded("PNG"))
    (folder / "rows.json").write_text(json.dumps(RECORDS))


def _make_tar(folder: Path) -> None:
    write_tar(folder / "s.tar", [(f"{number}.png", encoded("PNG")) for number in range(3)])


def _read_tar(folder: Path) -> None:
    for source in image_sources([str(folder / "s.tar")], note=lambda text: None):
        with suppress(ValueError):
            source.read()
    index = open_index(folder / "s.tar", folder)
    for number in range(len(index)):
        index.read(number)


def _make_sidecar(folder: Path) -> None:
    _make_tar(folder)
    rows = [ImageRegions(n, str(n), (24, 36), np.array([[0, 0, 9, 9]])) for n in range(3)]
    write_sidecar(folder / "s.tar", rows, config={"made": "here"})


def _read_sidecar(folder: Path) -> None:
    read_report(report_path(folder, "s"))
    group = read_row_group(folder / "s.regions.parquet", 0)
    for row in range(len(group.scalars["key"])):
        group[row].check()


def _make_index(folder: Path) -> None:
    _make_tar(folder)
    open_index(folder / "s.tar", folder)


def _store_file(folder: Path) -> Path:
    return next(folder.rglob("all.parquet"))


def _make_store(folder: Path) -> None:
    write_store(folder / "store", range(5))
    path = _store_file(folder / "store")
    (folder / "shard").write_bytes(path.read_bytes())


def _read_store(folder: Path) -> None:
    _store_file(folder / "store").write_bytes((folder / "shard").read_bytes())
    for _, masks in MaskStore(folder / "store").items():
        masks.areas.sum()


def _make_marker(folder: Path) -> None:
    write_store(folder / "store", range(2))


def _make_weights(folder: Path) -> None:
    save_file({"a": torch.ones(3, 4), "b": torch.zeros(2)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "hidden_size": 8}))


def _make_pickle(folder: Path) -> None:
    torch.save({"a": torch.ones(3, 4)}, folder / "weights.pt")


READERS: tuple[Reader, ...] = (
    *map(_picture, ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA")),
    _picture("JPEG", progressive=True),
    _picture("WEBP", lossless=True),
    _picture("TIFF", compression="tiff_lzw"),
    Reader(
        "animation",
        "a.gif",
        _writes(
            "a.gif",
            encoded("GIF", save_all=True, append_images=[Image.fromarray(PIXELS[::-1].copy())]),
        ),
        _animation,
    ),
    _stored("a.png", _png_of_labels()),
    _stored("a.npz", _npz()),
    _stored("a.json", json.dumps(RLE).encode()),
    _stored("coco.json", json.dumps(COCO).encode()),
    Reader("mask array", "a.npy", _writes("a.npy", _npy()), lambda f: read_mask_array(f / "a.npy")),
    Reader(
        "human labels",
        "a.png",
        _writes("a.png", _png_of_labels()),
        lambda folder: read_human_segmentations(folder, Path("a.jpg")),
    ),
    Reader(
        "records",
        "rows.json",
        _make_records,
        lambda folder: list(read([Data(records=str(folder / "rows.json"))])),
    ),
    Reader("recipe", "a.toml", _writes("a.toml", RECIPE), lambda f: load_recipe(f / "a.toml")),
    Reader("table", "a.jsonl", _writes("a.jsonl", TABLE * 3), lambda f: RegionTable(f / "a.jsonl")),
    Reader("tar", "s.tar", _make_tar, _read_tar),
    Reader("tar index", "s.tar.index.json", _make_index, _read_tar),
    Reader("side-car", "s.regions.parquet", _make_sidecar, _read_sidecar),
    Reader("side-car report", "s.regions.json", _make_sidecar, _read_sidecar),
    Reader("mask store", "shard", _make_store, _read_store),
    Reader(
        "mask store's marker", "store/store.json", _make_marker, lambda f: MaskStore(f / "store")
    ),
    Reader("weights", "model.safetensors", _make_weights, checkpoint_tensors),
    Reader("config", "config.json", _make_weights, lambda f: read_config(f / "config.json")),
    Reader("pickle", "weights.pt", _make_pickle, lambda f: file_tensors(f / "weights.pt")),
)
