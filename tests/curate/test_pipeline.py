"""The stages of a plan: their order, what waits for what, what a changed plan makes anew."""

from __future__ import annotations

import pytest

from regiontok.curate.pipeline import STAGES, Pipeline
from regiontok.curate.plan import ClusterPlan, CurationPlan, FilterPlan, OcrPlan
from regiontok.curate.sources import CurationError
from regiontok.curate.steps import BarrierStep, PieceStep, WaitingStep
from samples.curation import PLAN, filtered, three_tars


@pytest.fixture
def pipeline(tmp_path):
    """A curation whose filter is done."""
    curation, _, _ = filtered(three_tars(tmp_path / "tars"), tmp_path / "out")
    ocr = OcrPlan(reader="none")
    return Pipeline(curation, CurationPlan(images=["tars"], piece=2, filter=PLAN, ocr=ocr))


def with_plan(pipeline: Pipeline, **tables) -> Pipeline:
    return Pipeline(pipeline.curation, pipeline.plan.model_copy(update=tables))


def test_what_lies_behind_a_barrier_waits_for_it(pipeline):
    assert pipeline.names == [name for name in STAGES if name != "ocr"]
    assert not pipeline.step("filter").missing
    assert pipeline.step("propose") == WaitingStep("propose", "keep")
    assert pipeline.step("assemble") == WaitingStep("assemble", "keep")
    keep = pipeline.step("keep")
    assert isinstance(keep, BarrierStep)
    assert not keep.is_done
    keep.run()
    assert pipeline.step("keep").is_done
    propose = pipeline.step("propose")
    assert isinstance(propose, PieceStep)
    assert len(propose.missing) == 7
    assert pipeline.step("label") == WaitingStep("label", "cluster")


def test_a_barrier_that_lacks_tars_says_so(pipeline):
    pipeline.step("keep").run()
    with pytest.raises(CurationError, match="3 of 3 tars are without embed yet, and cluster looks"):
        pipeline.step("cluster").run()


def test_a_changed_filter_makes_all_that_follows_wait(pipeline):
    pipeline.step("keep").run()
    changed = with_plan(pipeline, filter=FilterPlan(shorter_edge=50))
    assert not changed.step("keep").is_done
    assert changed.step("propose") == WaitingStep("propose", "keep")
    other_k = with_plan(pipeline, cluster=ClusterPlan(k=3))
    assert other_k.step("embed").stage == pipeline.step("embed").stage


def test_an_unknown_stage_is_named(pipeline):
    with pytest.raises(CurationError, match="no stage 'ocr': this plan has filter, keep, propose"):
        pipeline.step("ocr")
