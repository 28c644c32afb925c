"""The tables behind the page, from files of stages."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.curate.steps import PieceStep, WaitingStep
from regiontok.curate.tars import open_curation
from regiontok.jobs.curation_report.rejects import sampled_rejects
from regiontok.jobs.curation_report.samples import Images, sampled_lines
from regiontok.jobs.curation_report.tables import line_table, region_table
from regiontok.shards.tar import write_tar
from samples.curated_stages import staged
from samples.curation import photo


class Stages:
    """The stages whose files a test has written; the others wait."""

    def __init__(self, curation, found):
        self._steps = {stage.name: PieceStep(stage, curation, print) for stage in found}
        self.names, self.curation = ["propose", "label", "ocr"], curation

    def step(self, name):
        return self._steps.get(name, WaitingStep(name, "keep"))


@pytest.fixture
def curation(tmp_path):
    for name in "ab":
        write_tar(tmp_path / f"{name}.tar", [(f"{seed}.jpg", photo(seed)) for seed in range(5)])
    return open_curation(tmp_path / "out", [str(tmp_path / f"{name}.tar") for name in "ab"], 2)


def test_a_row_a_region_and_a_row_a_line(curation):
    pipeline = Stages(curation, staged(curation).stages)
    regions, lines = region_table(pipeline, curation.tars), line_table(pipeline, curation.tars)
    assert regions.tar.tolist() == [0, 0, 1, 1]
    assert regions.image.tolist() == [0] * 4
    assert regions.boxes[1].tolist() == [5, 5, 64, 48]
    assert regions.labels.tolist() == [3, 2, 3, 2], "the nearest of two centres each"
    assert np.allclose(regions.cosines, [0.9, 0.7] * 2, atol=1e-3)
    assert regions.each_image.tolist() == [2, 0, 0, 0] * 2, "the duplicate does not count"
    assert lines.texts == ["OPEN", "unsure", "  "] * 4
    assert lines.image.tolist() == [0, 0, 0, 4, 4, 4] * 2
    assert lines.each_image.tolist() == [3, 0, 0, 3] * 2


def test_what_is_not_there_yet_is_not_counted(curation):
    propose = staged(curation).propose
    pipeline = Stages(curation, [propose])
    regions = region_table(pipeline, curation.tars)
    assert set(regions.labels.tolist()) == {-1}
    assert np.isnan(regions.cosines).all()
    assert len(line_table(pipeline, curation.tars)) == 0
    assert len(region_table(Stages(curation, []), curation.tars)) == 0


def test_lines_from_the_surest_on_and_those_that_are_not_used_last(curation):
    pipeline, images = Stages(curation, staged(curation).stages), Images(curation, curation.tars)
    samples = sampled_lines(images, line_table(pipeline, curation.tars), 0.7, 8)
    assert [sample.note for sample in samples] == ["0.99"] * 3 + ["0.95"] * 3 + ["0.70"] * 2
    assert all(sample.uri.startswith("data:image/jpeg") for sample in samples)


def test_images_that_are_left_out_are_shown_by_reason(curation):
    pipeline, images = Stages(curation, staged(curation).stages), Images(curation, curation.tars)
    counts = {"propose": {"no region": 4, "corrupt": 2, "left out": 2}, "label": {"left out": 8}}
    rejects = sampled_rejects(pipeline, images, curation.tars, counts)
    assert [(reason.reason, reason.count) for reason in rejects] == [
        ("no region", 4),
        ("corrupt", 2),
    ]
    assert [sample.note for sample in rejects[0].samples] == ["1", "1", "4", "4"], "tars in turn"
    assert [sample.text for sample in rejects[1].samples] == ["cut off", "cut off"]
