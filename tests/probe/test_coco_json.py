"""One reader of COCO's JSON for all probes: entries by number, and what is no such file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regiontok.probe.coco_json import CocoJson, CocoJsonError


def test_entries_are_there_by_number_by_image_and_by_box(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    annotations = [
        {"id": 1, "image_id": 7, "bbox": [2, 3, 10, 20]},
        {"id": 2, "image_id": 7, "bbox": [0, 0, 4, 4]},
        {"id": 3, "image_id": 8},
    ]
    path.write_text(json.dumps({"images": [{"id": 7}], "annotations": annotations}))
    read = CocoJson.read(path, ("images", "annotations"))
    assert read.images == {7: {"id": 7}}
    assert [entry["id"] for entry in read.by_image[7]] == [1, 2]
    assert read.annotations[3]["image_id"] == 8
    assert read.at_box(7, [2.5, 3, 12, 22.5]) == annotations[0]
    assert read.at_box(7, [2, 3, 14, 23]) is None
    assert read.at_box(7, None) is None
    assert read.at_box(9, [2, 3, 12, 23]) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a.json is no JSON"),
        ("[]", "a.json is not in COCO's form: expected an object"),
        ('{"images": []}', "not a list of objects as 'annotations'"),
        ('{"images": [], "annotations": [3]}', "not a list of objects as 'annotations'"),
        (None, "a.json cannot be read: No such file"),
    ],
)
def test_what_is_no_such_file_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CocoJsonError, match=message):
        CocoJson.read(path, ("images", "annotations"))
