"""Which grids of tiles a text names, and which of them fits an image best."""

from __future__ import annotations

import pytest

from regiontok.core.tiling import ANYRES, Tiling


@pytest.mark.parametrize(
    ("text", "grids"),
    [
        ("2x2", ((2, 2),)),
        ("2x2+1", ((2, 2),)),
        ("1x2, 2x1", ((1, 2), (2, 1))),
        ("anyres", ANYRES),
        ("anyres+1", ANYRES),
        ("anyres(2)", ((1, 1), (1, 2), (2, 1), (2, 2))),
    ],
)
def test_spec(text, grids):
    assert Tiling.of(text).grids == grids


@pytest.mark.parametrize(
    "text",
    ["", "2", "2x", "x2", "2x2x2", "anyres()", "anyres(672,672)", "2x2,", "2X2", "-1x2", "2x2+2"],
)
def test_a_spec_that_is_none_is_told_what_is(text):
    with pytest.raises(ValueError, match=r"rows x columns.*anyres"):
        Tiling.of(text)


@pytest.mark.parametrize("text", ["0x2", "13x1", "anyres(0)", "anyres(13)", "anyres(672)"])
def test_too_many_tiles_or_none(text):
    with pytest.raises(ValueError, match="1 to 12 along a side"):
        Tiling.of(text)


@pytest.mark.parametrize(
    ("size", "best"),
    [
        ((480, 640), (2, 2)),
        ((336, 672), (1, 2)),
        ((672, 336), (2, 1)),
        ((100, 1000), (1, 3)),
        ((1000, 100), (3, 1)),
        ((200, 100), (1, 2)),  # whole in any of them, with equal waste: the first, as in LLaVA
    ],
)
def test_the_best_grid_of_some_images(size, best):
    assert Tiling.of("anyres").best(size, (336, 336)) == best
