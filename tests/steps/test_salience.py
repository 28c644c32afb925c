"""Patches ranked by salience, for steps that ask for attention, on an encoder without any."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.miniworld.scenes import make_scene
from regiontok.steps._attention import ranked_patches
from regiontok.steps.prumerge import Prumerge
from regiontok.steps.visionzip import Visionzip
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from samples.grids import grid_of

FEATURES = torch.randn(6, 6, 4, generator=torch.Generator().manual_seed(3)) + 2


def test_salience_is_the_distance_from_the_mean_patch():
    rows = FEATURES.flatten(0, 1).double()
    distances = (rows - rows.mean(0)).norm(dim=1)
    ranked, scores = ranked_patches(grid_of(FEATURES), "prumerge", "salience")
    assert torch.equal(ranked, distances.argsort(descending=True))
    assert torch.allclose(scores, distances[ranked])


def test_padding_is_not_ranked_and_counts_for_nothing():
    frame = Frame.letterbox((12, 24), (12, 12), (2, 2))
    other = FEATURES.clone()
    other[~frame.valid] = 1000
    ranked, scores = ranked_patches(grid_of(FEATURES, frame), "prumerge", "salience")
    assert set(ranked.tolist()) == set(frame.valid.flatten().nonzero()[:, 0].tolist())
    for first, second in zip(
        (ranked, scores),
        ranked_patches(grid_of(other, frame), "prumerge", "salience"),
        strict=True,
    ):
        assert torch.equal(first, second)


@pytest.mark.parametrize("step", ["prumerge", "visionzip"])
def test_an_encoder_without_cls_is_served_by_salience_alone(step):
    picture = make_scene(1, (96, 96)).pixels
    with pytest.raises(ValueError, match=rf"{step}\(by='salience'\)"):
        RegionTokenizer("lite(size=96)", regions=f"{step}(k=6)")([picture])
    tokens = RegionTokenizer("lite(size=96)", regions=f"{step}(k=6, by='salience')")([picture])
    assert tokens.counts.tolist() == [6]


@pytest.mark.parametrize("step", [Prumerge, Visionzip])
def test_another_ranking_is_an_error(step):
    with pytest.raises(ValueError, match="salience"):
        step(k=4, by="saliency")
