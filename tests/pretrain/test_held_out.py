"""Held-out images: each counts once whatever the ranks are, and is decoded once for a size."""

from __future__ import annotations

import pytest
import torch

from regiontok.pretrain.evaluate import evaluate_encoder
from regiontok.pretrain.held_out import HeldOutImages
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.scenes import Scenes
from regiontok.rice.region_attention import RegionLayer, RegionTransformer
from regiontok.rice.vit import ViT, ViTConfig
from regiontok.shards.sources import ShardSource
from regiontok.shards.stream import ShardViews

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> ShardSource:
    return ShardSource(Scenes(7, size=64).shards(tmp_path_factory.mktemp("scenes")), kind="object")


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_ranks_share_the_images_and_have_equally_many(source, world):
    counted, lengths = [], set()
    for rank in range(world):
        share = HeldOutImages(source, most=7, patch=8).share((32, 32), Ranks(rank, world, CPU))
        lengths.add(len(share.images))
        counted += [image.view.index for image in share.images[: share.counted]]
    assert sorted(counted) == list(range(7))
    assert len(lengths) == 1


def test_a_size_is_decoded_once_and_an_image_that_fills_up_does_not_count(source, monkeypatch):
    decoded = []
    read = ShardViews.__getitem__
    monkeypatch.setattr(
        ShardViews, "__getitem__", lambda views, place: decoded.append(place) or read(views, place)
    )
    held_out = HeldOutImages(source, most=7, patch=8)
    alone = Ranks(0, 1, CPU)
    assert held_out.share((32, 32), alone) is held_out.share((32, 32), alone)
    assert len(decoded) == 7
    model = RegionTransformer(ViT(ViTConfig.named("mini")), RegionLayer())
    share = held_out.share((32, 32), alone)
    filled = type(share)([*share.images, share.images[0]], 0, 7)
    whole, same = (evaluate_encoder(model, part, k=3, device=CPU) for part in (share, filled))
    assert same.pop("distances") == pytest.approx(whole.pop("distances"), abs=1e-5)
    assert same == pytest.approx(whole, abs=1e-5)
    assert model.training
