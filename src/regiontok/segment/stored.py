"""Masks that somebody computed before: a mask store, COCO, panoptic, label maps, run lengths, npz;
read, not made.

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
from regiontok.maskstore.store import MaskStore, is_store
from regiontok.methods import Segmenter
from regiontok.segment.formats import coco as _coco
from regiontok.segment.formats.index import Catalogue, Entry, fits
from regiontok.segment.formats.labelmaps import label_map, npz_masks
from regiontok.segment.formats.rle import image_masks, read_json

Format = Literal["auto", "store", "coco", "results", "panoptic", "labels", "rle", "npz"]
SUFFIX: dict[Format, str] = {"labels": ".png", "rle": ".json", "npz": ".npz"}


@dataclass(frozen=True)
class Stored(Segmenter):
    """Masks by file name: those of `photos/000042.jpg` are what the store has under the stem
    `000042`.

    The stem must be equal; where several folders of the store have it, the folder must agree too.
    The order of pictures never matters. Masks of another size than the picture are an error:
    nothing is resized. Empty masks are kept.

    A mask store (`regiontok masks`) is the exception: it knows a picture by the hash of its bytes
    (`Picture.key`), whatever its name.

    | format | `path` |
    | --- | --- |
    | `store` | a folder that `regiontok masks` wrote |
    | `coco` | a JSON with `images` and `annotations` (polygons or run lengths) |
    | `results` | a JSON list of `image_id`, `segmentation`, `score`; file names come from `images` |
    | `panoptic` | a JSON with `segments_info`; its PNGs lie in `pngs`, or in the folder of its own name beside it |
    | `labels` | `<stem>.png`: a label under each pixel (1 to 16 bits, or the index into a palette) |
    | `rle` | `<stem>.json`: `{"size": [H, W], "masks": [...]}`, a list of run lengths, SAM's list, or SA-1B's file |
    | `npz` | `<stem>.npz` with `masks` `[k H W]` or `labels` `[H W]` |

    `labels`, `rle` and `npz` are folders, walked to the bottom, or a single file. Categories, and
    the labels of a label map, become `names`; `score` and `predicted_iou` become `scores`. A JSON
    of many images is read once and kept.

    Attributes:
        path: file or folder.
        format: "auto" goes by what lies there.
        images: for `results`: the JSON that lists the images.
        pngs: for `panoptic`: the folder of the PNGs.
        background: for label maps: label 0 is a mask like any other. By default it is none.
        ignore: for label maps: a label that is no mask. "auto" is 255 in maps of 8 bits; None
            ignores none.
        missing: what becomes of a picture that the store does not know: an "error", or "empty": no
            masks.

    Raises:
        ValueError: when called: nothing at `path`, a picture that is not there, masks of another
            size, a damaged file.
    """

    path: str
    format: Format = "auto"
    images: str | None = None
    pngs: str | None = None
    background: bool = False
    ignore: int | Literal["auto"] | None = "auto"
    missing: Literal["error", "empty"] = "error"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for name in ("path", "images", "pngs"):
            if getattr(self, name) is not None:
                object.__setattr__(
                    self, name, os.fspath(getattr(self, name))
                )  # a Path too: the spec text needs plain text
        if not self.path:
            raise ValueError("path is empty; name a file or folder of masks")

    def __call__(self, pictures: Sequence[Picture]) -> list[PixelMasks]:
        """The stored masks of each picture."""
        return [self._one(picture) for picture in pictures]

    @cached_property
    def identity(self) -> str:
        """What the spec text cannot say: a hash of the file; of a folder, of its files' names,
        sizes and times.

        Of a mask store, its fingerprint: that and a picture's key decide the masks, unless what is
        missing counts as empty.
        """
        if self._store is not None and self.missing == "error":
            return self._store.fingerprint
        digest = hashlib.sha256()
        roots = [Path(name).expanduser() for name in (self.path, self.images, self.pngs) if name]
        for root in (
            *roots,
            roots[0].with_suffix(""),
        ):  # the last: where a panoptic JSON has its PNGs
            if root.is_file():
                digest.update(root.read_bytes())
                continue
            for path in _files(root):
                state = path.stat()
                digest.update(
                    f"{path.relative_to(root)} {state.st_size} {state.st_mtime_ns}\n".encode()
                )
        return digest.hexdigest()[:32]

    @cached_property
    def _store(self) -> MaskStore | None:
        root = Path(self.path).expanduser()
        if self.format != "store" and not (self.format == "auto" and is_store(root)):
            return None
        self._check(root, "store")
        return MaskStore(root)

    def _kept(self, store: MaskStore, picture: Picture) -> PixelMasks:
        masks = store.get(picture.key)
        if masks is None and self.missing == "empty":
            return PixelMasks(picture.size, ())
        if masks is None:
            raise ValueError(
                f"{picture.name}: {self.path} has no masks of these bytes (key {picture.key}) among its {len(store)} images; "
                "add them with `regiontok masks`, or missing='empty' goes on without"
            )
        try:
            fits(masks.size, picture.size)
        except ValueError as error:
            raise ValueError(f"{picture.name}: its masks in {self.path}: {error}") from error
        return masks

    def _one(self, picture: Picture) -> PixelMasks:
        if self._store is not None:
            return self._kept(self._store, picture)
        catalogue = self._catalogue
        try:
            entry = catalogue.find(picture.name)
        except ValueError as error:
            raise ValueError(f"{picture.name}: in {self.path}, {error}") from None
        if entry is None and self.missing == "empty":
            return PixelMasks(picture.size, ())
        if entry is None:
            raise ValueError(
                f"{picture.name}: {self.path} has no masks of that name among its {len(catalogue)}{catalogue.hint(picture.name)}; "
                "missing='empty' goes on without"
            )
        try:
            return entry.read(picture.size)
        except ValueError as error:
            raise ValueError(f"{picture.name}: its masks in {entry.where}: {error}") from error

    @cached_property
    def _catalogue(self) -> Catalogue:
        root = Path(self.path).expanduser()
        if not root.exists():
            raise ValueError(f"{root}: no such file or folder")
        data = read_json(root) if root.is_file() and root.suffix.lower() == ".json" else None
        kind: Format = self.format
        if kind == "auto":
            kind = _kind_of_folder(root) if root.is_dir() else _kind_of_file(root, data)
        self._check(root, kind)
        return Catalogue(self._entries(root, kind, data))

    def _check(self, root: Path, kind: Format) -> None:
        """An option that would do nothing is a mistake, and so is a folder where one JSON is
        expected."""
        for name, default, kinds in (
            ("images", None, ("results",)),
            ("pngs", None, ("panoptic",)),
            ("background", False, ("labels", "npz")),
            ("ignore", "auto", ("labels", "npz")),
        ):
            if getattr(self, name) != default and kind not in kinds:
                raise ValueError(
                    f"{name} goes with the formats {' and '.join(kinds)}; {root} is read as {kind}"
                )
        if root.is_dir() and kind in ("coco", "results", "panoptic"):
            raise ValueError(f"{root}: {kind} is one JSON file, not a folder")

    def _entries(self, root: Path, kind: Format, data: Any) -> Iterator[Entry]:
        if kind == "coco":
            return _coco.instances(root, data)
        if kind == "results":
            return _coco.results(
                root, data, Path(self.images).expanduser() if self.images else None
            )
        if kind == "panoptic":
            return _coco.panoptic(root, data, Path(self.pngs).expanduser() if self.pngs else None)
        folder = root if root.is_dir() else root.parent
        files = (
            [root]
            if root.is_file()
            else [path for path in _files(root) if path.suffix.lower() == SUFFIX[kind]]
        )
        names = (path.relative_to(folder).with_suffix("").as_posix() for path in files)
        return (
            Entry(name, str(path), partial(self._read, kind, path))
            for name, path in zip(names, files, strict=True)
        )

    def _read(self, kind: Format, path: Path, size: tuple[int, int]) -> PixelMasks:
        if kind == "rle":
            return image_masks(path, size)
        return (label_map if kind == "labels" else npz_masks)(
            path, self.background, self.ignore, size
        )


def _files(root: Path) -> list[Path]:
    """The files below a folder, sorted; what is hidden (half-written, or macOS's `._x.png`) is none
    of the store's."""
    found = (
        path
        for path in root.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    return sorted(path for path in found if path.is_file())


def _kind_of_folder(root: Path) -> Format:
    there = {path.suffix.lower() for path in _files(root)}
    found = [kind for kind, suffix in SUFFIX.items() if suffix in there]
    if len(found) != 1:
        what = (
            f"has {' and '.join(found)} files; say which: format='...'"
            if found
            else "has no .png, .json or .npz"
        )
        raise ValueError(f"{root}: the folder {what}")
    return found[0]


def _kind_of_file(root: Path, data: Any) -> Format:
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
        f"{root}: not a form of masks that is known here: COCO, results, panoptic, run lengths, .png, .npz"
    )
