"""Sources of pretraining data: folders of shards, and the shards that are found in them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from regiontok.shards.report import SidecarReport, read_report, report_path
from regiontok.shards.sidecar import SUFFIX
from regiontok.shards.tar import ShardError, tar_bytes
from regiontok.shards.views import Kind


@dataclass(frozen=True)
class ShardSource:
    """Folders of shards, and how they are used.

    Attributes:
        tars: folder of the tars.
        sidecars: folder of their side-cars; by default the same.
        weight: how often each image comes up in an epoch.
        kind: the only kind of regions that is used; None uses both.
    """

    tars: Path
    sidecars: Path | None = None
    weight: float = 1.0
    kind: Kind | None = None


@dataclass(frozen=True)
class Shard:
    """One tar and its side-car.

    Attributes:
        tar: the tar.
        sidecar: the Parquet file of its regions.
        images: number of rows.
        classes: how many classes the labels are of; None where the side-car does not say.
        centroids: hash of the centroids that gave the labels; "" where there are none.
    """

    tar: Path
    sidecar: Path
    images: int
    classes: int | None = None
    centroids: str = ""

    @property
    def name(self) -> str:
        """The tar's name without its suffix."""
        return self.tar.stem

    @cached_property
    def words(self) -> list[int]:
        """A hash of the name to draw from, the same in any order of shards and sources."""
        digest = hashlib.blake2b(self.name.encode(), digest_size=8).digest()
        return entropy_words(int.from_bytes(digest, "little"))


def find_shards(source: ShardSource, *, skip: bool = False) -> tuple[list[Shard], list[str]]:
    """Find the shards of a source.

    A shard is a side-car with its JSON; the tar must have the bytes that it states. Tars without a
    side-car do not belong to the source.

    Args:
        source: the source.
        skip: leave out shards that are missing or cut off.

    Returns:
        The shards in the order of their names, and what is wrong with those left out.

    Raises:
        ShardError: If a shard is missing or cut off and `skip` is not set, or if there is no shard
            at all.
    """
    folder = source.sidecars or source.tars
    # a shard is named by either file, so that one alone is noticed
    endings = (SUFFIX, report_path(folder, "").name)
    names = {
        path.name.removesuffix(ending) for ending in endings for path in folder.glob(f"*{ending}")
    }
    shards, problems = [], []
    for name in sorted(names):
        tar, sidecar = source.tars / f"{name}.tar", folder / f"{name}{SUFFIX}"
        try:
            report = read_report(report_path(folder, name))
            _check_bytes(tar, report)
            if not sidecar.is_file():
                raise ShardError(f"{sidecar}: the side-car is missing")
            shards.append(Shard(tar, sidecar, report.images, report.classes, report.centroids))
        except ShardError as error:
            if not skip:
                raise
            problems.append(str(error))
    if not shards:
        raise ShardError(
            f"{folder}: no shard with a side-car (*{SUFFIX} and its JSON)"
            + "".join(f"; {problem}" for problem in problems)
        )
    return shards, problems


def _check_bytes(tar: Path, report: SidecarReport) -> None:
    size = tar_bytes(tar)
    if size < report.bytes:
        raise ShardError(f"{tar}: cut off: {size} bytes, its side-car was made of {report.bytes}")
    if size > report.bytes:
        raise ShardError(
            f"{tar}: another tar: {size} bytes, its side-car was made of {report.bytes}"
        )


def entropy_words(number: int) -> list[int]:
    """The words of 32 bits that NumPy draws from for a number.

    As an array they cost half as much as a list of numbers.
    """
    return [number] if number < 2**32 else [number % 2**32, *entropy_words(number // 2**32)]
