"""The learning rate of a step: literal examples, and settings that make no sense."""

from __future__ import annotations

import pytest

from regiontok.probe.schedule import Schedule


def test_the_rate_rises_from_where_it_is_told_and_then_drops():
    schedule = Schedule(10, warmup=4, warmup_from=0.2, shape="drops", drops=(6, 9))
    rates = [round(schedule.share(step), 6) for step in range(10)]
    assert rates == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01]


def test_cosine_is_half_at_half_and_ends_above_its_final_share():
    schedule = Schedule(100, shape="cosine", final=0.1)
    assert schedule.share(0) == 1.0
    assert schedule.share(50) == pytest.approx(0.55)
    assert 0.1 < schedule.share(99) < 0.101


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "at least one step, not 0"),
        ({"steps": 5, "warmup": 5}, "a warm-up of 5 steps does not end within 5 steps"),
        ({"steps": 5, "shape": "drops", "drops": (3, 7)}, r"drops at steps \[7\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)
