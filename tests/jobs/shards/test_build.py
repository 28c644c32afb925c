"""Shards from photos with masks or boxes, and side-cars of tars that exist."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regiontok.jobs.shards.build import ShardBuilder, ShardOptions
from regiontok.jobs.shards.inputs import files_and_tars
from regiontok.jobs.shards.region_table import RegionTable, RegionTableError
from regiontok.shards.report import read_report, report_path
from regiontok.shards.sidecar import read_row_group
from regiontok.shards.tar import open_index, write_tar
from samples.command_line import regiontok

ROWS = [
    {"image": "a.png", "x0": 2, "y0": 1, "x1": 30, "y1": 20, "label": "cat", "confidence": 0.5},
    {"image": "a.png", "x0": 0, "y0": 0, "x1": 64, "y1": 8, "text": "OPEN"},
    {"image": "sub/b.png", "x0": -5, "y0": 4, "x1": 200, "y1": 40, "label": "dog"},
    {"image": "c.png", "x0": 1, "y0": 1, "x1": 9, "y1": 40, "label": "cat"},
]


def photo(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    """Four photos, one in a folder of its own and one that the table does not name."""
    for number, name in enumerate(("a.png", "sub/b.png", "c.png", "d.png")):
        photo(tmp_path / "photos" / name, number)
    return tmp_path / "photos"


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "boxes.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    return path


def built(files, out, tars=(), **options):
    return list(ShardBuilder(out, ShardOptions(**options)).build(files, list(tars)))


def all_rows(out: Path, shard: str):
    report = read_report(report_path(out, shard))
    group = read_row_group(out / f"{shard}.regions.parquet", 0)
    return report, [group[row] for row in range(report.images)]


def test_a_table_of_boxes_becomes_shards(photos, table, tmp_path):
    files, _ = files_and_tars([str(photos)], tmp_path / "out")
    outcomes = built(files, tmp_path / "out", boxes=table, images_per_shard=3)
    assert [image.regions for image in outcomes] == [2, 1, 0, 1]
    assert not any(image.error or image.resumed for image in outcomes)
    report, rows = all_rows(tmp_path / "out", "images-000000")
    assert (report.images, report.regions, report.texts, report.classes) == (3, 3, 1, 2)
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["cat", "dog"]
    a = rows[0]
    assert (a.labels.tolist(), a.kinds.tolist(), a.texts) == ([0, -1], [0, 1], ("", "OPEN"))
    assert a.boxes.tolist() == [[2, 1, 30, 20], [0, 0, 64, 8]]
    assert a.confidences.tolist() == [0.5, 1.0]
    index = open_index(tmp_path / "out" / "images-000000.tar", tmp_path)
    assert index.read(0) == (photos / "a.png").read_bytes(), "the bytes are the file's own"
    _, (b,) = all_rows(tmp_path / "out", "images-000001")
    assert b.boxes.tolist() == [[0, 4, 64, 40]], "cut to the image"


def test_what_is_there_is_not_made_again(photos, table, tmp_path):
    files, _ = files_and_tars([str(photos)], tmp_path / "out")
    options = {"boxes": table, "images_per_shard": 2}
    built(files, tmp_path / "out", **options)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert all(image.resumed for image in built(files, tmp_path / "out", **options))
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    report_path(tmp_path / "out", "images-000001").unlink()  # it was stopped before its JSON
    resumed = [image.resumed for image in built(files, tmp_path / "out", **options)]
    assert resumed == [True, True, False, False]
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    changed = built(files, tmp_path / "out", min_edge=10, **options)
    assert [image.regions for image in changed] == [2, 0, 0, 1], "text is kept, a thin object not"


def test_masks_with_names_become_classes(tmp_path):
    photo(tmp_path / "photos" / "7.png")
    annotations = {
        "images": [{"id": 7, "file_name": "7.png", "height": 48, "width": 64}],
        "categories": [{"id": 4, "name": "tree"}, {"id": 9, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "segmentation": [[4, 4, 20, 4, 20, 30]]},
            {"id": 2, "image_id": 7, "category_id": 4, "segmentation": [[30, 8, 60, 8, 60, 40]]},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(annotations))
    segmenter = f"stored('{tmp_path / 'coco.json'}')"
    (outcome,) = built([tmp_path / "photos" / "7.png"], tmp_path / "out", segmenter=segmenter)
    assert outcome.regions == 2
    report, (row,) = all_rows(tmp_path / "out", "images-000000")
    assert (row.labels.tolist(), report.classes, report.masks) == ([0, 1], 2, 2)
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["car", "tree"]
    given = tmp_path / "out" / "classes.json"
    (tmp_path / "other.json").write_text('["tree"]')
    (again,) = built(
        [tmp_path / "photos" / "7.png"], tmp_path / "o2", segmenter=segmenter, classes=given
    )
    assert again.error is None
    (refused,) = built(
        [tmp_path / "photos" / "7.png"],
        tmp_path / "o3",
        segmenter=segmenter,
        classes=tmp_path / "other.json",
    )
    assert refused.error == "'car' is none of the 1 classes"


def test_tars_stay_and_get_a_sidecar(photos, table, tmp_path):
    names = ("a.png", "bad.png", "c.png")
    (photos / "bad.png").write_bytes(b"no image")
    (tmp_path / "tars").mkdir()
    tar = tmp_path / "tars" / "00.tar"
    write_tar(tar, [(name, (photos / name).read_bytes()) for name in names])
    before = tar.read_bytes()
    files, tars = files_and_tars([str(tmp_path / "tars")], tmp_path / "out")
    assert (files, tars) == ([], [tar])
    outcomes = built([], tmp_path / "out", tars, boxes=table)
    assert [image.regions for image in outcomes] == [2, 0, 1]
    assert "not an image" in str(outcomes[1].error)
    assert tar.read_bytes() == before
    report, rows = all_rows(tmp_path / "out", "00")
    assert [row.key for row in rows] == ["a", "c"]
    assert [(error.index, error.key) for error in report.errors] == [(1, "bad")]
    assert all(image.resumed for image in built([], tmp_path / "out", tars, boxes=table))
    words = ("shards", tmp_path / "tars", "--boxes", table)
    assert regiontok(*words, "--out", tmp_path / "new", "--dry-run").report["images"] == 3
    assert not (tmp_path / "new").exists()
    assert regiontok(*words, "--out", tmp_path / "new").exit_code == 1
    assert [path.name for path in (tmp_path / "tars").iterdir()] == ["00.tar"]


def test_the_command_says_what_it_made(photos, table, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    words = ("shards", photos, "--boxes", table, "--out", tmp_path / "out")
    assert regiontok(*words, "--dry-run").report["images"] == 5
    assert not (tmp_path / "out").exists()
    result = regiontok(*words)
    closing = result.report
    assert result.exit_code == 1
    assert (closing["done"], closing["set_aside"], closing["classes"]) == (4, 1, 2)
    assert closing["failed"][0]["image"].endswith("bad.png")
    neither = regiontok("shards", photos, "--out", tmp_path / "out")
    assert "say where the regions come from" in neither.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "row 0: no JSON"),
        ("[1]", "row 0: expected an object"),
        ('{"image": "a", "x0": 1, "y0": 2, "x1": 3}', "row 0: no y1 .*a row has image"),
        ('{"image": 3, "x0": 1, "y0": 2, "x1": 3, "y1": 4}', "image is a path, not 3"),
        ('{"image": "a", "x0": "l", "y0": 2, "x1": 3, "y1": 4}', "is no number"),
        ('{"image": "a", "x0": 1, "y0": 2, "x1": 3, "y1": 4, "label": 1.5}', "label is a whole"),
        ('{"image": "a", "x0": 1, "y0": 2, "x1": 3, "y1": 4, "text": 1}', "text is text"),
        ("", "holds no region"),
    ],
)
def test_rows_that_are_none(tmp_path, line, message):
    (tmp_path / "t.jsonl").write_text(line + "\n")
    with pytest.raises(RegionTableError, match=message):
        RegionTable(tmp_path / "t.jsonl")


def test_images_are_found_by_the_end_of_their_path(tmp_path):
    rows = [{**ROWS[0], "image": name} for name in ("x/a.png", "y/a.png", "z/b.png")]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = RegionTable(tmp_path / "t.jsonl")
    assert len(table) == 3
    assert len(table.of("/photos/x/a.png")) == len(table.of("elsewhere/b.png")) == 1
    assert table.of("c.png") == []
    with pytest.raises(RegionTableError, match="has several of that name"):
        table.of("elsewhere/a.png")


def test_a_box_that_is_not_finite_sets_its_image_aside(photos, tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({**ROWS[0], "x1": float("nan")}))
    (outcome,) = built([photos / "a.png"], tmp_path / "out", boxes=tmp_path / "t.jsonl")
    assert outcome.error is not None
    assert "box 0 is" in outcome.error
