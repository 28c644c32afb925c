"""Folders of photos: their listing is frozen when a curation begins, and cut into parts.

    OUT/NAME-00000.photos.json   a part: path below the folder, bytes, time of writing of each photo

A folder is never listed again. A photo that was changed or removed since is set aside by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from regiontok.curate.sources import CurationError, ImageChanged
from regiontok.data.walk import LeftOut, pictures_below
from regiontok.shards.tar import ANNOTATION, sample_key
from regiontok.system.files import replacing_shared
from regiontok.system.strict_json import parse_json

FORMAT = "regiontok photos 1"
PHOTOS = 10_000  # of a part, as many as img2dataset puts in a tar
NONE = -1  # bytes of a JSON that is not there
Note = Callable[[str], None]


@dataclass(frozen=True)
class Photo:
    """A photo as it was when its folder was listed.

    Attributes:
        name: its path below the folder, with "/".
        bytes: its length.
        time: when it was written, in ns.
        annotation: bytes of the JSON beside it; `NONE` where there was none.
    """

    name: str
    bytes: int
    time: int
    annotation: int


@dataclass(frozen=True)
class PhotoIndex:
    """The photos of a part at random, see `ImageIndex`.

    Attributes:
        folder: the folder.
        photos: its photos, in their order.
    """

    folder: Path
    photos: tuple[Photo, ...]

    def __len__(self) -> int:
        return len(self.photos)

    def key(self, index: int) -> str:
        """The path below the folder up to the first dot of its last part."""
        return sample_key(self.photos[index].name)

    def name(self, index: int) -> str:
        """The path below the folder."""
        return self.photos[index].name

    def read(self, index: int) -> bytes:
        """The bytes of a photo.

        Raises:
            ImageChanged: If it is gone, was changed since the folder was listed, or cannot be read.
        """
        photo = self.photos[index]
        return _unchanged(self.folder / photo.name, photo.bytes, photo.time)

    def annotation(self, index: int) -> bytes | None:
        """The bytes of the JSON beside a photo; None where there was none.

        Raises:
            ImageChanged: If it is gone or has another length.
        """
        photo = self.photos[index]
        if photo.annotation == NONE:
            return None
        return _unchanged(_annotation_path(self.folder / photo.name), photo.annotation)


@dataclass(frozen=True)
class PhotoPart:
    """Some photos of a folder, which share files as the images of a tar do.

    Attributes:
        folder: the folder.
        name: the folder's name and the part's number.
        images: number of its photos.
        hash: of the names and lengths of its photos.
    """

    folder: str
    name: str
    images: int
    hash: str

    @property
    def tar(self) -> Path | None:
        """None: its photos lie in no tar."""
        return None

    @property
    def place(self) -> str:
        """The folder."""
        return self.folder

    @property
    def identity(self) -> list[str | int]:
        """Its name and what it lists; not the folder, which may be moved."""
        return [self.name, self.hash, self.images]

    def index(self, out: Path) -> PhotoIndex:
        """Its photos, as they were listed.

        Raises:
            CurationError: If the listing is missing, damaged or another one.
        """
        path = listing_path(out, self.name)
        try:
            stated = parse_json(path.read_bytes())
            photos = tuple(Photo(*entry) for entry in stated["photos"])
            whole = stated["format"] == FORMAT and _hash(photos) == self.hash
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CurationError(f"{path}: damaged ({error}); take another --out") from None
        if not whole:
            raise CurationError(f"{path}: not the listing with which the curation began")
        return PhotoIndex(Path(self.folder), photos)

    def check(self, out: Path) -> None:
        """Refuse a listing that is gone or damaged; photos are looked at when they are read.

        Raises:
            CurationError: If it is.
        """
        self.index(out)


def freeze_folder(folder: Path, out: Path, note: Note) -> list[PhotoPart]:
    """List the photos below a folder, sorted, and write the listing part by part.

    Args:
        folder: the folder.
        out: the curation's folder, which may lie in it and is left out.
        note: is told what lies there and is not read, a line each.

    Raises:
        CurationError: If the folder, or one below it, cannot be read.
    """
    photos = list(_photos_below(folder, out, note))
    parts = []
    for number, start in enumerate(range(0, len(photos), PHOTOS)):
        of_part = tuple(photos[start : start + PHOTOS])
        name = f"{folder.resolve().name}-{number:05}"
        parts.append(PhotoPart(str(folder), name, len(of_part), _hash(of_part)))
        entries = [[*photo.__dict__.values()] for photo in of_part]
        with replacing_shared(listing_path(out, name)) as temporary:
            temporary.write_text(json.dumps({"format": FORMAT, "photos": entries}), "utf-8")
    return parts


def listing_path(out: Path, name: str) -> Path:
    """Where the listing of a part lies."""
    return out / f"{name}.photos.json"


def _photos_below(folder: Path, out: Path, note: Note) -> Iterator[Photo]:
    def refuse(error: OSError) -> None:
        raise CurationError(f"{folder}: cannot be read ({error})")

    left_out, top, results = LeftOut(), folder.resolve(), out.resolve()
    for path in pictures_below(folder, left_out, refuse):
        name = path.relative_to(folder)
        if results in (top / name).parents:
            continue
        try:
            stat = path.stat()
        except OSError:  # a link to nothing, or removed just now
            note(f"{path}: gone, or a link to nothing")
            continue
        beside = _annotation_path(path)
        annotation = beside.stat().st_size if beside.is_file() else NONE
        yield Photo(name.as_posix(), stat.st_size, stat.st_mtime_ns, annotation)
    for text in left_out.notes(folder):
        note(text)


def _annotation_path(photo: Path) -> Path:
    return photo.with_suffix(ANNOTATION)


def _hash(photos: tuple[Photo, ...]) -> str:
    """The hash of what is listed; times are left out, because a copy has others."""
    entries = [[photo.name, photo.bytes, photo.annotation] for photo in photos]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:32]


def _unchanged(path: Path, length: int, time: int | None = None) -> bytes:
    """The bytes of a file that has its length, and its time where that is known."""
    try:
        stat = path.stat()
        if stat.st_size != length or time not in (None, stat.st_mtime_ns):
            raise ImageChanged(f"{path}: changed since the curation began")
        data = path.read_bytes()
    except OSError as error:
        raise ImageChanged(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) != length:
        raise ImageChanged(f"{path}: changed while it was read")
    return data
