"""Masks of tars: those of the segmenter, the same bytes after a stop, and side-cars of them."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.core.masks import masks_from
from regiontok.core.picture import Picture
from regiontok.jobs.tars.job import are_tars
from regiontok.jobs.tars.masks import begin_masks, masks_job_in, verify_masks
from regiontok.settings import registry
from regiontok.shards.report import read_report
from regiontok.shards.sidecar import read_row_group
from regiontok.shards.tar import write_tar
from samples.curation import contents, photo

SEGMENTER = "slic(4)"


@pytest.fixture
def tars(tmp_path):
    """Two tars of three photos, of which one is cut off."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for number, name in enumerate("ab"):
        files = [(f"{i}.jpg", photo(10 * number + i)) for i in range(2)]
        write_tar(folder / f"{name}.tar", [*files, ("x.jpg", photo(5)[:300])])
    return folder


def begun(tars, out):
    return begin_masks([str(tars)], SEGMENTER, out, piece=2)


def test_side_cars_hold_the_masks_of_the_segmenter(tars, tmp_path):
    job = begun(tars, tmp_path / "out")
    assert [outcome.error for outcome in job.run()] == [None] * 6
    group = read_row_group(tmp_path / "out" / "shards" / "b.regions.parquet", 0)
    index = job.curation.index(job.curation.tars[1])
    for number in range(2):
        picture = Picture.of(index.read(number), index.key(number))
        (masks,) = masks_from(registry.build("segmenter", SEGMENTER), [picture])
        row = group[number]
        assert list(row.masks) == list(masks.counts)
        np.testing.assert_array_equal(row.boxes, masks.boxes)
        assert (row.key, row.size) == (str(number), picture.size)
    report = read_report(tmp_path / "out" / "shards" / "b.regions.json")
    assert [(error.index, error.reason[:8]) for error in report.errors] == [(2, "corrupt:")]
    assert verify_masks(masks_job_in(tmp_path / "out")) == []
    assert begun(tars, tmp_path / "out").pieces.missing == []


def test_a_stopped_run_goes_on_and_another_segmenter_begins_anew(tars, tmp_path):
    list(begun(tars, tmp_path / "whole").run())
    running = begun(tars, tmp_path / "out").run()
    next(running)
    running.close()
    job = begun(tars, tmp_path / "out")
    assert len(job.pieces.missing) == 5
    list(job.run())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    other = begin_masks([str(tars)], "slic(5)", tmp_path / "out", piece=2)
    assert len(other.pieces.missing) == 6


def test_damage_is_found(tars, tmp_path):
    list(begun(tars, tmp_path / "out").run())
    sidecar = tmp_path / "out" / "shards" / "a.regions.parquet"
    sidecar.write_bytes(sidecar.read_bytes()[:-20])
    (finding,) = verify_masks(masks_job_in(tmp_path / "out"))
    assert finding.file == str(sidecar)


def test_folders_with_images_beside_tars_are_no_tars(tars):
    assert are_tars([str(tars), str(tars / "a.tar")])
    (tars / "beside.jpg").write_bytes(photo(1))
    assert not are_tars([str(tars)])
    assert not are_tars([str(tars / "a.tar"), str(tars / "beside.jpg")])
    assert not are_tars([])
