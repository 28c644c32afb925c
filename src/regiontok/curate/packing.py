"""Where side-cars lie, and tars for images that are not in one: pretraining reads tars."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from regiontok.curate.sources import Source
from regiontok.curate.stage_files import STALE, Stage
from regiontok.curate.tars import Curation
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.manifest import write_manifest
from regiontok.shards.report import read_report, report_path
from regiontok.shards.tar import ShardError, TarIndex, open_index, sample_key, scan_tar, write_tar
from regiontok.system.files import replacing_shared

FOLDER = "shards"


@dataclass(frozen=True, eq=False)
class PackedTar:
    """A tar, and the rows of its side-car.

    Attributes:
        path: where it lies.
        index: its images.
        rows: the regions of those that stay, by their numbers in this tar.
        is_new: True if it holds those that stay and no others.
    """

    path: Path
    index: TarIndex
    rows: Sequence[ImageRegions]
    is_new: bool


def sidecar_folder(curation: Curation, tar: Source) -> Path:
    """The folder of a tar's side-car below the curation's.

    Pretraining takes one folder of side-cars for a folder of tars. So tars of several folders have
    side-cars in several, which lie to each other as those do.
    """
    folders = {str(source.tar.parent) for source in curation.listed if source.tar}
    if tar.tar is None or len(folders) < 2:
        return curation.out / FOLDER
    return curation.out / FOLDER / tar.tar.parent.relative_to(os.path.commonpath(folders))


def packed_tar(curation: Curation, tar: Source, rows: Sequence[ImageRegions]) -> PackedTar:
    """The tar of some images: the one in which they lie, or a new one beside the side-car.

    Args:
        curation: the curation.
        tar: the tar, or part of a folder, in which they lie.
        rows: the regions of the images, by their numbers there.

    Raises:
        ShardError: If an image cannot be read.
    """
    if tar.tar is not None:
        return PackedTar(tar.tar, open_index(tar.tar, curation.out), rows, is_new=False)
    index = curation.index(tar)
    path = sidecar_folder(curation, tar) / f"{tar.name}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_stale(path)
    with replacing_shared(path) as temporary:
        write_tar(temporary, ((index.name(row.index), index.read(row.index)) for row in rows))
    in_tar = scan_tar(path)
    renumbered = [
        replace(row, index=number, key=sample_key(in_tar.names[number]))
        for number, row in enumerate(rows)
    ]
    return PackedTar(path, in_tar, renumbered, is_new=True)


def _clear_stale(path: Path) -> None:
    """Remove what killed processes left of a tar long ago."""
    for left in path.parent.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def clear_other_sidecars(curation: Curation, stage: Stage) -> None:
    """Remove the reports of side-cars that were put together by other settings.

    A side-car without its report does not count, so that nobody trains on a mixture of two.
    """
    for tar in curation.listed:
        path = report_path(sidecar_folder(curation, tar), tar.name)
        try:
            is_other = read_report(path).config.get("curation") != stage.hash
        except ShardError:
            continue  # there is none, or a damaged one, which a reader names
        if is_other:
            path.unlink(missing_ok=True)


def write_manifests(curation: Curation) -> None:
    """Write the manifest of each folder of side-cars."""
    for folder in sorted({sidecar_folder(curation, tar) for tar in curation.tars}):
        write_manifest(folder)


def shard_folders(curation: Curation) -> list[tuple[Path, Path]]:
    """The folders of tars, each with the folder of its side-cars, as pretraining takes them."""
    pairs = {
        (
            tar.tar.parent if tar.tar else sidecar_folder(curation, tar),
            sidecar_folder(curation, tar),
        )
        for tar in curation.tars
    }
    return sorted(pairs)
