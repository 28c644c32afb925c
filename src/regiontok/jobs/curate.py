"""The job of `regiontok curate`: the stages of a plan one after the other, and how far they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regiontok.core.picture import PictureError
from regiontok.curate.cluster import read_centroid_report
from regiontok.curate.duplicates import read_keep_report
from regiontok.curate.engines.engine import Engine
from regiontok.curate.left_out import LeftOutTar, add_left_out, read_left_out, take_back
from regiontok.curate.packing import shard_folders
from regiontok.curate.phash import image_size
from regiontok.curate.pipeline import Pipeline
from regiontok.curate.plan import CurationPlan, load_plan
from regiontok.curate.progress import earlier_pace
from regiontok.curate.run import PieceOutcome, run_steps
from regiontok.curate.sources import CurationError, ImageIndex
from regiontok.curate.steps import BarrierStep, PieceStep, PieceSteps, Step, WaitingStep
from regiontok.curate.tars import Curation, curation_in, open_curation
from regiontok.curate.verify import Finding, verify, verify_barriers
from regiontok.curate.verify_sidecars import verify_sidecars
from regiontok.shards.tar import ShardError
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
    def pipeline(self) -> Pipeline:
        """The stages, without the tars that are left out by now."""
        return Pipeline(self.curation, self.plan, self.left_out)

    @property
    def left_out(self) -> tuple[LeftOutTar, ...]:
        """The tars without which the curation goes on."""
        return read_left_out(self.curation.out)

    def steps(
        self, *, only: str = "", until: str = "", without_failed: bool = False
    ) -> Iterator[PieceSteps | BarrierStep]:
        """The stages one after the other; each is put together when the one before it is done.

        Those that read the keep-list come together, for their pieces go beside each other.

        Args:
            only: the only stage; "" takes all.
            until: the last stage; "" takes all.
            without_failed: True goes on without the tars that an earlier run has left out; else
                they are tried again.

        Raises:
            CurationError: If there is no such stage, or what it reads is not there.
        """
        names = self._chosen(only, until)
        self._write_plan()
        if not without_failed:
            take_back(self.curation.out)
        while names:
            step = self.pipeline.step(names[0])
            if isinstance(step, WaitingStep):
                raise CurationError(f"{step.name} needs what {step.barrier} writes: do that first")
            if isinstance(step, BarrierStep):
                names = names[1:]
                yield step
                continue
            beside = Pipeline.beside(names)
            names = [name for name in names if name not in beside]
            steps = map(self.pipeline.step, beside)
            yield PieceSteps(tuple(step for step in steps if isinstance(step, PieceStep)))

    def run(
        self,
        stages: PieceSteps,
        *,
        workers: int = 0,
        engine: Engine | None = None,
        without_failed: bool = False,
    ) -> Iterator[PieceOutcome]:
        """Do the missing pieces of stages; yields each when it is there, or cannot be done.

        Args:
            stages: the stages.
            workers: processes, one thread each; 0 does the work in this one.
            engine: does the pieces, in the place of `workers`.
            without_failed: True leaves the tars of pieces that cannot be done out of all that
                follows.
        """
        for step in stages.steps:
            if step.missing:
                step.before()
        failed: list[LeftOutTar] = []
        for outcome in run_steps(stages.steps, workers=workers, engine=engine):
            if outcome.error is not None:
                reason = f"{outcome.name}: {outcome.error}"
                failed.append(LeftOutTar(outcome.tar, outcome.stage, reason))
            yield outcome
        if failed and without_failed:
            add_left_out(self.curation.out, self._in_order(failed))
        if without_failed or not failed:
            for step in stages.steps:
                step.after()

    def _in_order(self, failed: Sequence[LeftOutTar]) -> list[LeftOutTar]:
        """Tars that failed, those of an earlier stage first."""
        return sorted(failed, key=lambda tar: self.pipeline.names.index(tar.stage))

    def verify(self) -> Iterator[Finding]:
        """Read all that lies in the folder; yields what is not whole, not done, or does not fit."""
        pipeline, stages = self.pipeline, []
        for step in map(pipeline.step, pipeline.names):
            if isinstance(step, PieceStep):
                stages.append(step.stage)
            elif isinstance(step, WaitingStep):
                yield Finding(step.name, f"waits for {step.barrier}")
            elif not step.is_done:
                yield Finding(step.name, "not done yet")
        yield from verify_barriers(pipeline.at("keep"))
        tars_of = {stage.name: pipeline.at(stage.name) for stage in stages}
        yield from verify(self.curation, stages, tars_of)
        assemble = pipeline.step("assemble")
        if isinstance(assemble, PieceStep):
            yield from verify_sidecars(assemble.curation, assemble.stage)

    def status(self) -> dict[str, Any]:
        """How far each stage is, as one JSON object."""
        keep, centroids = (
            read_keep_report(self.curation.out),
            read_centroid_report(self.curation.out),
        )
        return {
            "tars": len(self.curation.tars),
            "images": sum(tar.images for tar in self.curation.tars),
            "unreadable": [reason for _, reason in self.curation.unreadable],
            "left_out": [self._stated(tar) for tar in self.left_out],
            "stages": [_state(self.pipeline.step(name)) for name in self.pipeline.names],
            "keep": asdict(keep) if keep else None,
            "centroids": asdict(centroids) if centroids else None,
            "data": [
                {"shards": str(tars), "sidecars": str(sidecars)}
                for tars, sidecars in shard_folders(self.curation)
            ],
        }

    def _stated(self, tar: LeftOutTar) -> dict[str, Any]:
        """A tar that is left out, with the number of its images."""
        images = {source.name: source.images for source in self.curation.tars}
        return {**asdict(tar), "images": images.get(tar.tar, 0)}

    def todo(self, *, only: str = "", until: str = "") -> list[dict[str, Any]]:
        """What a run would do, stage by stage; `seconds_left` where an earlier run tells the pace.

        Args:
            only: the only stage; "" takes all.
            until: the last stage; "" takes all.

        Raises:
            CurationError: If there is no such stage.
        """
        return [self._todo_of(name) for name in self._chosen(only, until)]

    def _todo_of(self, name: str) -> dict[str, Any]:
        step = self.pipeline.step(name)
        if isinstance(step, BarrierStep):
            return _state(step)
        images = sum(tar.images for tar in self.curation.tars)
        pieces = sum(len(self.curation.pieces(tar)) for tar in self.curation.tars)
        if isinstance(step, PieceStep):
            missing = step.missing
            pieces, images = len(missing), sum(piece.stop - piece.start for piece in missing)
        pace = earlier_pace(self.curation, name)
        seconds = None if pace is None else round(pace * images, 1)
        return _state(step) | {
            "todo": {"pieces": pieces, "images": images},
            "seconds_left": seconds,
        }

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

    def _chosen(self, only: str, until: str) -> list[str]:
        names = self.pipeline.names
        for name in (only, until):
            if name:
                self.pipeline.step(name)
        if only:
            return [only]
        return names[: names.index(until) + 1] if until else names

    def _write_plan(self) -> None:
        text = self.plan.model_dump_json(indent=1)
        with replacing_shared(self.curation.out / PLAN) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def _edges(self) -> Iterator[int]:
        tars = self.curation.tars
        for tar in tars[:: max(1, len(tars) // LOOKED_AT)][:LOOKED_AT]:
            with suppress(ShardError, CurationError):  # its pieces name it
                yield from self._edges_in(self.curation.index(tar))

    def _edges_in(self, index: ImageIndex) -> Iterator[int]:
        for number in range(0, len(index), max(1, len(index) // LOOKED_AT)):
            with suppress(PictureError):  # the filter names it
                yield min(image_size(index.read(number)))


def _state(step: Step) -> dict[str, Any]:
    """How far a stage is."""
    if isinstance(step, WaitingStep):
        return {"name": step.name, "state": f"waits for {step.barrier}"}
    if isinstance(step, BarrierStep):
        if not step.is_done:
            return {"name": step.name, "state": "not done"}
        done = {"words": step.words, "seconds": step.seconds}
        return {"name": step.name, "state": "done"} | done
    progress = step.progress
    is_done = progress.tars == progress.of_tars
    begun = progress.tars or progress.pieces
    state = "done" if is_done else "begun" if begun else "not done"
    left = {"seconds_left": round(progress.seconds_left, 1)}
    return {"state": state} | asdict(progress) | left


def begin(plan: Path, out: Path, *, without_failed: bool = False) -> CurationJob:
    """Begin with a plan in a folder, or go on.

    Args:
        plan: the plan's file.
        out: the folder.
        without_failed: True lets a tar that is gone or was changed fail by itself, where a stage
            reads it.

    Raises:
        RecipeError: If the plan cannot be read.
        CurationError: If its images cannot be, or the folder is of others.
        ShardError: If a tar is missing.
    """
    settings = load_plan(plan)
    curation = open_curation(out, settings.images, settings.piece, check=not without_failed)
    return CurationJob(curation, settings)


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
