"""Positions of masks and patches: by the paper's formulas and by hand.

What the release gets wrong is here too.
"""

from __future__ import annotations

import math

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Members, Regions
from regiontok.place.posenc import sinusoid
from regiontok.settings import registry, spec
from regiontok.tokenizer.head import VisualHead
from samples.grids import grid_of

D = 8


def zero_grid(h, w):
    return grid_of(torch.zeros(h, w, D))


def added(text, regions, grids, **options):
    """What a place adds: the head's tokens over features of zero."""
    torch.manual_seed(0)
    head = VisualHead(
        D,
        pool=registry.build("pool", "select"),
        place_tokens=[registry.build("place", text)],
        **options,
    )
    return head, head(grids, Members.of(regions))


def by_hand(s, width):
    """Section 5.4.3 as it stands there.

    PE_2k(s) = sin(s / 10000^(2k/D)), PE_2k+1(s) = cos(s / 10000^(2k/D)), k = 0 to D/2 - 1.
    """
    pairs = [
        (math.sin(s / 10000 ** (2 * k / width)), math.cos(s / 10000 ** (2 * k / width)))
        for k in range(width // 2)
    ]
    return torch.tensor(pairs).flatten()


# rows: 0, 1, 1, 5
MASKS = Regions.from_masks(torch.tensor([[[1, 1, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 1]]]))


def test_sinusoidal_by_mask_begins_at_one():
    _, tokens = added("posenc('sin1d')", [MASKS], [zero_grid(2, 3)])
    assert torch.allclose(tokens.values, torch.stack([by_hand(s, D) for s in (1, 1, 2, 2)]))


def test_learned_by_mask_begins_with_the_first_row_of_its_table():
    head, tokens = added("posenc('learn1d', masks=2)", [MASKS], [zero_grid(2, 3)])
    table = head.place_tokens[0].table
    assert table.shape == (2, D)
    assert torch.equal(tokens.values, table[[0, 0, 1, 1]])


def test_sinusoidal_by_row_and_column():
    _, tokens = added("posenc('sin2d')", [MASKS], [zero_grid(2, 3)])
    # patches 0, 1, 1, 5 of a 2 x 3 grid: the first row and column are 0, the last 1 and 2
    places = [(0, 0), (0, 1), (0, 1), (1, 2)]
    expected = torch.stack([torch.cat([by_hand(y, D // 2), by_hand(x, D // 2)]) for y, x in places])
    assert torch.allclose(tokens.values, expected)


def test_learned_by_row_and_column_uses_the_corners_of_its_table():
    head, tokens = added(
        "posenc('learn2d', grid=(2, 3))",
        [Regions.from_masks(torch.ones(1, 2, 3))],
        [zero_grid(2, 3)],
    )
    assert torch.equal(tokens.values.view(2, 3, D), head.place_tokens[0].table)


def test_each_view_has_its_own_width():
    grids = [zero_grid(2, 3), zero_grid(3, 2)]
    head, tokens = added(
        "posenc('learn2d', grid=(3, 3))",
        [Regions.from_masks(torch.ones(1, *grid.grid)) for grid in grids],
        grids,
    )
    table = head.place_tokens[0].table
    assert torch.equal(tokens[0].values.view(2, 3, D), table[:2])
    assert torch.equal(tokens[1].values.view(3, 2, D), table[:, :2])


def test_frames_of_a_clip_share_their_positions():
    grid = PatchGrid(torch.zeros(2, 2, 3, D), Frame.stretch((2, 3), (2, 3), (1, 1)))
    _, tokens = added("posenc('sin2d')", [Regions.from_masks(torch.ones(1, 2, 2, 3))], [grid])
    assert torch.equal(tokens.values[:6], tokens.values[6:])


@pytest.mark.parametrize(
    "text", ["posenc('sin1d')", "posenc('learn1d')", "posenc('sin2d')", "posenc('learn2d')"]
)
def test_the_whole_image_and_delimiters_have_none(text):
    _, tokens = added(text, [MASKS], [zero_grid(2, 3)], whole=True)
    assert tokens.count("whole") == 6
    assert not tokens.values[:6].any()
    assert bool(tokens.values[6:].any(1).all())
    _, ended = added(
        f"{text}",
        [MASKS],
        [zero_grid(2, 3)],
        place_features=[registry.build("place", "delimiter(learned=False)")],
    )
    vector = ended.values[ended.kind == 3]
    assert torch.equal(vector[0], vector[1])


@pytest.mark.parametrize("text", ["posenc('sin1d')", "posenc('learn1d')"])
def test_patches_without_masks_have_no_mask_s_position(text):
    _, tokens = added(text, [Regions.singletons((2, 3))], [zero_grid(2, 3)])
    assert not tokens.values.any()


def test_patches_without_masks_keep_their_own_position():
    _, tokens = added("posenc('sin2d')", [Regions.singletons((2, 3))], [zero_grid(2, 3)])
    _, whole = added(
        "posenc('sin2d')", [Regions.from_masks(torch.ones(1, 2, 3))], [zero_grid(2, 3)]
    )
    assert torch.equal(tokens.values, whole.values)


@pytest.mark.parametrize("text", ["posenc('learn1d', masks=4)", "posenc('learn2d', grid=(2, 3))"])
def test_a_table_is_one_and_learns(text):
    """In the release a new table is drawn at each forward."""
    head, tokens = added(text, [MASKS], [zero_grid(2, 3)])
    assert torch.equal(tokens.values, head([zero_grid(2, 3)], Members.of([MASKS])).values)
    table = head.place_tokens[0].table
    before, step = table.detach().clone(), torch.optim.SGD(head.parameters(), 1.0)
    tokens.values.sum().backward()
    step.step()
    moved = (table != before).any(-1)
    assert moved.tolist() == (
        [True, True, False, False] if "1d" in text else [[True, True, False], [False, False, True]]
    )
    saved = {name: value.clone() for name, value in head.state_dict().items()}
    assert [*saved] == ["place_tokens.0.table"]
    other, _ = added(text, [MASKS], [zero_grid(2, 3)])
    other.load_state_dict(saved)
    assert torch.equal(other.place_tokens[0].table, table)


def test_what_a_table_does_not_hold_is_refused():
    masks = Regions.from_masks(torch.ones(3, 2, 3))
    with pytest.raises(
        ValueError,
        match=r"an image has 3 masks, but posenc\('learn1d'\) has positions for 2: say masks=3",
    ):
        added("posenc('learn1d', masks=2)", [masks], [zero_grid(2, 3)])
    added("posenc('learn1d', masks=3)", [masks], [zero_grid(2, 3)])
    with pytest.raises(
        ValueError,
        match=r"a view has 2 x 3 patches, but .* positions for \(3, 2\): say grid=\(2, 3\)",
    ):
        added("posenc('learn2d', grid=(3, 2))", [masks], [zero_grid(2, 3)])
    with pytest.raises(spec.SpecError, match="at least one position, got masks=0"):
        registry.build("place", "posenc('learn1d', masks=0)")


def test_pooled_tokens_have_no_patch():
    head = VisualHead(
        D,
        pool=registry.build("pool", "mean"),
        place_tokens=[registry.build("place", "posenc('sin2d')")],
    )
    with pytest.raises(ValueError, match="a pooled token has none: take pool='select'"):
        head([zero_grid(2, 3)], Members.of([MASKS]))


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8])
def test_odd_widths_take_what_fits_of_the_formula(width):
    codes = sinusoid(torch.arange(5), width, torch.float64)
    assert codes.shape == (5, width)
    assert codes[3, 0].item() == pytest.approx(math.sin(3))
    assert codes[0].tolist() == [float(channel % 2) for channel in range(width)]
