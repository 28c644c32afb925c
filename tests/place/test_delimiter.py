"""Delimiters: where they stand, what they carry, and that a view without masks has none."""

from __future__ import annotations

import pytest
import torch

from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import DELIMITER, REGION, WHOLE, Tokens
from regiontok.place._masks import mask_of
from regiontok.settings import registry, spec
from regiontok.tokenizer.head import VisualHead
from samples.grids import grid_of

R, D, W = REGION, DELIMITER, WHOLE


def numbered_grid(h, w, *, view=0, values=None):
    """A grid whose patches have the features 1, 2, 3 ..."""
    numbers = torch.arange(h * w, dtype=torch.float32).view(h, w, 1) + 1
    return grid_of(numbers if values is None else values, view=view)


def masks_of(*rows):
    """Regions of a flat grid, a string a mask: "110" covers its first two patches."""
    return Regions.from_masks(torch.tensor([[[int(bit) for bit in row]] for row in rows]))


def selected(regions, grids, image=None):
    values = torch.cat([grid.pooled.flatten(0, -2) for grid in grids])
    return registry.build("pool", "select").build(values.shape[1])(
        values, Members.of(regions, image)
    )


def placed(text, tokens, grids):
    places = [
        place.build(tokens.values.shape[1]) for place in registry.build_pipeline("place", text)
    ]
    for place in places:
        if place.vector is not None:
            torch.nn.init.constant_(place.vector, -1.0)
        tokens = place(tokens, grids)
    return tokens


# two masks that overlap in patch 1; then one mask
OVERLAP = [masks_of("110", "011"), masks_of("001")]
TWO = [numbered_grid(1, 3), numbered_grid(1, 3)]


def test_a_mask_ends_with_a_token_of_its_own():
    tokens = placed("delimiter", selected(OVERLAP, TWO), TWO)
    assert tokens.values[:, 0].tolist() == [1, 2, -1, 2, 3, -1, 3, -1]
    assert tokens.kind.tolist() == [R, R, D, R, R, D, R, D]
    assert tokens.region.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert tokens.patch.tolist() == [0, 1, -1, 1, 2, -1, 2, -1]
    assert tokens.image.tolist() == [0] * 6 + [1] * 2
    assert [values[:, 0].tolist() for values in tokens.split()] == [[1, 2, -1, 2, 3, -1], [3, -1]]


def test_a_mask_begins_with_a_token_of_its_own():
    tokens = placed("delimiter('begin')", selected(OVERLAP, TWO), TWO)
    assert tokens.values[:, 0].tolist() == [-1, 1, 2, -1, 2, 3, -1, 3]
    assert tokens.kind.tolist() == [D, R, R, D, R, R, D, R]
    assert tokens.region.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    "text", ["delimiter | delimiter('begin')", "delimiter('begin') | delimiter"]
)
def test_both_ends(text):
    tokens = placed(text, selected(OVERLAP, TWO), TWO)
    assert tokens.kind.tolist() == [D, R, R, D, D, R, R, D, D, R, D]
    assert tokens.region.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]


def test_a_view_without_masks_has_none():
    bare = [Regions.singletons((1, 3)), masks_of("110")]
    tokens = placed("delimiter", selected(bare, TWO), TWO)
    assert tokens.kind.tolist() == [R, R, R, R, R, D]
    assert mask_of(selected(bare, TWO), TWO).tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("rows", "masks"),
    [(["100", "010"], 2), (["010", "100", "001"], 3), (["111"], 1), (["100", "100", "001"], 3)],
)
def test_masks_of_single_patches_are_masks_unless_they_are_the_patches_themselves(rows, masks):
    grids = [numbered_grid(1, 3)]
    assert (
        placed("delimiter", selected([masks_of(*rows)], grids), grids).count("delimiter") == masks
    )


def test_numbers_go_on_over_the_views_of_an_image_and_leave_out_those_without_masks():
    grids = [
        numbered_grid(1, 2),
        numbered_grid(1, 2, view=1),
        numbered_grid(1, 2, view=2),
        numbered_grid(1, 2),
    ]
    views = [masks_of("10", "11"), Regions.singletons((1, 2)), masks_of("01"), masks_of("11")]
    assert mask_of(selected(views, grids, [0, 0, 0, 1]), grids).tolist() == [1, 2, 2, 0, 0, 3, 1, 1]
    views[0] = Regions.singletons((1, 2))
    assert mask_of(selected(views, grids, [0, 0, 0, 1]), grids).tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_pooled_tokens_are_masks_each():
    values, members = torch.cat([grid.pooled.flatten(0, -2) for grid in TWO]), Members.of(OVERLAP)
    tokens = registry.build("pool", "mean").build(1)(values, members)
    assert placed("delimiter", tokens, TWO).kind.tolist() == [R, D, R, D, R, D]


def test_the_whole_image_and_tokens_of_nothing_have_none():
    tokens = VisualHead(
        1,
        pool=registry.build("pool", "select"),
        whole=True,
        place_features=[registry.build("place", "delimiter")],
    )([numbered_grid(1, 3)], Members.of([masks_of("110")]))
    assert tokens.kind.tolist() == [W, W, W, R, R, D]
    none = VisualHead(
        1,
        pool=registry.build("pool", "select"),
        place_features=[registry.build("place", "delimiter")],
    )
    assert (
        len(none([numbered_grid(1, 3)], Members.of([Regions.from_masks(torch.zeros(1, 1, 3))])))
        == 0
    )


COUNTS = {
    "T": ("", False),
    "V + T": ("", True),
    "T + N": ("delimiter", False),
    "V + T + N": ("delimiter", True),
}


@pytest.mark.parametrize("formula", COUNTS)
def test_counts_are_the_formulas_of_the_paper(formula):
    places, whole = COUNTS[formula]
    masks = Regions.from_masks(
        torch.rand(7, 3, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    )
    v, t, n = 15, len(masks.patch), len(masks)
    assert (t, n) == (44, 7)
    head = VisualHead(
        1,
        pool=registry.build("pool", "select"),
        whole=whole,
        place_features=registry.build_pipeline("place", places),
    )
    assert len(head([numbered_grid(3, 5)], Members.of([masks]))) == eval(
        formula.lower(), {"v": v, "t": t, "n": n}
    )
    assert len(head([numbered_grid(3, 5)], Members.of([Regions.singletons((3, 5))]))) == v * (
        1 + whole
    )


def test_before_the_connector_it_goes_through_it_and_after_it_does_not():
    torch.manual_seed(0)
    options = {
        "pool": registry.build("pool", "select"),
        "connector": registry.build("connector", "mlp"),
        "out": 5,
    }
    before = VisualHead(2, **options, place_features=[registry.build("place", "delimiter")])
    after = VisualHead(2, **options, place_tokens=[registry.build("place", "delimiter")])
    assert before.place_features[0].vector.shape == (2,)
    assert after.place_tokens[0].vector.shape == (5,)
    grids = [numbered_grid(1, 3, values=torch.randn(1, 3, 2))]
    first, second = (head(grids, Members.of([masks_of("110")])) for head in (before, after))
    torch.testing.assert_close(
        first.values[2], before.connector(before.place_features[0].vector[None])[0]
    )
    assert torch.equal(second.values[2], after.place_tokens[0].vector)


def test_a_fixed_one_does_not_learn_and_is_saved():
    grids, members = [numbered_grid(1, 3)], Members.of([masks_of("110", "011")])
    heads = [
        VisualHead(
            1,
            pool=registry.build("pool", "select"),
            place_features=[registry.build("place", f"delimiter(learned={learned})")],
        )
        for learned in (True, False)
    ]
    assert [len(list(head.parameters())) for head in heads] == [1, 0]
    assert [list(head.state_dict()) for head in heads] == [["place_features.0.vector"]] * 2
    heads[0](grids, members).values.sum().backward()
    assert heads[0].place_features[0].vector.grad.tolist() == [2.0]  # both masks share it


def test_a_batch_without_masks_leaves_a_zero_gradient_and_not_none():
    head = VisualHead(
        1,
        pool=registry.build("pool", "select"),
        place_features=[registry.build("place", "delimiter")],
    )
    head([numbered_grid(1, 3)], Members.of([Regions.singletons((1, 3))])).values.sum().backward()
    assert head.place_features[0].vector.grad.tolist() == [0.0]


def test_what_cannot_stand_is_refused():
    with pytest.raises(
        spec.SpecError, match=r"the token '<eom>' learns as the language model's embedding does"
    ):
        registry.build("place", "delimiter(learned=False, token='<eom>')")
    word, vector = (
        registry.build("place", "delimiter(token='<eom>')"),
        registry.build("place", "delimiter"),
    )
    with pytest.raises(ValueError, match="put it in place_tokens, not place_features"):
        VisualHead(1, pool=registry.build("pool", "mean"), place_features=[word])
    with pytest.raises(ValueError, match=r"not both: \['<eom>'\] and 1 vectors"):
        VisualHead(1, pool=registry.build("pool", "mean"), place_tokens=[word, vector])


def test_one_of_the_vocabulary_waits_for_its_embedding():
    tokens = Tokens(torch.ones(1, 2), *torch.zeros(5, 1, dtype=torch.int64), images=1)
    placed_tokens = registry.build("place", "delimiter(token='<eom>')").build(2)(
        tokens, [numbered_grid(1, 3)]
    )
    assert placed_tokens.values.tolist() == [[1.0, 1.0], [0.0, 0.0]]
