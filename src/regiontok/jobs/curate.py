"""The job of `regiontok curate`: the stages of a plan one after the other, and how far they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regiontok.core.picture import PictureError
from regiontok.curate.duplicates import KeepReport, read_keep_report, write_keep_list
from regiontok.curate.filter import FilterPiece, filter_stage
from regiontok.curate.phash import image_size
from regiontok.curate.plan import CurationPlan, load_plan
from regiontok.curate.progress import StageProgress, stage_progress
from regiontok.curate.run import PieceOutcome, run_pieces
from regiontok.curate.stage_files import missing_pieces
from regiontok.curate.tars import Curation, CurationError, curation_in, open_curation
from regiontok.system.files import replacing_shared
from regiontok.system.strict_json import parse_json

LOOKED_AT = 8  # tars and images of each that are looked at before a run
PLAN = "plan.json"


@dataclass(frozen=True)
class CurationJob:
    """A plan and its folder.

    Attributes:
        curation: the folder and its tars.
        plan: the plan.
    """

    curation: Curation
    plan: CurationPlan

    @property
    def pieces(self) -> int:
        """How many pieces are missing."""
        stage = filter_stage(self.curation, self.plan.filter)
        return sum(len(missing_pieces(stage, self.curation, tar)) for tar in self.curation.tars)

    def run(self, workers: int = 0) -> Iterator[PieceOutcome]:
        """Do what is missing; yields each piece when it is there, or is set aside.

        Args:
            workers: processes, one thread each; 0 does the work in this one.
        """
        text = self.plan.model_dump_json(indent=1)
        with replacing_shared(self.curation.out / PLAN) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        stage = filter_stage(self.curation, self.plan.filter)
        work = FilterPiece(self.curation, self.plan.filter)
        yield from run_pieces(stage, self.curation, work, workers=workers)

    def keep(self) -> KeepReport:
        """Choose which images stay, when the filter has seen them all.

        Raises:
            CurationError: If it has not.
        """
        stage = filter_stage(self.curation, self.plan.filter)
        progress = stage_progress(stage, self.curation)
        if progress.tars < progress.of_tars:
            raise CurationError(
                f"{progress.of_tars - progress.tars} of {progress.of_tars} tars are not filtered "
                "yet: duplicates are sought among all images; start again"
            )
        return write_keep_list(self.curation, stage, self.plan.filter)

    def status(self) -> dict[str, Any]:
        """How far each stage is, as one JSON object."""
        progress = self.progress()
        report = read_keep_report(self.curation.out)
        return {
            "tars": len(self.curation.tars),
            "images": progress.of_images,
            "unreadable": [reason for _, reason in self.curation.unreadable],
            "stages": [asdict(progress) | {"seconds_left": round(progress.seconds_left, 1)}],
            "keep": asdict(report) if report else None,
        }

    def progress(self) -> StageProgress:
        """How far the filter is."""
        return stage_progress(filter_stage(self.curation, self.plan.filter), self.curation)

    def warning(self) -> str:
        """What is to be said before a run: that all images looked at are too small; or ""."""
        edges = list(self._edges())
        least = self.plan.filter.shorter_edge
        if not edges or max(edges) >= least:
            return ""
        return (
            f"all of {len(edges)} images looked at have a shorter edge below {least} pixels (at "
            f"most {max(edges)}; img2dataset makes 256 by default): set filter.shorter_edge, or "
            "nearly nothing is left"
        )

    def _edges(self) -> Iterator[int]:
        tars = self.curation.tars
        for tar in tars[:: max(1, len(tars) // LOOKED_AT)][:LOOKED_AT]:
            index = self.curation.index(tar)
            for number in range(0, len(index), max(1, len(index) // LOOKED_AT)):
                try:
                    yield min(image_size(index.read(number)))
                except PictureError:
                    continue  # the filter names it


def begin(plan: Path, out: Path) -> CurationJob:
    """Begin with a plan in a folder, or go on.

    Raises:
        RecipeError: If the plan cannot be read.
        CurationError: If its images cannot be, or the folder is of others.
        ShardError: If a tar is missing.
    """
    settings = load_plan(plan)
    return CurationJob(open_curation(out, settings.images, settings.piece), settings)


def job_in(out: Path) -> CurationJob:
    """The curation that is in a folder, by the plan with which it was started last.

    Raises:
        CurationError: If there is none, or it is damaged.
    """
    curation = curation_in(out)
    try:
        plan = CurationPlan.model_validate(parse_json((out / PLAN).read_bytes()))
    except (OSError, ValueError) as error:
        raise CurationError(f"{out / PLAN}: cannot be read ({error})") from None
    return CurationJob(curation, plan)
