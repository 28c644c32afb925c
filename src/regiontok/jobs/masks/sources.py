"""Where `regiontok masks` finds its images: files and folders, WebDataset shards, a LLaVA JSON."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from regiontok.core.picture import MAX_BYTES, SUFFIXES, PictureError
from regiontok.data.collect import NoImages, collect


@dataclass(frozen=True)
class Source:
    """The bytes of one image: a file, or a piece of one (a member of a tar).

    Attributes:
        name: what to call it in messages.
        path: the file.
        start, size: the piece; size None means the whole file.
        problem: why it cannot be read, if that is known already.
    """

    name: str
    path: Path
    start: int = 0
    size: int | None = None
    problem: str | None = None

    def read(self) -> bytes:
        """The bytes.

        Raises:
            PictureError: not there, not readable, too large, or cut off.
        """
        if self.problem:
            raise PictureError(f"{self.name}: {self.problem}")
        try:
            if not self.path.is_file():
                raise PictureError(f"{self.name}: no such file")
            size = self.path.stat().st_size if self.size is None else self.size
            if size > MAX_BYTES:
                raise PictureError(
                    f"{self.name}: {size / 2**20:.0f} MiB is more than the {MAX_BYTES // 2**20} MiB an image may have"
                )
            with open(self.path, "rb") as file:
                file.seek(self.start)
                data = file.read(size)
        except OSError as error:
            raise PictureError(f"{self.name}: cannot be read ({error.strerror})") from error
        if len(data) < size:
            raise PictureError(f"{self.name}: cut off after {len(data)} of {size} bytes")
        return data


def sources(
    words: Sequence[str], images: Path | None = None, stdin: TextIO | None = None
) -> list[Source]:
    """The images behind the words of a command line, each once, in their order.

    A `.tar`, or a folder with such files, is a WebDataset: its members with an image's suffix are
    taken, where they lie. A `.json` is a list of LLaVA records whose `image` (one path, or several)
    is relative to `images`. Everything else is as `collect` reads it.

    Raises:
        NoImages: nothing there, or no image in it.
        ValueError: a JSON of another form, or without `images`; `images` without a JSON.
    """
    found: list[Source] = []
    plain: list[str] = []
    records = [word for word in words if word.lower().endswith(".json") and Path(word).is_file()]
    if images is not None and not records:
        raise ValueError(f"--images {images} goes with a LLaVA JSON, and none was named")
    for word in words:
        path = Path(word)
        tars = (
            sorted(one for one in path.rglob("*.tar") if not one.name.startswith("."))
            if path.is_dir()
            else []
        )
        if word in records:
            found += llava(path, images)
        elif path.suffix.lower() == ".tar" and path.is_file():
            found += webdataset(path)
        elif tars:
            found += [source for tar in tars for source in webdataset(tar)]
            found += _beside(word)
        else:
            plain.append(word)
    if plain or not words:
        found += [source for item in collect(plain, stdin) for source in _one(item.path)]
    first: dict[tuple[Path, int], Source] = {}
    for source in found:
        first.setdefault((source.path, source.start), source)
    return list(first.values())


def _beside(folder: str) -> list[Source]:
    """The image files of a folder that has shards, if it has any."""
    try:
        return [Source(str(item.path), item.path) for item in collect([folder])]
    except NoImages:
        return []


def _one(path: Path) -> Iterable[Source]:
    """A tar that a glob or a list named is a WebDataset too."""
    return webdataset(path) if path.suffix.lower() == ".tar" else [Source(str(path), path)]


def webdataset(path: Path) -> Iterator[Source]:
    """The images in a tar, named `shard.tar/member`; nothing is unpacked. Where the tar is damaged
    the last source says so."""
    count = 0
    try:
        with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
            for member in tar:
                name = PurePosixPath(member.name)
                if (
                    member.isreg()
                    and name.suffix.lower() in SUFFIXES
                    and not name.name.startswith(".")
                ):
                    count += 1
                    yield Source(f"{path}/{member.name}", path, member.offset_data, member.size)
            file.seek(tar.offset)
            if file.read(512) != bytes(
                512
            ):  # tarfile takes a damaged header, or half of one, for the end
                raise tarfile.ReadError("it does not end as a tar does")
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Source(
            str(path),
            path,
            -1,
            0,
            f"damaged, or a compressed tar ({error}); {count} images were found in it",
        )
        return
    if not count:
        yield Source(str(path), path, -1, 0, "no images in this tar")


def llava(path: Path, images: Path | None) -> Iterator[Source]:
    """The images of a LLaVA JSON; records without one are text only and pass by.

    Raises:
        ValueError: not a list of records, no image in any, or no root to look in.
    """
    if images is None:
        raise ValueError(f"{path}: say --images FOLDER, where the paths of its records begin")
    if not images.is_dir():
        raise ValueError(f"--images {images}: no such folder")
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
        for name in _named(record.get("image"), f"{path}: record {number}"):
            count += 1
            yield Source(name, images / name)
    if not count:
        raise NoImages(f"{path}: no record has an image")


def _named(value: Any, where: str) -> list[str]:
    names = value if isinstance(value, list) else [] if value is None else [value]
    for name in names:
        if not isinstance(name, str) or not name or PurePosixPath(name).is_absolute():
            raise ValueError(f"{where}: image must be a path relative to --images, got {name!r}")
    return names
