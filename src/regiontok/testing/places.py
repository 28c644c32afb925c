"""What every place must do, whatever else it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from regiontok.core.grid import PatchGrid
from regiontok.core.regions import Members, Regions
from regiontok.core.tokens import KINDS, Tokens
from regiontok.methods import Place
from regiontok.testing.assertions import expect, expect_close, run_checks
from regiontok.testing.contracts import check_contract
from regiontok.testing.inputs import DTYPES, WIDTH, built, devices, rows_of_masks

DELIMITER = KINDS.index("delimiter")


def check_place(place: Place) -> None:
    """Check a place, registered or not; tokens are the rows of masks, of width 8.

    Raises:
        AssertionError: If the place does something that no place may do.
    """
    check_contract("place", place)
    run_checks(PLACE_CHECKS, place, place)


def a_batch_of_images(place: Place) -> None:
    """An image's tokens are those that it has alone."""
    tokens, grids = rows_of_masks()
    module = _module(place)
    batch = _placed(place, module, tokens, grids)
    for index, grid in enumerate(grids):
        alone, together = _placed(place, module, tokens[index], [grid]), batch[index]
        for name in ("values", "region", "patch", "view", "kind"):
            expect(
                torch.equal(getattr(together, name), getattr(alone, name)),
                f"in a batch an image has other {name} of its tokens than alone",
            )


def rows_stay_in_their_order(place: Place) -> None:
    """Without delimiters the tokens are those that came in, in the same order."""
    tokens, grids = rows_of_masks()
    result = _placed(place, _module(place), tokens, grids)
    lengths = [len(rows) for rows in result.split()]
    expect(lengths == result.counts.tolist(), "tokens do not lie image by image")
    rows = result.take(result.kind != DELIMITER)
    for name in ("image", "view", "region", "patch", "kind"):
        expect(
            torch.equal(getattr(rows, name), getattr(tokens, name)),
            f"tokens lose their {name}, or their order",
        )


def no_tokens_and_one_token(place: Place) -> None:
    """No token, no view, and a view of one patch, which has no masks."""
    module, (tokens, grids) = _module(place), rows_of_masks()
    none = tokens.take(torch.arange(0))
    expect(len(_placed(place, module, none, grids)) == 0, "no tokens become some")
    nothing = Tokens.of_patches(torch.zeros(0, WIDTH, dtype=torch.float64), Members.of([]))
    expect(len(_placed(place, module, nothing, [])) == 0, "no views have tokens")
    counts = _placed(place, module, tokens[2], grids[2:3]).counts.tolist()
    expect(counts == [1], f"the patch of a view of one patch becomes {counts} tokens")


def tokens_of_every_dtype(place: Place) -> None:
    """Tokens keep their dtype, whatever that of the module is, and are near those of float64."""
    for dtype in DTYPES:
        tokens, grids = rows_of_masks(dtype)
        module = _module(place, torch.float32)
        result = _placed(place, module, tokens, grids)
        expect(result.values.dtype == dtype, f"values of {dtype} become {result.values.dtype}")
        exact = _placed(place, module.double(), tokens.to(torch.float64), grids).values
        expect_close(
            result.values.double(),
            exact,
            f"{dtype} is not near float64",
            atol=4 * max(torch.finfo(dtype).eps, 1e-7),
        )


def a_second_run(place: Place) -> None:
    """The module built again gives the same, and does not change what comes in."""
    tokens, grids = rows_of_masks()
    copy = tokens.values.clone()
    first, second = (_placed(place, _module(place), tokens, grids).values for _ in range(2))
    expect(torch.equal(first, second), "a second run gives other values")
    expect(torch.equal(tokens.values, copy), "it changes the values that come in")


def gradients(place: Place) -> None:
    """Gradients reach every row, and every parameter."""
    tokens, grids = rows_of_masks()
    values, module = tokens.values.clone().requires_grad_(), _module(place)
    _placed(place, module, tokens.but(values), grids).values.square().sum().backward()
    expect(
        values.grad is not None and (values.grad.abs().sum(1) > 0).all(),
        "a row has no gradient",
    )
    for name, parameter in module.named_parameters():
        expect(
            parameter.grad is not None and parameter.grad.any(),
            f"the parameter {name} has no gradient",
        )


def a_saved_module(place: Place) -> None:
    """The state of the module is all that it needs."""
    module, other = _module(place), place.build(WIDTH).double()
    other.load_state_dict(module.state_dict())
    tokens, grids = rows_of_masks()
    expect(
        torch.equal(*(_placed(place, each, tokens, grids).values for each in (module, other))),
        "a module with the same state gives other values",
    )


def every_device(place: Place) -> None:
    """Tokens are those of the CPU, and on the device of the input."""
    tokens, grids = rows_of_masks()
    expected = _placed(place, _module(place), tokens, grids).values
    for device in devices():
        result = _placed(place, _module(place).to(device), tokens.to(device), grids)
        expect(result.values.device.type == device, f"tokens lie on {result.values.device}")
        expect_close(
            result.values.cpu(), expected, f"{device} is not near the CPU", rtol=1e-7, atol=1e-7
        )


def the_promise_token(place: Place) -> None:
    """Delimiters are there exactly if `token` is not None."""
    tokens, grids = rows_of_masks()
    count = _placed(place, _module(place), tokens, grids).count("delimiter")
    if place.token is None:
        expect(count == 0, f"token is None, but there are {count} delimiters")
    else:
        expect(count > 0, f"token is {place.token!r}, but there is no delimiter")


def _module(place: Place, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The place's module, with the same random weights at every call."""
    return built(lambda: place.build(WIDTH), dtype)


def _placed(place: Place, module: nn.Module, tokens: Tokens, grids: Sequence[PatchGrid]) -> Tokens:
    """What a place's module makes of the rows of masks, whose patches it gets if it reads them."""
    result: Tokens = module(tokens, grids, *([_members(tokens, grids)] * place.reads_members))
    return result


def _members(tokens: Tokens, grids: Sequence[PatchGrid]) -> Members:
    """The regions whose patches are the tokens."""
    views = []
    for index, grid in enumerate(grids):
        rows = tokens[index]
        count = int(rows.region.max()) + 1 if len(rows) else 0
        masks = torch.zeros(count, *grid.grid, dtype=torch.bool)
        masks.view(count, grid.grid[0] * grid.grid[1])[rows.region.cpu(), rows.patch.cpu()] = True
        views.append(Regions.from_masks(masks))
    return Members.of(views)


PLACE_CHECKS: tuple[Callable[[Place], None], ...] = (
    a_batch_of_images,
    rows_stay_in_their_order,
    no_tokens_and_one_token,
    tokens_of_every_dtype,
    a_second_run,
    gradients,
    a_saved_module,
    every_device,
    the_promise_token,
)
