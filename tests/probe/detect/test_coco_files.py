"""Data sets in COCO's form: every layout, and every kind of annotation that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from regiontok.probe.detect.coco_files import DetectionDataError, read_detection_set

SQUARE = [[2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0]]


def write(folder: Path, annotations: list[dict[str, Any]], name: str = "instances.json", **image):
    """A data set of one picture of 20 x 30 pixels; returns the annotations' file."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20)).save(folder / "1.png")
    entry = {"id": 5, "file_name": "1.png", "height": 20, "width": 30} | image
    content = {
        "images": [entry],
        "annotations": [{"id": i, "image_id": 5, **a} for i, a in enumerate(annotations, 1)],
        "categories": [{"id": 9, "name": "sign"}, {"id": 4, "name": "disc"}],
    }
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_boxes_classes_and_masks_are_read(tmp_path):
    good = {"category_id": 9, "bbox": [2, 2, 10, 10], "segmentation": SQUARE}
    found = read_detection_set(write(tmp_path, [good, {**good, "category_id": 4}]))
    (image,) = found.images
    assert found.categories == ((4, "disc"), (9, "sign"))
    assert image.objects.boxes.tolist() == [[2.0, 2.0, 12.0, 12.0]] * 2
    assert image.objects.classes.tolist() == [1, 0]
    assert image.objects.masks.areas.tolist() == [100, 100]
    assert (found.has_masks, found.is_lvis, found.set_aside, found.notes) == (True, False, {}, ())


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"bbox": [40, 2, 5, 5]}, "objects outside the picture"),
        ({"bbox": [2, 2, 0, 5]}, "objects with an empty box"),
        ({"bbox": [29.5, 2, 5, 5]}, "objects under a pixel"),
        ({"bbox": [2, 2, float("nan"), 5]}, "objects without a box of four numbers"),
        ({"bbox": None}, "objects without a box of four numbers"),
        ({"iscrowd": 1}, "crowds (they count as such in scoring)"),
        ({"category_id": 1}, "objects of a category that the file does not name"),
        ({"segmentation": {"size": [3, 3], "counts": "x"}}, "objects whose mask cannot be read"),
    ],
)
def test_what_cannot_be_used_is_set_aside_and_counted(tmp_path, annotation, reason):
    good = {"category_id": 4, "bbox": [-3, -2, 10, 10]}
    found = read_detection_set(write(tmp_path, [good, good | annotation]))
    assert found.set_aside == {reason: 1}
    assert found.images[0].objects.boxes.tolist() == [[0.0, 0.0, 7.0, 8.0]]
    assert not found.has_masks
    assert found.notes == ("1 of 2 categories have no instance to learn from: sign",)


def test_roboflow_lvis_and_folders_of_ones_own_are_read(tmp_path):
    good = {"category_id": 4, "bbox": [2, 2, 10, 10]}
    write(tmp_path / "train", [good], name="_annotations.coco.json")
    assert read_detection_set(tmp_path / "train").images[0].path == tmp_path / "train" / "1.png"
    file = write(
        tmp_path / "lvis",
        [good],
        file_name=None,
        coco_url="http://images.cocodataset.org/val2017/1.png",
        neg_category_ids=[9],
    )
    (tmp_path / "photos" / "val2017").mkdir(parents=True)
    (tmp_path / "lvis" / "1.png").rename(tmp_path / "photos" / "val2017" / "1.png")
    found = read_detection_set(file, tmp_path / "photos")
    assert found.is_lvis
    assert found.images[0].path == tmp_path / "photos" / "val2017" / "1.png"


def test_files_that_are_none_are_refused_with_what_was_expected(tmp_path):
    with pytest.raises(DetectionDataError, match="neither a file nor a folder with one of"):
        read_detection_set(tmp_path / "absent")
    with pytest.raises(DetectionDataError, match=r"a folder without any of _annotations.coco.json"):
        read_detection_set(tmp_path)
    file = tmp_path / "a.json"
    for text, message in (
        ("[", "is no JSON"),
        ("[]", "expected an object with the lists images, annotations, categories"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}',
         "a picture has no height"),
        ('{"images": [], "annotations": [], "categories": []}', "names no category"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(DetectionDataError, match=message):
            read_detection_set(file)
    file = write(tmp_path / "there", [])
    (tmp_path / "there" / "1.png").unlink()
    with pytest.raises(DetectionDataError, match=r"none of the 1 pictures .* with --images"):
        read_detection_set(file)


def test_the_photos_that_are_here_are_read(data):
    found = read_detection_set(
        next((data / "coco" / "annotations").rglob("*instances*_dev.json")),
        data / "coco" / "images",
    )
    objects = sum(len(image.objects.classes) for image in found.images)
    crowds = found.set_aside.get("crowds (they count as such in scoring)", 0)
    assert len(found.images) == 107
    assert objects + crowds == 989
    assert found.has_masks
