"""What methods of every kind have in common: their contract, their spec text, masks if they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import TypeVar

from regiontok.core.grid import PatchGrid
from regiontok.methods import CONTRACTS, Method
from regiontok.settings import registry
from regiontok.testing.assertions import expect, expect_refusal

Result = TypeVar("Result")


def check_contract(kind: str, method: object) -> None:
    """Raise unless a method derives from the contract of its kind, and is a frozen dataclass.

    Raises:
        AssertionError: If it does not.
    """
    contract = CONTRACTS[kind]
    expect(
        isinstance(method, contract),
        f"{method!r} must derive from regiontok.methods.{contract.__name__}",
    )
    assert isinstance(method, Method)
    expect(is_dataclass(method), f"{method!r} must be a dataclass: its fields are its spec text")
    _expect_frozen(method)
    expect(
        isinstance(method.version, int) and not isinstance(method.version, bool),
        f"{method!r}: version must be a whole number, got {method.version!r}",
    )
    expect(
        isinstance(method.identity, str),
        f"{method!r}: identity must be a text, got {method.identity!r}",
    )
    expect(type(method.on("cpu")) is type(method), f"{method!r}: on() must give its own class")
    full = registry.render(method, full=True)
    expect(
        full.endswith(f"version={method.version})"),
        f"{method!r}: the full spec text must end with its version, got {full}",
    )


def _expect_frozen(method: Method) -> None:
    """Raise unless no field can be set and the method has a hash, as in a frozen dataclass."""
    message = f"{method!r} must be frozen: @dataclass(frozen=True)"
    expect(type(method).__hash__ is not None, message)
    assert is_dataclass(method)
    for field in fields(method):
        try:
            setattr(method, field.name, getattr(method, field.name))
        except FrozenInstanceError:
            continue
        raise AssertionError(message)


def expect_masks_are_read_as_promised(
    reads_masks: bool,
    apply: Callable[[PatchGrid], Result],
    grid: PatchGrid,
    same: Callable[[Result, Result], bool],
) -> None:
    """Raise unless a method needs a view's masks exactly if it says so.

    Args:
        reads_masks: what the method says.
        apply: runs the method on a view.
        grid: a view with masks.
        same: whether two results are equal.
    """
    without = grid.but(masks=None)
    if reads_masks:
        expect_refusal(
            lambda: apply(without),
            "mask",
            "reads_masks is True, so it must refuse a view without masks with a ValueError",
        )
        return
    try:
        result = apply(without)
    except Exception as error:
        raise AssertionError(
            f"it fails on a view without masks ({error}): reads_masks must be True"
        ) from error
    expect(same(result, apply(grid)), "masks make a difference: reads_masks must be True")
