"""`regiontok migrate og_llava`: the mask folders that OG-LLaVA's released scripts write, read into
a mask store.

    DIR/partition_<i>/<image>/mask_<j>.npy              one bool array [H W] a mask (LLaVA's and
    BLIP's images) DIR/partition_<i>/<image>/<stem>_masks.npy          one bool array [k H W] an
    image (Cambrian's)

<image> is the picture's path below a data root, file name and suffix included:
coco/train2017/000000033471.jpg. It is sought below `images`, and its masks are kept under the hash
of its bytes, never under a running number. The release cuts that path out with `str.strip`, which
takes single letters off its ends ("ocr_vqa/images/a.jpg" becomes "cr_vqa/images/a.jpg"): a picture
whose path ends in the name and begins with such letters alone is taken, if there is just one.

The release reads its masks in the order of their names as text (mask_0, mask_1, mask_10, mask_2);
here they come by number, SAM's own order, unless `order="name"`. It does not turn photos upright
whose EXIF says how; the masks of such a photo are turned with it.

Files are strangers' files: an array is taken by its header only if it is of bool, of that shape and
exactly as long as it says, and nothing is ever unpickled. An image with a file that will not do is
set aside whole, with the reason: half of its masks would pass for all.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import FORMATS, SUFFIXES, UPRIGHT, key_of
from regiontok.jobs.masks.masks import note
from regiontok.jobs.masks.sources import Source
from regiontok.maskstore.store import Maker, MaskStore, is_store
from regiontok.maskstore.writer import MaskWriter, compact

Order = Literal["number", "name"]
ONE, ALL = re.compile(r"mask_(\d{1,6})\.npy"), re.compile(r".+_masks\.npy")
PIXELS, MASKS = (
    1 << 28,
    1 << 14,
)  # of one mask, of one image: 256 megapixels and 16,384; SAM gives some hundred
STRIPPED = frozenset(
    "/mnt/nushare2/data/baliao/multimodal/data/"
)  # what the released generator strips off both ends of a path


@dataclass(frozen=True)
class Folder:
    """The mask files of one image: its name as the release writes it, and the files in the order
    they are read in."""

    name: str
    files: tuple[Path, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Done:
    """What became of one image: its key; `resumed` if the store had it before; or why it was set
    aside. `size`: bytes of its files."""

    folder: Folder
    key: str | None = None
    masks: int = 0
    size: int = 0
    resumed: bool = False
    error: str | None = None


def folders(root: Path, order: Order = "number") -> Iterator[Folder]:
    """The images with masks below a folder of partitions (or below one partition), partition by
    partition, each in the order of names.

    Raises:
        ValueError: no such folder, or no masks in it.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    partitions = sorted(
        (path for path in root.glob("partition_*") if path.is_dir() and not path.is_symlink()),
        key=lambda path: (len(path.name), path.name),
    )
    first: dict[str, Path] = {}
    for partition in partitions or [root]:
        for found in _below(partition, order):
            owner = first.setdefault(found.name, partition)
            if owner == partition:
                yield found
            else:
                yield Folder(found.name, found.files, f"is in {owner.name} too, which is taken")
    if not first:
        raise ValueError(
            f"{root}: no mask_<number>.npy and no <name>_masks.npy below it; name the folder that holds partition_0"
        )


def migrate(root: Path, images: Path, out: Path, *, order: Order = "number") -> Iterator[Done]:
    """Read what the store does not have yet, and yield each image when that is settled; then sort
    the store.

    Whatever stops the run, calling it again goes on. Several may fill one store at once, a
    partition each.

    Args:
        root: see the module.
        images: the folder where the images' paths begin.
        out: the store, made if it is not there.
        order: of the masks of an image; part of what the store says it holds.

    Raises:
        ValueError: no masks, no folder of images, a store of other masks.
    """
    known = Images(images)
    failed: dict[str, str] = {}
    tried: list[Source] = []
    with MaskWriter(out, maker(order)) as writer:
        store = MaskStore(out, maker=maker(order))
        added: set[str] = set()
        for folder in folders(root, order):
            tried.append(Source(folder.name, root))
            try:
                done = _one(folder, known, store, added)
            except (ValueError, OSError) as error:
                failed[folder.name] = str(error)
                yield Done(folder, error=f"{folder.name}: {error}")
                continue
            if isinstance(done, Done):
                yield done
            else:
                key, masks = done
                writer.add(key, masks)
                added.add(key)
                yield Done(folder, key, len(masks), _bytes(folder))
    compact(out)
    note(out, failed, tried)


def plan(root: Path, images: Path, out: Path, *, order: Order = "number") -> dict[str, Any]:
    """What `migrate` would read, without reading an array: images, those without a picture, files,
    bytes, images in the store now."""
    known, found = Images(images), list(folders(root, order))
    lost = 0
    for folder in found:
        try:
            known.find(folder.name)
        except ValueError:
            lost += 1
    return {
        "images": len(found),
        "without_picture": lost,
        "unusable": sum(folder.problem is not None for folder in found),
        "files": sum(len(folder.files) for folder in found),
        "bytes": sum(map(_bytes, found)),
        "stored": len(MaskStore(out, maker=maker(order))) if is_store(out) else 0,
    }


def maker(order: Order) -> Maker:
    """What a store of such masks says it holds."""
    return Maker(f"og_llava(order={order!r}, version=1)", "masks made elsewhere")


@dataclass(frozen=True)
class Images:
    """The pictures below a folder, found by the names that the release gives their masks.

    Raises:
        ValueError: no such folder.
    """

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise ValueError(f"--images {self.root}: no such folder")

    def find(self, name: str) -> Path:
        """The picture of a name.

        Raises:
            ValueError: there is none, or it cannot be told which.
        """
        if (self.root / name).is_file():
            return self.root / name
        fits = [
            path
            for path in self._by_name.get(PurePosixPath(name).name, [])
            if path.endswith(name) and set(path[: -len(name)]) <= STRIPPED
        ]
        if len(fits) == 1:
            return self.root / fits[0]
        what = (
            f"{len(fits)} pictures may be meant ({', '.join(fits[:3])})"
            if fits
            else "no such picture"
        )
        raise ValueError(f"{what} below {self.root}")

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                if Path(name).suffix.lower() in SUFFIXES:
                    found.setdefault(name, []).append(
                        Path(folder, name).relative_to(self.root).as_posix()
                    )
        return found


def read_array(path: Path) -> np.ndarray:
    """`[k H W]` bool of one file, which holds `[H W]`, `[k H W]`, or nothing.

    Raises:
        ValueError: anything else; the file is read only if its header and its length agree.
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name}: not a plain file")
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = reader(file)
        except (
            ValueError,
            KeyError,
            SyntaxError,
            TypeError,
            EOFError,
            RecursionError,
            MemoryError,
        ) as error:
            raise ValueError(
                f"{path.name}: no array that can be read ({type(error).__name__})"
            ) from None
        if shape == (0,) and not dtype.hasobject:
            return np.zeros((0, 0, 0), bool)  # np.save([]) of an image without masks
        if dtype != np.bool_ or len(shape) not in (2, 3):
            raise ValueError(
                f"{path.name}: expected bool [H W] or [k H W], got {dtype} {list(shape)}"
            )
        masks, high, wide = (1, *shape) if len(shape) == 2 else shape
        if min(high, wide) < 1 or not 0 <= masks <= MASKS or high * wide > PIXELS:
            raise ValueError(
                f"{path.name}: {masks} masks of {high} x {wide} are more than {MASKS} of {PIXELS} pixels, or none"
            )
        left = path.stat().st_size - file.tell()
        if left != masks * high * wide:
            raise ValueError(
                f"{path.name}: {left} bytes for {masks} x {high} x {wide}; it is cut off, or has more in it"
            )
        # SAM's masks are transposed run-length codes: their files hold columns
        layout: Literal["F", "C"] = "F" if fortran else "C"
        values = (
            np.memmap(file, np.uint8, "r", file.tell(), shape, layout)
            if left
            else np.zeros(shape, np.uint8)
        )
        if left and int(values.max()) > 1:
            raise ValueError(f"{path.name}: it says bool and holds other values")
        return values.view(np.bool_).reshape(masks, high, wide)


def _below(partition: Path, order: Order) -> Iterator[Folder]:
    for folder, inner, names in os.walk(partition):
        inner.sort()
        own = sorted(name for name in names if ONE.fullmatch(name) or ALL.fullmatch(name))
        if own and Path(folder) != partition:
            yield _listed(Path(folder), Path(folder).relative_to(partition).as_posix(), own, order)


def _listed(folder: Path, name: str, own: Sequence[str], order: Order) -> Folder:
    numbers = {int(match[1]): one for one in own if (match := ONE.fullmatch(one))}
    wholes = [one for one in own if not ONE.fullmatch(one)]
    files = wholes or ([numbers[at] for at in sorted(numbers)] if order == "number" else list(own))
    problem = None
    if len(wholes) + bool(numbers) > 1:
        problem = f"holds its masks more than once ({', '.join(own[:3])})"
    elif numbers and len(numbers) != max(numbers) + 1:
        lost = next(at for at in range(max(numbers)) if at not in numbers)
        problem = f"mask_{lost}.npy is missing, and there is a mask_{max(numbers)}.npy"
    elif len(numbers) > MASKS:
        problem = f"{len(numbers)} masks are more than {MASKS}"
    return Folder(name, tuple(folder / one for one in files), problem)


def _one(
    folder: Folder, images: Images, store: MaskStore, added: set[str]
) -> Done | tuple[str, PixelMasks]:
    if folder.problem:
        raise ValueError(folder.problem)
    path = images.find(folder.name)
    data = Source(folder.name, path).read()
    key = key_of(data)
    if key in store or key in added:
        return Done(folder, key, size=_bytes(folder), resumed=True)
    size, turn = _stated(data)
    parts = [_coded(file, size, turn) for file in folder.files]
    upright = parts[0].size if parts else size
    return key, PixelMasks(upright, tuple(code for part in parts for code in part.counts))


def _coded(file: Path, size: tuple[int, int], turn: Image.Transpose | None) -> PixelMasks:
    """The masks of one file, upright; `size` is that of the photo as it lies in its file."""
    dense = read_array(file)
    if not len(dense):
        return PixelMasks(_turned(np.empty(size, bool), turn).shape, ())  # type: ignore[arg-type]
    if dense.shape[1:] != size:
        raise ValueError(
            f"{file.name}: masks of {dense.shape[1]} x {dense.shape[2]}, the picture has {size[0]} x {size[1]}"
        )
    codes = [
        PixelMasks.from_dense(_turned(mask, turn)[None]) for mask in dense
    ]  # one at a time: 95 of them are 29 MB
    return PixelMasks(codes[0].size, tuple(code.counts[0] for code in codes))


def _stated(data: bytes) -> tuple[tuple[int, int], Image.Transpose | None]:
    """(H, W) of a photo as it lies in its file, and what stands it upright; from the header."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return (image.height, image.width), UPRIGHT.get(image.getexif().get(0x0112, 1))
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise ValueError(f"its picture cannot be read ({error})") from None


def _turned(mask: np.ndarray, turn: Image.Transpose | None) -> np.ndarray:
    if turn is None:
        return mask
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).transpose(turn)) > 0


def _bytes(folder: Folder) -> int:
    return sum(file.lstat().st_size for file in folder.files)
