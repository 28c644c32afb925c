"""Stored masks: every format, and every bad input by its message.

Real annotations are read independently, too.
"""

from __future__ import annotations

import json
import os
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture
from regiontok.segment.stored import Stored
from regiontok.settings import registry, spec

SIZE = (3, 4)
LEFT = np.array([[1, 1, 0, 0]] * 3, np.uint8)
CAT = {"id": 7, "file_name": "photos/cat.jpg", "height": 3, "width": 4}
CORNER = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], np.uint8)


def photo(name: str = "cat.jpg", size: tuple[int, int] = SIZE) -> Picture:
    return Picture.of(np.zeros((*size, 3), np.uint8), name)


def code(mask: np.ndarray) -> dict:
    """The compressed COCO run lengths of a mask, as JSON has them."""
    coded = rle.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": coded["counts"].decode()}


def write(path: Path, content: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def png(path: Path, labels: object, mode: str | None = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(labels), mode).save(path)
    return str(path.parent)


def dense(store: Stored, *pictures: Picture) -> list[list]:
    return [masks.dense().int().tolist() for masks in store(pictures or [photo()])]


def coco(**more: object) -> dict:
    """Two images; the cat's has two masks, the dog's none."""
    return {
        "images": [
            CAT,
            {"id": 5, "file_name": "photos/dog.jpg", "height": 2, "width": 2},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 2, "segmentation": code(LEFT)},
            {
                "id": 2,
                "image_id": 7,
                "category_id": 9,
                "segmentation": {"size": [3, 4], "counts": [9, 1, 2]},
            },
        ],
        "categories": [{"id": 2, "name": "cat"}],
        **more,
    }


def with_segmentation(segmentation: object) -> dict:
    return coco(annotations=[{"id": 31, "image_id": 7, "segmentation": segmentation}])


# ---- real annotations ---------------------------------------------------------------------------


def test_coco_instances_are_what_the_coco_api_decodes(data, capsys):
    source = data / "coco" / "annotations" / "split" / "instances_dev.json"
    api = COCO(source)
    listed = list(api.imgs.values())
    pictures = [Picture.of(data / "coco" / "images" / image["file_name"]) for image in listed[::4]]
    masks_by_picture = Stored(str(source))(pictures)
    for image, masks in zip(listed[::4], masks_by_picture, strict=True):
        annotations = api.imgToAnns[image["id"]]
        assert masks.names == tuple(
            api.cats[annotation["category_id"]]["name"] for annotation in annotations
        )
        assert masks.scores is None
        expected = [api.annToMask(annotation).astype(bool) for annotation in annotations]
        assert np.array_equal(masks.dense().numpy(), np.reshape(expected, (-1, *masks.size)))
    assert sum(map(len, masks_by_picture)) > 200


def test_coco_results_with_scores(data):
    folder = data / "coco" / "results_cocoapi"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    store = Stored(
        folder / "instances_val2014_fakesegm100_results.json",
        images=folder / "instances_val2014_100.json",
    )
    for image in truth["images"][:20]:
        (masks,) = store([photo(image["file_name"], (image["height"], image["width"]))])
        results_of_image = [result for result in results if result["image_id"] == image["id"]]
        assert masks.scores.tolist() == [result["score"] for result in results_of_image]
        assert masks.areas.tolist() == [
            int(rle.area(result["segmentation"])) for result in results_of_image
        ]


def test_panoptic_beside_its_folder_has_the_listed_areas(data):
    folder = data / "coco" / "annotations" / "panopticapi_sample"
    listed = json.loads((folder / "panoptic_examples.json").read_text())
    names = {entry["id"]: entry["name"] for entry in listed["categories"]}
    store = Stored(str(folder / "panoptic_examples.json"))
    detection = Stored(str(folder / "panoptic_coco_detection_format.json"))
    for entry in listed["annotations"]:
        picture = Picture.of(folder / "input_images" / f"{Path(entry['file_name']).stem}.jpg")
        (masks,) = store([picture])
        assert masks.areas.tolist() == [segment["area"] for segment in entry["segments_info"]]
        assert masks.names == tuple(
            names[segment["category_id"]] for segment in entry["segments_info"]
        )
        # the same annotation, as its publishers turned it into run lengths
        (converted,) = detection([picture])
        assert sorted(masks.counts) == sorted(converted.counts)


def test_panoptic_with_a_named_folder(data, tmp_path):
    listed = json.loads((data / "coco" / "annotations" / "split" / "panoptic_dev.json").read_text())
    pngs = data / "coco" / "annotations" / "coco128" / "panoptic_val2017"
    listed["annotations"] = [
        entry for entry in listed["annotations"] if (pngs / entry["file_name"]).exists()
    ]
    assert len(listed["annotations"]) > 10
    store = Stored(write(tmp_path / "panoptic.json", listed), pngs=str(pngs))
    for entry in listed["annotations"]:
        (masks,) = store(
            [Picture.of(data / "coco" / "images" / entry["file_name"].replace("png", "jpg"))]
        )
        assert masks.areas.tolist() == [segment["area"] for segment in entry["segments_info"]]


def test_the_two_cats(data, tmp_path):
    folder = data / "hf_cats"
    segments = json.loads((folder / "coco_panoptic_annotations.txt").read_text())
    annotation = {
        "image_id": 39769,
        "file_name": "panoptic_000000039769.png",
        "segments_info": segments,
    }
    listed = {
        "images": [{"id": 39769, "file_name": "000000039769.png"}],
        "annotations": [annotation],
    }
    (masks,) = Stored(write(tmp_path / "cats.json", listed), pngs=str(folder))(
        [Picture.of(folder / "000000039769.png")]
    )
    assert masks.areas.tolist() == [53306, 59627, 174579, 4068, 2118, 2750]
    assert masks.names is None


def test_ade20k_label_maps(data):
    folder = data / "ade20k_sample"
    for path in sorted((folder / "images").glob("*.jpg")):
        (masks,) = Stored(str(folder / "annotations"))([Picture.of(path)])
        count = np.bincount(
            np.array(Image.open(folder / "annotations" / f"{path.stem}.png")).ravel(), minlength=256
        )
        assert {int(name): area for name, area in zip(masks.names, masks.areas, strict=True)} == {
            label: area for label, area in enumerate(count) if area and label
        }


def test_voc_palette_objects_are_the_polygons_they_were_drawn_from(data):
    folder = data / "voc_labelme"
    pictures = [Picture.of(path) for path in sorted((folder / "data_annotated").glob("*.jpg"))]
    drawn = Stored(str(folder / "data_dataset_voc" / "SegmentationObject"))(pictures)
    polygons = Stored(str(folder / "data_dataset_coco" / "annotations.json"))(pictures)
    for left, right in zip(drawn, polygons, strict=True):
        a, b = left.dense().numpy()[:, None], right.dense().numpy()[None]
        best = ((a & b).sum((2, 3)) / (a | b).sum((2, 3))).max(1)
        assert len(left) == len(right) > 2
        assert "255" not in left.names
        assert best.min() > 0.9


def test_davis_frames_are_told_apart_by_folder(data):
    folder = data / "davis2016"
    pictures = [
        Picture.of(folder / "JPEGImages" / "480p" / video / "00003.jpg")
        for video in ("dog", "camel")
    ]
    for picture, masks in zip(
        pictures, Stored(str(folder / "Annotations"), ignore=None)(pictures), strict=True
    ):
        frame_png = folder / "Annotations" / "480p" / Path(picture.name).parent.name / "00003.png"
        assert np.array_equal(masks.dense()[0].numpy(), np.array(Image.open(frame_png)) == 255)


# ---- each format on small files -----------------------------------------------------------------


def test_coco_by_file_name_in_any_order(tmp_path):
    store = Stored(write(tmp_path / "a.json", coco()))
    dog, cat = store([photo("elsewhere/dog.png", (2, 2)), photo("cat.jpg")])
    assert len(dog) == 0
    assert cat.dense().int().tolist() == [LEFT.tolist(), CORNER.tolist()]
    assert cat.names == ("cat", "9")  # the file names no category 9


def test_coco_reads_its_file_once(tmp_path):
    path = tmp_path / "a.json"
    store = Stored(write(path, coco()))
    before = dense(store)
    path.unlink()
    assert dense(store) == before


def test_coco_polygons_and_empty_masks(tmp_path):
    square = [[1, 0, 3, 0, 3, 2, 1, 2]]
    annotations = [
        {"image_id": 7, "segmentation": segmentation}
        for segmentation in (square, [], [[1, 1, 2, 2]], code(0 * LEFT))
    ]
    (masks,) = Stored(write(tmp_path / "a.json", coco(annotations=annotations)))([photo()])
    assert masks.areas.tolist() == [4, 0, 0, 0]
    assert masks.dense()[0].int().tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_coco_scores_and_lvis_addresses(tmp_path):
    images = [{"id": 7, "coco_url": "http://images.cocodataset.org/train2017/cat.jpg"}]
    annotations = [
        {"image_id": 7, "segmentation": code(LEFT), "score": score} for score in (0.5, 1)
    ]
    (masks,) = Stored(write(tmp_path / "a.json", coco(images=images, annotations=annotations)))(
        [photo()]
    )
    assert masks.scores.tolist() == [0.5, 1.0]


def test_panoptic_order_void_and_empty_segment(tmp_path):
    ids = np.where(LEFT, 7 + 256 * 3 + 65536 * 2, 0)
    ids[0, 3] = 9
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    png(tmp_path / "pan" / "x.png", colours)
    segments = [{"id": number, "category_id": 2} for number in (9, 4, 7 + 256 * 3 + 65536 * 2)]
    pan = coco(annotations=[{"image_id": 7, "file_name": "x.png", "segments_info": segments}])
    store = Stored(write(tmp_path / "pan.json", pan))
    assert dense(store) == [[CORNER.tolist(), (0 * LEFT).tolist(), LEFT.tolist()]]
    assert store([photo()])[0].names == ("cat", "cat", "cat")
    # optimisers store few colours as a palette: the colours count, not the index
    Image.fromarray(colours).quantize(8).save(tmp_path / "pan" / "x.png")
    assert Image.open(tmp_path / "pan" / "x.png").mode == "P"
    assert dense(store) == [[CORNER.tolist(), (0 * LEFT).tolist(), LEFT.tolist()]]


LABELS = np.array([[0, 1, 2, 2], [0, 1, 255, 255], [0, 0, 0, 1]], np.uint8)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ("1", "2")),
        ({"background": True}, ("0", "1", "2")),
        ({"ignore": None}, ("1", "2", "255")),
        ({"ignore": 1}, ("2", "255")),
        ({"ignore": 255, "background": True}, ("0", "1", "2")),
    ],
)
@pytest.mark.parametrize("mode", ["L", "P"])
def test_label_map_options(tmp_path, options, names, mode):
    image = Image.fromarray(LABELS)
    if mode == "P":
        image = Image.fromarray(LABELS, "P")
        # every index has the same colour: only the index can tell them apart
        image.putpalette([7, 7, 7] * 256)
    image.save(tmp_path / "cat.png")
    (masks,) = Stored(str(tmp_path), **options)([photo()])
    assert masks.names == names
    assert masks.dense().int().tolist() == [
        (str(n) == LABELS.astype(str)).astype(int).tolist() for n in names
    ]


def test_label_maps_of_16_bits_keep_255(tmp_path):
    store = Stored(
        png(tmp_path / "cat.png", LABELS.astype(np.uint16) * 3 + np.uint16(1000) * (LABELS == 2))
    )
    assert store([photo()])[0].names == ("3", "765", "1006")
    png(tmp_path / "cat.png", LABELS.astype(np.uint16))
    assert store([photo()])[0].names == ("1", "2", "255")
    assert Stored(str(tmp_path), ignore=255)([photo()])[0].names == ("1", "2")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_label_maps_of_few_bits_keep_their_numbers(tmp_path, bits):
    """Written by hand: Pillow spreads such greys over 0 to 255, which turned label 15 into 255."""
    row = [0, 1, (1 << bits) - 1, 1]
    packed = int("".join(f"{label:0{bits}b}" for label in row).ljust(-(-4 * bits // 8) * 8, "0"), 2)
    line = b"\0" + packed.to_bytes(-(-4 * bits // 8), "big")
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 4, 3, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(line * 3)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(c)) + t + c + struct.pack(">I", zlib.crc32(t + c)) for t, c in chunks
    )
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    (masks,) = Stored(str(tmp_path))([photo()])
    assert masks.names == tuple(str(label) for label in sorted({*row} - {0}))
    assert masks.areas.sum() == 9


def test_a_binary_mask_says_how_to_read_it(tmp_path):
    path = png(tmp_path / "cat.png", LEFT * np.uint8(255))
    with pytest.raises(
        ValueError, match=r"no label but 0 and 255: is 255 the object \(say ignore=None\) or void"
    ):
        Stored(path)([photo()])
    assert dense(Stored(path, ignore=None)) == [[LEFT.tolist()]]
    assert dense(Stored(path, ignore=255)) == [[]]


def test_our_own_file(tmp_path):
    masks = PixelMasks.from_dense(np.stack([LEFT, CORNER]))
    write(
        tmp_path / "cat.json",
        {"size": SIZE, "masks": masks.to_coco(), "scores": [0.5, 0.25], "names": ["a", "b"]},
    )
    (stored,) = Stored(str(tmp_path))([photo()])
    assert (stored.counts, stored.scores.tolist(), stored.names) == (
        masks.counts,
        [0.5, 0.25],
        ("a", "b"),
    )
    write(tmp_path / "cat.json", {"size": SIZE, "masks": []})
    assert len(Stored(str(tmp_path))([photo()])[0]) == 0


def test_run_lengths_as_segment_anything_writes_them(tmp_path):
    amg = [
        {"segmentation": code(LEFT), "predicted_iou": 0.9, "stability_score": 0.95, "area": 6},
        {
            "segmentation": {"size": [3, 4], "counts": [9, 1, 2]},
            "predicted_iou": 0.8,
            "stability_score": 0.9,
            "area": 1,
        },
    ]
    sa1b = {"image": {"file_name": "cat.jpg", "height": 3, "width": 4}, "annotations": amg}
    for content in (amg, sa1b):
        write(tmp_path / "cat.json", content)
        for path in (tmp_path, tmp_path / "cat.json"):
            (masks,) = Stored(path)([photo()])
            assert masks.dense().int().tolist() == [LEFT.tolist(), CORNER.tolist()]
            assert masks.scores.tolist() == [0.9, 0.8]
    write(tmp_path / "cat.json", [code(LEFT), code(CORNER)])
    (bare,) = Stored(tmp_path / "cat.json")([photo()])
    assert (bare.dense().int().tolist(), bare.scores) == ([LEFT.tolist(), CORNER.tolist()], None)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_masks_and_labels(tmp_path, save):
    both = np.stack([LEFT, CORNER])
    for masks in (both.astype(bool), both, np.asfortranarray(both) * np.int64(5)):
        save(tmp_path / "cat.npz", masks=masks)
        assert dense(Stored(str(tmp_path))) == [both.tolist()]
    save(tmp_path / "cat.npz", masks=np.zeros((0, 3, 4), bool))
    assert dense(Stored(str(tmp_path))) == [[]]
    save(tmp_path / "cat.npz", labels=LABELS.astype(np.int64) - 1)
    assert Stored(str(tmp_path))([photo()])[0].names == ("1", "254")
    assert Stored(str(tmp_path), background=True)([photo()])[0].names == ("0", "1", "254")
    save(tmp_path / "cat.npz", labels=LABELS)
    assert Stored(str(tmp_path))([photo()])[0].names == ("1", "2")


# ---- which masks belong to which picture --------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "picture", "expected"),
    [
        (["cat.png"], "photos/cat.jpg", "cat.png"),
        (["cat.png"], "cat", "cat.png"),
        (["scan.v2.png"], "scan.v2", "scan.v2.png"),
        (["scan.v2.png"], "scan.jpg", None),
        (["cat.png"], "Cat.jpg", None),
        (["a/cat.png"], "photos/cat.jpg", "a/cat.png"),
        (["a/cat.png", "b/cat.png"], "photos/b/cat.jpg", "b/cat.png"),
        (["a/cat.png", "b/cat.png"], "photos\\b\\cat.jpg", "b/cat.png"),
        (["a/cat.png", "b/cat.png"], "c/cat.jpg", None),
        (["a/cat.png", "b/cat.png", "a/dog.png"], "c/dog.jpg", None),
        (["a/x/cat.png", "a/y/cat.png"], "b/y/cat.jpg", "a/y/cat.png"),
        (["cat.png", "b/cat.png"], "c/cat.jpg", "cat.png"),
        ([".cat.png", "._cat.png", ".old/cat.png", "dog.png"], "cat.jpg", None),
    ],
)
def test_matching(tmp_path, stored, picture, expected):
    for number, name in enumerate(stored, 1):
        png(tmp_path / name, np.full(SIZE, number, np.uint8))
    (masks,) = Stored(str(tmp_path), missing="empty")([photo(picture)])
    assert masks.names == ((str(stored.index(expected) + 1),) if expected else None)
    assert masks.size == SIZE


def test_a_picture_that_is_not_there(tmp_path):
    png(tmp_path / "cat.png", LEFT)
    with pytest.raises(
        ValueError,
        match=r"^cats.jpg: .* has no masks of that name among its 1 \(did you mean 'cat'\?\); "
        r"missing='empty'",
    ):
        Stored(str(tmp_path))([photo(), photo("cats.jpg")])
    png(tmp_path / "a" / "dog.png", LEFT)
    png(tmp_path / "b" / "dog.png", LEFT)
    with pytest.raises(
        ValueError,
        match=r"^c/dog.jpg: .* among its 3; it has 'a/dog', which lies in another folder",
    ):
        Stored(str(tmp_path))([photo("c/dog.jpg")])


@pytest.mark.parametrize("missing", ["error", "empty"])
def test_duplicate_names_are_an_error(tmp_path, missing):
    images = [{"id": n, "file_name": name} for n, name in enumerate(("cat.jpg", "cat.png"))]
    path = write(tmp_path / "a.json", coco(images=images, annotations=[]))
    with pytest.raises(
        ValueError,
        match=r"cat.jpg: in .*a.json, 2 entries fit that name equally well: 'cat.jpg', 'cat.png'",
    ):
        Stored(path, missing=missing)([photo()])


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            coco(images=[{**CAT, "height": 6, "width": 8}]),
            r"size \(6, 8\) \(H, W\) do not fit the picture of size \(3, 4\)$",
        ),
        (
            "a.json",
            coco(images=[{**CAT, "height": 4, "width": 3}]),
            "turned by 90 degrees: the picture is upright",
        ),
        (
            "a.json",
            with_segmentation(code(np.ones((6, 8), np.uint8))),
            r"mask 0 \(annotation 31\): a mask of size \(6, 8\) .* \(3, 4\)",
        ),
        (
            "cat.json",
            {"size": [6, 8], "masks": []},
            r"size \(6, 8\) \(H, W\) do not fit the picture of size \(3, 4\)",
        ),
        (
            "cat.json",
            [code(np.ones((6, 8), np.uint8))],
            r"mask 0: a mask of size \(6, 8\) does not fit the image of size \(3, 4\)",
        ),
    ],
)
def test_another_size_names_both(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        Stored(path)([photo()])


def test_another_size_of_arrays_names_both(tmp_path):
    store = Stored(png(tmp_path / "a" / "cat.png", np.ones((6, 8), np.uint8)))
    with pytest.raises(
        ValueError, match=r"^cat.jpg: .*cat.png: masks of size \(6, 8\) .* picture of size \(3, 4\)"
    ):
        store([photo()])
    np.savez(tmp_path / "cat.npz", masks=np.ones((2, 6, 8), bool))
    with pytest.raises(
        ValueError, match=r"^cat.jpg: .*cat.npz: masks of size \(6, 8\) .* picture of size \(3, 4\)"
    ):
        Stored(str(tmp_path / "cat.npz"))([photo()])


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [3, 4], "counts": "zzz"}, "run-length code"),
        ({"size": [3, 4], "counts": [5, 5]}, "add up to 10 pixels, the image has 12"),
        ({"size": [3, 4], "counts": [-5, 17]}, "run lengths must be whole numbers from 0 on"),
        ({"size": [3, 4], "counts": [5.5, 6.5]}, "run lengths must be whole numbers from 0 on"),
        (
            {"size": [3, 4], "counts": 10**12},
            "expected run lengths as a list, text or bytes, got int",
        ),
        ({"size": [3, 4]}, "expected COCO polygons or run lengths, got dict"),
        (
            {"size": None, "counts": "0<"},
            r"a mask of size \(None,\) does not fit the image of size \(3, 4\)",
        ),
        ("text", "expected COCO polygons or run lengths, got str"),
        ([1, 2, 3, 4, 5, 6], "expected a polygon as numbers"),
        ([["a"] * 6], "expected a polygon as numbers"),
        # pycocotools writes past its buffers for these three: the process would end here
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "a polygon leaves the image"),
        ([[0, 0, float("nan"), 0, 1, 1]], "a polygon leaves the image"),
        ([[0, 0, float("inf"), 0, 1, 1]], "a polygon leaves the image"),
        (None, "mask 0 has no segmentation"),
    ],
)
def test_bad_segmentations(tmp_path, segmentation, message):
    path = write(tmp_path / "a.json", with_segmentation(segmentation))
    with pytest.raises(ValueError, match=f"^cat.jpg: its masks in .*a.json: .*{message}"):
        Stored(path)([photo()])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cat.json: not JSON"),
        ("", "cat.json: not JSON"),
        ("[" * 100_000, "cat.json: not JSON"),
        ("3", "not a form of masks that is known here"),
        ({"shapes": []}, "not a form of masks that is known here"),
        (coco(annotations=None), "expected a list of objects as 'annotations'"),
        (coco(annotations=[3]), "expected a list of objects as 'annotations'"),
        (coco(images={}), "expected a list of objects as 'images'"),
        (coco(images=[{"id": 7}]), "image 7 has no file_name"),
        (
            coco(images=[{"id": 7, "file_name": "a"}, {"id": 7, "file_name": "b"}]),
            "two images have the id 7",
        ),
        (coco(images=[{"file_name": "a"}]), "expected a number or text as 'id', got None"),
        (
            coco(images=[{"id": "7", "file_name": "cat.jpg"}]),
            r"no annotation belongs to a listed image \(image_id 7 .* ids '7'",
        ),
        (
            [{"image_id": 7, "segmentation": code(LEFT)}],
            "a list of results knows images by number only; say images=",
        ),
        (
            coco(annotations=[{"image_id": 7, "segments_info": []}]),
            "there is no folder .*cat with its PNGs; say pngs=",
        ),
        ({"masks": {}}, r'expected {"size": \[H, W\], "masks": \[...\]} or a list of masks'),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = write(tmp_path / "cat.json", content)
    with pytest.raises(ValueError, match=message):
        Stored(path)([photo()])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"scores": [0.5]}, "2 masks need 2 scores, got 1"),
        ({"scores": 3}, "expected names and scores as lists"),
        ({"scores": [0.5, None]}, "1 of 2 masks have a number as score; expected all or none"),
        ({"scores": [0.5, "high"]}, "1 of 2 masks have a number as score"),
        ({"names": ["a"]}, "2 masks need 2 names, got 1"),
    ],
)
def test_bad_scores_and_names(tmp_path, extra, message):
    write(tmp_path / "cat.json", {"size": SIZE, "masks": [code(LEFT), code(CORNER)], **extra})
    with pytest.raises(ValueError, match=message):
        Stored(str(tmp_path))([photo()])


def test_panoptic_png_of_other_annotations(tmp_path):
    png(tmp_path / "x.png", np.dstack([LEFT * 5, LEFT, LEFT * 0]))
    annotation = {
        "image_id": 7,
        "file_name": "x.png",
        "segments_info": [{"id": 5, "category_id": 2}],
    }
    store = Stored(write(tmp_path / "a.json", coco(annotations=[annotation])), pngs=str(tmp_path))
    with pytest.raises(
        ValueError, match="1 segments that the JSON does not list, first 261: not its PNG"
    ):
        store([photo()])
    (tmp_path / "x.png").unlink()
    with pytest.raises(ValueError, match=r"x.png: cannot be read \(No such file"):
        store([photo()])
    annotation["image_id"] = 8
    with pytest.raises(
        ValueError, match=r"x.png belongs to image_id 8, which `images` does not list"
    ):
        Stored(write(tmp_path / "a.json", coco(annotations=[annotation])), pngs=str(tmp_path))(
            [photo()]
        )


def test_bad_label_maps(tmp_path):
    path = tmp_path / "cat.png"
    store = Stored(png(path, np.zeros((*SIZE, 3), np.uint8)))
    with pytest.raises(
        ValueError,
        match="a label map has one channel, this has mode RGB; a panoptic PNG needs its JSON",
    ):
        store([photo()])
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^cat.jpg: its masks in .*cat.png: not a PNG"):
        store([photo()])
    Image.new("L", SIZE[::-1]).save(path, "BMP")
    with pytest.raises(ValueError, match="not a PNG"):
        store([photo()])
    Image.fromarray(np.random.default_rng(0).integers(0, 99, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cannot be read|damaged or truncated"):
        store([photo(size=(64, 64))])


def test_a_png_bomb_is_not_decoded(tmp_path):
    head = struct.pack(">IIBBBBB", 10_000, 9_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    (tmp_path / "cat.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDAT"
    )
    with pytest.raises(
        ValueError, match=r"masks of size \(9000, 10000\) .* picture of size \(3, 4\)"
    ):
        Stored(str(tmp_path))([photo()])


def npz_of(path: Path, header: str, body: bytes = b"", name: str = "masks.npy") -> str:
    """An archive whose array claims `header`."""
    text = header.ljust(117) + "\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body
        )
    return str(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "{'descr': '|O', 'fortran_order': False, 'shape': (1, 3, 4)}",
            "masks.npy holds pickled objects, which are not loaded",
        ),
        (
            "{'descr': '|b1', 'fortran_order': False, 'shape': (10**12, 3, 4)}",
            "cat.npz: .*malformed|cat.npz: .*[Hh]eader",
        ),
        (
            "{'descr': '|b1', 'fortran_order': False, 'shape': (1000000000000, 3, 4)}",
            "would take 11175.9 GiB, more than 2",
        ),
        ("{'descr': '|b1', 'fortran_order': False, 'shape': (100000, 3, 4)}", "cat.npz: "),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 4)}",
            "masks.npy must be bool or integers, got float32",
        ),
        (
            "{'descr': '|b1', 'fortran_order': False, 'shape': (3, 4)}",
            r"got masks.npy of shape \[3, 4\]",
        ),
        ("{'descr': '|b1'}", "cat.npz: "),
    ],
)
def test_bad_npz_headers(tmp_path, header, message):
    with pytest.raises(ValueError, match=message):
        Stored(npz_of(tmp_path / "cat.npz", header))([photo()])


def test_bad_npz_archives(tmp_path):
    path = tmp_path / "cat.npz"
    store = Stored(str(path))
    np.savez(path, masks=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="holds pickled objects"):
        store([photo()])
    np.savez(path, other=LEFT)
    with pytest.raises(ValueError, match=r"expected an array `masks` or `labels`, got other.npy"):
        store([photo()])
    np.savez(path, masks=LEFT[None], labels=LEFT)
    with pytest.raises(
        ValueError, match=r"expected an array `masks` or `labels`, got masks.npy, labels.npy"
    ):
        store([photo()])
    path.write_bytes(b"PK not an archive")
    with pytest.raises(
        ValueError, match=r"^cat.jpg: its masks in .*cat.npz: not an npz archive, or damaged"
    ):
        store([photo()])
    np.savez_compressed(path, masks=np.random.default_rng(0).integers(0, 2, (9, 3, 4)).astype(bool))
    whole = bytearray(path.read_bytes())
    whole[150] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match=r"not an npz archive, or damaged"):
        store([photo()])


def test_bad_paths_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: no such file or folder"):
        Stored(str(tmp_path / "nowhere"))([photo()])
    with pytest.raises(ValueError, match=r"nowhere: no such file or folder"):
        _ = Stored(str(tmp_path / "nowhere")).identity
    with pytest.raises(ValueError, match=r"the folder has no .png, .json or .npz"):
        Stored(str(tmp_path))([photo()])
    png(tmp_path / "cat.png", LEFT)
    write(tmp_path / "cat.json", [code(CORNER)])
    with pytest.raises(
        ValueError, match=r"the folder has labels and rle files; say which: format='...'"
    ):
        Stored(str(tmp_path))([photo()])
    assert dense(Stored(str(tmp_path), format="labels")) == [[LEFT.tolist()]]
    assert dense(Stored(str(tmp_path), format="rle")) == [[CORNER.tolist()]]
    with pytest.raises(ValueError, match="coco is one JSON file, not a folder"):
        Stored(str(tmp_path), format="coco")([photo()])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("images='b.json'", "images goes with the formats results; .*a.json is read as coco"),
        ("pngs='b'", "pngs goes with the formats panoptic; .* read as coco"),
        ("background=True", "background goes with the formats labels and npz; .* read as coco"),
        ("ignore=None", "ignore goes with the formats labels and npz; .* read as coco"),
    ],
)
def test_an_option_that_would_do_nothing(tmp_path, option, message):
    path = write(tmp_path / "a.json", coco())
    with pytest.raises(ValueError, match=message):
        registry.build("segmenter", f"stored({path!r}, {option})")([photo()])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stored", "missing a required argument: 'path'"),
        ("stored('')", "path is empty; name a file or folder of masks"),
        (
            "stored('a', format='cocoo')",
            r"format must be one of .* not 'cocoo' \(did you mean 'coco'\?\)",
        ),
        ("stored('a', missing='skip')", "missing must be one of 'error', 'empty', not 'skip'"),
        ("stored('a', ignore='255')", "ignore must be"),
    ],
)
def test_bad_specs(text, message):
    with pytest.raises(spec.SpecError, match=message):
        registry.build("segmenter", text)


# ---- config -------------------------------------------------------------------------------------


def test_spec_text(tmp_path):
    store = Stored(tmp_path / "a.json", ignore=None)
    assert store.path == str(tmp_path / "a.json")
    text = registry.render(store)
    assert repr(store.path) in text
    assert registry.build("segmenter", text) == store


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    png(tmp_path / "cat.png", LEFT)
    assert dense(Stored("~/cat.png")) == [[LEFT.tolist()]]


def test_identity_follows_what_is_stored(tmp_path):
    path = write(tmp_path / "a.json", coco())
    first = Stored(path).identity
    assert Stored(path).identity == first
    write(tmp_path / "a.json", coco(categories=[]))
    assert Stored(path).identity != first
    folder = png(tmp_path / "maps" / "cat.png", LEFT)
    before = Stored(folder).identity
    os.utime(tmp_path / "maps" / "cat.png", (1, 1))
    assert Stored(folder).identity != before


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_is_the_same_composed_and_decomposed(tmp_path, forms):
    stored, asked = (unicodedata.normalize(form, "été/café") for form in forms)
    png(tmp_path / f"{stored}.png", LEFT)
    assert len(Stored(str(tmp_path))([photo(f"{asked}.jpg")])[0]) == 1


@pytest.mark.parametrize(("listed", "annotated"), [([1, "7"], 7), (["1", 7], "7")])
def test_ids_of_another_type_are_not_passed_over(tmp_path, listed, annotated):
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in listed]
    ids = [listed[0], annotated]
    data = {"images": images, "annotations": [{"image_id": number} for number in ids]}
    path = tmp_path / "masks.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="write both as numbers, or both as text"):
        Stored(str(path))([Picture.of(np.zeros((2, 3, 3), np.uint8), name="7.jpg")])
