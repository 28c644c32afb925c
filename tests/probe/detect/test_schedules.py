"""Schedules by name, made shorter, and divided among passes."""

from __future__ import annotations

import pytest

from regiontok.probe.detect.schedules import detection_schedule


def test_the_published_schedules_are_as_published():
    one, three, large = (detection_schedule(name) for name in ("1x", "3x", "lsj"))
    assert (one.optimisation.rate, one.batch, one.optimisation.kind) == (0.02, 16, "sgd")
    shares = [one.optimisation.schedule.share(s) for s in (0, 500, 59_999, 60_000, 89_999)]
    assert shares == pytest.approx([0.001, 0.5005, 1.0, 0.1, 0.01])
    assert three.optimisation.schedule.steps == 270_000
    assert (large.batch, large.optimisation.rate, large.augmentation) == (64, 1e-4, "jitter")
    # ViTDet: 100 epochs of COCO, drops at 8/9 and 26/27 of them
    schedule = large.optimisation.schedule
    assert schedule.steps * large.batch / 118_000 == pytest.approx(100, abs=0.1)
    assert [drop / schedule.steps for drop in schedule.drops] == pytest.approx(
        [8 / 9, 26 / 27], abs=1e-3
    )


def test_a_shorter_schedule_keeps_its_shape_and_a_smaller_batch_its_rate_in_proportion():
    short = detection_schedule("1x", steps=900, batch=8, per_device=2, seed=3)
    assert short.optimisation.schedule.drops == (600, 800)
    assert short.optimisation.schedule.warmup == 10
    assert short.optimisation.rate == pytest.approx(0.01)
    assert (short.batch, short.optimisation.batches, short.optimisation.seed) == (8, 4, 3)
    assert detection_schedule("mini", batch=1).optimisation.rate == pytest.approx(1e-3)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="3 pictures a device do not divide the batch of 16"):
        detection_schedule("1x", per_device=3)
    with pytest.raises(ValueError, match="schedule must be '1x' or '3x' or 'lsj' or 'mini'"):
        detection_schedule("2x")
