"""Sources of pretraining data: folders of shards, and the shards that are found in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from regiontok.shards.manifest import SIDECAR_SUFFIX, read_manifest
from regiontok.shards.report import REPORT_SUFFIX, SidecarReport, read_report
from regiontok.shards.tar import INDEX_SUFFIX, ShardError, open_index
from regiontok.shards.views import Kind
from regiontok.system.errors import first_line
from regiontok.system.logs import module_logger
from regiontok.system.prefetch import map_ahead
from regiontok.system.storage import Location, child, listing

log = module_logger(__name__)
READERS = 32  # threads that read small files: a store takes long to answer, and many at once


@dataclass(frozen=True)
class ShardSource:
    """Folders of shards, and how they are used.

    Attributes:
        tars: folder of the tars, a path or a URL.
        sidecars: folder of their side-cars; by default the same.
        weight: how often each image comes up in an epoch.
        kind: the only kind of regions that is used; None uses both.
    """

    tars: Location
    sidecars: Location | None = None
    weight: float = 1.0
    kind: Kind | None = None

    @property
    def folder(self) -> Location:
        """The folder of the side-cars."""
        return self.tars if self.sidecars is None else self.sidecars


@dataclass(frozen=True)
class Shard:
    """One tar and its side-car.

    Attributes:
        source: where it was found.
        name: the tar's name without its suffix.
        images: number of rows.
        offsets: whether the side-car says where the images lie in the tar.
        classes: how many classes the labels are of; None where the side-car does not say.
        centroids: hash of the centroids that gave the labels; "" where there are none.
    """

    source: ShardSource
    name: str
    images: int
    offsets: bool
    classes: int | None = None
    centroids: str = ""

    @property
    def tar(self) -> Location:
        """The tar."""
        return child(self.source.tars, f"{self.name}.tar")

    @property
    def sidecar(self) -> Location:
        """The Parquet file of its regions."""
        return child(self.source.folder, f"{self.name}{SIDECAR_SUFFIX}")

    @cached_property
    def words(self) -> list[int]:
        """A hash of the name to draw from, the same in any order of shards and sources."""
        digest = hashlib.blake2b(self.name.encode(), digest_size=8).digest()
        return entropy_words(int.from_bytes(digest, "little"))


@dataclass(frozen=True)
class FoundShards:
    """The shards of a source.

    Attributes:
        shards: the shards in the order of their names.
        problems: what is wrong with those that are left out.
        notes: what else is to be said of the source.
    """

    shards: tuple[Shard, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """All of it but the source, for another process of the run."""
        shards = [
            [shard.name, shard.images, shard.offsets, shard.classes, shard.centroids]
            for shard in self.shards
        ]
        return json.dumps({"shards": shards, "problems": self.problems, "notes": self.notes})

    @classmethod
    def from_json(cls, source: ShardSource, text: str) -> FoundShards:
        """What another process found of a source."""
        fields_of = json.loads(text)
        shards = tuple(Shard(source, *fields) for fields in fields_of["shards"])
        return cls(shards, tuple(fields_of["problems"]), tuple(fields_of["notes"]))


def find_shards(source: ShardSource, *, skip: bool = False) -> FoundShards:
    """Find the shards of a source.

    A shard is a side-car with its JSON; the tar must have the bytes that it states. Tars without a
    side-car do not belong to the source. A tar whose side-car does not say where its images lie is
    indexed here, once, so that nothing of that is left to training.

    Args:
        source: the source.
        skip: leave out shards that are missing or cut off.

    Raises:
        ShardError: If a shard is missing or cut off and `skip` is not set, or if there is no shard
            at all.
    """
    folder = source.folder
    try:
        files = listing(folder)
        tars = files if source.tars == folder else listing(source.tars)
    except OSError as error:
        raise ShardError(str(error)) from error
    # a shard is named by either file, so that one alone is noticed
    endings = (SIDECAR_SUFFIX, REPORT_SUFFIX)
    names = sorted(
        {file.removesuffix(ending) for file in files for ending in endings if file.endswith(ending)}
    )
    known = read_manifest(folder, files)
    shards: list[Shard] = []
    problems: list[str] = []

    def read(name: str) -> SidecarReport | ShardError:
        try:
            return known.get(name) or read_report(child(folder, f"{name}{REPORT_SUFFIX}"))
        except ShardError as error:
            return error

    for name, report in zip(names, map_ahead(read, names, workers=READERS), strict=True):
        try:
            shards.append(_checked(source, name, report, files, tars))
        except ShardError as error:
            if not skip:
                raise
            problems.append(str(error))
    notes, unreadable = _index_tars(source, shards, files, skip=skip)
    problems += unreadable.values()
    shards = [shard for shard in shards if shard.name not in unreadable]
    if not shards:
        raise ShardError(
            f"{folder}: no shard with a side-car (*{SIDECAR_SUFFIX} and its JSON)"
            + "".join(f"; {problem}" for problem in problems)
        )
    return FoundShards(tuple(shards), tuple(problems), tuple(notes))


def _checked(
    source: ShardSource,
    name: str,
    report: SidecarReport | ShardError,
    files: Mapping[str, int],
    tars: Mapping[str, int],
) -> Shard:
    if isinstance(report, ShardError):
        raise report
    shard = Shard(source, name, report.images, report.offsets, report.classes, report.centroids)
    size = tars.get(f"{name}.tar")
    if size is None:
        raise ShardError(f"{shard.tar}: the shard is missing")
    if size != report.bytes:
        harm = "cut off" if size < report.bytes else "another tar"
        raise ShardError(
            f"{shard.tar}: {harm}: {size} bytes, its side-car was made of {report.bytes}"
        )
    if f"{name}{SIDECAR_SUFFIX}" not in files:
        raise ShardError(f"{shard.sidecar}: the side-car is missing")
    return shard


def _index_tars(
    source: ShardSource, shards: list[Shard], files: Mapping[str, int], *, skip: bool
) -> tuple[list[str], dict[str, str]]:
    """Index the tars that no side-car and no kept index tells of.

    Returns:
        Notes on it, and what is wrong with tars that cannot be indexed, by shard.
    """
    unknown = [
        shard
        for shard in shards
        if not shard.offsets and f"{shard.name}.tar{INDEX_SUFFIX}" not in files
    ]
    unreadable: dict[str, str] = {}
    if not unknown:
        return [], unreadable
    text = (
        f"{source.folder}: {len(unknown)} of {len(shards)} side-cars do not say where the images "
        "lie: their tars are indexed, once; side-cars that are made anew say it"
    )
    log.warning(text)
    for shard in unknown:
        try:
            open_index(shard.tar, source.folder)
        except ShardError as error:
            if not skip:
                raise
            unreadable[shard.name] = first_line(error)
    return [text], unreadable


def entropy_words(number: int) -> list[int]:
    """The words of 32 bits that NumPy draws from for a number.

    As an array they cost half as much as a list of numbers.
    """
    return [number] if number < 2**32 else [number % 2**32, *entropy_words(number // 2**32)]
