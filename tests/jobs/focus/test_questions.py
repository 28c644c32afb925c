"""Focus data: PixCV-Bench's layout, masks of all forms and sizes, and generated scenes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.core.picture import Picture, PictureError
from regiontok.jobs.focus.pixcv import pixcv_questions
from regiontok.jobs.focus.questions import NoAnnotation, NoFocusData, union_on
from regiontok.jobs.focus.scenes import scene_questions
from regiontok.miniworld.world import World

PHOTO = Picture.of(np.zeros((20, 30, 3), np.uint8), "a.png")
SQUARE = [[0, 0, 10, 0, 10, 10, 0, 10]]  # x, y, ...: 10 x 10 pixels


def code(mask):
    return PixelMasks.from_dense(mask[None]).to_coco()[0]


def right_half(height=20, width=30):
    mask = np.zeros((height, width), bool)
    mask[:, width // 2 :] = True
    return mask


def test_polygons_and_run_lengths_are_united():
    annotated = union_on(PHOTO, [SQUARE, code(right_half())], None)
    assert (int(annotated.mask.sum()), annotated.rescaled_from) == (100 + 300, None)


def test_masks_of_another_size_are_rescaled_with_the_polygons_beside_them():
    segmentations = [[[0, 0, 20, 0, 20, 20, 0, 20]], code(right_half(40, 60))]
    annotated = union_on(PHOTO, segmentations, None)
    assert annotated.rescaled_from == (40, 60)
    assert annotated.mask.shape == (20, 30)
    assert int(annotated.mask.sum()) == 400
    # without run lengths, the size that the file states is the polygons'
    assert union_on(PHOTO, segmentations[:1], (40, 60)).rescaled_from == (40, 60)


@pytest.mark.parametrize(
    ("segmentations", "message"),
    [
        ([], "no mask is annotated"),
        ([[[1, 1, 2, 2]]], "its masks are empty"),
        ([code(right_half()), code(right_half(40, 60))], "several sizes"),
        ([{"size": [20, 30], "counts": "!!"}], "cannot be read"),
        ([code(right_half(30, 20))], "lies on its side"),
    ],
)
def test_unusable_masks_are_said(segmentations, message):
    with pytest.raises(NoAnnotation, match=message):
        union_on(PHOTO, segmentations, None)


def row(idx, name, filename=""):
    return {
        "idx": idx,
        "question": "How many?",
        "choices": ["3", "2"],
        "answer": "(B)",
        "source_filename": f"/coco/val2017/{name}",
        "filename": filename,
    }


@pytest.fixture
def folder(tmp_path):
    """Two pictures as PixCV-Bench and CV-Bench have them, and a question without masks."""
    images = [{"id": 0, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]
    annotations = [
        {"image_id": 0, "segmentation": code(right_half())},
        {"image_id": 1, "segmentation": SQUARE},
    ]
    (tmp_path / "COCO").mkdir()
    (tmp_path / "COCO/FinalSegmentations.json").write_text(
        json.dumps({"images": images, "annotations": annotations})
    )
    (tmp_path / "Objects.csv").write_text(
        ",Id,file,Objects\n"
        "0,7,CV-Bench/COCO/coco/images/a.png,organ\n"
        "1,8,CV-Bench/COCO/coco/images/b.png,\"('cat', 'dog')\"\n"
    )
    rows = [row(7, "a.png", "img/2D/a_0.png"), row(8, "b.png"), row(9, "b.png"), row(10, "c.png")]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "img/2D").mkdir(parents=True)
    for path in ("img/2D/a_0.png", "b.png"):
        Image.new("RGB", (30, 20)).save(tmp_path / path)
    return tmp_path


def test_questions_join_masks_pictures_and_objects(folder):
    first, second = pixcv_questions(folder)
    assert (first.id, first.image, first.gold) == ("7", "a.png", "B")
    assert first.question.startswith("How many?\nA. 3\nB. 2\nAnswer with")
    assert int(first.annotation(first.picture(), "question").mask.sum()) == 300
    assert second.id == "8"  # question 9 is about the same photo, but of other objects
    assert int(second.annotation(second.picture(), "image").mask.sum()) == 100


def test_objects_are_asked_about_in_words_of_ones_own(folder):
    (folder / "test.jsonl").unlink()
    with pytest.raises(NoFocusData, match="masks but no questions"):
        pixcv_questions(folder)
    questions = pixcv_questions(folder, ask="Where is the {objects}?")
    assert [each.question for each in questions] == [
        "Where is the organ?",
        "Where is the cat and the dog?",
    ]


def test_a_missing_picture_is_found_out_when_it_is_read(folder):
    (folder / "b.png").unlink()
    _, second = pixcv_questions(folder)
    with pytest.raises(PictureError, match=r"b\.png"):
        second.picture()


def test_parquet_holds_its_pictures(folder):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (folder / "test.jsonl").unlink()
    data = (folder / "b.png").read_bytes()
    (folder / "b.png").unlink()
    table = pa.Table.from_pylist([{**row(8, "b.png"), "image": {"bytes": data, "path": "x"}}])
    pq.write_table(table, folder / "test_2d.parquet")
    (question,) = pixcv_questions(folder)
    assert question.picture().size == (20, 30)


def test_pixmmvp_reads_mmvps_questions(tmp_path):
    content = {
        "images": [{"id": 1, "width": 30, "height": 20, "file_name": "1.jpg"}],
        "annotations": [{"image_id": 1, "segmentation": SQUARE, "category_id": None}],
    }
    (tmp_path / "Segmentations.json").write_text(json.dumps(content))
    (tmp_path / "Objects.csv").write_text("Index, Object\n1, the butterfly's wings\n")
    (tmp_path / "visual_patterns.csv").write_text(
        ",Index,Question,Options,Correct Answer,Pattern\n0,1,Open?,(a) Open (b) Closed,(b),State\n"
    )
    Image.new("RGB", (30, 20)).save(tmp_path / "1.jpg")
    (question,) = pixcv_questions(tmp_path)
    assert question.gold == "B"
    assert "A. Open\nB. Closed" in question.question
    assert int(question.annotation(question.picture(), "question").mask.sum()) == 100


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("test.jsonl", '{"idx": 1}\n', "not CV-Bench's columns: question, choices"),
        ("test.jsonl", "no json\n", "line 1, is no JSON"),
        ("Objects.csv", "a,b\n1,2\n", "expected columns Id, file, Objects"),
        ("COCO/FinalSegmentations.json", "[]", "expected COCO's JSON"),
    ],
)
def test_other_forms_are_named(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(NoFocusData, match=message):
        pixcv_questions(folder)


def test_folders_without_data_are_said(tmp_path):
    with pytest.raises(NoFocusData, match="no such folder"):
        pixcv_questions(tmp_path / "nowhere")
    with pytest.raises(NoFocusData, match="holds no masks"):
        pixcv_questions(tmp_path)


def test_scenes_annotate_what_a_question_names():
    questions = scene_questions("miniworld(4, size=64, questions='colour,count')")
    assert {question.id.rpartition("-")[0] for question in questions} == {
        f"miniworld-{seed}" for seed in range(4)
    }
    colour = next(each for each in questions if each.question.startswith("What colour"))
    count = next(each for each in questions if each.question.startswith("How many"))
    assert colour.gold
    picture = colour.picture()
    named, whole = (colour.annotation(picture, which).mask for which in ("question", "image"))
    assert 0 < int(named.sum()) < int(whole.sum())
    everything = count.annotation(count.picture(), "question").mask
    assert int(everything.sum()) == int(count.annotation(count.picture(), "image").mask.sum())


def test_a_question_about_what_is_not_there_has_nothing_to_look_at():
    questions = scene_questions("miniworld(20, size=64, questions='presence')")
    absent = next(each for each in questions if each.gold == "no")
    with pytest.raises(NoAnnotation, match="holds no object that 'Is there"):
        absent.annotation(absent.picture(), "question")


DATA = Path(os.environ.get("REGIONTOK_DATA", "")) / "pixcvbench"


@pytest.mark.skipif(not DATA.is_dir(), reason="the real mask files are in $REGIONTOK_DATA")
def test_the_real_files_of_pixcv_bench():
    """Areas and sizes are those that were measured of the files when they were published."""
    questions = {
        each.image: each
        for each in pixcv_questions(
            DATA / "pixcvbench", images=DATA.parent / "coco", ask="Where is the {objects}?"
        )
    }
    assert len(questions) == 1438
    expected = json.loads((DATA.parent / "fixtures/pixcv_with_images.json").read_text())
    for entry in expected:
        question = questions[Path(entry["file"]).name]
        picture = question.picture()
        annotated = question.annotation(picture, "question")
        assert question.id == str(entry["cvbench_idx"])
        assert list(picture.size) == entry["hw"]
        if annotated.rescaled_from is None:
            assert int(annotated.mask.sum()) == entry["union_area"]
        else:
            assert [list(annotated.rescaled_from)] == entry["mask_sizes"]
    assert torch.equal(annotated.mask, question.annotation(picture, "image").mask)


def test_questions_of_the_world_are_about_the_masks_that_they_name():
    source = "world(6, split='val', size=128, kinds='left_right,reading')"
    questions = scene_questions(source)
    assert {question.id.rpartition("-")[2] for question in questions} == {"left_right", "reading"}
    world = World("val", size=128)
    for question in questions:
        picture = world[int(question.id.split("-")[2])]
        asked = question.annotation(question.picture(), "question").mask.numpy()
        everything = question.annotation(question.picture(), "image").mask.numpy()
        assert (everything == (picture.labels > 0)).all()
        inside = [mask for mask in picture.masks if asked[mask].all()]
        assert len(inside) == (2 if question.id.endswith("left_right") else 1)
        assert sum(mask.sum() for mask in inside) == asked.sum()
