"""The frontier: every source at the same budgets on generated scenes, small enough to check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.data.collect import collect
from regiontok.jobs.frontier.comparison import SourceComparison
from regiontok.jobs.frontier.frontier import frontier, plot_frontier
from regiontok.jobs.frontier.sources import DOWNSAMPLED, SOURCES
from regiontok.miniworld.scenes import make_scene

ENCODER = "filters(size=112, patch=14)"  # 8 x 8 patches
BUDGETS = [4, 16, 32]
SERVED = [
    *(name for name, source in SOURCES.items() if not source.needs_cls_attention),
    DOWNSAMPLED,
]


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
    images = collect([str(path) for path in folder.glob("*.png")])
    rows, failed = frontier(
        SourceComparison(ENCODER, budgets=(32, 4, 16)), images, folder / "humans"
    )
    assert failed == []
    return rows


def curve(rows, source, key):
    return [row[key] for row in rows if row["source"] == source]


def test_every_source_has_a_row_a_budget_and_the_closing_line_is_json(rows):
    wanted = []
    for name in SERVED:
        has_budget = name == DOWNSAMPLED or SOURCES[name].has_budget
        wanted += [(name, budget) for budget in (BUDGETS if has_budget else [None])]
    assert [(row["source"], row["budget"]) for row in rows] == wanted
    assert curve(rows, "one token a segment", "budget") == [None]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert {row["images"] for row in rows} == {2}


def test_exact_sources_are_exact(rows):
    for source in ("merge", "ToMe", "grid pooling", "stride", "random"):
        assert curve(rows, source, "tokens") == BUDGETS
        assert curve(rows, source, "exact") == [True] * 3
    assert curve(rows, DOWNSAMPLED, "tokens") == [4, 16, 36]  # 6 x 6 is the square nearest to 32
    assert curve(rows, DOWNSAMPLED, "exact") == [True, True, False]


def test_more_tokens_explain_more_and_means_more_than_kept_patches(rows):
    for source in ("merge", "ToMe", "grid pooling", "stride"):
        explained = curve(rows, source, "explained")
        assert explained == sorted(explained)
    means, patches = (curve(rows, source, "explained") for source in ("merge", "random"))
    assert all(mean > patch for mean, patch in zip(means, patches, strict=True))
    assert all(0 < row["covering"] < 1 for row in rows)


def test_cells_of_grid_pooling_and_of_a_smaller_picture_are_the_same(rows):
    # cells of 2 x 2 and 4 x 4
    pooled, smaller = (
        curve(rows, source, "covering")[:2] for source in ("grid pooling", DOWNSAMPLED)
    )
    assert pooled == smaller


def test_down_sampling_costs_nothing_beyond_the_encoder(rows):
    assert curve(rows, DOWNSAMPLED, "ms") == [0, 0, 0]
    assert all(row["ms"] > 0 for row in rows if row["source"] != DOWNSAMPLED)
    assert all(row["encode_ms"] > 0 for row in rows)


def test_without_humans_there_is_no_covering_and_chosen_sources_are_alone(folder):
    comparison = SourceComparison(ENCODER, budgets=[8], only=["merge", "random"])
    rows, _ = frontier(comparison, collect([str(folder / "0.png")]))
    assert [(row["source"], row["covering"]) for row in rows] == [("merge", None), ("random", None)]


def test_sources_that_choose_by_attention(folder, tmp_path):
    hub = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = hub.CLIPVisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=14,
        intermediate_size=64,
        image_size=112,
    )
    hub.CLIPVisionModel(config).save_pretrained(tmp_path)
    hub.CLIPImageProcessorPil(
        size={"shortest_edge": 112}, crop_size={"height": 112, "width": 112}
    ).save_pretrained(tmp_path)
    attending = ["VisionZip-like", "PruMerge-like"]
    without = f"transformers({str(tmp_path)!r}, framing='stretch')"
    encoder = f"transformers({str(tmp_path)!r}, framing='stretch', cls_attention=True)"
    comparison = SourceComparison(encoder, budgets=[4, 16], only=[*attending, DOWNSAMPLED])
    rows, _ = frontier(comparison, collect([str(folder / "0.png")]), folder / "humans")
    assert [row["tokens"] for row in rows] == [4, 16] * 3
    # PruMerge's regions overlap
    uncovered = {row["source"] for row in rows if row["covering"] is None}
    assert uncovered == {"PruMerge-like"}
    assert not set(SourceComparison(without).names) & set(attending)
    with pytest.raises(
        ValueError, match="VisionZip-like chooses by the attention of CLS: say cls_attention=True"
    ):
        SourceComparison(without, only=attending)


@pytest.mark.slow
def test_plot_of_the_rows(rows):
    pytest.importorskip("matplotlib")
    with_covering = plot_frontier(rows, "filters")
    without = plot_frontier([row | {"covering": None} for row in rows], "filters")
    down_sampling = [row for row in rows if row["source"] == DOWNSAMPLED]
    assert with_covering.width > without.width
    assert with_covering.width > plot_frontier(down_sampling, "filters").width


def test_blank_and_broken_pictures_spoil_nothing(folder, tmp_path):
    scene = tmp_path / "scene.png"
    scene.write_bytes((folder / "0.png").read_bytes())
    comparison = SourceComparison(ENCODER, budgets=(4,), only=("merge", "grid pooling"))
    alone, _ = frontier(comparison, collect([str(scene)]))
    Image.new("RGB", (96, 64), "white").save(tmp_path / "blank.png")
    (tmp_path / "broken.png").write_bytes(b"broken")
    rows, failed = frontier(comparison, collect([str(tmp_path)]))
    assert [row["explained"] for row in rows] == [row["explained"] for row in alone]
    assert [(row["images"], row["uniform"]) for row in rows] == [(2, 1), (2, 1)]
    assert [Path(image["image"]).name for image in failed] == ["broken.png"]
    assert "not an image" in failed[0]["error"]
    rows, _ = frontier(comparison, collect([str(tmp_path / "blank.png")]))
    assert rows[0]["explained"] is None
    plot_frontier(rows, "filters")
    with pytest.raises(ValueError, match="none of 1 images could be measured"):
        frontier(comparison, collect([str(tmp_path / "broken.png")]))
