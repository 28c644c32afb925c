"""Intervals by hand, and what is told of a single seed or of none."""

from __future__ import annotations

import math

import pytest

from regiontok.jobs.study.statistics import MeanOverSeeds


def test_an_interval_is_student_s():
    value = MeanOverSeeds.of([80.0, 84.0, 82.0, 86.0])
    # t of 3 degrees of freedom at .975 is 3.18245; the deviation is sqrt(20 / 3)
    assert value.mean == 83.0
    assert value.half == pytest.approx(3.18245 * math.sqrt(20 / 3) / 2, rel=1e-5)
    assert str(value) == "83.0 ± 4.1"


def test_one_seed_has_no_interval_and_none_no_mean():
    one, none = MeanOverSeeds.of([7.0]), MeanOverSeeds.of([math.nan])
    assert (str(one), one.is_clear, str(none)) == ("7.0", False, "")


def test_a_difference_is_clear_if_its_interval_leaves_out_0():
    assert MeanOverSeeds.of([2.0, 2.1, 1.9]).is_clear
    assert not MeanOverSeeds.of([2.0, -2.1, 1.9]).is_clear
