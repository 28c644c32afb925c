"""`regiontok migrate og_llava`: the masks that OG-LLaVA's released scripts left, into a mask store.

    DIR/partition_<i>/<image>/mask_<j>.npy         one bool array [H W] a mask (LLaVA's and BLIP's)
    DIR/partition_<i>/<image>/<stem>_masks.npy     one bool array [k H W] an image (Cambrian's)

<image> is the picture's path below a data root, file name and suffix included:
coco/train2017/000000033471.jpg. It is looked up below a folder of images, and its masks are kept
under the hash of its bytes, never under a running number.

The release reads its masks in the order of their names as text (mask_0, mask_1, mask_10, mask_2);
here they come by number, SAM's own order, unless `order="name"`. It does not turn photos upright
whose EXIF says how; the masks of such a photo are turned with it.

An image with a file that will not do is set aside whole, with the reason: half of its masks would
pass for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import SUFFIXES, key_of
from regiontok.jobs.masks.image_sources import ImageSource
from regiontok.jobs.masks.store_state import write_set_aside
from regiontok.jobs.migrate.mask_arrays import code_masks, stored_size
from regiontok.jobs.migrate.mask_folders import MaskFolder, Order, mask_folders
from regiontok.maskstore.layout import SegmenterRecord, is_store
from regiontok.maskstore.store import MaskStore
from regiontok.maskstore.writer import MaskWriter, compact
from regiontok.system.names import as_on_disk

# what the released generator strips off both ends of a path: single letters, not this prefix
STRIPPED = frozenset("/mnt/nushare2/data/baliao/multimodal/data/")


@dataclass(frozen=True, kw_only=True)
class MigrateOutcome:
    """What became of one image.

    Attributes:
        folder: its mask files.
        key: hash of the picture's bytes; None if it was set aside.
        masks: number of masks that were read.
        resumed: True if the store had them before.
        error: why it was set aside; None if it was done.
    """

    folder: MaskFolder
    key: str | None = None
    masks: int = 0
    resumed: bool = False
    error: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the mask files of an image that was done."""
        return 0 if self.error else self.folder.size


def migrate_og_llava(
    root: str | Path, images: str | Path, out: str | Path, *, order: Order = "number"
) -> Iterator[MigrateOutcome]:
    """Read the masks that the store does not have, and yield each image when that is settled.

    Whatever stops the run, calling it again goes on; in the end the store is sorted. Several
    processes may fill one store at once, a partition each.

    Args:
        root: folder of the partitions, see `mask_folders`.
        images: folder where the images' paths begin.
        out: folder of the store, made if it is not there.
        order: order of an image's masks; it is part of what the store says it holds.

    Raises:
        ValueError: If there are no masks, no folder of images, or the store holds other masks.
    """
    root, images, out = Path(root), Path(images), Path(out)
    pictures = PicturesByName(images)
    failed: dict[str, str] = {}
    tried: list[str] = []
    with MaskWriter(out, mask_maker(order)) as writer:
        store = MaskStore(out, segmenter=mask_maker(order))
        added: set[str] = set()
        for folder in mask_folders(root, order):
            tried.append(folder.name)
            try:
                data = _read_picture(folder, pictures)
                key = key_of(data)
                if key in store or key in added:
                    yield MigrateOutcome(folder=folder, key=key, resumed=True)
                    continue
                masks = _read_masks(folder, data)
            except (ValueError, OSError) as error:
                failed[folder.name] = str(error)
                yield MigrateOutcome(folder=folder, error=f"{folder.name}: {error}")
                continue
            writer.add(key, masks)
            added.add(key)
            yield MigrateOutcome(folder=folder, key=key, masks=len(masks))
    compact(out)
    write_set_aside(out, failed, tried)


def plan_og_llava(
    root: str | Path, images: str | Path, out: str | Path, *, order: Order = "number"
) -> dict[str, Any]:
    """What `migrate_og_llava` would read: counts of images and files, and bytes; no array is read.

    Raises:
        ValueError: If there are no masks, no folder of images, or the store holds other masks.
    """
    root, images, out = Path(root), Path(images), Path(out)
    pictures, folders = PicturesByName(images), list(mask_folders(root, order))
    return {
        "images": len(folders),
        "without_picture": sum(folder.name not in pictures for folder in folders),
        "unusable": sum(folder.problem is not None for folder in folders),
        "files": sum(len(folder.files) for folder in folders),
        "bytes": sum(folder.size for folder in folders),
        "stored": len(MaskStore(out, segmenter=mask_maker(order))) if is_store(out) else 0,
    }


def mask_maker(order: Order) -> SegmenterRecord:
    """What a store of such masks says it holds."""
    return SegmenterRecord(f"og_llava(order={order!r}, version=1)", "masks made elsewhere")


@dataclass(frozen=True)
class PicturesByName:
    """The pictures below a folder, by the names that the release gives their masks.

    The release cuts a picture's path out with `str.strip`, which takes single letters off its ends:
    "ocr_vqa/images/a.jpg" becomes "cr_vqa/images/a.jpg". So a picture whose path ends in the name,
    and begins with such letters alone, is taken, if there is just one.

    Raises:
        ValueError: If there is no such folder.
    """

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise ValueError(f"--images {self.root}: no such folder")

    def find(self, name: str) -> Path:
        """The picture of a name.

        Raises:
            ValueError: If there is none, or it cannot be told which one is meant.
        """
        if (path := as_on_disk(self.root / name)).is_file():
            return path
        candidates = [
            path
            for path in self._paths_by_file_name.get(PurePosixPath(name).name, [])
            if path.endswith(name) and set(path[: -len(name)]) <= STRIPPED
        ]
        if len(candidates) == 1:
            return self.root / candidates[0]
        problem = "no such picture"
        if candidates:
            problem = f"{len(candidates)} pictures may be meant ({', '.join(candidates[:3])})"
        raise ValueError(f"{problem} below {self.root}")

    def __contains__(self, name: str) -> bool:
        try:
            self.find(name)
        except ValueError:
            return False
        return True

    @cached_property
    def _paths_by_file_name(self) -> dict[str, list[str]]:
        """Paths relative to the root, by file name."""
        paths: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                if Path(name).suffix.lower() in SUFFIXES:
                    path = Path(folder, name).relative_to(self.root).as_posix()
                    paths.setdefault(name, []).append(path)
        return paths


def _read_picture(folder: MaskFolder, pictures: PicturesByName) -> bytes:
    if folder.problem:
        raise ValueError(folder.problem)
    return ImageSource(folder.name, pictures.find(folder.name)).read()


def _read_masks(folder: MaskFolder, data: bytes) -> PixelMasks:
    """All masks of one image, upright; `data` are the bytes of its photo."""
    size, turn = stored_size(data)
    masks_by_file = [code_masks(file, size, turn) for file in folder.files]
    upright = masks_by_file[0].size if masks_by_file else size
    return PixelMasks(upright, tuple(code for masks in masks_by_file for code in masks.counts))
