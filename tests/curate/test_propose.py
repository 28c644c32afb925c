"""The stage that proposes regions: segmenters, SA-1B's annotations, images that are set aside."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from regiontok.core.masks import PixelMasks
from regiontok.curate.kept import kept_images
from regiontok.curate.plan import ProposePlan
from regiontok.curate.propose import ProposePiece, propose_stage, segmenter_of
from regiontok.curate.run import run_pieces
from regiontok.curate.tars import CurationError
from regiontok.methods import Segmenter
from regiontok.settings import registry
from regiontok.shards.tar import write_tar
from samples.curation import contents, photo, three_tars
from samples.kept_images import EVERYTHING, kept, staged

PLAN = ProposePlan(segmenter="felzenszwalb(min_size=20)", shorter_edge=8)


@pytest.fixture
def tars(tmp_path):
    return three_tars(tmp_path / "tars")


def proposed(curation, keep, plan=PLAN, **options):
    stage = propose_stage(curation, plan, keep)
    return staged(stage, curation, ProposePiece(curation, plan, keep), **options)


def in_tar(folder, *files: tuple[str, bytes]):
    folder.mkdir()
    write_tar(folder / "t.tar", list(files))
    return folder


def blocks(size=(96, 192), edge: int = 48) -> bytes:
    """Two blocks of one colour each on a third one, as PNG."""
    pixels = np.full((*size, 3), 20, np.uint8)
    pixels[edge // 2 : edge // 2 + edge, :edge] = (250, 0, 0)
    pixels[edge // 2 : edge // 2 + edge, -2 * edge :] = (0, 250, 0)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_every_image_has_a_row_and_those_that_do_not_stay_are_left_alone(tars, tmp_path):
    rows = proposed(*kept(tars, tmp_path / "out"))
    assert len(rows) == 12
    assert [rows[name]["reason"] for name in ("b/0", "b/1")] == ["left out", "left out"]
    assert (rows["b/0"]["boxes"], rows["b/0"]["height"]) == ([], 0)
    row = rows["a/0"]
    assert (row["height"], row["width"], row["reason"], row["masks"]) == (48, 64, "", [])
    assert len(row["boxes"]) == 4 * len(row["scores"]) > 0
    assert row["scores"] == sorted(row["scores"], reverse=True)


def test_boxes_of_a_smaller_copy_are_on_the_images_pixels(tmp_path):
    curation, keep = kept(in_tar(tmp_path / "tars", ("0.png", blocks())), tmp_path / "out")
    plan = ProposePlan(segmenter="felzenszwalb(sigma=0)", size=96, shorter_edge=40, masks=True)
    (row,) = proposed(curation, keep, plan).values()
    boxes = np.reshape(row["boxes"], (-1, 4)).tolist()
    near = np.abs(np.array(boxes[:2]) - [[0, 24, 48, 72], [96, 24, 192, 72]]).max()
    assert near <= 2, "a pixel of the copy, which has half the size"
    assert PixelMasks((96, 192), tuple(row["masks"])).boxes.tolist() == boxes
    assert row["scores"][:2] == [1, 1]


def test_what_a_segmenter_counts_in_pixels_is_scaled_with_the_copy():
    segmenter, size = segmenter_of(ProposePlan())
    assert (segmenter.min_size, segmenter.longest, size) == (48, 256, 256)
    segmenter, size = segmenter_of(ProposePlan(size=0))
    assert (segmenter.min_size, segmenter.longest, size) == (300, 640, 0)
    segmenter, size = segmenter_of(ProposePlan(segmenter="slic(9)", size=100))
    assert (segmenter.segments, segmenter.longest, size) == (9, 100, 100)


def test_an_image_without_regions_is_counted_and_no_error(tmp_path):
    curation, keep = kept(in_tar(tmp_path / "tars", ("0.jpg", photo(1))), tmp_path / "out")
    (row,) = proposed(curation, keep, ProposePlan(shorter_edge=60)).values()
    assert (row["boxes"], row["reason"], row["height"]) == ([], "no region", 48)
    report = json.loads((tmp_path / "out" / "t.propose.json").read_text())
    assert report["set_aside"] == {"no region": 1}


def test_an_image_that_is_far_too_long_is_set_aside(tmp_path):
    stream = io.BytesIO()
    Image.new("L", (1_000_000, 1), 200).save(stream, "PNG")
    tars = in_tar(tmp_path / "tars", ("0.png", stream.getvalue()), ("1.jpg", photo(1)))
    rows = proposed(*kept(tars, tmp_path / "out", EVERYTHING))
    assert rows["t/0"]["reason"] == "too long: 1 x 1000000 pixels are 1 x 256 for the segmenter"
    assert rows["t/1"]["reason"] == ""


@dataclass(frozen=True)
class FailsOnWide(Segmenter):
    """Finds one mask, and cannot do with pictures that are wider than high."""

    def __call__(self, pictures):
        (picture,) = pictures
        if picture.size[1] > picture.size[0]:
            raise RuntimeError("CUDA error\nand a page about it")
        return [PixelMasks.from_dense(np.ones((1, *picture.size), bool), [0.25])]


def test_an_image_on_which_the_segmenter_fails_is_set_aside_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "build", lambda kind, text: FailsOnWide())
    files = [("0.jpg", photo(1)), ("1.jpg", photo(2, (64, 48)))]
    curation, keep = kept(in_tar(tmp_path / "tars", *files), tmp_path / "out")
    rows = proposed(curation, keep, ProposePlan(segmenter="fails", shorter_edge=8))
    assert rows["t/0"]["reason"] == "unsegmented: CUDA error"
    assert (rows["t/1"]["boxes"], rows["t/1"]["scores"]) == ([0, 0, 48, 64], [0.25])


def sa1b(size=(48, 64), **scores) -> bytes:
    """SA-1B's JSON of an image with two masks: its left half, and an upper corner."""
    dense = np.zeros((2, *size), bool)
    dense[0, :, : size[1] // 2] = True
    dense[1, :20, 40:] = True
    codes = PixelMasks.from_dense(dense).to_coco()
    annotations = [
        {"id": number, "segmentation": code, **{key: two[number] for key, two in scores.items()}}
        for number, code in enumerate(codes)
    ]
    return json.dumps({"image": {"image_id": 1}, "annotations": annotations}).encode()


def test_annotations_beside_the_images_are_proposals(tmp_path):
    files = [
        ("sa_1.jpg", photo(1)),
        ("sa_1.json", sa1b(predicted_iou=(0.9, 0.95), stability_score=(0.97, 0.96))),
        ("sa_2.jpg", photo(2)),
        ("sa_2.json", sa1b(stability_score=(0.97, 0.96))),
        ("sa_3.jpg", photo(3)),
        ("sa_4.jpg", photo(4)),
        ("sa_4.json", sa1b((64, 48))),
        ("sa_5.jpg", photo(5)),
        ("sa_5.json", b'{"annotations": [{"id": 1}]}'),
        ("sa_6.jpg", photo(6)),
        ("sa_6.json", b'{"annotations": []}'),
    ]
    curation, keep = kept(in_tar(tmp_path / "tars", *files), tmp_path / "out")
    plan = ProposePlan(segmenter="stored", shorter_edge=8, masks=True)
    rows = proposed(curation, keep, plan)
    assert rows["t/0"]["boxes"] == [40, 0, 64, 20, 0, 0, 32, 48]
    assert rows["t/0"]["scores"] == pytest.approx([0.95, 0.9])
    assert PixelMasks((48, 64), tuple(rows["t/0"]["masks"])).areas.tolist() == [480, 1536]
    assert rows["t/1"]["scores"] == pytest.approx([0.97, 0.96])
    assert rows["t/2"]["reason"] == "unannotated: no JSON lies beside it"
    assert rows["t/3"]["reason"].startswith("unsegmented: mask 0 (annotation 0): a mask of size")
    assert "no segmentation" in rows["t/4"]["reason"]
    assert rows["t/5"]["reason"] == "no region"


def test_masks_stored_elsewhere_go_by_the_images_name(tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "p1.json").write_bytes(sa1b(predicted_iou=(0.5, 0.6)))
    files = [("p1.jpg", photo(1)), ("p2.jpg", photo(2))]
    curation, keep = kept(in_tar(tmp_path / "tars", *files), tmp_path / "out")
    plan = ProposePlan(segmenter=f"stored({str(masks)!r}, format='rle')", size=16, shorter_edge=8)
    rows = proposed(curation, keep, plan)
    assert rows["t/0"]["scores"] == pytest.approx([0.6, 0.5])
    assert rows["t/1"]["reason"].startswith("unsegmented: p2: ")


@pytest.mark.slow
def test_the_same_bytes_in_two_processes_and_in_one(tars, tmp_path):
    alone = kept(tars, tmp_path / "alone")
    proposed(*alone)
    several = kept(tars, tmp_path / "several")
    proposed(*several, workers=2)
    assert contents(tmp_path / "several") == contents(tmp_path / "alone")


def test_what_is_read_and_every_setting_is_in_the_hash(tars, tmp_path):
    curation, keep = kept(tars, tmp_path / "out")
    hashes = {
        propose_stage(curation, plan, reads).hash
        for plan, reads in [
            (PLAN, keep),
            (PLAN, "other"),
            (PLAN.model_copy(update={"size": 100}), keep),
            (PLAN.model_copy(update={"masks": True}), keep),
            (PLAN.model_copy(update={"overlap": 0.5}), keep),
            (PLAN.model_copy(update={"shorter_edge": 9}), keep),
            (PLAN.model_copy(update={"segmenter": "slic"}), keep),
            (PLAN.model_copy(update={"segmenter": "stored"}), keep),
        ]
    }
    assert len(hashes) == 8
    named = PLAN.model_copy(update={"segmenter": "felzenszwalb(300.0, min_size=20)", "size": 256})
    assert propose_stage(curation, named, keep).hash == propose_stage(curation, PLAN, keep).hash


def test_the_images_that_stay_are_those_of_the_list(tars, tmp_path):
    curation, keep = kept(tars, tmp_path / "out")
    stays = {
        tar.name: [sorted(kept_images(curation.out, piece, keep)) for piece in curation.pieces(tar)]
        for tar in curation.tars
    }
    assert stays == {"a": [[0, 1], [2, 3], [4]], "b": [[], [2, 3]], "c": [[0, 1], [2]]}


def test_another_list_is_refused_and_a_missing_one_named(tars, tmp_path):
    curation, keep = kept(tars, tmp_path / "out")
    piece = curation.pieces(curation.tars[0])[0]
    with pytest.raises(CurationError, match=r"keep\.parquet: another list than the plan's"):
        kept_images(curation.out, piece, "0" * 32)
    (curation.out / "keep.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(CurationError, match=r"keep\.parquet"):
        kept_images(curation.out, piece, keep)
    stage = propose_stage(curation, PLAN, keep)
    outcomes = list(run_pieces(stage, curation, ProposePiece(curation, PLAN, keep)))
    assert all("keep.parquet" in outcome.error for outcome in outcomes)
