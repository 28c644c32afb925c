"""Masks as products with patches: standard features, and where places lie."""

from __future__ import annotations

import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.probe.refer.grid_masks import GridMasks, Standard, waves


def _grid(features: torch.Tensor) -> PatchGrid:
    rows, columns = features.shape[:2]
    frame = Frame.stretch((8 * rows, 8 * columns), (8 * rows, 8 * columns), (8, 8))
    return PatchGrid(features, frame=frame)


def test_features_of_unlike_scales_become_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([100.0, 0.5, 0.0])
    grids = [_grid(torch.randn(4, 6, 3, generator=generator) * scale + 7) for _ in range(8)]
    standard = Standard(grids)
    patches = torch.cat([standard(grid).pooled.flatten(0, 1) for grid in grids])
    torch.testing.assert_close(patches.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(patches.std(0)[:2], torch.ones(2))
    assert patches[:, 2].abs().max() < 1e-3  # what says nothing is not blown up


def test_a_prompt_finds_the_patches_that_are_like_it() -> None:
    masks = GridMasks(3, 8)
    features = torch.zeros(4, 6, 3)
    features[1, 2] = torch.tensor([3.0, -2.0, 1.0])
    embeddings = masks.embed(None, [_grid(features)])
    assert embeddings.shape == (1, 8, 4, 6)
    prompt = embeddings[0, :, 1, 2]
    logits = masks(embeddings, prompt[None])
    assert logits.shape == (1, 4, 6)
    expected = (embeddings[0] * prompt[:, None, None]).sum(0) + masks.neck.bias
    torch.testing.assert_close(logits[0], expected)


def test_each_patch_has_a_place_of_its_own() -> None:
    places = waves(4, 6)[0].flatten(1).T
    assert places.shape == (24, 32)
    assert torch.cdist(places, places).fill_diagonal_(1).min() > 0.1
