"""Tars that fail: what goes on without them, and what of the others stays as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from regiontok.curate.engines.engine import Work
from regiontok.curate.plan import CurationPlan, OcrPlan, ProposePlan
from regiontok.curate.sources import CurationError
from regiontok.curate.steps import BarrierStep, PieceSteps
from regiontok.curate.tars import open_curation
from regiontok.jobs.curate import CurationJob
from samples.curation import PLAN, three_tars


@pytest.fixture
def job(tmp_path):
    tars = str(three_tars(tmp_path / "tars"))
    plan = CurationPlan(
        images=[tars],
        piece=2,
        filter=PLAN,
        propose=ProposePlan(segmenter="slic(4)", shorter_edge=8),
        ocr=OcrPlan(reader="none"),
    )
    return CurationJob(open_curation(tmp_path / "out", [tars], 2), plan)


@dataclass(frozen=True)
class FailsInB:
    """Work that cannot do the second piece of the tar "b"."""

    work: Work

    def __call__(self, piece):
        if (piece.tar.name, piece.number) == ("b", 1):
            raise CurationError("it is broken")
        self.work(piece)


def run(job, *, until, fails="", without_failed=False):
    for stages in job.steps(until=until, without_failed=without_failed):
        if isinstance(stages, BarrierStep):
            stages.run()
            continue
        steps = [
            replace(step, work=FailsInB(step.work)) if step.name == fails else step
            for step in stages.steps
        ]
        outcomes = job.run(PieceSteps(tuple(steps)), without_failed=without_failed)
        if [outcome for outcome in outcomes if outcome.error] and not without_failed:
            return


def names(curation):
    return [tar.name for tar in curation.tars]


def test_a_tar_that_fails_is_left_out_of_what_follows_and_of_nothing_before(job):
    run(job, until="propose", fails="propose", without_failed=True)
    (left_out,) = job.left_out
    assert (left_out.tar, left_out.stage) == ("b", "propose")
    assert left_out.reason == "b, images 2 to 3: it is broken"
    pipeline = job.pipeline
    assert names(pipeline.at("keep")) == ["a", "b", "c"]
    assert names(pipeline.at("cluster")) == ["a", "c"]
    assert pipeline.step("keep").is_done
    propose = pipeline.step("propose").progress
    assert (propose.tars, propose.of_tars, propose.images) == (2, 2, 8)
    status = job.status()
    assert [(tar["tar"], tar["images"]) for tar in status["left_out"]] == [("b", 4)]
    assert {finding.file.split("/")[-1] for finding in job.verify()} == {
        *("a.embed.json", "c.embed.json"),
        *("cluster", "label", "assemble"),
    }


def test_a_tar_that_the_filter_cannot_do_is_not_on_the_list(job):
    run(job, until="keep", fails="filter", without_failed=True)
    keep = job.pipeline.step("keep")
    assert (keep.is_done, keep.report.images) == (True, 8)
    run(job, until="keep")
    assert job.left_out == ()
    other = job.pipeline.step("keep")
    assert (other.is_done, other.report.images) == (True, 12)
    assert other.report.settings != keep.report.settings


def test_without_the_option_no_later_stage_begins_and_nothing_is_left_out(job):
    run(job, until="propose", fails="filter")
    assert job.left_out == ()
    assert not job.pipeline.step("keep").is_done


def test_a_damaged_list_is_named(job):
    (job.curation.out / "left_out.json").write_text("{")
    with pytest.raises(CurationError, match=r"left_out\.json: damaged"):
        job.status()
