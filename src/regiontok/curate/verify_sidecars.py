"""Are the side-cars whole, and those of the settings that the folder is of?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from regiontok.curate.packing import sidecar_folder
from regiontok.curate.sources import Source
from regiontok.curate.stage_files import Stage, is_done
from regiontok.curate.tars import Curation
from regiontok.curate.verify import Finding
from regiontok.shards.report import read_report, report_path
from regiontok.shards.sidecar import GROUP, SUFFIX, read_row_group
from regiontok.shards.tar import ShardError, tar_bytes


def verify_sidecars(curation: Curation, stage: Stage) -> Iterator[Finding]:
    """Read the side-cars of all tars that are assembled; those that are not are no finding here.

    Args:
        curation: the tars.
        stage: the stage that has assembled them.
    """
    for tar in curation.tars:
        if not is_done(stage, curation.out, tar):
            continue
        folder = sidecar_folder(curation, tar)
        problem = _problem(folder, tar, stage)
        if problem:
            again = f"{problem}; remove {stage.report_path(curation.out, tar)} and start again"
            yield Finding(str(folder / f"{tar.name}{SUFFIX}"), again)


def _problem(folder: Path, tar: Source, stage: Stage) -> str:
    """What is wrong with a side-car; "" if nothing is."""
    try:
        report = read_report(report_path(folder, tar.name))
        if report.config.get("curation") != stage.hash:
            return "of other settings"
        if tar_bytes(tar.tar or folder / f"{tar.name}.tar") != report.bytes:
            return "its tar has another length"
        for start in range(0, report.images, GROUP):
            read_row_group(folder / f"{tar.name}{SUFFIX}", start // GROUP)
    except ShardError as error:
        return str(error)
    return ""
