"""Masks made before and kept: a mask store, COCO, panoptic, label maps, run lengths, npz archives.

After: nothing; the formats are COCO's and Segment Anything's own, VOC's and ADE20K's label maps,
numpy's archives.
Differs: nothing known.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.maskstore.layout import is_store
from regiontok.maskstore.store import MaskStore
from regiontok.methods import Segmenter
from regiontok.segment.formats.catalogue import MaskCatalogue, UnreadMasks, check_size
from regiontok.segment.formats.coco import coco_instances, coco_panoptic, coco_results
from regiontok.segment.formats.labelmaps import label_map, npz_masks
from regiontok.segment.formats.rle import image_masks, read_json

Format = Literal["auto", "store", "coco", "results", "panoptic", "labels", "rle", "npz"]
SUFFIXES: dict[Format, str] = {"labels": ".png", "rle": ".json", "npz": ".npz"}
ONE_FILE: tuple[Format, ...] = ("coco", "results", "panoptic")
# the option, its default, and the formats that it goes with
OPTIONS: tuple[tuple[str, Any, tuple[Format, ...]], ...] = (
    ("images", None, ("results",)),
    ("pngs", None, ("panoptic",)),
    ("background", False, ("labels", "npz")),
    ("ignore", "auto", ("labels", "npz")),
)


@dataclass(frozen=True)
class Stored(Segmenter):
    """Masks by file name: those of `photos/000042.jpg` are stored under the stem `000042`.

    The stem must be equal; where several folders of the store have it, the folder must agree too.
    The order of pictures never matters. Masks of another size than the picture are an error:
    nothing is resized. Empty masks are kept.

    A mask store (`regiontok masks`) is the exception: it knows a picture by the hash of its bytes
    (`Picture.key`), whatever its name.

    | format | `path` |
    | --- | --- |
    | `store` | a folder that `regiontok masks` wrote |
    | `coco` | a JSON with `images` and `annotations` (polygons or run lengths) |
    | `results` | a JSON list of `image_id`, `segmentation`, `score`; `images` has the file names |
    | `panoptic` | a JSON with `segments_info`, whose PNGs lie in `pngs` or the folder of its name |
    | `labels` | `<stem>.png`: a label under each pixel (1 to 16 bits, or a palette's index) |
    | `rle` | `<stem>.json`: `{"size": [H, W], "masks": [...]}`, a list of run lengths, or SAM's |
    | `npz` | `<stem>.npz` with `masks` `[k H W]` or `labels` `[H W]` |

    `labels`, `rle` and `npz` are folders, walked to the bottom, or a single file. Categories, and
    the labels of a label map, become `names`; `score` and `predicted_iou` become `scores`. A JSON
    of many images is read once and kept.

    Attributes:
        path: file or folder.
        format: "auto" goes by what lies there.
        images: for `results`, the JSON that lists the images.
        pngs: for `panoptic`, the folder of the PNGs.
        background: for label maps, whether label 0 is a mask like any other.
        ignore: for label maps, a label that is no mask. "auto" is 255 in maps of 8 bits; None
            ignores none.
        missing: what becomes of a picture that the store does not know: an "error", or "empty" for
            no masks.

    Raises:
        ValueError: If, on a call or when the identity is asked for, there is nothing at `path`; on
            a call, if there are no masks of a picture, masks of another size, or a damaged file.
    """

    path: str
    format: Format = "auto"
    images: str | None = None
    pngs: str | None = None
    background: bool = False
    ignore: int | Literal["auto"] | None = "auto"
    missing: Literal["error", "empty"] = "error"
    version: ClassVar[int] = 1
    reads_pixels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("path", "images", "pngs"):
            value = getattr(self, name)
            if value is not None:  # a Path too becomes text, as the spec needs it
                object.__setattr__(self, name, os.fspath(value))
        if not self.path:
            raise ValueError("path is empty; name a file or folder of masks")

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """The stored masks of each picture."""
        return [self._masks_of(picture) for picture in pictures]

    @cached_property
    def identity(self) -> str:
        """The hash of the file; of a folder, that of its files' names, sizes and times.

        Of a mask store, its fingerprint: that and a picture's key decide the masks, unless what is
        missing counts as empty. Whoever asks for it before a run, as every command does, learns of
        a wrong path or option then, and not image by image.

        Raises:
            ValueError: If there is nothing at `path`, or it cannot be read as masks.
        """
        if self._store is None:
            _ = self._catalogue
        elif self.missing == "error":
            return self._store.fingerprint
        digest = hashlib.sha256()
        roots = [Path(name).expanduser() for name in (self.path, self.images, self.pngs) if name]
        default_pngs = roots[0].with_suffix("")  # where a panoptic JSON has its PNGs
        for root in (*roots, default_pngs):
            if root.is_file():
                digest.update(root.read_bytes())
                continue
            for path in _files_below(root):
                status = path.stat()
                name = path.relative_to(root)
                digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:32]

    def _masks_of(self, picture: Picture) -> PixelMasks:
        if self._store is not None:
            return self._masks_by_key(self._store, picture)
        catalogue = self._catalogue
        try:
            entry = catalogue.find(picture.name)
        except ValueError as error:
            raise ValueError(f"{picture.name}: in {self.path}, {error}") from None
        if entry is None and self.missing == "empty":
            return PixelMasks(picture.size, ())
        if entry is None:
            raise ValueError(
                f"{picture.name}: {self.path} has no masks of that name among its "
                f"{len(catalogue)}{catalogue.hint(picture.name)}; missing='empty' goes on without"
            )
        try:
            return entry.read(picture.size)
        except ValueError as error:
            raise ValueError(f"{picture.name}: its masks in {entry.where}: {error}") from error

    def _masks_by_key(self, store: MaskStore, picture: Picture) -> PixelMasks:
        masks = store.get(picture.key)
        if masks is None and self.missing == "empty":
            return PixelMasks(picture.size, ())
        if masks is None:
            raise ValueError(
                f"{picture.name}: {self.path} has no masks of these bytes (key {picture.key}) "
                f"among its {len(store)} images; add them with `regiontok masks`, "
                "or missing='empty' goes on without"
            )
        try:
            check_size(masks.size, picture.size)
        except ValueError as error:
            raise ValueError(f"{picture.name}: its masks in {self.path}: {error}") from error
        return masks

    @cached_property
    def _store(self) -> MaskStore | None:
        root = Path(self.path).expanduser()
        if self.format != "store" and not (self.format == "auto" and is_store(root)):
            return None
        self._check_options(root, "store")
        return MaskStore(root)

    @cached_property
    def _catalogue(self) -> MaskCatalogue:
        root = Path(self.path).expanduser()
        if not root.exists():
            raise ValueError(f"{root}: no such file or folder")
        data = read_json(root) if root.is_file() and root.suffix.lower() == ".json" else None
        kind: Format = self.format
        if kind == "auto":
            kind = _folder_format(root) if root.is_dir() else _file_format(root, data)
        self._check_options(root, kind)
        return MaskCatalogue(self._entries(root, kind, data))

    def _check_options(self, root: Path, kind: Format) -> None:
        """Refuse an option that would do nothing, and a folder where one JSON is expected."""
        for name, default, kinds in OPTIONS:
            if getattr(self, name) != default and kind not in kinds:
                raise ValueError(
                    f"{name} goes with the formats {' and '.join(kinds)}; {root} is read as {kind}"
                )
        if root.is_dir() and kind in ONE_FILE:
            raise ValueError(f"{root}: {kind} is one JSON file, not a folder")

    def _entries(self, root: Path, kind: Format, data: Any) -> Iterator[UnreadMasks]:
        if kind == "coco":
            return coco_instances(root, data)
        if kind == "results":
            return coco_results(root, data, Path(self.images).expanduser() if self.images else None)
        if kind == "panoptic":
            return coco_panoptic(root, data, Path(self.pngs).expanduser() if self.pngs else None)
        return self._file_entries(root, kind)

    def _file_entries(self, root: Path, kind: Format) -> Iterator[UnreadMasks]:
        """An entry for every file of a format that has one file a picture."""
        folder = root if root.is_dir() else root.parent
        files = [root] if root.is_file() else _files_below(root)
        for path in files:
            if path == root or path.suffix.lower() == SUFFIXES[kind]:
                name = path.relative_to(folder).with_suffix("").as_posix()
                yield UnreadMasks(name, str(path), partial(self._read_file, kind, path))

    def _read_file(self, kind: Format, path: Path, size: tuple[int, int]) -> PixelMasks:
        if kind == "rle":
            return image_masks(path, size)
        read = label_map if kind == "labels" else npz_masks
        return read(path, self.background, self.ignore, size)


def _files_below(root: Path) -> list[Path]:
    """The files below a folder, sorted; hidden ones (half-written, macOS's `._x.png`) are none."""
    visible = (
        path
        for path in root.rglob("*")
        if not any(name.startswith(".") for name in path.relative_to(root).parts)
    )
    return sorted(path for path in visible if path.is_file())


def _folder_format(root: Path) -> Format:
    suffixes = {path.suffix.lower() for path in _files_below(root)}
    formats = [kind for kind, suffix in SUFFIXES.items() if suffix in suffixes]
    if len(formats) > 1:
        raise ValueError(
            f"{root}: the folder has {' and '.join(formats)} files; say which: format='...'"
        )
    if not formats:
        raise ValueError(f"{root}: the folder has no .png, .json or .npz")
    return formats[0]


def _file_format(root: Path, data: Any) -> Format:
    suffix = root.suffix.lower()
    if suffix in (".png", ".npz"):
        return "labels" if suffix == ".png" else "npz"
    if isinstance(data, dict) and "images" in data:
        annotations = data.get("annotations")
        first = annotations[0] if isinstance(annotations, list) and annotations else {}
        return "panoptic" if isinstance(first, dict) and "segments_info" in first else "coco"
    if isinstance(data, dict) and ("masks" in data or "annotations" in data):
        return "rle"
    if isinstance(data, list):
        return "results" if data and isinstance(data[0], dict) and "image_id" in data[0] else "rle"
    raise ValueError(
        f"{root}: not a form of masks that is known here: COCO, results, panoptic, run lengths, "
        ".png, .npz"
    )
