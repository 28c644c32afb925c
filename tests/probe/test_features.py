"""Frozen features: what they are, from disk and afresh, and whose they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.core.picture import Picture
from regiontok.probe.features import FrozenFeatures, map_of, require_same_encoder
from regiontok.runs.errors import OtherRun
from regiontok.tokenizer.regionizer import build_encoder

VIT = "timm('vit_tiny_patch16_224', weights='random', size=32)"


def picture(seed: int, size: tuple[int, int] = (40, 60)) -> Picture:
    rng = np.random.default_rng(seed)
    return Picture.of(rng.integers(0, 255, (*size, 3), dtype=np.uint8))


@pytest.mark.parametrize("spec", ["lite(size=64)", VIT])
def test_maps_are_what_pools_read_and_the_same_from_disk(spec, tmp_path):
    pictures = [picture(0), picture(1, (33, 21))]
    fresh = FrozenFeatures(spec).maps(pictures)
    expected = torch.stack([map_of(grid) for grid in build_encoder(spec).encode(pictures)])
    assert torch.equal(fresh, expected)
    assert fresh.shape[:2] == (2, FrozenFeatures(spec).width)
    assert not fresh.requires_grad
    for _ in range(2):  # kept, then read
        assert torch.equal(FrozenFeatures(spec, cache=str(tmp_path)).maps(pictures), fresh)
    assert len(list(tmp_path.glob("*/??/*.safetensors"))) == 2


def test_strides_are_those_of_the_picture_and_need_not_be_whole():
    features = FrozenFeatures("lite(size=64)")  # 4 x 4 patches, whatever the picture
    assert features.stride_of((40, 60)) == (10.0, 15.0)
    assert FrozenFeatures("filters").stride_of((100, 100)) == pytest.approx((100 / 24, 100 / 24))
    assert features.at_size(128).stride_of((64, 64)) == (8.0, 8.0)


def test_a_head_of_another_encoder_is_refused():
    begun = FrozenFeatures(VIT).identity
    require_same_encoder(begun, FrozenFeatures(VIT), "run")
    with pytest.raises(OtherRun, match=r"run was trained on the encoder timm\(.*seed=0.*seed=1"):
        require_same_encoder(begun, FrozenFeatures(f"{VIT[:-1]}, seed=1)"), "run")


def test_shuffled_patches_and_grids_of_several_sizes_are_refused():
    with pytest.raises(ValueError, match="shuffles its patches"):
        FrozenFeatures("lite(shuffle=3)")
