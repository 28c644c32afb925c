"""The token counts of docs/papers/og_llava.md are made by the recipes, and its tests exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import Tokens
from regiontok.settings import registry
from regiontok.settings.recipe import TokenizerSettings, load_recipe
from regiontok.settings.shipped import shipped_recipes
from regiontok.tokenizer.head import VisualHead

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "papers" / "og_llava.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([VTN1+ ]+) \| (\d+) \|$", PAGE, re.M)
V, N = 576, 3


def example() -> PatchGrid:
    """The page's picture: its upper half, its left half, a square of 56 px."""
    masks = torch.zeros(N, 336, 336, dtype=torch.bool)
    masks[0, :168] = True
    masks[1, :, :168] = True
    masks[2, 112:168, 112:168] = True
    frame = Frame.stretch((336, 336), (336, 336), (14, 14))
    return PatchGrid(
        torch.randn(24, 24, 8), frame, masks=PixelMasks.from_dense(masks), padding="keep"
    )


def tokens(settings: TokenizerSettings, grid: PatchGrid) -> Tokens:
    """What the settings make of a grid."""
    regions = Regions.singletons(grid.grid)
    for step in registry.build_pipeline("step", settings.regions):
        regions = step.one(regions, grid)
    places = {
        key: registry.build_pipeline("place", getattr(settings, key))
        for key in ("place_features", "place_tokens")
    }
    head = VisualHead(8, pool=registry.build("pool", settings.pool), whole=settings.whole, **places)
    return head([grid], Members.of([regions]))


def test_all_formulas_are_in_the_table():
    assert {formula for _, formula, _ in ROWS} == {"V", "T", "V + T", "T + N", "N", "1 + T + N"}
    assert len(ROWS) == 11


@pytest.mark.parametrize(("name", "formula", "count"), ROWS)
def test_counts_of_the_worked_example(name, formula, count):
    recipe = load_recipe(shipped_recipes()[f"og_llava/{name}"], scale="paper")
    grid = example()
    rows = {"grid2d": 288 + 288 + 16, "flat1d": 288 + 576 + 64}
    sizes = {
        "V": V,
        "N": N,
        "T": rows["flat1d" if "flat1d" in recipe.tokenizer.regions else "grid2d"],
    }
    expected = sum(sizes.get(term) or int(term) for term in formula.split(" + "))
    assert len(tokens(recipe.tokenizer, grid)) == expected == int(count)
    if recipe.inference:
        assert tokens(recipe.answering, grid).patch.tolist() == list(range(V))


def test_the_bins_of_the_release_are_no_patches():
    grid = example()
    masks = {}
    for mapping in ("grid2d", "flat1d"):
        step = registry.build(
            "step", f"segments(0.5, mapping='{mapping}', unit='pixels', compare='>=')"
        )
        masks[mapping] = step.one(Regions.singletons(grid.grid), grid).masks.flatten(1)
    both = (masks["grid2d"] & masks["flat1d"]).sum(1) / (masks["grid2d"] | masks["flat1d"]).sum(1)
    assert masks["flat1d"].sum(1).tolist() == [288, 576, 64]
    assert [round(float(share), 3) for share in both] == [1.0, 0.5, 0.176]
    assert "overlap it to .176" in PAGE


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE))))
def test_the_tests_it_names_exist(named):
    path, _, name = named.partition("::")
    assert re.search(rf"^ *def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M), named


def test_its_recipes_exist():
    known = {name.split("/")[1] for name in shipped_recipes() if name.startswith("og_llava/")}
    for name, *_ in ROWS:
        assert name in known
    for prefix in re.findall(r"`(\w+_)\.\.\.`", PAGE):
        assert any(name.startswith(prefix) for name in known), prefix
