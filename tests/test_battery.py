"""One battery over every registered step, pool, place and transform: what each must do, whatever
else it does."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from regiontok.core.frame import Frame
from regiontok.core.grid import PatchGrid
from regiontok.core.masks import PixelMasks
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import KINDS, WHOLE
from regiontok.settings import registry, spec


@dataclass(frozen=True)
class Case:
    """An example of a method, and what it may refuse: situation -> what the error must say.

    Attributes:
        spec: an example; a method may stand in several lines.
        partition: of a step: what gets a partition of the valid patches gives one.
        refuses: "one patch", "overlap", "clip", "no regions" -> pattern of the ValueError.
    """

    spec: str
    partition: bool = True
    refuses: dict[str, str] = field(default_factory=dict)


DISJOINT = {"overlap": "resolve='smallest'"}
FLAT = {"clip": r"\(h, w\)"}
CASES = {
    "step": [
        Case("windows(1)"),
        Case("windows(5)", refuses={"one patch": "cannot cut 1 patches into 5 windows"}),
        Case(
            "windows(6, shape='grid')",
            refuses={"one patch": "cannot cut 1 patches into 6 windows", **FLAT},
        ),
        Case(
            "windows(7, shape='photo')",
            refuses={"one patch": "cannot cut 1 patches into 7 windows", **FLAT},
        ),
        Case(
            "random(3, seed=1)",
            partition=False,
            refuses={"one patch": "cannot keep 3 of 1 patches"},
        ),
        Case(
            "stride(4)",
            partition=False,
            refuses={"one patch": "cannot keep 4 of 1 patches", **FLAT},
        ),
        Case("tome(4)", refuses={"one patch": "cannot merge 1 patches into 4 tokens"}),
        Case("tome(4, r=2)", refuses={"one patch": "cannot merge 1 patches into 4 tokens"}),
        Case("prumerge", partition=False),
        Case(
            "prumerge(4, neighbours=2)",
            partition=False,
            refuses={"one patch": "cannot make 4 regions of 1 patches"},
        ),
        Case("visionzip(5)", refuses={"one patch": "cannot make 5 regions of 1 patches"}),
        Case(
            "visionzip(5, contextual=3)",
            refuses={"one patch": "cannot make 5 regions of 1 patches"},
        ),
        Case("segments", partition=False, refuses=FLAT),
        Case(
            "segments(0.5, mapping='flat1d', unit='pixels', compare='>=')",
            partition=False,
            refuses=FLAT,
        ),
        Case("segments(0.3, resolve='smallest', vanished='best')", partition=False, refuses=FLAT),
        Case("merge(0.7)", refuses=DISJOINT),
        Case(
            "merge(k=3)",
            refuses={"one patch": "k=3 .* has 1,", "no regions": "k=3 .* has 0,", **DISJOINT},
        ),
        Case("split(min_patches=4)"),
        Case("split(eps=1.2, min_samples=2, min_patches=4, noise='singletons')"),
        Case("split(min_patches=4, noise='nearest')"),
        Case("split(min_patches=4, by='sklearn')"),
        Case("cover"),
        Case("cover('singletons')"),
        Case("cover('nearest')"),
        Case("cover('clusters', threshold=0.7)"),
        Case("sort"),
        Case("sort('raster')"),
        Case("sort('random', seed=3)"),
        Case("sort('area')"),
        Case("drop(below=2)", partition=False),
        Case("drop(duplicates=True)", partition=False),
        Case("budget(5)", partition=False),
        Case("budget(5, policy='round_robin')", partition=False),
        Case("budget(5, policy='merge_rest')", partition=False),
        Case("budget(2, policy='merge_rest', of='regions')", partition=True),
    ],
    "pool": [
        Case("mean"),
        Case("select"),
        Case("attend(heads=2)"),
        Case("attend(heads=4, residual=True)"),
    ],
    "place": [
        Case("delimiter"),
        Case("delimiter('begin')"),
        Case("delimiter(learned=False)"),
        Case("delimiter(token='<eom>')"),
        Case("posenc('sin1d')"),
        Case("posenc('learn1d', masks=9)"),
        Case("posenc('sin2d')"),
        Case("posenc('learn2d', grid=(3, 5))"),
        Case("average"),
    ],
    "transform": [
        Case("rms"),
        Case("rms(eps=0.01)"),
        Case("standardise"),
        Case("standardise(floor=0.0)"),
        Case("globalfilter"),
        Case("globalfilter(0.2, radius=1)"),
        Case("globalfilter(regions='masks')"),
        Case("fill_outliers(deviations=0.5, ratio=1.1)"),
        Case(
            f"denoise({str(Path(__file__).parent / 'transform' / 'four_channels.safetensors')!r})"
        ),
    ],
}
NAMES = {
    kind: registry.names(kind) for kind in CASES
}  # at collection: other tests may register methods of their own
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def over(kind):
    return pytest.mark.parametrize("case", CASES[kind], ids=lambda case: case.spec)


EVERY = [
    pytest.param(kind, case, id=f"{kind} {case.spec}")
    for kind, cases in CASES.items()
    for case in cases
]


def draw(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, shape)).float()


def view(frame=None, *, grid=(4, 6), frames=None, width=4, seed=0, **extra):
    """A view with small integer features, exact in every dtype, and four overlapping masks, one of
    them small, one empty."""
    frame = frame or Frame.stretch((24, 36), (2 * grid[0], 2 * grid[1]), (2, 2))
    features = draw(seed, *([frames] if frames else []), *frame.grid, width)
    features.view(-1, width)[::3] = draw(
        seed + 1, width
    )  # a third of all patches look alike: something to merge and to cluster
    masks = torch.zeros(4, *frame.image, dtype=torch.bool)
    masks[0, :, : frame.image[1] // 2] = True
    masks[1, frame.image[0] // 3 :] = True
    masks[2, :2, :1] = True
    extra = {"cls_attention": draw(seed + 2, *features.shape[:-1]) + 2, **extra}
    return PatchGrid(features, frame, masks=PixelMasks.from_dense(masks), key="a picture", **extra)


def letterboxed(padding):
    """6 x 6 patches; the first and the last row see padding only."""
    return view(Frame.letterbox((12, 24), (12, 12), (2, 2)), padding=padding)


def none_of(grid):
    return Regions.singletons(grid.grid, torch.zeros(grid.grid, dtype=torch.bool))


def gapped(grid):
    """Regions that leave gaps: labels -1 to 4, drawn."""
    labels = torch.from_numpy(np.random.default_rng(7).integers(-1, 5, grid.grid))
    return Regions.from_labels(torch.where(grid.valid, labels, -1))


def same(a, b):
    return (
        all(
            torch.equal(getattr(a, name), getattr(b, name))
            for name in ("patch", "region", "source")
        )
        and a.grid == b.grid
    )


def assert_sound(regions, grid):
    assert isinstance(regions, Regions)  # building one checks order, range and numbering
    assert regions.grid == grid.grid
    assert {regions.patch.dtype, regions.region.dtype, regions.source.dtype} == {torch.int64}
    assert regions.patch.device == grid.features.device
    assert not bool(regions.counts[~grid.valid].any()), (
        "a region holds patches that see padding only"
    )


def step_on(case, regions, grid, situation=""):
    """The regions after a step; None where the case refuses the situation, in the words it
    promises."""
    step = registry.build("step", case.spec)
    if situation in case.refuses:
        with pytest.raises(ValueError, match=case.refuses[situation]):
            step.one(regions, grid)
        return None
    after = step.one(regions, grid)
    assert_sound(after, grid)
    return after


# ---- every method ----


@pytest.mark.parametrize("kind", CASES)
def test_table_holds_every_method(kind):
    here = {spec.parse(case.spec)[0].name for case in CASES[kind]}
    assert here == set(NAMES[kind]), (
        f"CASES[{kind!r}] must have a line for each of these, and no other: {NAMES[kind]}"
    )


@pytest.mark.parametrize(("kind", "case"), EVERY)
def test_spec_round_trip(kind, case):
    method = registry.build(kind, case.spec)
    assert registry.build(kind, registry.render(method)) == method
    assert registry.render(registry.build(kind, registry.render(method))) == registry.render(method)
    assert re.search(r"version=\d+\)$", registry.render(method, full=True))
    assert hash(method) == hash(registry.build(kind, case.spec))  # frozen: nothing in it can change


@pytest.mark.parametrize("kind", CASES)
def test_every_method_says_what_it_is_after_whom_and_where_it_differs(kind):
    for name in NAMES[kind]:
        source = Path(find_spec(f"{registry.FOLDERS[kind]}.{name}").origin).read_text(
            encoding="utf-8"
        )
        doc = ast.get_docstring(ast.parse(source))
        assert doc.splitlines()[1:2] in ([""], [])
        assert re.search(r"^After: \S", doc, re.MULTILINE), (
            f"{name} does not say where it comes from"
        )
        assert re.search(r"^Differs: \S", doc, re.MULTILINE), (
            f"{name} does not say how it differs, or 'nothing known'"
        )


# ---- steps ----


@over("step")
@pytest.mark.parametrize("padding", ["drop", "keep"])
def test_step_on_a_letterboxed_view(case, padding):
    grid = letterboxed(padding)
    assert int(grid.valid.sum()) == {"drop": 24, "keep": 36}[padding]
    after = step_on(case, Regions.singletons(grid.grid, grid.valid), grid)
    assert after.is_partition(grid.valid) or not case.partition


@over("step")
def test_step_on_regions_with_gaps(case):
    grid = letterboxed("drop")
    step_on(case, gapped(grid), grid)


@over("step")
def test_step_on_no_regions(case):
    grid = view()
    step_on(case, none_of(grid), grid, "no regions")


@over("step")
def test_step_on_a_single_patch(case):
    grid = view(grid=(1, 1))
    after = step_on(case, Regions.singletons((1, 1)), grid, "one patch")
    assert after is None or after.patch.unique().tolist() in ([0], [])


@over("step")
@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (2, 7)])
def test_step_on_oblong_grids(case, shape):
    grid = view(grid=shape)
    after = step_on(case, Regions.singletons(shape), grid)
    assert after.is_partition() or not case.partition


@over("step")
def test_step_when_everything_overlaps(case):
    grid = view().but(masks=PixelMasks.from_dense(torch.ones(3, 24, 36)))
    step_on(case, Regions.from_masks(torch.ones(3, *grid.grid)), grid, "overlap")


@over("step")
def test_step_on_a_clip(case):
    grid = view(grid=(3, 4), frames=2)
    after = step_on(case, Regions.singletons(grid.grid), grid, "clip")
    assert after is None or after.is_partition() or not case.partition


@over("step")
def test_step_gives_the_same_regions_in_every_dtype(case):
    grid = view()
    start = (
        Regions.singletons(grid.grid)
        if "split" not in case.spec
        else Regions.from_masks(torch.ones(1, *grid.grid))
    )
    after = [step_on(case, start, grid.but(features=grid.features.to(dtype))) for dtype in DTYPES]
    assert all(same(after[0], other) for other in after[1:])


@over("step")
def test_step_repeats_and_leaves_global_random_state_alone(case):
    grid = view()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global state is what is tested
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = step_on(case, gapped(grid), grid)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert same(first, step_on(case, gapped(grid), grid))


@over("step")
def test_step_leaves_its_inputs_unchanged(case):
    grid, regions = view(), gapped(view())
    features, masks = grid.features.clone(), grid.masks.dense().clone()
    before = Regions(
        regions.patch.clone(), regions.region.clone(), regions.grid, regions.source.clone()
    )
    step_on(case, regions, grid)
    assert same(regions, before)
    assert torch.equal(grid.features, features)
    assert torch.equal(grid.masks.dense(), masks)


@over("step")
def test_step_takes_features_that_carry_gradients(case):
    grid = view()
    step_on(case, gapped(grid), grid.but(features=grid.features.clone().requires_grad_()))


@over("step")
def test_step_of_one_view_does_not_depend_on_another(case):
    grids = [view(seed=seed) for seed in (1, 2)]
    alone = step_on(case, gapped(grids[1]), grids[1])
    step_on(case, gapped(grids[0]), grids[0])
    assert same(alone, step_on(case, gapped(grids[1]), grids[1]))


@over("step")
@pytest.mark.parametrize("device", DEVICES)
def test_step_answers_on_the_device_of_its_input(case, device):
    grid = view()
    there = grid.but(features=grid.features.to(device))
    assert same(
        step_on(case, gapped(grid).to(device), there).to("cpu"), step_on(case, gapped(grid), grid)
    )


# ---- pools ----

VIEWS = [(3, 4), (2, 2), (1, 1), (2, 5)]  # grids of a batch of four views; the second has no region


def batch(width=8, dtype=torch.float64):
    """Values and regions of four views: overlapping regions, none, one patch, and a region of every
    patch."""
    generator = torch.Generator().manual_seed(0)
    views = [
        Regions.from_masks(torch.rand(5, 3, 4, generator=generator) < 0.6),
        Regions.from_masks(torch.zeros(2, 2, 2)),
        Regions.singletons((1, 1)),
        Regions.from_masks(
            torch.cat([torch.ones(1, 2, 5), torch.rand(2, 2, 5, generator=generator).round()])
        ),
    ]
    values = [
        torch.randn(regions.patches, width, generator=generator, dtype=torch.float64).to(dtype)
        for regions in views
    ]
    return values, views


def pool_of(case, width=8, dtype=torch.float64):
    torch.manual_seed(0)
    return registry.build("pool", case.spec).build(width).to(dtype)


@over("pool")
def test_pool_of_a_batch_equals_a_loop(case):
    values, views = batch()
    pool = pool_of(case)
    whole = pool(torch.cat(values), Members.of(views))
    assert whole.images == 4
    for index, (own, regions) in enumerate(zip(values, views, strict=True)):
        alone, part = pool(own, Members.of([regions])), whole[index]
        # float64, width 8: matrix products of other heights may round differently, measured below
        # 1e-15
        torch.testing.assert_close(part.values, alone.values, rtol=1e-12, atol=1e-12)
        for name in ("region", "patch", "view", "kind"):
            assert torch.equal(getattr(part, name), getattr(alone, name))


@over("pool")
def test_pool_names_the_tokens_it_makes(case):
    values, views = batch()
    tokens = pool_of(case)(torch.cat(values), Members.of(views))
    assert tokens.counts[1] == 0
    assert set(tokens.image.tolist()) == {0, 2, 3}
    assert tokens.count("region") == len(tokens)
    for index in (0, 2, 3):
        assert tokens[index].region.unique().tolist() == list(range(len(views[index])))


@over("pool")
def test_pool_of_two_views_an_image(case):
    values, views = batch()
    tokens = pool_of(case)(torch.cat(values), Members.of(views, image=[0, 0, 0, 1]))
    assert tokens.images == 2
    assert tokens[0].view.unique().tolist() == [0, 2]
    assert tokens[1].view.unique().tolist() == [0]


@over("pool")
def test_pool_marks_another_kind(case):
    values, views = batch()
    tokens = pool_of(case)(values[3], Members.of(views[3:]), kind=WHOLE)
    assert tokens.count(KINDS[WHOLE]) == len(tokens)
    assert set(tokens.region.tolist()) == {-1}


@over("pool")
def test_pool_of_nothing(case):
    pool = pool_of(case)
    empty = pool(torch.zeros(0, 8, dtype=torch.float64), Members.of([]))
    assert (tuple(empty.values.shape), empty.images) == ((0, 8), 0)
    lost = pool(
        torch.ones(4, 8, dtype=torch.float64),
        Members.of([Regions.from_masks(torch.zeros(0, 2, 2))]),
    )
    assert (tuple(lost.values.shape), lost.counts.tolist()) == ((0, 8), [0])


@over("pool")
@pytest.mark.parametrize("dtype", DTYPES)
def test_pool_gives_back_the_dtype_it_got(case, dtype):
    values, views = batch(dtype=dtype)
    pool, members = pool_of(case, dtype=dtype), Members.of(views)
    tokens = pool(torch.cat(values), members)
    assert tokens.values.dtype == dtype
    exact = pool.double()(torch.cat(values).double(), members).values
    # last bits: a mean or three matrix products of numbers around 1, measured up to 2
    torch.testing.assert_close(
        tokens.values.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps
    )


@over("pool")
@pytest.mark.parametrize("dtype", DTYPES)
def test_pool_that_learns_in_float32_takes_values_of_every_dtype(case, dtype):
    values, views = batch(dtype=dtype)
    pool, members = pool_of(case, dtype=torch.float32), Members.of(views)
    tokens = pool(torch.cat(values), members)
    assert tokens.values.dtype == dtype
    exact = pool(torch.cat(values).float(), members).values.to(dtype)
    torch.testing.assert_close(
        tokens.values,
        exact,
        rtol=torch.finfo(dtype).eps if dtype != torch.float64 else 1e-6,
        atol=1e-6,
    )


@over("pool")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pool_under_autocast_learns_and_keeps_the_dtype(case, dtype):
    values, views = batch(dtype=dtype)
    pool, values = pool_of(case, dtype=torch.float32), torch.cat(values).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        tokens = pool(values, Members.of(views))
    assert tokens.values.dtype == dtype
    tokens.values.square().sum().backward()
    assert all(bool(learned.grad.isfinite().all()) for learned in (values, *pool.parameters()))


@over("pool")
def test_pool_repeats_and_leaves_its_inputs_unchanged(case):
    values, views = batch()
    pool, members, values = pool_of(case), Members.of(views), torch.cat(values)
    before = values.clone(), members.patch.clone(), members.region.clone()
    first = pool(values, members)
    assert torch.equal(first.values, pool(values, members).values)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, (values, members.patch, members.region), strict=True)
    )
    assert torch.equal(pool_of(case)(values, members).values, first.values)


@over("pool")
def test_pool_hands_gradients_to_every_member_and_to_no_other_patch(case):
    regions = Regions.from_masks(torch.tensor([[[1, 1, 0, 0]], [[0, 1, 0, 0]]]))
    values = batch()[0][0][:4].clone().requires_grad_()
    pool_of(case)(values, Members.of([regions])).values.square().sum().backward()
    assert (values.grad.abs().sum(1) > 0).tolist() == [True, True, False, False]


@over("pool")
def test_pool_of_a_clip(case):
    regions = Regions.from_masks(torch.ones(1, 2, 2, 3))
    values = batch()[0][0]
    flat = Regions.from_masks(torch.ones(1, 1, 12))
    pool = pool_of(case)
    assert torch.equal(
        pool(values, Members.of([regions])).values, pool(values, Members.of([flat])).values
    )


@over("pool")
@pytest.mark.parametrize("device", DEVICES)
def test_pool_answers_on_the_device_of_its_input(case, device):
    values, views = batch()
    there = pool_of(case).to(device)(
        torch.cat(values).to(device), Members.of([regions.to(device) for regions in views])
    )
    here = pool_of(case)(torch.cat(values), Members.of(views))
    assert there.values.device.type == device
    torch.testing.assert_close(there.values.cpu(), here.values)


# ---- places ----


def rows_of(width=8, dtype=torch.float64):
    """Rows of the masks of four views, one view an image, and the views."""
    values, views = batch(width, dtype)
    grids = [
        PatchGrid(own.view(*regions.grid, width), Frame.stretch(regions.grid, regions.grid, (1, 1)))
        for own, regions in zip(values, views, strict=True)
    ]
    return (
        registry.build("pool", "select").build(width)(torch.cat(values), Members.of(views)),
        grids,
        views,
    )


def place_of(case, width=8, dtype=torch.float64):
    torch.manual_seed(0)
    return registry.build("place", case.spec).build(width).to(dtype)


@over("place")
def test_place_of_a_batch_equals_a_loop(case):
    tokens, grids, _ = rows_of()
    place = place_of(case)
    whole = place(tokens, grids)
    for index, grid in enumerate(grids):
        alone, part = place(tokens[index], [grid]), whole[index]
        for name in ("values", "region", "patch", "view", "kind"):
            assert torch.equal(getattr(part, name), getattr(alone, name))


@over("place")
def test_place_keeps_every_row_and_its_order(case):
    tokens, grids, _ = rows_of()
    after = place_of(case)(tokens, grids)
    assert [len(part) for part in after.split()] == after.counts.tolist()
    kept = after.take(after.kind != KINDS.index("delimiter"))
    for name in ("image", "view", "region", "patch", "kind"):
        assert torch.equal(getattr(kept, name), getattr(tokens, name))


@over("place")
def test_place_of_nothing_and_of_one_patch(case):
    place = place_of(case)
    none, grids, views = rows_of()
    assert len(place(none.take([]), grids)) == 0
    assert (
        len(
            place(
                registry.build("pool", "select").build(8)(
                    torch.zeros(0, 8).double(), Members.of([])
                ),
                [],
            )
        )
        == 0
    )
    assert place(none.of(2), grids[2:3]).counts.tolist() == [1]  # the patch itself, so no mask
    assert len(views[2]) == 1


@over("place")
@pytest.mark.parametrize("dtype", DTYPES)
def test_place_gives_back_the_dtype_it_got(case, dtype):
    tokens, grids, _ = rows_of(dtype=dtype)
    place = place_of(case, dtype=torch.float32)
    after = place(tokens, grids)
    assert after.values.dtype == dtype
    exact = place.double()(tokens.to(torch.float64), grids).values
    torch.testing.assert_close(
        after.values.double(), exact, rtol=0, atol=4 * max(torch.finfo(dtype).eps, 1e-7)
    )


@over("place")
def test_place_repeats_and_leaves_its_inputs_unchanged(case):
    tokens, grids, _ = rows_of()
    before = tokens.values.clone()
    torch.testing.assert_close(
        place_of(case)(tokens, grids).values, place_of(case)(tokens, grids).values, rtol=0, atol=0
    )
    assert torch.equal(tokens.values, before)


@over("place")
def test_place_hands_gradients_to_rows_and_to_what_it_learns(case):
    tokens, grids, _ = rows_of()
    values, place = tokens.values.clone().requires_grad_(), place_of(case)
    place(tokens.but(values), grids).values.square().sum().backward()
    assert bool((values.grad.abs().sum(1) > 0).all())
    assert all(bool(learned.grad.any()) for learned in place.parameters())


@over("place")
def test_place_is_saved_whole(case):
    place, other = place_of(case), registry.build("place", case.spec).build(8).double()
    other.load_state_dict(place.state_dict())
    tokens, grids, _ = rows_of()
    assert torch.equal(place(tokens, grids).values, other(tokens, grids).values)


@over("place")
@pytest.mark.parametrize("device", DEVICES)
def test_place_answers_on_the_device_of_its_input(case, device):
    tokens, grids, _ = rows_of()
    there = place_of(case).to(device)(tokens.to(device), grids)
    assert there.values.device.type == device
    torch.testing.assert_close(there.values.cpu(), place_of(case)(tokens, grids).values)


# ---- transforms ----


def transformed(case, grid):
    return registry.build("transform", case.spec).one(grid)


@over("transform")
@pytest.mark.parametrize("padding", ["drop", "keep"])
def test_transform_changes_features_only(case, padding):
    grid = letterboxed(padding)
    after = transformed(case, grid)
    assert after.features.shape == grid.features.shape
    assert not torch.equal(after.features, grid.features)
    assert torch.equal(after.pooled, grid.pooled), "pools must read what they read before"
    for name in (f.name for f in fields(PatchGrid)):
        if name not in ("features", "values"):
            assert getattr(after, name) is getattr(grid, name)


@over("transform")
def test_transform_keeps_values_that_are_there(case):
    grid = view(values=draw(9, 4, 6, 3))
    assert transformed(case, grid).values is grid.values


@over("transform")
@pytest.mark.parametrize("dtype", DTYPES)
def test_transform_computes_in_float32_or_better_and_keeps_the_dtype(case, dtype):
    grid = view()
    after = transformed(case, grid.but(features=grid.features.to(dtype))).features
    assert after.dtype == dtype
    exact = transformed(case, grid.but(features=grid.features.double())).features
    # the integers are exact in every dtype; half a last bit from the last rounding, float32 sums
    # before it
    torch.testing.assert_close(
        after.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps
    )


@over("transform")
@pytest.mark.parametrize(
    ("shape", "frames"), [((1, 1), None), ((1, 9), None), ((2, 7), None), ((3, 4), 2)]
)
def test_transform_of_every_shape_of_grid(case, shape, frames):
    grid = view(grid=shape, frames=frames)
    assert transformed(case, grid).features.shape == grid.features.shape  # a PatchGrid refuses NaN


@over("transform")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", [0.0, 0.1, 6e4])
def test_transform_of_a_uniform_view_is_finite(case, dtype, level):
    grid = view(Frame.letterbox((12, 24), (12, 12), (2, 2)))
    features = torch.full_like(grid.features, level, dtype=dtype)
    features[~grid.valid] = 1
    after = transformed(case, grid.but(features=features)).features
    assert len(after[grid.valid].unique(dim=0)) == 1


@over("transform")
def test_transform_repeats_and_leaves_its_input_unchanged(case):
    grid = view()
    features = grid.features.clone()
    assert torch.equal(transformed(case, grid).features, transformed(case, grid).features)
    assert torch.equal(grid.features, features)


@over("transform")
@pytest.mark.parametrize("device", DEVICES)
def test_transform_answers_on_the_device_of_its_input(case, device):
    grid = view()
    there = transformed(case, grid.but(features=grid.features.to(device))).features
    assert there.device.type == device
    torch.testing.assert_close(there.cpu(), transformed(case, grid).features)
