"""Labelled sets: the same regions from every form, and bad input that is counted or refused."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.probe.regions.labelled import LabelledSetError
from regiontok.probe.regions.shards import ShardSet
from regiontok.probe.regions.sources import labelled_set
from regiontok.shards.image_regions import ImageRegions
from regiontok.shards.sidecar import write_sidecar
from regiontok.shards.tar import write_tar

SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]


def photo(folder, name="a.png"):
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((8, 12, 3), 90, np.uint8)).save(folder / name)
    return folder


def coco(path, annotations, **changes):
    entries = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 12}],
        "annotations": [{"image_id": 1, "id": n, **a} for n, a in enumerate(annotations)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "never"}],
    }
    path.write_text(json.dumps(entries | changes))
    return path


def test_annotations_that_are_no_regions_are_counted_by_reason(tmp_path):
    good = {"category_id": 7, "bbox": [2, 2, 4, 4], "segmentation": SQUARE}
    path = coco(
        tmp_path / "a.json",
        [
            good,
            {**good, "iscrowd": 1},
            {**good, "bbox": [20, 2, 4, 4]},
            {**good, "bbox": [2, 2, 0, 4]},
            {**good, "category_id": 33},
            {**good, "segmentation": [[0, 0, 1, 1, 1, 1]]},
        ],
    )
    regions = labelled_set(str(path), photo(tmp_path / "photos"))
    assert dict(regions.set_aside) == {
        "crowds (they count as such in scoring)": 1,
        "objects outside the picture": 1,
        "objects with an empty box": 1,
        "objects of a category that the file does not name": 1,
    }
    left_out: Counter[str] = Counter()
    image = regions.read(0, left_out)
    assert image.labels == ("cat",)
    assert image.masks.areas.tolist() == [16]
    assert left_out == {"without a pixel": 1}
    boxes = labelled_set(str(path), tmp_path / "photos", "boxes").read(0, Counter())
    assert boxes.masks.areas.tolist() == [16, 16]


def test_a_box_alone_is_a_region_cut_at_the_edge(tmp_path):
    path = coco(tmp_path / "a.json", [{"category_id": 7, "bbox": [6, 2, 10, 4]}])
    image = labelled_set(str(path), photo(tmp_path / "photos")).read(0, Counter())
    assert (image.labels, image.masks.areas.tolist()) == (("cat",), [24])
    other = {"id": 1, "file_name": "a.png", "height": 9, "width": 12}
    path = coco(tmp_path / "b.json", [{"category_id": 7, "bbox": [6, 2, 2, 2]}], images=[other])
    with pytest.raises(ValueError, match=r"has size \(8, 12\), the annotations are of \(9, 12\)"):
        labelled_set(str(path), tmp_path / "photos").read(0, Counter())


def test_files_of_another_form_and_missing_photos_are_refused(tmp_path):
    photos = photo(tmp_path / "photos")
    with pytest.raises(LabelledSetError, match="no such file or folder"):
        labelled_set("nothing.json", photos)
    path = coco(tmp_path / "a.json", [])
    with pytest.raises(LabelledSetError, match="none of its 1 images has an instance"):
        labelled_set(str(path), photos)
    with pytest.raises(LabelledSetError, match="folder of its photos as images; none was named"):
        labelled_set(str(path))
    with pytest.raises(ValueError, match="not in COCO's form"):
        labelled_set(str(coco(tmp_path / "b.json", [], categories=None)), photos)
    with pytest.raises(ValueError, match="unknown 'form' in labels"):
        labelled_set("scenes(4, labels='form')")


def test_scenes_are_labelled_by_their_attributes():
    scenes = labelled_set("scenes(2, start=5, labels='colour+shape')")
    first, again = (scenes.read(0, Counter()) for _ in range(2))
    assert len(first.labels) == len(first.masks) >= 4
    assert all(len(label.split()) == 2 for label in first.labels)
    assert (first.labels, first.masks.counts) == (again.labels, again.masks.counts)
    assert scenes.identity != labelled_set("scenes(2, start=5, labels='shape')").identity


def test_a_folder_of_label_maps_names_its_regions(tmp_path):
    photos, maps = photo(tmp_path / "photos"), tmp_path / "maps"
    maps.mkdir()
    labels = np.zeros((8, 12), np.uint8)
    labels[2:4, 1:5] = 3
    Image.fromarray(labels).save(maps / "a.png")
    image = labelled_set(str(maps), photos).read(0, Counter())
    assert (image.labels, image.masks.areas.tolist()) == (("3",), [8])


def test_shards_give_object_regions_by_mask_or_box(tmp_path):
    pytest.importorskip("pyarrow")
    file = photo(tmp_path / "photos") / "a.png"
    write_tar(tmp_path / "00000.tar", [("a.png", file.read_bytes())])
    mask = np.zeros((1, 8, 12), bool)
    mask[0, 2:4, 2:8] = mask[0, 2:8, 2:4] = True
    row = ImageRegions(
        0,
        "a",
        (8, 12),
        np.array([[2, 2, 8, 8], [0, 0, 3, 2], [4, 4, 6, 6], [1, 1, 2, 2]]),
        labels=np.array([1, 0, -1, -1]),
        masks=[PixelMasks.from_dense(mask).counts[0], b"", b"", b""],
        texts=["", "", "", "word"],
    )
    write_sidecar(tmp_path / "00000.tar", [row], config={})
    (tmp_path / "classes.json").write_text('["dog", "cat"]')
    left_out: Counter[str] = Counter()
    image = labelled_set(str(tmp_path)).read(0, left_out)
    assert (image.labels, image.masks.areas.tolist()) == (("cat", "dog"), [20, 6])
    assert left_out == {"without a class": 2}
    boxes = ShardSet(tmp_path, "boxes").read(0, Counter())
    assert boxes.masks.areas.tolist() == [36, 6]
