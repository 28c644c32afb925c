"""What every pool must do, whatever else it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import KINDS, WHOLE, Tokens
from regiontok.methods import Pool
from regiontok.testing.assertions import expect, expect_close, run_checks
from regiontok.testing.contracts import check_contract
from regiontok.testing.inputs import DTYPES, WIDTH, batch_of_views, built, devices


@dataclass(frozen=True)
class PoolCase:
    """A pool and what may be expected of it.

    Attributes:
        pool: the pool.
        every_patch: True if every patch of a region has a part in its tokens.
    """

    pool: Pool
    every_patch: bool = False

    def module(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The pool's module, with the same random weights at every call."""
        return built(lambda: self.pool.build(WIDTH), dtype)


def check_pool(pool: Pool, *, every_patch: bool = False) -> None:
    """Check a pool, registered or not; values have a width of 8.

    Args:
        pool: the pool.
        every_patch: True if every patch of a region has a part in its tokens, so that gradients
            reach it; a pool that selects patches leaves it False.

    Raises:
        AssertionError: If the pool does something that no pool may do.
    """
    check_contract("pool", pool)
    run_checks(POOL_CHECKS, PoolCase(pool, every_patch), pool)


def a_batch_of_views(case: PoolCase) -> None:
    """A view's tokens are those that it has alone."""
    values, views = batch_of_views()
    pool = case.module()
    tokens = pool(torch.cat(values), Members.of(views))
    expect(tokens.images == 4, f"four images have become {tokens.images}")
    for index, (rows, regions) in enumerate(zip(values, views, strict=True)):
        alone, together = pool(rows, Members.of([regions])), tokens.of(index)
        # In float64 matrix products of other heights may round differently, below 1e-15 as
        # measured.
        expect_close(
            together.values,
            alone.values,
            "in a batch a view has other values than alone",
            rtol=1e-12,
            atol=1e-12,
        )
        for name in ("region", "patch", "view", "kind"):
            expect(
                torch.equal(getattr(together, name), getattr(alone, name)),
                f"in a batch a view has another {name} of its tokens than alone",
            )


def the_names_of_its_tokens(case: PoolCase) -> None:
    """Every region has a token of its image, its view and its number; there are no others."""
    values, views = batch_of_views()
    tokens = case.module()(torch.cat(values), Members.of(views))
    expect(tokens.counts[1] == 0, "a view without regions has tokens")
    expect(set(tokens.image.tolist()) == {0, 2, 3}, "an image with regions has no token")
    expect(tokens.count("region") == len(tokens), "a token is of another kind than region")
    for index in (0, 2, 3):
        expect(
            tokens.of(index).region.unique().tolist() == list(range(len(views[index]))),
            f"image {index}: its regions are not those of its tokens",
        )


def two_views_of_an_image(case: PoolCase) -> None:
    """Views of one image are counted within it."""
    values, views = batch_of_views()
    tokens = case.module()(torch.cat(values), Members.of(views, image=[0, 0, 0, 1]))
    expect(tokens.images == 2, f"two images have become {tokens.images}")
    views_of_images = [tokens.of(image).view.unique().tolist() for image in (0, 1)]
    expect(views_of_images == [[0, 2], [0]], f"tokens are of the views {views_of_images}")


def tokens_of_the_whole_image(case: PoolCase) -> None:
    """The argument `kind` marks tokens as those of the whole image, which are of no region."""
    values, views = batch_of_views()
    tokens = case.module()(values[3], Members.of(views[3:]), kind=WHOLE)
    expect(tokens.count(KINDS[WHOLE]) == len(tokens), "kind=WHOLE gives tokens of another kind")
    expect(set(tokens.region.tolist()) == {-1}, "tokens of the whole image are of no region")


def a_batch_of_nothing(case: PoolCase) -> None:
    """No view, and a view without regions, have no tokens."""
    pool = case.module()
    empty = pool(torch.zeros(0, WIDTH, dtype=torch.float64), Members.of([]))
    expect(
        (tuple(empty.values.shape), empty.images) == ((0, WIDTH), 0),
        f"no views give values {list(empty.values.shape)} of {empty.images} images",
    )
    without = Members.of([Regions.from_masks(torch.zeros(0, 2, 2))])
    tokens = pool(torch.ones(4, WIDTH, dtype=torch.float64), without)
    expect(
        (tuple(tokens.values.shape), tokens.counts.tolist()) == ((0, WIDTH), [0]),
        f"a view without regions gives values {list(tokens.values.shape)}",
    )


def values_of_every_dtype(case: PoolCase) -> None:
    """Tokens have the dtype of the values, and are near those of float64."""
    for dtype in DTYPES:
        values, views = batch_of_views(dtype)
        pool, members = case.module(dtype), Members.of(views)
        tokens = pool(torch.cat(values), members)
        expect(tokens.values.dtype == dtype, f"values of {dtype} become {tokens.values.dtype}")
        exact = pool.double()(torch.cat(values).double(), members).values
        # A mean, or three matrix products, of numbers around 1: up to 2 last bits as measured.
        expect_close(
            tokens.values.double(),
            exact,
            f"{dtype} is not near float64",
            atol=4 * torch.finfo(dtype).eps,
        )


def weights_in_float32(case: PoolCase) -> None:
    """A module that learns in float32 takes values of every dtype."""
    for dtype in DTYPES:
        values, views = batch_of_views(dtype)
        pool, members = case.module(torch.float32), Members.of(views)
        tokens = pool(torch.cat(values), members)
        expect(tokens.values.dtype == dtype, f"values of {dtype} become {tokens.values.dtype}")
        expect_close(
            tokens.values,
            pool(torch.cat(values).float(), members).values.to(dtype),
            f"values of {dtype} are not pooled in float32",
            rtol=torch.finfo(dtype).eps if dtype != torch.float64 else 1e-6,
            atol=1e-6,
        )


def under_autocast(case: PoolCase) -> None:
    """Under autocast tokens have the dtype of the values, and gradients are finite."""
    for dtype in (torch.float32, torch.bfloat16):
        values, views = batch_of_views(dtype)
        pool, rows = case.module(torch.float32), torch.cat(values).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            tokens = pool(rows, Members.of(views))
        expect(tokens.values.dtype == dtype, f"values of {dtype} become {tokens.values.dtype}")
        tokens.values.square().sum().backward()
        for tensor in (rows, *pool.parameters()):
            expect(
                tensor.grad is not None and tensor.grad.isfinite().all(),
                f"under autocast {dtype} gives no gradient, or one that is not finite",
            )


def a_second_run(case: PoolCase) -> None:
    """The module gives the same again, also when built again, and changes none of its inputs."""
    values, views = batch_of_views()
    pool, members, rows = case.module(), Members.of(views), torch.cat(values)
    copies = rows.clone(), members.patch.clone(), members.region.clone()
    first = pool(rows, members).values
    expect(torch.equal(first, pool(rows, members).values), "a second run gives other values")
    for copy, tensor in zip(copies, (rows, members.patch, members.region), strict=True):
        expect(torch.equal(copy, tensor), "it changes what comes in")
    expect(
        torch.equal(case.module()(rows, members).values, first),
        "the module built again, with the same seed, gives other values",
    )


def gradients_of_patches(case: PoolCase) -> None:
    """Gradients reach patches of regions, and no other patch."""
    regions = Regions.from_masks(torch.tensor([[[1, 1, 0, 0]], [[0, 1, 0, 0]]]))
    rows = batch_of_views()[0][0][:4].clone().requires_grad_()
    case.module()(rows, Members.of([regions])).values.square().sum().backward()
    reached = _gradient(rows).abs().sum(1) > 0
    expect(not reached[2:].any(), "a patch of no region has a gradient")
    expect(reached[1], "a region of one patch hands no gradient to it")
    if case.every_patch:
        expect(reached[0], "every_patch is True, but a patch of a region has no gradient")


def a_clip(case: PoolCase) -> None:
    """A region in space and time is the list of its patches, like any other."""
    rows = batch_of_views()[0][0]
    clip = Members.of([Regions.from_masks(torch.ones(1, 2, 2, 3))])
    flat = Members.of([Regions.from_masks(torch.ones(1, 1, 12))])
    pool = case.module()
    expect(
        torch.equal(pool(rows, clip).values, pool(rows, flat).values),
        "a region of a clip has other values than the same patches in a picture",
    )


def every_device(case: PoolCase) -> None:
    """Tokens are those of the CPU, and on the device of the input."""
    values, views = batch_of_views()
    expected = case.module()(torch.cat(values), Members.of(views)).values
    for device in devices():
        members = Members.of([regions.to(device) for regions in views])
        tokens = case.module().to(device)(torch.cat(values).to(device), members)
        expect(tokens.values.device.type == device, f"tokens lie on {tokens.values.device}")
        expect_close(
            tokens.values.cpu(), expected, f"{device} is not near the CPU", rtol=1e-7, atol=1e-7
        )


def the_promise_one_token(case: PoolCase) -> None:
    """With `one_token` every region has exactly one token."""
    if not case.pool.one_token:
        return
    for tokens, members, _ in _pooled_batches(case):
        counts = torch.bincount(_global_region(tokens, members), minlength=len(members))
        expect(
            counts.tolist() == [1] * len(members),
            f"one_token is True, but regions have {counts.tolist()} tokens",
        )


def the_promise_keeps_patches(case: PoolCase) -> None:
    """With `keeps_patches` the tokens of a region are its patches, as they are."""
    if not case.pool.keeps_patches:
        return
    for tokens, members, rows in _pooled_batches(case):
        expect(
            torch.equal(tokens.values, rows[members.patch]),
            "keeps_patches is True, but tokens are not the patches of each region",
        )
        view = members.view[members.region]
        expect(
            torch.equal(tokens.patch, members.patch - members.patches[view]),
            "keeps_patches is True, but tokens do not name their patches",
        )


def _pooled_batches(case: PoolCase) -> list[tuple[Tokens, Members, Tensor]]:
    """The tokens of several batches, their members, and the values of their patches."""
    values, views = batch_of_views()
    whole = [Regions.from_masks(torch.ones(1, *regions.grid)) for regions in views]
    patches = [Regions.singletons(regions.grid) for regions in views]
    pool, rows = case.module(), torch.cat(values)
    batches = [Members.of(regions) for regions in (views, whole, patches)]
    return [(pool(rows, members), members, rows) for members in batches]


def _global_region(tokens: Tokens, members: Members) -> Tensor:
    """The region of each token, counted over the batch of views, one view an image."""
    return members.regions[tokens.image] + tokens.region


def _gradient(tensor: Tensor) -> Tensor:
    expect(tensor.grad is not None, "no gradient reaches the values")
    assert tensor.grad is not None
    return tensor.grad


POOL_CHECKS: tuple[Callable[[PoolCase], None], ...] = (
    a_batch_of_views,
    the_names_of_its_tokens,
    two_views_of_an_image,
    tokens_of_the_whole_image,
    a_batch_of_nothing,
    values_of_every_dtype,
    weights_in_float32,
    under_autocast,
    a_second_run,
    gradients_of_patches,
    a_clip,
    every_device,
    the_promise_one_token,
    the_promise_keeps_patches,
)
