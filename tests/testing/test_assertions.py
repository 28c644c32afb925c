"""What the checks are made of: messages, refusals, and the global random state."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regiontok.testing.assertions import (
    expect_close,
    expect_refusal,
    random_state_unchanged,
    run_checks,
    seeded,
)


def a_positive_number(number):
    assert number > 0, f"{number} is not positive"


def an_inverse(number):
    1 / number


def test_an_error_names_the_method_and_the_check():
    run_checks([a_positive_number, an_inverse], 1, "mine")
    with pytest.raises(AssertionError, match="'mine', a positive number: -1 is not positive"):
        run_checks([a_positive_number], -1, "mine")
    with pytest.raises(AssertionError, match="'mine', an inverse: it raises ZeroDivisionError"):
        run_checks([an_inverse], 0, "mine")


def test_tensors_that_differ_are_shown():
    expect_close(torch.ones(2), torch.ones(2), "equal")
    with pytest.raises(AssertionError, match=r"(?s)the third.*Mismatched elements: 1 / 2"):
        expect_close(torch.tensor([1.0, 2.0]), torch.ones(2), "the third")


def test_a_refusal_is_a_value_error_that_says_something():
    expect_refusal(lambda: int("x"), "invalid literal", "it should refuse")
    with pytest.raises(AssertionError, match="it should refuse, and say 'no number'; it says"):
        expect_refusal(lambda: int("x"), "no number", "it should refuse")
    with pytest.raises(AssertionError, match=r"^it should refuse$"):
        expect_refusal(lambda: int("1"), "", "it should refuse")


def test_the_global_random_state_is_put_back():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with seeded(3):
        first = torch.rand(2), np.random.rand(2)  # noqa: NPY002
    with seeded(3):
        second = torch.rand(2), np.random.rand(2)  # noqa: NPY002
    assert torch.equal(first[0], second[0])
    assert (first[1] == second[1]).all()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


def test_drawing_from_the_global_random_state_is_found():
    with random_state_unchanged():
        torch.rand(1, generator=torch.Generator())
    with pytest.raises(AssertionError, match="alone"), random_state_unchanged():
        torch.rand(1)
