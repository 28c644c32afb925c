"""`diagnose --figure`: the study's layouts say which axis is which, and bad input is named."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.picture import Picture
from regiontok.draw.figure import Figure
from regiontok.jobs.diagnose.figure import EncoderPanels, Options, figure, label, save_figure
from regiontok.jobs.diagnose.plans import FIGURES
from regiontok.methods import CanvasEncoder, Encoder
from regiontok.model.mini import mini_language_model
from regiontok.model.vlm import RegionVLM
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings, load_recipe
from regiontok.settings.recipes import shipped_recipes
from regiontok.tokenizer.regionizer import build_encoder

pytest.importorskip("matplotlib")

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 60, 90, 3), np.uint8)
PHOTOS = [
    Picture.of(PIXELS[0], name="folder/one.jpg"),
    Picture.of(np.ascontiguousarray(PIXELS[1].swapaxes(0, 1)), name="two.png"),
]
SMALL = "filters(size=56, fourier=0)"


@dataclass(frozen=True)
class Fake(CanvasEncoder):
    """Features that are known: 1 everywhere, 10 in the first patch that sees the photo."""

    size: int = 8
    framing: str = "stretch"
    threshold: float = 0.5
    width: ClassVar[int] = 4

    def frame(self, size):
        return Frame.fit(self.framing, size, (self.size, self.size), (2, 2))

    def encode(self, pictures):
        grids = []
        for picture in pictures:
            frame = self.frame(picture.size)
            features = torch.full((*frame.grid, 4), 1000.0)
            features[frame.valid] = 0.5
            y, x = frame.valid.nonzero()[0].tolist()
            features[y, x] = 5.0
            grids.append(PatchGrid(features, frame, key=picture.key))
        return grids


def kinds(drawn: Figure) -> list[list[str]]:
    """The kind of each panel, told from its parts.

    A scale means norms, lines mean regions, a caption alone means the photo.
    """

    def kind(panel):
        if panel is None:
            return "-"
        if panel.scale:
            return "norm"
        return (
            "regions" if panel.caption.endswith("regions") else "photo" if panel.caption else "pca"
        )

    return [[kind(panel) for panel in row] for row in drawn.rows]


def test_study3_has_pca_and_norms_by_encoder():
    drawn = figure("study3", [SMALL, "filters(size=70, fourier=0)"], PHOTOS)
    assert kinds(drawn) == [["photo", "pca", "pca"], ["-", "norm", "norm"]] * 2
    assert drawn.heads == ["photo", f"{SMALL}\n4 × 4", "filters(size=70, fourier=0)\n5 × 5"]
    assert list(drawn.titles) == ["PCA", "norm"] * 2


def test_study4_has_three_sources_then_clusters_of_the_others():
    drawn = figure(
        "study4", [SMALL, "filters(size=70, fourier=0)", "filters(size=84, fourier=0)"], PHOTOS[:1]
    )
    assert kinds(drawn) == [["photo", *["regions"] * 5]]
    assert drawn.heads[:4] == ["photo", "segmentation", "clustering", "combined"]
    assert list(drawn.groups) == [
        "",
        *[f"Regions from three sources, {SMALL}"] * 3,
        *["Clusters of other encoders"] * 2,
    ]


@pytest.mark.parametrize("name", ["study7", "supp2"])
def test_study7_and_supp2_have_all_photos_of_one_kind_before_the_next(name):
    drawn = figure(name, [SMALL], PHOTOS, Options(sizes=(56, 112)))
    rows = [["photo", kind, kind] for kind in ("pca", "regions", "norm") for _ in range(2)]
    assert kinds(drawn) == rows
    assert drawn.heads == ["photo", f"{SMALL}, 56 px\n4 × 4", f"{SMALL}, 112 px\n8 × 8"]


def test_supp1_has_rows_of_encoders_and_norms_before_and_after_on_one_scale():
    drawn = figure("supp1", [Fake(), SMALL], PHOTOS[:1])
    assert kinds(drawn) == [["photo", "norm", "norm"]] * 2
    _, before, after = drawn.rows[0]
    assert before.scale == after.scale
    assert (before.scale.low, before.scale.high) == pytest.approx((1, 10))
    assert "without a trained scale" in drawn.note
    colours = before.image.convert("RGB").getcolors()
    assert len(colours) == 2
    assert len(after.image.convert("RGB").getcolors()) == 1


def test_turned_figures_have_rows_of_encoders():
    drawn = figure("study3", [SMALL], PHOTOS[:1], Options(turned=True))
    assert kinds(drawn) == [["photo", "-"], ["pca", "norm"]]
    assert list(drawn.titles) == ["photo", f"{SMALL}\n4 × 4"]


def test_padding_has_no_part_in_norms_or_pca():
    # on rows 2 to 5 of the canvas: patch rows 1 and 2
    photo = Picture.of(np.ascontiguousarray(PIXELS[0][:30]))
    panels = EncoderPanels(Fake(framing="letterbox"), "fake", [photo], Options())
    (norms,) = panels.norms
    assert np.isnan(norms).all(1).tolist() == [True, False, False, True]
    assert np.nanmax(norms) == 10
    assert np.nanmin(norms) == 1
    assert np.isnan(panels.pca[0][0]).all()
    assert np.nanmax(panels.pca[0]) <= 1


def test_a_joint_pca_gives_equal_features_equal_colours_and_one_a_photo_need_not():
    twice = [PHOTOS[0], Picture.of(PIXELS[0], name="again")]
    panels = EncoderPanels(Fake(), "fake", [*twice, PHOTOS[1]], Options(joint=True))
    assert (panels.pca[0] == panels.pca[1]).all()
    assert set(panels.pca[0][0, 0]) != set(panels.pca[0][1, 1])


def test_the_sources_follow_the_encoders_threshold_and_are_the_studys_at_its_own():
    study = EncoderPanels(Fake(threshold=0.7), "fake", PHOTOS, Options())
    assert study.steps("clusters") == "merge(0.7)"
    assert study.steps("segments") == "segments(0.07) | cover('rest')"
    other = replace(study, encoder=Fake()).steps("combined")
    assert other == study.steps("combined").replace("eps=0.700", "eps=0.904")
    recipe = load_recipe(shipped_recipes()["study/table6_clip_combined_rms"], scale="paper")
    steps = f"{study.steps('combined')} | sort('com')"
    assert registry.build_pipeline("step", steps) == registry.build_pipeline(
        "step", recipe.tokenizer.regions
    )


@pytest.mark.slow
def test_png_and_svg_are_written_whole_and_alike(tmp_path):
    drawn = figure("study3", [SMALL], PHOTOS)
    with Image.open(save_figure(drawn, tmp_path / "a.png")) as image:
        size = image.size
    text = save_figure(drawn, tmp_path / "a.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert root.get("viewBox") == f"0 0 {size[0]} {size[1]}"
    ids = [group.get("id", "") for group in root.iter("{http://www.w3.org/2000/svg}g")]
    assert len([name for name in ids if name.startswith("panel-")]) == 6
    save_figure(figure("study3", [SMALL], PHOTOS), tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_text(encoding="utf-8") == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.svg"]


def test_every_encoder_ticks():
    done = []
    figure("study3", [SMALL, Fake()], PHOTOS[:1], tick=lambda: done.append(1))
    assert len(done) == 2


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("lite", "lite"),
        ("transformers('openai/clip-vit-large-patch14-336')", "clip-vit-large-patch14-336"),
        (
            "transformers('openai/clip-vit-large-patch14-336', layer=-2)",
            "clip-vit-large-patch14-336 layer=-2",
        ),
        ("google/siglip-base-patch16-224", "siglip-base-patch16-224"),
        ("lite(stages=(1, 2))", "lite(stages=(1, 2))"),
    ],
)
def test_columns_are_called_by_the_models_own_name(text, short):
    assert label(text) == short


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: figure("studdy3", [SMALL], PHOTOS),
            "unknown figure 'studdy3'.*study3.*known: study2, study3",
        ),
        (
            lambda: figure("study3", [SMALL], []),
            "an encoder and a photo, got 1 encoders and 0 photos",
        ),
        (lambda: figure("study3", [], PHOTOS), "got 0 encoders and 2 photos"),
        (lambda: figure("study3", [SMALL] * 16, PHOTOS), "17 columns cannot be read; at most 16"),
        (lambda: figure("supp1", [SMALL], PHOTOS * 3), "18 columns"),
        (lambda: figure("study3", [NoSize()], PHOTOS, Options(sizes=(8,))), "has no size to set"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@dataclass(frozen=True)
class NoSize(Encoder):
    """An encoder without a size."""

    width: ClassVar[int] = 4

    def frame(self, size):
        raise NotImplementedError

    def encode(self, pictures):
        raise NotImplementedError


def test_every_figure_has_a_word_of_help():
    assert all(plan.__doc__ for plan in FIGURES.values())


def test_supp1_takes_a_trained_norm(tmp_path):
    """RMSNorm without a trained scale makes every norm equal; a trained one does not."""
    model = RegionVLM.from_parts(
        mini_language_model(width=24, layers=1, heads=2),
        TokenizerSettings(encoder=SMALL, norm="rms"),
        image_token_id=3,
    )
    with torch.no_grad():
        model.head.norm.weight.copy_(torch.linspace(0, 2, model.config.visual_width))
    model.save_pretrained(tmp_path / "rms")
    heads = (str(tmp_path / "rms"),)
    panels = EncoderPanels(build_encoder(SMALL), "x", PHOTOS, Options(), head=heads[0])
    untrained = EncoderPanels(build_encoder(SMALL), "x", PHOTOS, Options())
    assert np.nanstd(untrained.after[0]) < 1e-5 < np.nanstd(panels.after[0])
    features = panels.grids[0].features
    with torch.no_grad():
        expected = model.head.norm(features).norm(dim=-1).numpy()
    ratio = panels.after[0] / expected
    assert np.allclose(ratio, ratio[0, 0])
    drawn = figure("supp1", [SMALL], PHOTOS, Options(heads=heads))
    assert "trained scale of each model" in drawn.note
    with pytest.raises(ValueError, match="1 trained models for 2 encoders"):
        figure("supp1", [SMALL, Fake()], PHOTOS, Options(heads=heads))
    with pytest.raises(ValueError, match="was trained on features of width"):
        figure("supp1", [Fake()], PHOTOS, Options(heads=heads))


def test_study2_shows_the_regions_of_masks_beside_their_photos():
    drawn = figure("study2", [SMALL], PHOTOS, Options(segmenter="slic(4)"))
    assert [len(row) for row in drawn.rows] == [2, 2]
    assert "regions" in drawn.rows[1][1].caption
