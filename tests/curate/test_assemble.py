"""Side-cars from the files of stages: objects, text, what is left out, new tars, other settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from regiontok.curate.assemble import AssemblePiece, RegionStages, assemble_stage, in_whole_tars
from regiontok.curate.image_regions import curated_image
from regiontok.curate.packing import (
    clear_other_sidecars,
    shard_folders,
    sidecar_folder,
    write_manifests,
)
from regiontok.curate.run import run_pieces
from regiontok.curate.stage_files import Stage
from regiontok.curate.tars import open_curation
from regiontok.curate.verify_sidecars import verify_sidecars
from regiontok.pretrain.label_sets import check_label_sets
from regiontok.settings.pretrain_recipe import Pretrain
from regiontok.shards.report import read_report, report_path
from regiontok.shards.sidecar import SUFFIX, read_row_group
from regiontok.shards.sources import ShardSource, find_shards
from regiontok.shards.tar import write_tar
from samples.curated_stages import LINES, NONE, SIZE, staged
from samples.curation import photo


def assembled(curation, reads: RegionStages) -> Stage:
    whole = in_whole_tars(curation)
    stage = assemble_stage(whole, reads)
    clear_other_sidecars(whole, stage)
    outcomes = list(run_pieces(stage, whole, AssemblePiece(whole, reads)))
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return stage


def rows_of(curation, tar):
    folder = sidecar_folder(curation, tar)
    group = read_row_group(folder / f"{tar.name}{SUFFIX}", 0)
    return [group[row] for row in range(read_report(report_path(folder, tar.name)).images)]


@pytest.fixture
def tars(tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    write_tar(folder / "a.tar", [(f"{seed}.jpg", photo(seed)) for seed in range(5)])
    return folder


@pytest.fixture
def curation(tars, tmp_path):
    return open_curation(tmp_path / "out", [str(tars)], 2)


def test_objects_and_sure_text_stand_in_one_side_car(curation):
    stage = assembled(curation, staged(curation))
    first, second = rows_of(curation, curation.tars[0])
    assert (first.index, first.key, first.size) == (0, "0", SIZE)
    assert first.kinds.tolist() == [0, 0, 1]
    assert first.labels.tolist() == [3, 2, -1], "the nearest of two centres each"
    assert first.texts == ("", "", "OPEN")
    assert first.boxes[2].tolist() == [1, 3, 30, 15]
    assert np.allclose(first.confidences, [0.9, 0.5, 0.95])
    assert (second.index, second.kinds.tolist()) == (4, [1])
    report = read_report(report_path(curation.out / "shards", "a"))
    assert (report.classes, report.centroids, report.texts) == (4, "abc", 2)
    assert [(error.index, error.reason) for error in report.errors] == [(3, "corrupt: cut off")]
    assert report.config["curation"] == stage.hash
    assert report.config["propose"] == {"of": "propose"}


def test_a_plan_without_text_has_objects_alone(curation):
    assembled(curation, staged(curation, text=False))
    (row,) = rows_of(curation, curation.tars[0])
    assert row.kinds.tolist() == [0, 0]


def test_pretraining_takes_it_and_refuses_another_number_of_classes(tars, curation):
    assembled(curation, staged(curation))
    write_manifests(curation)
    assert shard_folders(curation) == [(tars, curation.out / "shards")]
    shards = find_shards(ShardSource(tars, curation.out / "shards")).shards
    assert [(shard.images, shard.classes, shard.centroids) for shard in shards] == [(2, 4, "abc")]
    data = [{"shards": str(tars), "sidecars": str(curation.out / "shards")}]
    table = {"data": data, "stage": [{"name": "a"}], "object": {"classes": 4}}
    check_label_sets(Pretrain.model_validate(table), [shards])
    table["object"] = {"classes": 5}
    with pytest.raises(ValueError, match="labels are of 4 classes"):
        check_label_sets(Pretrain.model_validate(table), [shards])


def test_photos_without_a_tar_are_packed_with_their_side_car(tmp_path):
    (tmp_path / "photos").mkdir()
    for seed in range(5):
        (tmp_path / "photos" / f"{seed}.b.jpg").write_bytes(photo(seed))
    curation = open_curation(tmp_path / "out", [str(tmp_path / "photos")], 3)
    assembled(curation, staged(curation))
    shards = curation.out / "shards"
    (shard,) = find_shards(ShardSource(shards)).shards
    assert shard.images == 2
    rows = rows_of(curation, curation.tars[0])
    assert [(row.index, row.key) for row in rows] == [(0, "0"), (1, "4")]
    assert read_report(report_path(shards, curation.tars[0].name)).errors == ()


def test_with_another_score_no_side_car_of_the_old_one_is_left_to_train_on(curation):
    reads = staged(curation)
    assembled(curation, reads)
    other = replace(reads, score=0.5)
    whole = in_whole_tars(curation)
    clear_other_sidecars(whole, assemble_stage(whole, other))
    with pytest.raises(ValueError, match=r"a\.regions\.json"):
        find_shards(ShardSource(curation.tars[0].tar.parent, curation.out / "shards"))
    assembled(curation, other)
    assert rows_of(curation, curation.tars[0])[0].texts == ("", "", "OPEN", "unsure")


def test_side_cars_that_are_damaged_or_of_other_settings_are_found(curation):
    stage = assembled(curation, staged(curation))
    assert list(verify_sidecars(curation, stage)) == []
    report = curation.out / "shards" / "a.regions.json"
    report.write_text(report.read_text().replace(stage.hash, "0" * 32))
    (finding,) = verify_sidecars(curation, stage)
    assert finding.problem.startswith("of other settings; remove ")
    assert finding.problem.endswith("a.assemble.json and start again")
    (curation.out / "shards" / "a.regions.parquet").write_bytes(b"PAR1")
    report.write_text(report.read_text().replace("0" * 32, stage.hash))
    (finding,) = verify_sidecars(curation, stage)
    assert "a.regions.parquet" in finding.problem


def test_a_stage_of_other_settings_is_not_read(curation):
    reads = staged(curation)
    reads = replace(reads, propose=replace(reads.propose, settings={"of": "another plan"}))
    whole = in_whole_tars(curation)
    work = AssemblePiece(whole, reads)
    (outcome,) = run_pieces(assemble_stage(whole, reads), whole, work)
    assert outcome.error == "a is without propose of these settings: it comes first"


def test_side_cars_of_tars_in_several_folders_lie_apart(tmp_path):
    for name in ("x/a", "y/b"):
        (tmp_path / name).parent.mkdir()
        write_tar(tmp_path / f"{name}.tar", [(f"{seed}.jpg", photo(seed)) for seed in range(5)])
    curation = open_curation(tmp_path / "out", [str(tmp_path / "x"), str(tmp_path / "y")], 9)
    assembled(curation, staged(curation))
    pairs = shard_folders(curation)
    assert [tars.name for tars, _ in pairs] == ["x", "y"]
    for folder, sidecars in pairs:
        assert find_shards(ShardSource(folder, sidecars)).shards[0].images == 2


def test_lines_outside_of_the_image_are_no_regions():
    lines = LINES | {"polygons": [70, 3, 90, 3, 90, 9, 70, 9] * 3}
    image = curated_image(
        "k", SIZE, {"index": 7, **NONE["propose"], "reason": ""}, NONE["label"], lines, score=0.0
    )
    assert (len(image.regions), image.reason) == (0, "left out")


def test_a_line_in_a_script_that_the_reader_does_not_know_is_no_region():
    russian = {"polygons": [0, 0, 60, 0, 60, 6, 0, 6], "texts": [" , "], "scores": [0.96]}
    image = curated_image(
        "k",
        SIZE,
        {"index": 7, **NONE["propose"], "reason": ""},
        NONE["label"],
        {"index": 7, **russian, "reason": ""},
        score=0.7,
    )
    assert len(image.regions) == 0
