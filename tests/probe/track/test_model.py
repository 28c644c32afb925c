"""The blocks, the head and the losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.probe.features import FrozenFeatures
from regiontok.probe.track.box_head import BoxMaps, hann_window
from regiontok.probe.track.crop_features import CropFeatures
from regiontok.probe.track.losses import (
    corners,
    focal_loss,
    gaussian_radius,
    heat_map,
    track_losses,
)
from regiontok.probe.track.model import Block, TrackHead
from regiontok.probe.track.settings import settings_by_name

MINI = settings_by_name("mini").but(width=16, head_width=8, channels=16)


def test_gradients_reach_blocks_and_head_and_nothing_else():
    features = CropFeatures.of(FrozenFeatures("lite"), MINI)
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 255, (size, size, 3), dtype=np.uint8) for size in (64, 128)]
    template, search = features.of_templates(crops[:1]), features.of_searches(crops[1:])
    assert not template.requires_grad
    assert not search.requires_grad
    head = TrackHead(features.search.width, *features.grids, MINI)
    box = torch.tensor([[0.4, 0.4, 0.3, 0.2]])
    sum(track_losses(head(template, search), box).values()).backward()
    without = [name for name, value in head.named_parameters() if value.grad is None]
    assert without == []


def test_only_search_tokens_reach_the_head_and_the_template_reaches_them():
    torch.manual_seed(0)
    head = TrackHead(8, (2, 2), (4, 4), MINI).eval()
    template, search = torch.randn(1, 8, 2, 2), torch.randn(1, 8, 4, 4)
    maps = head(template, search)
    assert maps.score.shape == (1, 4, 4)
    assert maps.size.shape == maps.offset.shape == (1, 2, 4, 4)
    assert not torch.equal(maps.score, head(template * 2 + 1, search * 1 + template.mean()).score)
    assert not torch.equal(maps.score, head(template.flip(2), search).score)


def test_tokens_look_at_tokens_like_themselves_before_anything_is_learned():
    torch.manual_seed(0)
    block = Block(64, 2)
    tokens = torch.randn(1, 40, 64)
    tokens[:, 20:] = tokens[:, :20]  # each has one like itself
    query, key, _ = block.qkv(block.norm_attention(tokens)).unflatten(-1, (3, 2, -1)).unbind(2)
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key).div(32**0.5).softmax(-1)
    alike = (torch.arange(40) + 20) % 40
    assert weights[0, :, torch.arange(40), alike].mean() > 8 / 40
    assert torch.equal(query, key)


def test_a_box_is_read_at_the_highest_score_and_the_window_draws_to_the_middle():
    score = torch.zeros(1, 4, 4)
    score[0, 0, 3], score[0, 1, 2] = 0.9, 0.8
    offset = torch.full((1, 2, 4, 4), 0.5)
    size = torch.full((1, 2, 4, 4), 0.25)
    maps = BoxMaps(score, offset, size)
    assert maps.boxes()[0].tolist() == [0.75, 0.0, 0.25, 0.25]
    assert maps.boxes(hann_window((4, 4)))[0].tolist() == [0.5, 0.25, 0.25, 0.25]


def test_a_target_in_the_middle_of_its_window_is_hottest_there():
    heat = heat_map(torch.tensor([[0.375, 0.375, 0.25, 0.25]]), (16, 16))[0]
    assert np.unravel_index(int(heat.argmax()), heat.shape) == (8, 8)
    assert heat[8, 8] == 1
    assert torch.equal(heat, heat.T)


def test_the_radius_is_the_one_that_ostrack_uses():
    # a box of 4 x 4 cells: r1 = (8 + sqrt(64 - 11.294)) / 2, r2 = (16 + sqrt(256 - 76.8)) / 2,
    # r3 = (-11.2 + sqrt(125.44 + 53.76)) / 2 = 1.0934, the least
    assert gaussian_radius(torch.tensor([[4.0, 4.0]])).tolist() == pytest.approx(
        [1.09328], abs=1e-4
    )
    heat = heat_map(torch.tensor([[0.375, 0.375, 0.25, 0.25]]), (16, 16))[0]
    assert int((heat > 0).sum()) == 9
    assert heat[8, 9] == pytest.approx(np.exp(-1 / (2 * 0.5**2)))


def test_losses_are_least_where_the_head_is_right():
    box = torch.tensor([[0.375, 0.375, 0.25, 0.25]])
    score = heat_map(box, (16, 16)).clamp(1e-4, 1 - 1e-4)
    size = torch.full((1, 2, 16, 16), 0.25)
    right = track_losses(BoxMaps(score, torch.zeros(1, 2, 16, 16), size), box)
    assert float(right["giou"]) == pytest.approx(0, abs=1e-5)
    assert float(right["l1"]) == pytest.approx(0, abs=1e-6)
    wrong = track_losses(BoxMaps(score.roll(3, 1), torch.zeros(1, 2, 16, 16), size), box)
    assert all(wrong[name] > right[name] + 0.1 for name in right)
    assert corners(box)[0].tolist() == [0.375, 0.375, 0.625, 0.625]


def test_a_target_whose_centre_rounds_out_of_the_crop_gives_a_loss_all_the_same():
    box = torch.tensor([[0.95, 0.95, 0.2, 0.2]])
    heat = heat_map(box, (4, 4))
    assert not heat.eq(1).any()
    assert torch.isfinite(focal_loss(torch.full((1, 4, 4), 0.3), heat))


def test_crops_are_whole_patches_and_the_canvas_must_be_resizable():
    paper = settings_by_name("paper300")
    features = CropFeatures.of(FrozenFeatures("filters"), paper)  # patch 14
    assert (features.template_size, features.search_size) == (126, 252)
    assert features.grids == ((9, 9), (18, 18))


@pytest.mark.parametrize("name", ["paper300", "paper100", "mini"])
def test_settings_have_names(name: str):
    assert settings_by_name(name).drop / settings_by_name(name).steps == 0.8


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="paper300, paper100, mini, not 'big'"):
        settings_by_name("big")
    for change in ({"steps": 0}, {"rate": 0.0}, {"blocks": 0}, {"decay": -1.0}):
        with pytest.raises(ValueError, match="out of range"):
            MINI.but(**change)
