"""Tests of jobs/shards/classes.py."""

import json

import pytest

from regiontok.jobs.shards.classes import ClassError, ClassNames


def test_categories_of_annotations_are_classes_by_their_ids(tmp_path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(
        json.dumps({"categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}]})
    )
    classes = ClassNames.open(tmp_path, path)
    assert [classes.number("cat"), classes.number("dog"), classes.count] == [0, 1, 2]
    with pytest.raises(ClassError, match="'car' is none of the 2 classes"):
        classes.number("car")


@pytest.mark.parametrize("text", ["{}", '{"categories": [{"id": 1}]}', '["a", "a"]', "[1]", "3"])
def test_a_file_without_names_is_refused(tmp_path, text: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(ClassError, match="expected a JSON list of different names, or COCO's"):
        ClassNames.open(tmp_path, path)
