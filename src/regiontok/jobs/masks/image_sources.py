"""The images that `regiontok masks` reads: files and folders, WebDataset shards, a LLaVA JSON."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from regiontok.core.formats import MAX_BYTES, PictureError, is_image_name
from regiontok.core.pixel_budget import announced_pixels
from regiontok.data.collect import NoImages, Note, collect
from regiontok.data.walk import MAC_FOLDER, LeftOut, tars_below
from regiontok.system.logs import module_logger
from regiontok.system.names import as_on_disk

_LOG = module_logger(__name__)
HEAD_BYTES = 2**16  # of an image in a tar, in which its size is looked for
TAR_BLOCK = 512  # bytes of a tar's header; a block of zeros ends the tar


@dataclass(frozen=True)
class ImageSource:
    """The bytes of one image: a whole file, or a piece of one (a member of a tar).

    Attributes:
        name: the image's name in messages.
        path: the file.
        start: offset of the piece in bytes.
        size: length of the piece in bytes; None takes the whole file.
        problem: why it cannot be read, if that is known already.
    """

    name: str
    path: Path
    start: int = 0
    size: int | None = None
    problem: str | None = None

    def announced_pixels(self) -> int:
        """The pixels that the head of the image announces; 0 if it cannot be read."""
        if self.problem:
            return 0
        if self.size is None:
            return announced_pixels(self.path)
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                return announced_pixels(file.read(min(self.size, HEAD_BYTES)))
        except OSError:
            return 0

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            PictureError: If the file is not there, cannot be read, is too large, or is cut off.
        """
        if self.problem:
            raise PictureError(f"{self.name}: {self.problem}")
        try:
            if not self.path.is_file():
                raise PictureError(f"{self.name}: no such file")
            size = self.path.stat().st_size if self.size is None else self.size
            if size > MAX_BYTES:
                raise PictureError(
                    f"{self.name}: {size / 2**20:.0f} MiB is more than the "
                    f"{MAX_BYTES // 2**20} MiB an image may have"
                )
            with open(self.path, "rb") as file:
                file.seek(self.start)
                data = file.read(size)
        except OSError as error:
            raise PictureError(f"{self.name}: cannot be read ({error.strerror})") from error
        if len(data) < size:
            raise PictureError(f"{self.name}: cut off after {len(data)} of {size} bytes")
        return data


def image_sources(
    words: Sequence[str],
    root: str | Path | None = None,
    stdin: TextIO | None = None,
    *,
    note: Note = _LOG.warning,
) -> list[ImageSource]:
    """The images behind the words of a command line, each once, in their order.

    A `.tar`, or a folder with such files, is a WebDataset: its members with an image's suffix are
    read where they lie. A `.json` is a list of LLaVA records whose `image` or `images` (one path,
    or several) is relative to `root`. Everything else is as `collect` reads it.

    Args:
        words: files, folders, globs, or "-" for a list on standard input.
        root: folder where the paths of a LLaVA JSON begin.
        stdin: what "-" reads.
        note: is told what lies in a folder or tar and is not read, a line each.

    Raises:
        NoImages: If a word leads to no image.
        ValueError: If a JSON has another form or comes without `root`, or `root` comes without a
            JSON.
    """
    json_files = [word for word in words if word.lower().endswith(".json") and Path(word).is_file()]
    if root is not None and not json_files:
        raise ValueError(f"--images {root} goes with a LLaVA JSON, and none was named")
    sources: list[ImageSource] = []
    other_words: list[str] = []
    for word in words:
        path = Path(word)
        tars = tars_below(path) if path.is_dir() else []
        if word in json_files:
            sources += llava_images(path, None if root is None else Path(root))
        elif path.suffix.lower() == ".tar" and path.is_file():
            sources += webdataset_images(path, note)
        elif tars:
            sources += [source for tar in tars for source in webdataset_images(tar, note)]
            sources += _files_beside_tars(word, note)
        else:
            other_words.append(word)
    if other_words or not words:
        for image in collect(other_words, stdin, note=note):
            sources += _images_of_file(image.path, note)
    by_place: dict[tuple[Path, int], ImageSource] = {}
    for source in sources:
        by_place.setdefault((source.path, source.start), source)
    return list(by_place.values())


def _files_beside_tars(folder: str, note: Note) -> list[ImageSource]:
    """The image files of a folder that has shards, if it has any."""
    try:
        return [ImageSource(str(image.path), image.path) for image in collect([folder], note=note)]
    except NoImages:
        return []


def _images_of_file(path: Path, note: Note) -> list[ImageSource]:
    """One file that a glob or a list named; a tar is a WebDataset there, too."""
    if path.suffix.lower() == ".tar":
        return list(webdataset_images(path, note))
    return [ImageSource(str(path), path)]


def webdataset_images(path: Path, note: Note = _LOG.warning) -> Iterator[ImageSource]:
    """The images in a tar, named `shard.tar/member`; nothing is unpacked.

    Where the tar is damaged, or holds no image, the last source says so. `note` is told what lies
    in it and is not read.
    """
    count, left_out = 0, LeftOut()
    try:
        with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
            for member in tar:
                if member.isreg() and not is_image_name(member.name):
                    _count_member(PurePosixPath(member.name), left_out)
                elif member.isreg():
                    count += 1
                    name = f"{path}/{member.name}"
                    yield ImageSource(name, path, member.offset_data, member.size)
            file.seek(tar.offset)
            # tarfile takes a damaged header, or half of one, for the end
            if file.read(TAR_BLOCK) != bytes(TAR_BLOCK):
                raise tarfile.ReadError("it does not end as a tar does")
    except (tarfile.TarError, OSError, EOFError) as error:
        yield _unreadable(
            path, f"damaged, or a compressed tar ({error}); {count} images were found in it"
        )
        return
    for text in left_out.notes(path):
        note(text)
    if not count:
        yield _unreadable(path, "no images in this tar")


def _count_member(path: PurePosixPath, left_out: LeftOut) -> None:
    if MAC_FOLDER in path.parts:
        left_out.mac += 1
    else:
        left_out.count(path.name)


def _unreadable(path: Path, problem: str) -> ImageSource:
    return ImageSource(str(path), path, start=-1, size=0, problem=problem)


def llava_images(path: Path, root: Path | None) -> Iterator[ImageSource]:
    """The images of a LLaVA JSON; records without one are text only and pass by.

    Args:
        path: the JSON.
        root: folder where the paths of its records begin.

    Raises:
        ValueError: If it is no list of records, or there is no root to look in.
        NoImages: If no record has an image.
    """
    if root is None:
        raise ValueError(f"{path}: say --images FOLDER, where the paths of its records begin")
    if not root.is_dir():
        raise ValueError(f"--images {root}: no such folder")
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(
            f'{path}: expected a list of records such as {{"image": "coco/000042.jpg", ...}}'
        )
    count = 0
    for number, record in enumerate(records):
        named = record.get("image") if record.get("image") is not None else record.get("images")
        for name in _relative_paths(named, f"{path}: record {number}"):
            count += 1
            yield ImageSource(name, as_on_disk(root / name))
    if not count:
        raise NoImages(f"{path}: no record has an image")


def _relative_paths(value: Any, record: str) -> list[str]:
    """The paths of a record's `image`: none, one, or several; `record` names it in messages."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    for name in names:
        if not isinstance(name, str) or not name or PurePosixPath(name).is_absolute():
            raise ValueError(f"{record}: image must be a path relative to --images, got {name!r}")
    return names
