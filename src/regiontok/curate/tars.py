"""The tars of a curation, frozen when it begins, and the pieces into which they are cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from regiontok.shards.report import config_hash
from regiontok.shards.tar import ShardError, TarIndex, open_index, tar_bytes
from regiontok.system.errors import RegiontokError
from regiontok.system.files import replacing_shared
from regiontok.system.strict_json import parse_json

FORMAT = "regiontok curation 1"


class CurationError(RegiontokError, ValueError):
    """A curation that cannot go on: no images, other images than before, a damaged file."""


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
        return Path(self.path).stem


@dataclass(frozen=True)
class Piece:
    """Some images of a tar, which lie together: the unit of work.

    Attributes:
        tar: the tar.
        number: the piece's number in it.
        start: its first image.
        stop: the image behind its last one.
    """

    tar: CuratedTar
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.tar.name}, images {self.start} to {self.stop - 1}"


@dataclass(frozen=True)
class Curation:
    """An output folder and the tars that are curated in it.

    Attributes:
        out: the folder.
        tars: the tars in the order of their names.
        piece: images of a piece.
        unreadable: tars that were damaged when the curation began, with what is wrong with them.
    """

    out: Path
    tars: tuple[CuratedTar, ...]
    piece: int
    unreadable: tuple[tuple[str, str], ...] = ()

    @cached_property
    def hash(self) -> str:
        """The hash of what is curated, the first link of every chain."""
        return config_hash({"tars": [[tar.name, tar.bytes, tar.images] for tar in self.tars]})

    def pieces(self, tar: CuratedTar) -> list[Piece]:
        """The pieces of a tar, in their order."""
        starts = range(0, tar.images, self.piece)
        return [
            Piece(tar, number, start, min(start + self.piece, tar.images))
            for number, start in enumerate(starts)
        ]

    def index(self, tar: CuratedTar) -> TarIndex:
        """Where the images of a tar lie.

        Raises:
            ShardError: If the tar is missing or damaged.
        """
        return open_index(Path(tar.path), self.out)


def open_curation(out: Path, images: Sequence[str], piece: int) -> Curation:
    """Begin a curation in a folder, or go on with the one that is there.

    The list of tars is written when it begins, and only that list counts from then on; the folders
    are not looked through again.

    Args:
        out: the folder.
        images: tars and folders of tars.
        piece: images of a piece.

    Raises:
        CurationError: If no tar can be read, two of them have one name, the folder is of other
            images or pieces, or damaged, or a tar has another length than when it began.
        ShardError: If a tar is missing.
    """
    asked = {"format": FORMAT, "images": [*images], "piece": piece}
    path = out / "curation.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        found = _found(out, images, piece)
        tars = [asdict(tar) for tar in found.tars]
        text = json.dumps({**asked, "tars": tars, "unreadable": found.unreadable}, indent=1)
        with replacing_shared(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        return found
    curation, stated = _stated(path)
    if wrong := [key for key in asked if stated.get(key) != asked[key]]:
        raise CurationError(
            f"{out} curates {wrong[0]} = {stated.get(wrong[0])}, the plan says {asked[wrong[0]]}: "
            "take another --out"
        )
    for tar in curation.tars:
        if (size := tar_bytes(Path(tar.path))) != tar.bytes:
            raise CurationError(
                f"{tar.path} has {size} bytes, and had {tar.bytes} when the curation began: take "
                "another --out"
            )
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
        tars = tuple(CuratedTar(**tar) for tar in stated["tars"])
        unreadable = tuple((tar, reason) for tar, reason in stated["unreadable"])
        return Curation(path.parent, tars, stated["piece"], unreadable), stated
    except FileNotFoundError:
        raise CurationError(f"{path.parent}: no curation has begun here") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CurationError(f"{path}: damaged ({error}); take another --out") from None


def _found(out: Path, images: Sequence[str], piece: int) -> Curation:
    """The tars that lie there, in the order of their names."""
    paths: dict[str, Path] = {}
    for place in map(Path, images):
        for path in sorted(place.rglob("*.tar")) if place.is_dir() else [place]:
            other = paths.setdefault(path.stem, path)
            if other != path:
                raise CurationError(
                    f"{other} and {path} have one name, and side-cars are named by it"
                )
    tars, unreadable = [], []
    for _, path in sorted(paths.items()):
        try:
            tars.append(CuratedTar(str(path), tar_bytes(path), len(open_index(path, out))))
        except ShardError as error:
            if not path.exists():
                raise
            unreadable.append((str(path), str(error)))
    if not tars:
        reasons = "".join(f"; {reason}" for _, reason in unreadable)
        raise CurationError(f"no tar that can be read in {', '.join(images)}{reasons}")
    return Curation(out, tuple(tars), piece, tuple(unreadable))
