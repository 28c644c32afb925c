"""The images of a curation, frozen when it begins, and the pieces into which they are cut."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from regiontok.curate.photos import Note, PhotoPart, freeze_folder
from regiontok.curate.sources import CurationError, ImageIndex, Source
from regiontok.data.walk import tars_below
from regiontok.shards.report import config_hash
from regiontok.shards.tar import ShardError, open_index, tar_bytes
from regiontok.system.files import replacing_shared
from regiontok.system.logs import module_logger
from regiontok.system.strict_json import parse_json

FORMAT = "regiontok curation 2"
_LOG = module_logger(__name__)


@dataclass(frozen=True)
class CuratedTar:
    """One tar.

    Attributes:
        path: where it lies.
        bytes: its length.
        images: number of its images.
    """

    path: str
    bytes: int
    images: int

    @property
    def name(self) -> str:
        """The tar's name without its suffix."""
        return self.tar.stem

    @property
    def tar(self) -> Path:
        """The tar."""
        return Path(self.path)

    @property
    def place(self) -> str:
        """Where it lies."""
        return self.path

    @property
    def identity(self) -> list[str | int]:
        """Its name, its length and the number of its images."""
        return [self.name, self.bytes, self.images]

    def index(self, out: Path) -> ImageIndex:
        """Its images.

        Raises:
            CurationError: If it has another length than when the curation began.
            ShardError: If the tar is missing or damaged.
        """
        self.check(out)
        return open_index(self.tar, out)

    def check(self, out: Path) -> None:
        """Refuse a tar of another length than when the curation began.

        Raises:
            CurationError: If it has.
            ShardError: If it is missing.
        """
        if (size := tar_bytes(self.tar)) != self.bytes:
            raise CurationError(
                f"{self.path} has {size} bytes, and had {self.bytes} when the curation began: take "
                "another --out"
            )


@dataclass(frozen=True)
class Piece:
    """Some images of a tar, which lie together: the unit of work.

    Attributes:
        tar: the tar, or what stands in its place.
        number: the piece's number in it.
        start: its first image.
        stop: the image behind its last one.
    """

    tar: Source
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.tar.name}, images {self.start} to {self.stop - 1}"


@dataclass(frozen=True)
class Curation:
    """An output folder and the images that are curated in it.

    Attributes:
        out: the folder.
        tars: the tars, and the parts of folders of photos, in the order of their names.
        piece: images of a piece.
        unreadable: tars that were damaged when the curation began, with what is wrong with them.
        left_out: further tars, without which a stage goes on: see `regiontok.curate.left_out`.
    """

    out: Path
    tars: tuple[Source, ...]
    piece: int
    unreadable: tuple[tuple[str, str], ...] = ()
    left_out: tuple[Source, ...] = ()

    @cached_property
    def hash(self) -> str:
        """The hash of what is curated, the first link of every chain."""
        return config_hash({"tars": [tar.identity for tar in self.listed]})

    @property
    def listed(self) -> tuple[Source, ...]:
        """All tars, also those that are left out."""
        return _sorted([*self.tars, *self.left_out]) if self.left_out else self.tars

    @property
    def left_out_settings(self) -> dict[str, list[str]]:
        """What a barrier's hash has of the tars that are left out: nothing where none is."""
        return {"left_out": [tar.name for tar in self.left_out]} if self.left_out else {}

    def without(self, names: Collection[str]) -> Curation:
        """The same curation, going on without some tars."""
        if not names:
            return self
        tars = tuple(tar for tar in self.tars if tar.name not in names)
        left_out = tuple(tar for tar in self.listed if tar not in tars)
        return replace(self, tars=tars, left_out=left_out)

    def pieces(self, tar: Source) -> list[Piece]:
        """The pieces of a tar, in their order."""
        starts = range(0, tar.images, self.piece)
        return [
            Piece(tar, number, start, min(start + self.piece, tar.images))
            for number, start in enumerate(starts)
        ]

    def index(self, tar: Source) -> ImageIndex:
        """The images of a tar, or of what stands in its place.

        Raises:
            CurationError: If what the folder holds of them is missing or damaged.
            ShardError: If the tar is missing or damaged.
        """
        return tar.index(self.out)


def open_curation(
    out: Path,
    images: Sequence[str],
    piece: int,
    *,
    check: bool = True,
    note: Note = _LOG.warning,
) -> Curation:
    """Begin a curation in a folder, or go on with the one that is there.

    The list of tars and photos is written when it begins, and only that list counts from then on;
    the folders are not looked through again.

    Args:
        out: the folder.
        images: tars, folders of tars, and folders of photos.
        piece: images of a piece.
        check: False leaves a tar of another length, or none, to its pieces, which fail.
        note: is told what lies in a folder of photos and is not read, a line each.

    Raises:
        CurationError: If there are no images, two tars or folders have one name, the folder is of
            other images or pieces, or damaged, or a tar has another length than when it began.
        ShardError: If a tar is missing.
    """
    asked = {"format": FORMAT, "images": [*images], "piece": piece}
    path = out / "curation.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        curation = _listed(out, images, piece, note)
        tars, parts = (
            [asdict(source) for source in curation.tars if isinstance(source, kind)]
            for kind in (CuratedTar, PhotoPart)
        )
        stated = {**asked, "tars": tars, "photos": parts, "unreadable": curation.unreadable}
        with replacing_shared(path) as temporary:
            temporary.write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
        return curation
    curation, stated = _stated(path)
    if wrong := [key for key in asked if stated.get(key) != asked[key]]:
        raise CurationError(
            f"{out} curates {wrong[0]} = {stated.get(wrong[0])}, the plan says {asked[wrong[0]]}: "
            "take another --out"
        )
    for tar in curation.tars if check else ():
        tar.check(out)
    return curation


def curation_in(out: Path) -> Curation:
    """The curation that is in a folder.

    Raises:
        CurationError: If there is none, or it is damaged.
    """
    return _stated(out / "curation.json")[0]


def _stated(path: Path) -> tuple[Curation, dict[str, Any]]:
    """What a folder's list says, read and as it stands."""
    try:
        stated = parse_json(path.read_bytes())
        tars: list[Source] = [CuratedTar(**tar) for tar in stated["tars"]]
        tars += [PhotoPart(**part) for part in stated.get("photos", [])]
        unreadable = tuple((tar, reason) for tar, reason in stated["unreadable"])
        return Curation(path.parent, _sorted(tars), stated["piece"], unreadable), stated
    except FileNotFoundError:
        raise CurationError(f"{path.parent}: no curation has begun here") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CurationError(f"{path}: damaged ({error}); take another --out") from None


def _listed(out: Path, images: Sequence[str], piece: int, note: Note) -> Curation:
    """The tars and the parts of folders that lie there, in the order of their names."""
    paths: dict[str, Path] = {}
    folders = []
    for place in map(Path, images):
        tars = tars_below(place) if place.is_dir() else [place]
        folders += [] if tars else [place]
        for path in tars:
            if (other := paths.setdefault(path.stem, path)) != path:
                raise _one_name(str(other), str(path))
    sources, unreadable = _readable(sorted(paths.values(), key=lambda path: path.stem), out)
    for folder in dict.fromkeys(folders):
        sources += freeze_folder(folder, out, note)
    for source, following in pairwise(_sorted(sources)):
        if source.name == following.name:
            raise _one_name(source.place, following.place)
    if not sources:
        reasons = "".join(f"; {reason}" for _, reason in unreadable)
        raise CurationError(f"no tar that can be read and no photo in {', '.join(images)}{reasons}")
    return Curation(out, _sorted(sources), piece, tuple(unreadable))


def _readable(paths: Sequence[Path], out: Path) -> tuple[list[Source], list[tuple[str, str]]]:
    """The tars that can be read, and what is wrong with the others."""
    tars: list[Source] = []
    unreadable = []
    for path in paths:
        try:
            tars.append(CuratedTar(str(path), tar_bytes(path), len(open_index(path, out))))
        except ShardError as error:
            if not path.exists():
                raise
            unreadable.append((str(path), str(error)))
    return tars, unreadable


def _one_name(place: str, other: str) -> CurationError:
    return CurationError(f"{place} and {other} have one name, and side-cars are named by it")


def _sorted(sources: Sequence[Source]) -> tuple[Source, ...]:
    return tuple(sorted(sources, key=lambda source: source.name))
