"""Steps that leap: told by the losses before them, also by those of a log."""

from __future__ import annotations

import pytest

from regiontok.pretrain.spikes import Spikes
from regiontok.settings.pretrain_recipe import PretrainSpikes

STEPS = [{"kind": "step", "step": step, "loss": loss} for step, loss in enumerate((9.0, 1.0, 3.0))]


@pytest.mark.parametrize(
    ("loss", "norms", "leap"),
    [
        (3.9, (1.0,), ""),
        (4.1, (1.0,), "above 2 times 2, the median of 2 steps"),
        (float("nan"), (1.0,), "not finite"),
        (1.0, (1.0, float("inf")), "not finite"),
    ],
)
def test_a_leap_is_above_the_median_of_the_last_steps_or_not_finite(loss, norms, leap):
    assert Spikes(PretrainSpikes(factor=2.0, window=2), STEPS).leap(loss, *norms) == leap


def test_before_the_window_is_full_and_without_a_factor_only_what_is_not_finite_leaps():
    for settings in (PretrainSpikes(factor=2.0, window=4), PretrainSpikes(window=2)):
        assert Spikes(settings, STEPS).leap(1e6) == ""
        assert Spikes(settings, STEPS).leap(float("inf")) == "not finite"


def test_so_many_steps_in_a_row_are_left_out_also_over_a_restart():
    settings = PretrainSpikes(policy="skip", most=2)
    notes = [{"kind": "note", "step": 4, "left_out": 1}]
    spikes = Spikes(settings, STEPS + notes)
    assert [spikes.may_leave_out() for _ in range(2)] == [True, False]
    spikes.taken(1.0)
    assert spikes.may_leave_out()
    assert not Spikes(PretrainSpikes()).may_leave_out()
