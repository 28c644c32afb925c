"""Steps, samples and rates as functions of the step."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.pretrain.schedule import Timeline
from regiontok.settings.pretrain_recipe import PretrainStage


def stage(name: str = "a", **words) -> PretrainStage:
    return PretrainStage(name=name, **{"steps": 4, "batch": 6, **words})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([6, 12, 18])), min_size=1, max_size=3))
def test_steps_take_the_stream_without_gap_or_repeat(shapes):
    timeline = Timeline(
        [stage(str(index), steps=steps, batch=batch) for index, (steps, batch) in enumerate(shapes)]
    )
    stream = [sample for step in range(timeline.steps) for sample in timeline.samples_of(step)]
    assert stream == list(range(sum(steps * batch for steps, batch in shapes)))


def test_cosine_ends_at_its_share_and_a_tenth_stage_begins_anew():
    first = stage(steps=100, learning_rate=1.0, warmup=10, final=0.1)
    timeline = Timeline([first, stage("b", steps=10, learning_rate=0.1, schedule="constant")])
    rates = [timeline.rate(step) for step in range(110)]
    assert rates[9] == rates[10] == 1.0
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[55] == pytest.approx(0.55)  # half-way down, between 1 and 0.1
    assert 0.1 < rates[99] < 0.101
    assert set(rates[100:]) == {0.1}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage(), stage()], "different names"),
        ([stage(steps=0, samples=5)], "5 samples in batches of 6"),
        ([stage(warmup=4)], "warm-up of 4 does not end within its 4 steps"),
    ],
)
def test_stages_that_make_no_run_are_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        Timeline(stages)


def test_a_warm_up_may_be_a_share_and_the_decay_a_power():
    timeline = Timeline(
        [stage(steps=10, warmup=0.25, learning_rate=1.0, schedule="polynomial", power=2.0)]
    )
    rates = [timeline.rate(step) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, *((1 - step / 8) ** 2 for step in range(8))])
    linear = Timeline([stage(steps=10, schedule="linear", learning_rate=1.0)])
    power_one = Timeline([stage(steps=10, schedule="polynomial", power=1.0, learning_rate=1.0)])
    assert [linear.rate(step) for step in range(10)] == [power_one.rate(step) for step in range(10)]
