"""Is what lies in a curation's folder whole, and does it belong together?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from regiontok.curate.cluster import centroids_path, file_hash, read_centroid_report
from regiontok.curate.duplicates import keep_list_problem, read_keep_report
from regiontok.curate.sources import CurationError, Source
from regiontok.curate.stage_files import Stage, StageReport, read_report, reasons_of
from regiontok.curate.tars import Curation
from regiontok.shards.tar import ShardError
from regiontok.system.parquet import ParquetError, open_parquet

BATCH = 1024  # images that are in memory at once


@dataclass(frozen=True)
class Finding:
    """Something in a curation's folder that is not as it should be.

    Attributes:
        file: the file.
        problem: what is wrong with it.
    """

    file: str
    problem: str


def verify(
    curation: Curation, stages: Sequence[Stage], tars_of: Mapping[str, Curation] | None = None
) -> Iterator[Finding]:
    """Read every file of some stages, and compare them with the images and with each other.

    Tars have their lengths and listings are whole; a stage's file is whole by the checksums of its
    pages, it has each image of its tar once and in order, its report counts what is in it, and both
    have the hash of the stage, which is over the hashes of what the stage has read.

    Args:
        curation: the curation.
        stages: its stages, by the plan; those that are not done are findings, too.
        tars_of: by name the tars of stages that go on without some of them.
    """
    for tar in curation.tars:
        try:
            tar.check(curation.out)
        except (CurationError, ShardError) as error:
            yield Finding(tar.place, str(error))
    for stage in stages:
        for tar in (tars_of or {}).get(stage.name, curation).tars:
            yield from _stage_findings(stage, curation.out, tar)


def verify_barriers(curation: Curation) -> Iterator[Finding]:
    """Compare the keep-list and the centroids that are there with the hashes in their reports.

    Args:
        curation: the tars of which the keep-list is.
    """
    keep = read_keep_report(curation.out)
    if keep is not None and (problem := keep_list_problem(curation, keep)):
        yield Finding(str(curation.out / "keep.parquet"), problem)
    centroids, path = read_centroid_report(curation.out), centroids_path(curation.out)
    if centroids is not None and file_hash(path) != centroids.hash:
        yield Finding(str(path), "other centroids than their report's")


def _stage_findings(stage: Stage, out: Path, tar: Source) -> Iterator[Finding]:
    """What is wrong with a stage's file of a tar, and with its report."""
    path, report_path = stage.path(out, tar), stage.report_path(out, tar)
    report = read_report(stage, out, tar)
    if report is None:
        yield Finding(str(report_path), _why_no_report(report_path))
        return
    if report.hash != stage.hash:
        yield Finding(str(report_path), "of other settings than the plan's: the next run redoes it")
        return
    try:
        contents = _contents(stage, path)
    except FileNotFoundError:
        yield Finding(str(path), "missing, and its report is there")
    except ParquetError as error:
        yield Finding(str(path), str(error).removeprefix(f"{path}: "))
    else:
        for problem in contents.problems(stage, tar, report):
            yield Finding(str(path), problem)


def _why_no_report(path: Path) -> str:
    return "damaged: the next run redoes it" if path.exists() else "missing: not done yet"


@dataclass(frozen=True)
class _Contents:
    """What a stage's file holds: its hash, its images' numbers, and its reasons counted."""

    hash: str
    numbers: list[int]
    set_aside: Mapping[str, int]

    def problems(self, stage: Stage, tar: Source, report: StageReport) -> Iterator[str]:
        if self.hash != stage.hash:
            yield "of other settings than its report"
        counts = Counter(self.numbers)
        lost = [number for number in range(tar.images) if number not in counts]
        if lost:
            yield f"{len(lost)} of {tar.images} images are lost, the first is {lost[0]}"
        if doubled := [number for number, count in counts.items() if count > 1]:
            yield f"{len(doubled)} images come twice, the first is {doubled[0]}"
        if foreign := [number for number in counts if not 0 <= number < tar.images]:
            yield f"{len(foreign)} images are not in the tar, the first is {foreign[0]}"
        if self.numbers != sorted(self.numbers):
            yield "its images are not in order"
        if (len(self.numbers), dict(self.set_aside)) != (report.images, dict(report.set_aside)):
            yield "its report counts other images than it holds"


def _contents(stage: Stage, path: Path) -> _Contents:
    """Read all of a stage's file, in parts."""
    numbers: list[int] = []
    set_aside: Counter[str] = Counter()
    with open_parquet(path, stage.schema, stage.format) as file:
        stated = (file.metadata.metadata or {}).get(b"hash", b"").decode("utf-8", "replace")
        for batch in file.iter_batches(BATCH, use_threads=False):
            numbers += batch.column("index").to_pylist()
            set_aside += reasons_of(batch)
    return _Contents(stated, numbers, set_aside)
