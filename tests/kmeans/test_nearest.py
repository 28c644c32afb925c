"""The nearest centres: exact against float64, whichever products are rounded how."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.kmeans import nearest as module
from regiontok.kmeans.nearest import NearestCentres, NotFinite
from regiontok.kmeans.products import PRODUCTS, fastest_kind

KINDS = [kind for kind in PRODUCTS if kind != "int8" or torch.cpu._is_vnni_supported()]


def plain(rows: torch.Tensor, centres: torch.Tensor) -> np.ndarray:
    """`[n K]` squared distances in float64, straight from their definition."""
    return ((rows.double()[:, None] - centres.double()) ** 2).sum(2).numpy()


def clustered(n: int, k: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows near centres that lie far from zero, as features after a ReLU do."""
    draw = torch.Generator().manual_seed(seed)
    centres = 3 + torch.randn(k, width, generator=draw)
    near = centres[torch.randint(k, (n,), generator=draw)]
    return near + torch.randn(n, width, generator=draw), centres


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top", [1, 10])
def test_every_kind_finds_what_float64_finds(kind, top, monkeypatch):
    monkeypatch.setattr(module, "CENTRES", 128)  # 300 centres are three tiles, the last one short
    rows, centres = clustered(600, 300, 37, seed=top)
    answer = NearestCentres(centres, kind=kind)(rows, top)
    squares = plain(rows, centres)
    order = squares.argsort(axis=1, kind="stable")[:, :top]
    assert (answer.ids == order).all()
    np.testing.assert_allclose(answer.squares, np.take_along_axis(squares, order, 1), rtol=1e-9)
    cosines = torch.nn.functional.cosine_similarity(rows.double(), centres[order[:, 0]].double())
    np.testing.assert_allclose(answer.cosines[:, 0], cosines.numpy(), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_of_equal_centres_the_first_is_nearest_also_where_hundreds_are_equal(kind):
    centres = torch.ones(400, 5)
    centres[7:] = 2.0
    answer = NearestCentres(centres, kind=kind)(torch.tensor([[2.0] * 5, [1.0] * 5]), top=3)
    assert answer.ids.tolist() == [[7, 8, 9], [0, 1, 2]]


@pytest.mark.parametrize("kind", KINDS)
def test_distances_that_only_float64_tells_apart_are_told_apart(kind):
    # the second centre is nearer by 1e-6 of the distance, below what any rounded product shows
    centres = torch.tensor([[1.0, 0.0, 0.0], [1.0 - 2.0**-21, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    answer = NearestCentres(centres, kind=kind)(torch.tensor([[0.5, 0.3, 0.1]]), top=3)
    assert answer.ids.tolist() == [[1, 0, 2]]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(-12, 12),
    st.sampled_from(KINDS),
)
def test_any_sizes_and_scales(seed, k, width, scale, kind):
    rows, centres = clustered(9, k, width, seed)
    rows, centres = rows * 2.0**scale, centres * 2.0**scale
    rows[0], centres[-1] = 0.0, 0.0
    top = min(k, 3)
    answer = NearestCentres(centres, kind=kind)(rows, top)
    assert (answer.ids == plain(rows, centres).argsort(axis=1, kind="stable")[:, :top]).all()


@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
@pytest.mark.parametrize("top", [1, 4])
def test_the_path_of_devices_gives_the_same(kind, top, monkeypatch):
    rows, centres = clustered(300, 90, 24, seed=5)
    centres[50] = centres[3]
    expected = NearestCentres(centres)(rows, top)
    monkeypatch.setattr("regiontok.kmeans._on_device.CENTRES", 32)
    on_device = NearestCentres(centres, kind=kind, device="cpu", in_torch=True)
    answer = on_device(rows, top)
    assert (answer.ids == expected.ids).all()
    np.testing.assert_allclose(answer.products, expected.products, rtol=1e-12)


def test_the_bound_holds_and_is_not_idle():
    rows, centres = clustered(200, 50, 64, seed=1)
    exact = (rows.double() @ centres.double().T).numpy()
    for kind in KINDS:
        product = PRODUCTS[kind]
        left, right = product.rounded(rows), product.rounded(centres, one_scale=True)
        rounded = product.multiply(left.values, right.values).float()
        scores = (rounded * (left.scale * right.scale).view(-1, 1)).double().numpy()
        share = np.abs(scores - exact).max(1) / product.off(left, right).numpy()
        assert share.max() <= 1
        assert kind == "float32" or share.max() > 0.02


def test_nothing_is_asked_of_int8_where_its_sums_may_saturate(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert fastest_kind() == "float32"
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    assert (fastest_kind(1), fastest_kind(10)) == ("int8", "float32")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert fastest_kind(10) == "bfloat16"


def test_what_has_no_distance_is_named():
    nearest = NearestCentres(torch.eye(3))
    assert nearest(torch.zeros(0, 3)).ids.shape == (0, 1)
    rows = torch.zeros(4, 3)
    rows[2, 1] = torch.nan
    with pytest.raises(NotFinite, match="row 2 of 4 is not finite"):
        nearest(rows)
    with pytest.raises(NotFinite, match="centre 0 of 1"):
        NearestCentres(torch.full((1, 2), torch.inf))
    with pytest.raises(ValueError, match="rows of 3 values, got 2"):
        nearest(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="top from 1 to 3 centres, got 4"):
        nearest(torch.zeros(1, 3), top=4)
