"""What the page gets equals what RegionTokenizer gives, and the page's own code reads it so."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import chelsea

import regiontok
from regiontok.core.clip import Clip
from regiontok.core.picture import Picture
from regiontok.measures.covering import region_scores
from regiontok.system.arrays import as_array, unpacked
from regiontok.view.panels import PanelMaker
from regiontok.view.settings import settings_of
from samples.page_scripts import in_node
from samples.viewer import ENCODER

SPEC = "merge({}) | sort('com')"
# Prints what the page's own modules make of a panel: labels, hues and covering of each cut.
SCRIPT = """
import { readFileSync } from "node:fs";
import { cutOf } from "./partition.js";
import { Tree } from "./tree.js";
import { Truth } from "./truth.js";
const { panel, cuts } = JSON.parse(readFileSync(process.argv[2]));
const tree = new Tree(panel.tree, panel.grid);
const truth = new Truth(panel.truth, panel.grid.reduce((a, b) => a * b, 1));
console.log(JSON.stringify(cuts.map(({ k, threshold }) => {
  const merges = k === undefined ? tree.mergesAt(threshold) : tree.mergesFor(k);
  const partition = cutOf(tree, merges);
  return { labels: Array.from(partition.labels), hues: partition.hues, own: tree.own,
    covering: truth.covering(partition) };
})));
"""


@pytest.fixture(scope="module")
def cat() -> Picture:
    return Picture.of(chelsea())


@pytest.fixture(scope="module")
def maker() -> PanelMaker:
    return PanelMaker(settings_of(["filters(size=256)"], [SPEC.format(0.9), "tome({k})"]))


def labels_of(spec: str, picture: Picture) -> np.ndarray:
    run = regiontok.RegionTokenizer("filters(size=256)", spec).run(picture)
    return run.regions[0].labels.flatten().numpy()


def humans_of(picture: Picture) -> list[np.ndarray]:
    """Two drawings, one coarse, one fine."""
    height, width = picture.size
    y, x = np.mgrid[:height, :width]
    return [(x > width // 2).astype(int), 3 * (y > 100) + (x > 150) + (x > 300)]


def test_the_page_cuts_the_tree_as_the_tokenizer_does(tmp_path, maker, cat):
    humans = humans_of(cat)
    panel = maker.panel(cat, 0, humans=humans)
    cuts = [{"k": 2}, {"k": 37}, {"k": 200}, {"threshold": 0.9}, {"threshold": 0.5}]
    found = in_node(tmp_path, SCRIPT, {"panel": panel, "cuts": cuts})
    frame = regiontok.RegionTokenizer("filters(size=256)").run(cat).grids[0].frame
    for cut, made in zip(cuts, found, strict=True):
        words = f"k={cut['k']}" if "k" in cut else str(cut["threshold"])
        labels = labels_of(SPEC.format(words), cat)
        assert made["labels"] == labels.tolist()
        on_pixels = frame.to_pixels(regions_grid(labels, frame.grid)).numpy()
        expected = region_scores(on_pixels, humans).covering.share
        assert made["covering"] == pytest.approx(expected, abs=1e-12)
    assert found[3]["own"] == len(panel_heights(panel)) + 1 - len(set(found[3]["labels"]))


def regions_grid(labels: np.ndarray, grid: tuple[int, ...]):
    import torch

    return torch.from_numpy(labels).view(grid)


def panel_heights(panel: dict) -> np.ndarray:
    return unpacked(panel["tree"]["heights"])


def test_regions_that_touch_have_different_hues_at_every_cut(tmp_path, maker, cat):
    panel = maker.panel(cat, 0)
    cuts = [{"k": k} for k in (2, 10, 40, 120)]
    height, width = panel["grid"]
    for made in in_node(tmp_path, SCRIPT, {"panel": panel, "cuts": cuts}):
        labels, hues = np.array(made["labels"]).reshape(height, width), np.array(made["hues"])
        sides = [(labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])]
        for first, second in sides:
            borders = first != second
            assert (hues[first[borders]] != hues[second[borders]]).mean() > 0.97


def test_a_rival_is_made_anew_for_the_number_on_the_slider(maker, cat):
    panel = maker.panel(cat, 1, k=50)
    assert (panel["follows"], panel["fixed"]["k"]) == (True, 50)
    regions = regiontok.RegionTokenizer("filters(size=256)", "tome(50)").run(cat).regions[0]
    assert unpacked(panel["fixed"]["patch"]).tolist() == regions.patch.tolist()
    assert unpacked(panel["fixed"]["region"]).tolist() == regions.region.tolist()
    assert maker.panel(cat, 1, k=20)["fixed"]["k"] == 20


def test_features_and_masks_are_those_that_steps_read(cat):
    maker = PanelMaker(settings_of([ENCODER], ["", "merge(k=9)"], segmenter="felzenszwalb"))
    panel = maker.panel(cat, 0)
    grid = regiontok.RegionTokenizer(ENCODER).run(cat).grids[0]
    rows = grid.features.flatten(0, -2)
    assert np.array_equal(maker.features(cat, 0), rows.numpy().astype(np.float16))
    valid = grid.valid.flatten().numpy()
    norms = unpacked(panel["norms"])
    assert norms[valid] == pytest.approx(rows.norm(dim=1).numpy()[valid], rel=1e-6)
    assert set(norms[~valid]) <= {0.0}
    assert panel["fixed"]["k"] == valid.sum()
    labels = unpacked(panel["masks"]["labels"])
    assert labels.max() + 1 == len(panel["masks"]["areas"])


def test_a_wrong_spec_is_told_before_the_first_picture():
    with pytest.raises(ValueError, match="merg"):
        PanelMaker(settings_of([ENCODER], ["merg(0.5)"]))
    with pytest.raises(ValueError, match="name a segmenter"):
        PanelMaker(settings_of([ENCODER], ["segments(0.07)"]))


def test_a_number_that_does_not_fit_is_refused():
    assert as_array([1e9, -1e9], "float16").tolist() == [65504.0, -65504.0]
    with pytest.raises(ValueError, match="do not fit uint8"):
        as_array([300], "uint8")
    with pytest.raises(ValueError, match="not as 'int64'"):
        as_array([1], "int64")


@pytest.mark.parametrize(
    ("cut", "names"),
    [
        ("stitched", ["whole image", "tiles"]),
        ("tile", ["whole image", "tile 1", "tile 2", "tile 3", "tile 4"]),
    ],
)
def test_with_tiles_each_view_has_a_panel(cat, cut, names):
    encoder, specs = "filters(size=126)", [SPEC.format("k=9"), "tome({k})"]
    tiles = {"tiles": "2x2", "cut": cut}
    maker = PanelMaker(settings_of([encoder], specs, **tiles))
    labels = [(label["regions"], label["view"]) for label in maker.labels(cat)]
    assert labels == [(spec, name) for spec in specs for name in names]
    run = regiontok.RegionTokenizer(encoder, specs[0], **tiles).run(cat)
    assert len(run.grids) == len(names)
    for number, grid in enumerate(run.grids):
        panel = maker.panel(cat, number, humans=humans_of(cat))
        assert panel["grid"] == list(grid.grid)
        assert panel["frame"]["crop"] == list(grid.frame.crop)
        assert panel["view"] == names[number]
        assert bool(panel["truth"]) == (cut == "stitched" or number == 0)
        rows = grid.features.flatten(0, -2).numpy().astype(np.float16)
        assert np.array_equal(maker.features(cat, number), rows)
    rival = maker.panel(cat, len(names), k=5)
    assert (rival["setting"], rival["fixed"]["k"]) == (1, 5)


def test_a_clip_is_shown_without_tiles(cat):
    maker = PanelMaker(settings_of(["filters(size=126)"], ["merge(k=9)"], tiles="2x2"))
    clip = Clip.of([cat, cat])
    assert [label["view"] for label in maker.labels(clip)] == [""]
    assert maker.panel(clip, 0)["grid"] == [2, 9, 9]
