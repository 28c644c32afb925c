"""The frontier: every source at the same budgets on generated scenes, small enough to check."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from regiontok.core.picture import Picture
from regiontok.data.collect import collect
from regiontok.jobs.frontier.frontier import frontier, numbers, plot, results
from regiontok.jobs.frontier.rivals import DOWNSAMPLED, SOURCES, Bench
from regiontok.jobs.humans import read_humans
from regiontok.miniworld.scenes import make_scene

ENCODER = "filters(size=112, patch=14)"  # 8 x 8 patches
PLAIN = [name for name, source in SOURCES.items() if not source.attends] + [DOWNSAMPLED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two scenes, and for each a label map as its human segmentation."""
    root = tmp_path_factory.mktemp("frontier")
    (root / "humans").mkdir()
    for seed in range(2):
        scene = make_scene(seed, (96, 128))
        Image.fromarray(scene.pixels).save(root / f"{seed}.png")
        Image.fromarray(scene.labels.astype(np.uint8)).save(root / "humans" / f"{seed}.png")
    return root


@pytest.fixture(scope="module")
def rows(folder):
    return frontier(
        Bench(ENCODER, budgets=(32, 4, 16)),
        collect([str(path) for path in folder.glob("*.png")]),
        folder / "humans",
    )


def curve(rows, source, key):
    return [row[key] for row in rows if row["source"] == source]


def test_every_source_has_a_row_a_budget_and_the_closing_line_is_json(rows):
    assert [row["source"] for row in rows] == [
        n for n in PLAIN for _ in range(1 if SOURCES.get(n, SOURCES["merge"]).free else 3)
    ]
    assert curve(rows, "random", "budget") == [4, 16, 32]
    assert curve(rows, "one token a segment", "budget") == [None]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert {row["images"] for row in rows} == {2}


def test_exact_sources_are_exact(rows):
    for source in ("merge", "ToMe", "grid pooling", "stride", "random"):
        assert curve(rows, source, "tokens") == [4, 16, 32]
        assert curve(rows, source, "exact") == [True] * 3
    assert curve(rows, DOWNSAMPLED, "tokens") == [4, 16, 36]  # 6 x 6 is the square nearest to 32
    assert curve(rows, DOWNSAMPLED, "exact") == [True, True, False]


def test_more_tokens_explain_more_and_means_more_than_kept_patches(rows):
    for source in ("merge", "ToMe", "grid pooling", "stride"):
        explained = curve(rows, source, "explained")
        assert explained == sorted(explained)
    assert all(
        a > b
        for a, b in zip(
            curve(rows, "merge", "explained"), curve(rows, "random", "explained"), strict=True
        )
    )
    assert all(0 < row["covering"] < 1 for row in rows)


def test_cells_of_grid_pooling_and_of_a_smaller_picture_are_the_same(rows):
    # 2 x 2 and 4 x 4
    assert curve(rows, "grid pooling", "covering")[:2] == curve(rows, DOWNSAMPLED, "covering")[:2]


def test_costs(rows):
    # it has only the encoder's, and a cheaper one
    assert curve(rows, DOWNSAMPLED, "ms") == [0, 0, 0]
    assert all(row["ms"] > 0 for row in rows if row["source"] != DOWNSAMPLED)
    assert all(row["encode_ms"] > 0 for row in rows)


def test_without_humans_there_is_no_covering_and_chosen_sources_are_alone(folder):
    [*rows] = frontier(
        Bench(ENCODER, budgets=[8], only=["merge", "random"]), collect([str(folder / "0.png")])
    )
    assert [(row["source"], row["covering"]) for row in rows] == [
        ("merge", None),
        ("random", None),
    ]
    [table] = results(rows)
    assert table.row_count == 2
    assert "-" in list(table.columns[4].cells)


def test_all_patches_explain_everything(folder):
    [point] = Bench("filters(size=56, patch=14)", budgets=[16], only=["merge"]).measure(
        Picture.of(folder / "0.png")
    )
    assert (point.tokens, point.explained) == (16, 1)


def test_sources_that_choose_by_attention(folder, tmp_path):
    hub = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 14,
        "intermediate_size": 64,
    }
    hub.CLIPVisionModel(hub.CLIPVisionConfig(**shape, image_size=112)).save_pretrained(tmp_path)
    hub.CLIPImageProcessorPil(
        size={"shortest_edge": 112}, crop_size={"height": 112, "width": 112}
    ).save_pretrained(tmp_path)
    names = ["VisionZip-like", "PruMerge-like", DOWNSAMPLED]
    spec = f"transformers({str(tmp_path)!r}, framing='stretch'%s)"
    rows = frontier(
        Bench(spec % ", cls_attention=True", budgets=[4, 16], only=names),
        collect([str(folder / "0.png")]),
        folder / "humans",
    )
    assert [row["tokens"] for row in rows] == [4, 16] * 3
    # PruMerge's regions overlap
    assert [row["covering"] is None for row in rows] == [False, False, True, True, False, False]
    assert not set(Bench(spec % "").names) & set(names[:2])
    with pytest.raises(
        ValueError, match="VisionZip-like chooses by the attention of CLS: say cls_attention=True"
    ):
        Bench(spec % "", only=names)


def test_plot_of_the_rows(rows):
    pytest.importorskip("matplotlib")
    with_humans = plot(rows, "filters")
    without = plot([row | {"covering": None} for row in rows], "filters")
    assert with_humans.width > without.width
    assert (
        plot([row for row in rows if row["source"] == DOWNSAMPLED], "filters").width
        < with_humans.width
    )


def test_bad_requests(folder):
    with pytest.raises(
        ValueError,
        match="expected whole numbers with commas between them, such as 16,64,144; got '16,x'",
    ):
        numbers("16,x")
    with pytest.raises(
        ValueError, match=r"unknown source 'tome' \(did you mean 'ToMe'\?\); known: merge, "
    ):
        Bench(ENCODER, only=["tome"])
    with pytest.raises(ValueError, match=r"budgets are numbers of tokens from 1 on, got \[0, 8\]"):
        Bench(ENCODER, budgets=[8, 0])
    with pytest.raises(ValueError, match=r"budget 65 is above the 64 patches of 0\.png"):
        Bench(ENCODER, budgets=[8, 65]).measure(Picture.of(folder / "0.png", name="0.png"))


def test_humans_of_both_kinds(tmp_path):
    maps = [np.array([[1, 2, 2]], np.uint16), np.array([[3, 3, 1]], np.uint16)]
    cell = np.empty(2, object)
    for index, segmentation in enumerate(maps):
        cell[index] = {"Segmentation": segmentation}
    savemat(tmp_path / "a.mat", {"groundTruth": cell})
    assert [
        segmentation.tolist() for segmentation in read_humans(tmp_path, tmp_path / "a.jpg")
    ] == [segmentation.tolist() for segmentation in maps]
    Image.fromarray(maps[0].astype(np.uint8)).save(tmp_path / "b.png")
    assert [
        segmentation.tolist() for segmentation in read_humans(tmp_path, SimpleNamespace(stem="b"))
    ] == [[[1, 2, 2]]]


def test_humans_that_are_none(tmp_path):
    with pytest.raises(
        ValueError, match=r"holds neither c\.mat nor c\.png, the human segmentation of c\.jpg"
    ):
        read_humans(tmp_path, tmp_path / "c.jpg")
    Image.new("RGB", (3, 2)).save(tmp_path / "c.png")
    with pytest.raises(
        ValueError,
        match=r"c\.png holds no human segmentation \(expected one label a pixel, got shape \(2, "
        r"3, 3\)\)",
    ):
        read_humans(tmp_path, tmp_path / "c.jpg")
    savemat(tmp_path / "d.mat", {"groundTruth": np.zeros((60, 60))}, do_compression=True)
    whole = (tmp_path / "d.mat").read_bytes()
    for damaged in (whole[:20], whole[:-10], whole[:140] + bytes(20) + whole[160:], whole):
        (tmp_path / "d.mat").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"d\.mat holds no human segmentation"):
            read_humans(tmp_path, tmp_path / "d.jpg")
    savemat(tmp_path / "e.mat", {"other": 1})
    with pytest.raises(ValueError, match=r"e\.mat holds no human segmentation \('groundTruth'\)"):
        read_humans(tmp_path, tmp_path / "e.jpg")
