"""A basis that is fitted once: exact and randomised agree, signs hold, frames share colours."""

from __future__ import annotations

import pytest
import torch

from regiontok.measures.pca import pca_rgb
from regiontok.measures.pca_basis import PcaBasis


def frames(count: int = 3, width: int = 24, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    scale = 2.0 ** -torch.arange(width, dtype=torch.float64)
    return [
        torch.randn(6, 8, width, generator=generator, dtype=torch.float64) * scale @ mixing + 3
        for _ in range(count)
    ]


def test_a_joint_basis_colours_frames_as_the_pca_of_pictures_does():
    clip = frames()
    basis = PcaBasis.fit(clip)
    for ours, theirs in zip([basis.colours(frame) for frame in clip], pca_rgb(clip), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)
    assert basis.shares.tolist() == sorted(basis.shares.tolist(), reverse=True)
    assert 0.8 < float(basis.shares.sum()) <= 1


def test_the_randomised_basis_is_the_exact_one():
    clip = frames()
    exact = PcaBasis.fit(clip)
    randomised = PcaBasis.fit(clip, solver="randomised")
    assert torch.allclose(exact.vectors, randomised.vectors, atol=1e-6)
    assert torch.allclose(exact.shares, randomised.shares, atol=1e-9)
    again = PcaBasis.fit(clip, solver="randomised")
    assert torch.equal(again.vectors, randomised.vectors)


def test_a_basis_of_the_first_frame_colours_the_others():
    clip = frames()
    basis = PcaBasis.fit(clip[:1])
    assert torch.allclose(basis.colours(clip[0]), pca_rgb(clip[:1])[0], atol=1e-9)
    assert basis.colours(clip[1]).shape == (6, 8, 3)


def test_features_that_do_not_vary_are_grey():
    basis = PcaBasis.fit([torch.ones(2, 2, 2)])
    assert torch.equal(basis.colours(torch.ones(2, 2, 2)), torch.full((2, 2, 3), 0.5).double())


def test_another_width_is_refused():
    basis = PcaBasis.fit(frames())
    with pytest.raises(ValueError, match="width 24, the frame of 5"):
        basis.colours(torch.ones(2, 2, 5))
    with pytest.raises(ValueError, match="no frame"):
        PcaBasis.fit([])
