"""Salience by hand, and the steps that ask for attention on an encoder without any."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.miniworld.scenes import make_scene
from regiontok.tokenizer.region_tokenizer import RegionTokenizer
from regiontok.transform.salience import Salience
from samples.grids import grid_of

FEATURES = torch.randn(6, 6, 4, generator=torch.Generator().manual_seed(3)) + 2
PICTURE = make_scene(1, (96, 96)).pixels


def test_it_is_the_share_of_all_distances_from_the_mean():
    rows = FEATURES.flatten(0, 1)
    distances = (rows - rows.mean(0)).norm(dim=1)
    attention = Salience().one(grid_of(FEATURES)).cls_attention
    assert torch.allclose(attention.flatten(), distances / distances.sum(), atol=1e-6)


def test_padding_has_none_and_counts_for_nothing():
    frame = Frame.letterbox((12, 24), (12, 12), (2, 2))
    other = FEATURES.clone()
    other[~frame.valid] = 1000
    attention = Salience().one(grid_of(FEATURES, frame)).cls_attention
    assert not attention[~frame.valid].any()
    assert float(attention.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(attention, Salience().one(grid_of(other, frame)).cls_attention)


def test_a_view_of_one_colour_has_none():
    attention = Salience().one(grid_of(torch.ones(3, 3, 4))).cls_attention
    assert not attention.any()


@pytest.mark.parametrize("step", ["prumerge(k=6)", "visionzip(k=6)"])
def test_steps_that_rank_by_attention_serve_an_encoder_without_any(step):
    with pytest.raises(ValueError, match="salience"):
        RegionTokenizer("lite(size=96)", regions=step)([PICTURE])
    tokens = RegionTokenizer("lite(size=96)", transforms="salience", regions=step)([PICTURE])
    assert tokens.counts.tolist() == [6]
