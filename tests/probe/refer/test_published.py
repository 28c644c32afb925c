"""Published references in each form, and what is set aside of them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.probe.refer.plain_pickle import PickleRefused
from regiontok.probe.refer.published import PublishedFiles, published_set
from regiontok.probe.refer.referred import ReferringDataError

SQUARE = [2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]  # a polygon of 4 x 4 pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 8 x 10 pixels, COCO's instances, and REFER's references."""
    (tmp_path / "train2014").mkdir()
    for number in (1, 2):
        name = f"COCO_train2014_{number:012}.jpg"
        Image.new("RGB", (10, 8)).save(tmp_path / "train2014" / name)
    images = [_image(1), _image(2), _image(3)]
    whole = PixelMasks.from_dense(np.ones((1, 8, 10), bool)).to_coco()[0]
    annotations = [
        _annotation(10, 1, [SQUARE], [2, 1, 4, 4]),
        _annotation(11, 2, whole, [0, 0, 10, 8]),
        _annotation(12, 1, [[0, 0, 1, 0]], [0, 0, 1, 1]),  # two points enclose nothing
        _annotation(13, 1, [SQUARE], [20, 1, 4, 4]),
        _annotation(14, 3, [SQUARE], [2, 1, 4, 4]),
        _annotation(15, 1, {"size": [4, 4], "counts": [16]}, [2, 1, 4, 4]),
    ]
    content = {"images": images, "annotations": annotations, "categories": []}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    references = [
        _reference(0, 10, 1, ["left square", "  ", "the square"]),
        _reference(1, 11, 2, ["all of it"], split="val"),
        *(_reference(n, n, 3 if n == 14 else 1, ["bad"]) for n in (12, 13, 14, 15, 99)),
    ]
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(references, 2))
    return tmp_path


def _image(number: int) -> dict[str, Any]:
    name = f"COCO_train2014_{number:012}.jpg"
    return {"id": number, "file_name": name, "height": 8, "width": 10}


def _annotation(number: int, image: int, segmentation: Any, box: list[float]) -> dict[str, Any]:
    return {"id": number, "image_id": image, "segmentation": segmentation, "bbox": box}


def _reference(
    number: int, annotation: int, image: int, texts: list[str], split: str = "train"
) -> dict[str, Any]:
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": image,
        "split": split,
        "file_name": f"COCO_train2014_{image:012}_{number}.jpg",
        "sentences": [
            {"sent": text, "raw": text.upper(), "sent_id": place, "tokens": text.split()}
            for place, text in enumerate(texts)
        ],
    }


def _files(folder: Path, name: str = "refs(unc).p") -> PublishedFiles:
    return PublishedFiles(folder / name, folder / "train2014", folder / "instances.json")


def test_refer_pickle(folder: Path) -> None:
    found = published_set(_files(folder), "train")
    assert [(one.id, one.text) for one in found.samples] == [
        ("0/0", "left square"),
        ("0/2", "the square"),
    ]
    first = found.samples[0]
    assert first.mask().sum() == 16
    assert first.box == (2, 1, 6, 5)
    assert first.picture().size == first.size == (8, 10)
    assert dict(found.counted) == {
        "no words": 1,
        "an empty mask": 1,
        "a box outside the picture": 1,
        "a picture that is missing or damaged": 1,
        "a mask that cannot be read": 1,
        "no mask": 1,
    }
    (whole,) = published_set(_files(folder), "val").samples
    assert whole.mask().all()
    assert len(published_set(_files(folder), limit=1)) == 1


def test_hub_forms(folder: Path) -> None:
    """The columns of jxu124/refcoco and of lmms-lab/RefCOCO, and JSON lines with boxes."""
    name = "COCO_train2014_000000000001.jpg"
    jxu = {
        "image_path": f"coco/train2014/{name}",
        "split": "testA",
        "raw_anns": json.dumps(_annotation(10, 1, [SQUARE], [2, 1, 4, 4])),
        "raw_image_info": json.dumps(_image(1)),
        "sentences": [{"raw": "Left", "sent": "left", "sent_id": 3}],
    }
    lmms = {"image": name, "answer": ["left", "first"], "segmentation": SQUARE}
    lines = {"img_path": name, "image_id": 1, "bbox": [2.0, 1, 6, 5.2], "expression": "left"}
    for rows, count in (([jxu], 1), ([lmms], 2), ([lines], 1)):
        (folder / "rows.json").write_text(json.dumps(rows))
        samples = published_set(_files(folder, "rows.json")).samples
        assert len(samples) == count
        assert samples[0].text == "left"
        assert samples[0].mask().sum() == 16


def test_parquet(folder: Path) -> None:
    """Pictures inside the file."""
    parquet, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    jpeg = (folder / "train2014" / "COCO_train2014_000000000001.jpg").read_bytes()
    rows = [{"image": {"bytes": jpeg, "path": "a.jpg"}, "answer": ["x"], "segmentation": SQUARE}]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "val.parquet")
    (sample,) = published_set(PublishedFiles(folder / "val.parquet")).samples
    assert sample.size == (8, 10)
    assert sample.picture().size == (8, 10)


def test_errors(folder: Path) -> None:
    whole = (folder / "refs(unc).p").read_bytes()
    (folder / "cut.p").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PickleRefused, match="breaks off"):
        published_set(_files(folder, "cut.p"))
    (folder / "dict.p").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ReferringDataError, match="no list of references"):
        published_set(_files(folder, "dict.p"))
    with pytest.raises(ReferringDataError, match="no reference of the split 'testB'"):
        published_set(_files(folder), "testB")
    (folder / "instances.json").write_text("{}")
    with pytest.raises(ReferringDataError, match="a list of objects as 'images'"):
        published_set(_files(folder))
    with pytest.raises(ReferringDataError, match=r"say where COCO's instances\.json lies"):
        published_set(PublishedFiles(folder / "refs(unc).p", folder / "train2014"))
    (folder / "none.json").write_text(json.dumps([{"segmentation": SQUARE, "answer": [""]}]))
    with pytest.raises(ReferringDataError, match="set aside: 1 with a picture that is missing"):
        published_set(PublishedFiles(folder / "none.json", folder / "train2014"))


def test_wrong_picture(folder: Path) -> None:
    """A picture of another size than its mask is said when it is read."""
    (sample, *_) = published_set(_files(folder)).samples
    Image.new("RGB", (9, 9)).save(folder / "train2014" / "COCO_train2014_000000000001.jpg")
    with pytest.raises(ReferringDataError, match="is it the right picture"):
        sample.picture()


def test_real_expressions(data: Path) -> None:
    """Expressions of RefCOCO+ about photos that are here, matched with COCO's masks by box."""
    files = PublishedFiles(
        data / "fixtures" / "refcoco_rec_with_images.jsonl",
        data / "coco" / "images",
        data / "coco" / "annotations" / "split" / "instances_dev.json",
    )
    found = published_set(files)
    assert len(found) == 15
    assert dict(found.counted) == {"no mask": 4}
    for sample in found.samples:
        assert sample.picture().size == sample.size
        x0, y0, x1, y1 = map(int, sample.box)
        assert sample.mask()[y0:y1, x0:x1].sum() == sample.mask().sum()
