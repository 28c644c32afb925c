"""Masks in every COCO form, there and back, against pycocotools; and codes made to do harm."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from regiontok.core.masks import NotANumber, PixelMasks, masks_from

DENSE = np.array(
    [
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1]],
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    ],
    bool,
)


def code_of(runs: list[int]) -> bytes:
    """COCO's compressed run lengths, written out here.

    A byte has 5 bits, and every run but the first two is written less the one before the last.
    """
    out = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            out.append(48 + (digit | 32 if more else digit))
    return bytes(out)


def test_by_hand():
    masks = PixelMasks.from_dense(DENSE, scores=[0.5, 0.25, 0], names=["cat", "mat", "air"])
    assert masks.size == (3, 4)
    assert len(masks) == 3
    assert masks.areas.tolist() == [4, 6, 0]
    assert masks.boxes.tolist() == [[0, 0, 2, 2], [1, 1, 4, 3], [0, 0, 0, 0]]
    assert masks.dense().tolist() == DENSE.tolist()
    assert masks.dense([1]).tolist() == DENSE[[1]].tolist()
    assert masks.dense(range(1, 3)).tolist() == DENSE[1:].tolist()
    assert masks.dense([2, 0]).tolist() == DENSE[[2, 0]].tolist()
    assert masks.dense([]).shape == (0, 3, 4)
    assert masks.dense().dtype == torch.bool
    assert masks.counts[0] == code_of([0, 2, 1, 2, 7])  # by columns


def test_no_masks():
    for none in (
        PixelMasks((3, 4), ()),
        PixelMasks.from_dense(np.zeros((0, 3, 4))),
        PixelMasks.from_coco([], (3, 4)),
    ):
        assert len(none) == 0
        assert none.size == (3, 4)
        assert none.areas.tolist() == []
        assert none.areas.dtype == np.int64
        assert none.boxes.shape == (0, 4)
        assert none.dense().shape == (0, 3, 4)
        assert (none.labels() == -1).all()
        assert none.to_coco() == []
        assert len(none.take([])) == 0
    assert len(PixelMasks.from_labels(np.full((3, 4), -1))) == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_there_and_back(height, width, count, seed):
    dense = np.random.default_rng(seed).random((count, height, width)) < 0.4
    masks = PixelMasks.from_dense(torch.from_numpy(dense))
    assert np.array_equal(masks.dense().numpy(), dense)
    assert masks.areas.tolist() == dense.sum((1, 2)).tolist()
    segmentations = json.loads(json.dumps(masks.to_coco()))
    assert PixelMasks.from_coco(segmentations, (height, width)).counts == masks.counts
    raw = [{"size": [height, width], "counts": code} for code in masks.counts]
    assert PixelMasks.from_coco(raw, (height, width)).counts == masks.counts
    runs = []
    for mask in dense:
        flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
        runs.append(np.diff(np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1])])).tolist())
    listed = [{"size": [height, width], "counts": run} for run in runs]
    assert PixelMasks.from_coco(listed, (height, width)).counts == masks.counts
    assert tuple(code_of(run) for run in runs) == masks.counts
    for i, mask in enumerate(dense):
        columns = np.zeros(height * width, bool)
        for begin, end in masks.runs(i):
            assert begin < end
            columns[begin:end] = True
        assert np.array_equal(columns.reshape(width, height).T, mask)
    theirs = coco.encode(np.asfortranarray(dense.transpose(1, 2, 0).astype(np.uint8)))
    assert masks.to_coco() == [
        {"size": [height, width], "counts": code["counts"].decode()} for code in theirs
    ]


def test_anything_but_zero_is_inside():
    values = np.array([[[0, 3, -1], [255, 0, 0]]])
    for masks in (
        values,
        values.astype(float),
        torch.from_numpy(values),
        torch.from_numpy(values).bfloat16(),
        values.astype(np.int8),
    ):
        assert PixelMasks.from_dense(masks).dense().int().tolist() == [[[0, 1, 1], [1, 0, 0]]]
    learnt = torch.ones(1, 2, 2, requires_grad=True)
    assert PixelMasks.from_dense(learnt).areas.tolist() == [4]
    with pytest.raises(ValueError, match=r"expected masks \[k H W\], got shape \[2, 3\]"):
        PixelMasks.from_dense(np.ones((2, 3)))


def test_from_labels():
    labels = np.array([[5, 5, -1], [0, 9, 9]])
    masks = PixelMasks.from_labels(labels)
    assert masks.dense().int().tolist() == [
        [[0, 0, 0], [1, 0, 0]],
        [[1, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 1]],
    ]
    for kind in (
        torch.from_numpy(labels),
        labels.astype(np.int16),
        np.where(labels < 0, 0, labels).astype(np.uint16),
    ):
        assert len(PixelMasks.from_labels(kind)) == 3
    many = np.arange(100).reshape(10, 10)
    assert PixelMasks.from_labels(many).areas.tolist() == [1] * 100
    assert np.array_equal(PixelMasks.from_labels(many).labels().numpy(), many)
    for wrong in (labels.astype(float), labels[0], labels > 0):
        with pytest.raises(ValueError, match=r"expected integer labels \[H W\]"):
            PixelMasks.from_labels(wrong)


def test_labels_the_smallest_wins():
    masks = PixelMasks.from_dense(
        np.array([[[0, 1, 0, 0]], [[1, 1, 1, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 0]]])
    )
    assert masks.labels().tolist() == [[1, 0, 2, -1]]


def test_polygons_equal_pycocotools():
    draw = np.random.default_rng(0)
    for _ in range(30):
        rings = [
            (draw.random(2 * draw.integers(3, 9)) * 50).tolist() for _ in range(draw.integers(1, 4))
        ]
        theirs = coco.merge(coco.frPyObjects(rings, 40, 50))
        assert PixelMasks.from_coco([rings], (40, 50)).counts == (theirs["counts"],)
    square = [[1, 1, 3, 1, 3, 3, 1, 3]]
    assert PixelMasks.from_coco([square], (4, 4)).dense()[0].int().tolist() == [
        [0, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
    ]
    over = [[-2, -2, 6, -2, 6, 6, -2, 6]]
    assert PixelMasks.from_coco([over], (4, 4)).areas.tolist() == [16]
    assert PixelMasks.from_coco([[], [[1, 1, 2, 2]], [[0, 0]]], (4, 4)).areas.tolist() == [0, 0, 0]


def test_the_three_forms_mixed():
    box = np.zeros((1, 4, 4), bool)
    box[0, 1:3, 1:3] = True
    polygon = [[1, 1, 3, 1, 3, 3, 1, 3]]
    text = PixelMasks.from_dense(box).to_coco()[0]
    listed = {"size": [4, 4], "counts": [5, 2, 2, 2, 5]}
    masks = PixelMasks.from_coco(
        [polygon, text, listed, {"counts": text["counts"]}],
        (4, 4),
        scores=[1, 2, 3, 4],
        names="abcd",
    )
    assert (masks.dense() == torch.from_numpy(box)).all()
    assert masks.names == ("a", "b", "c", "d")
    assert masks.scores.tolist() == [1, 2, 3, 4]


def test_take():
    masks = PixelMasks.from_dense(DENSE, scores=[0.5, 0.25, 0], names=["cat", "mat", "air"])
    some = masks.take([2, 0])
    assert some.names == ("air", "cat")
    assert some.scores.tolist() == [0, 0.5]
    assert np.array_equal(some.dense().numpy(), DENSE[[2, 0]])
    assert masks.take(np.array([1])).names == ("mat",)
    assert masks.take(torch.tensor([1])).names == ("mat",)
    assert len(masks.take([])) == 0
    assert masks.take([0]).take([0]).areas.tolist() == [4]
    with pytest.raises(IndexError):
        masks.take([3])


def test_scores_and_names_for_every_mask():
    with pytest.raises(ValueError, match="3 masks need 3 scores, got 2"):
        PixelMasks.from_dense(DENSE, scores=[1, 2])
    with pytest.raises(ValueError, match="3 masks need 3 names, got 4"):
        PixelMasks.from_dense(DENSE, names="abcd")


GOOD = code_of([5, 2, 2, 2, 5])
FORGED = {
    "too short": code_of([5, 2, 2]),
    "too long": code_of([5, 2, 2, 2, 6]),
    "nothing": b"",
    "a huge run": code_of([5, 2**31]),
    "runs that wrap at 32 bits": code_of([2**32 - 8, 24]),
    "runs that wrap at 64 bits": code_of([2**64 - 8, 24]),
    "a negative run": code_of([20, -4]),
    "a run made negative by the one before the last": code_of([5, 2, 2, 2, 5])[:3]
    + code_of([-9])
    + b"L",
    "cut in the middle": code_of([500])[:1],
    "bytes of no code": GOOD + b"\xff",
    "a space": b" " + GOOD,
    "a long chain of continuations": b"o" * 300_000,
    "a run without end": b"o" * 300_000 + b"0",
    "many zeros": b"0" * 10_000,
    "text of another script": "١٢٣",
    "a lone surrogate": "\udcff",
    "a list too short": [5, 2, 2],
    "a list too long": [5, 2, 2, 2, 6],
    "a negative list": [-5, 21],
    "a list that wraps": [2**32 - 8, 24],
    "fractions": [5.5, 10.5],
    "words": ["a", "b"],
    "nested": [[16]],
    "a number": 16,
    "None": None,
    "a huge number": 10**12,
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_run_lengths(name):
    with pytest.raises(ValueError):
        PixelMasks.from_coco([{"size": [4, 4], "counts": FORGED[name]}], (4, 4))


def test_forged_run_lengths_say_why():
    for counts, message in [
        (FORGED["too short"], "describes 9 pixels, the image has 16"),
        (FORGED["cut in the middle"], "breaks off in the middle"),
        (FORGED["a negative run"], "holds a negative run"),
        (FORGED["bytes of no code"], "holds the byte 255, which no such code has"),
        (FORGED["a run without end"], "a run longer than any image"),
        (FORGED["a negative list"], "run lengths must be whole numbers from 0 on"),
        (FORGED["a list too long"], "add up to 17 pixels, the image has 16"),
        (FORGED["a number"], "expected run lengths as a list, text or bytes, got int"),
    ]:
        with pytest.raises(ValueError, match=message):
            PixelMasks.from_coco([{"size": [4, 4], "counts": counts}], (4, 4))


@pytest.mark.parametrize("size", [[4, 5], [5, 4], [4], [4, 4, 1], None, "44", [2**40, 2**40]])
def test_run_lengths_of_another_size(size):
    with pytest.raises(ValueError, match="does not fit the image of size"):
        PixelMasks.from_coco([{"size": size, "counts": GOOD}], (4, 4))


@pytest.mark.parametrize("value", ["0", b"0", 5, None, {"runs": [16]}, {}])
def test_what_is_no_segmentation(value):
    with pytest.raises(ValueError, match="expected COCO polygons or run lengths, got"):
        PixelMasks.from_coco([value], (4, 4))


NAN, FAR = float("nan"), 1e9


@pytest.mark.parametrize(
    ("rings", "message"),
    [
        # The first four end the process inside pycocotools 2.0.11.
        ([[0, 0, NAN, 1, 2, 2]], "leaves the image"),
        ([[0, 0, float("inf"), 1, 2, 2]], "leaves the image"),
        ([[0, 0, FAR, FAR, 2, 2]], "leaves the image"),
        ([[FAR, FAR, FAR + 9, FAR, FAR, FAR + 9]], "leaves the image"),
        ([[0, 0, 10**400, 1, 2, 2]], "numbers x, y"),
        ([[0, 0, 60, 60] * 5000], "without end"),
        ([0, 0, 1, 1, 2, 2], "numbers x, y"),
        ([["a"] * 6], "numbers x, y"),
        ([[[0, 0], [1, 1], [2, 2]]], "numbers x, y"),
        ([None], "numbers x, y"),
        ([{"x": 1}], "numbers x, y"),
        ([[0, 0, [1], 1, 2, 2]], "numbers x, y"),
    ],
)
def test_forged_polygons(rings, message):
    with pytest.raises(ValueError, match=message):
        PixelMasks.from_coco([rings], (4, 4))


def test_random_codes_are_read_or_refused():
    draw = random.Random(3)
    alphabet = bytes(range(48, 112))
    count = 0
    for _ in range(3000):
        code = bytearray(
            GOOD if draw.random() < 0.5 else bytes(draw.choices(alphabet, k=draw.randrange(1, 9)))
        )
        for _ in range(draw.randrange(3)):
            code[draw.randrange(len(code))] = draw.choice(alphabet)
        try:
            masks = PixelMasks.from_coco([{"size": [4, 4], "counts": bytes(code)}], (4, 4))
        except ValueError:
            continue
        count += 1
        assert masks.dense().sum() == masks.areas[0]
    assert count


def test_real_annotations(data):
    for file in sorted((data / "coco" / "annotations" / "split").glob("*instances*.json"))[:1]:
        content = json.loads(file.read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for annotation in content["annotations"][:60]:
            height, width = sizes[annotation["image_id"]]
            masks = PixelMasks.from_coco([annotation["segmentation"]], (height, width))
            form = coco.frPyObjects(annotation["segmentation"], height, width)
            theirs = coco.merge(form) if isinstance(form, list) else form
            assert masks.areas.tolist() == [int(coco.area(theirs))]
            assert np.array_equal(masks.dense()[0].numpy(), coco.decode(theirs).astype(bool))


@pytest.mark.parametrize(
    "make",
    [
        lambda: PixelMasks.from_dense(np.full((1, 2, 3), np.nan)),
        lambda: PixelMasks.from_dense(torch.full((1, 2, 3), torch.nan)),
        lambda: PixelMasks.from_dense(np.ones((1, 2, 3), bool), scores=[float("nan")]),
        lambda: PixelMasks((2, 3), (b"x",), scores=np.array([np.nan])),
    ],
)
def test_numbers_that_are_none_are_an_error_that_names_the_segmenter(make):
    class Broken:
        def __repr__(self) -> str:
            return "broken(iou=0.5)"

        def __call__(self, pictures):
            return [make() for _ in pictures]

    with pytest.raises(NotANumber, match=r"^segmenter broken\(iou=0.5\): .*NaN.*try float32"):
        masks_from(Broken(), [None])
