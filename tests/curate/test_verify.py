"""What verifying finds: a whole curation is without findings, and every damage is one."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from regiontok.curate.filter import filter_stage
from regiontok.curate.plan import FilterPlan
from regiontok.curate.stage_files import GROUP_ROWS, read_rows
from regiontok.curate.verify import verify
from regiontok.system.parquet import write_parquet
from samples.curation import filtered, three_tars


@pytest.fixture
def done(tmp_path):
    """A curation whose filter is done, and its stage."""
    return filtered(three_tars(tmp_path / "tars"), tmp_path / "out")[:2]


def problems(curation, stage):
    return {finding.file.split("/")[-1]: finding.problem for finding in verify(curation, [stage])}


def test_a_whole_curation_has_no_findings(done):
    assert problems(*done) == {}


def test_each_damage_is_found(done):
    curation, stage = done
    a, b, c = curation.tars
    path = stage.path(curation.out, a)
    path.write_bytes(path.read_bytes()[:200] + b"?" + path.read_bytes()[201:])
    report = stage.report_path(curation.out, b)
    report.write_text(report.read_text()[:-9])
    stage.report_path(curation.out, c).unlink()
    assert "corrupt" in problems(*done)["a.filter.parquet"]
    assert problems(*done)["b.filter.json"] == "damaged: the next run redoes it"
    assert problems(*done)["c.filter.json"] == "missing: not done yet"
    path.unlink()
    assert problems(*done)["a.filter.parquet"] == "missing, and its report is there"


def test_lost_doubled_and_disordered_images_and_other_counts_are_found(done):
    curation, stage = done
    tar = curation.tars[0]
    table = read_rows(stage, curation.out, tar)

    def written(rows, file_hash=stage.hash):
        path = stage.path(curation.out, tar)
        options = {"group_rows": GROUP_ROWS, "metadata": {"hash": file_hash}}
        write_parquet(table.take(pa.array(rows)), path, stage.format, **options)
        return [finding.problem for finding in verify(curation, [stage])]

    assert written([0, 1, 2, 4]) == [
        "1 of 5 images are lost, the first is 3",
        "its report counts other images than it holds",
    ]
    assert "1 images come twice, the first is 2" in written([0, 1, 2, 2, 3, 4])
    assert written([0, 2, 1, 3, 4]) == ["its images are not in order"]
    assert written(range(5), "another") == ["of other settings than its report"]
    assert written(range(5)) == []
    report = stage.report_path(curation.out, tar)
    report.write_text(json.dumps(json.loads(report.read_text()) | {"set_aside": {"small": 1}}))
    assert written(range(5)) == ["its report counts other images than it holds"]


def test_other_settings_and_changed_tars_are_found(done):
    curation, stage = done
    other = filter_stage(curation, FilterPlan(shorter_edge=50))
    assert set(problems(curation, other).values()) == {
        "of other settings than the plan's: the next run redoes it"
    }
    tar = curation.tars[1].tar
    tar.write_bytes(tar.read_bytes() + bytes(512))
    assert "bytes, and had" in problems(curation, stage)["b.tar"]
