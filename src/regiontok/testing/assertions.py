"""Assertions that say what was expected, and how a list of checks is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from regiontok.core.regions import Regions

Case = TypeVar("Case")


def run_checks(checks: Sequence[Callable[[Case], None]], case: Case, method: object) -> None:
    """Run every check on a case; an error is given the method and the name of the check.

    Raises:
        AssertionError: If a check fails, or the method raises an error in it.
    """
    for check in checks:
        run_check(check, case, method)


def run_check(check: Callable[[Case], None], case: Case, method: object) -> None:
    """Run one check on a case.

    Raises:
        AssertionError: If the check fails, or the method raises an error in it.
    """
    title = f"{method!r}, {check.__name__.replace('_', ' ')}"
    try:
        check(case)
    except AssertionError as error:
        raise AssertionError(f"{title}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{title}: it raises {type(error).__name__}: {error}") from error


def expect(condition: bool | Tensor, message: str) -> None:
    """Raise an AssertionError with this message unless the condition holds.

    >>> expect(1 > 2, "one is not above two")
    Traceback (most recent call last):
    AssertionError: one is not above two
    """
    if not bool(condition):
        raise AssertionError(message)


def expect_close(
    values: Tensor, expected: Tensor, message: str, *, rtol: float = 0.0, atol: float = 0.0
) -> None:
    """Raise unless two tensors agree within the tolerance; without one they must be equal."""
    torch.testing.assert_close(
        values, expected, rtol=rtol, atol=atol, msg=lambda details: f"{message}\n{details}"
    )


def expect_same_regions(regions: Regions, expected: Regions, message: str) -> None:
    """Raise unless regions have the same patches, order, grid and sources."""
    expect(same_regions(regions, expected), message)


def same_regions(regions: Regions, other: Regions) -> bool:
    """Whether regions have the same patches, order, grid and sources."""
    return regions.grid == other.grid and all(
        torch.equal(getattr(regions, name), getattr(other, name))
        for name in ("patch", "region", "source")
    )


def expect_refusal(call: Callable[[], object], pattern: str, message: str) -> None:
    """Raise unless the call raises a ValueError whose text matches the pattern."""
    try:
        call()
    except ValueError as error:
        expect(
            re.search(pattern, str(error)) is not None,
            f"{message}, and say {pattern!r}; it says {str(error)!r}",
        )
    else:
        raise AssertionError(message)


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Torch's and NumPy's global random state begin with a seed, and are put back afterwards."""
    state = np.random.get_state()  # noqa: NPY002 - a method may use the global state by mistake
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


@contextmanager
def random_state_unchanged() -> Iterator[None]:
    """Raise at the end if the block has drawn from torch's or NumPy's global random state."""
    torch_state, numpy_state = torch.get_rng_state(), _numpy_state()
    yield
    unchanged = torch.equal(torch.get_rng_state(), torch_state) and numpy_state == _numpy_state()
    expect(unchanged, "it must leave the global random state of torch and NumPy alone")


def _numpy_state() -> tuple[bytes, int]:
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return state["key"].tobytes(), int(state["pos"])
