"""Several sizes in one stage: one a step, whatever ranks and workers there are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regiontok.pretrain.batches import rank_batches, stage_views
from regiontok.pretrain.ranks import Ranks
from regiontok.pretrain.schedule import Timeline
from regiontok.settings.pretrain_recipe import Pretrain

CPU = torch.device("cpu")
SIZES = [32, [32, 64]]
MIXED = {"name": "mixed", "sizes": SIZES, "steps": 6, "batch": 4}
TABLE = Pretrain.model_validate(
    {
        "data": [{"shards": "scenes(16, size=64)"}],
        "object": {"classes": 40},
        "stage": [{"name": "plain", "size": 32, "steps": 2, "batch": 2}, MIXED],
        "regions": 2,
    }
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scenes")


def pixels(cache: Path, steps: range, *, rank: int = 0, world: int = 1, workers: int = 0):
    """The pixels of a rank's batches of some steps of the second stage."""
    timeline, ranks = Timeline(TABLE.stage), Ranks(rank, world, CPU)
    first = timeline.first_sample(timeline.first_step(1))
    views = stage_views(TABLE, TABLE.stage[1], patch=8, cache=cache, ranks=ranks, first=first)
    batches = rank_batches(TABLE, views, steps, timeline=timeline, ranks=ranks, workers=workers)
    return [batch.pixels for batch in batches]


def test_steps_have_one_of_the_sizes_each_and_both_come_up(cache):
    whole = pixels(cache, range(2, 8))
    assert {tuple(batch.shape[2:]) for batch in whole} == {(32, 32), (32, 64)}
    for rank in range(2):
        part = pixels(cache, range(2, 8), rank=rank, world=2)
        assert [batch.shape[2:] for batch in part] == [batch.shape[2:] for batch in whole]


@pytest.mark.parametrize(("start", "workers"), [(5, 0), (2, 1)])
def test_a_stage_that_goes_on_and_workers_have_the_same_sizes(cache, start, workers):
    whole, rest = pixels(cache, range(2, 8)), pixels(cache, range(start, 8), workers=workers)
    assert all(torch.equal(a, b) for a, b in zip(whole[start - 2 :], rest, strict=True))


def test_the_largest_size_is_what_is_planned_for():
    assert TABLE.stage[1].all_sides == ((32, 32), (32, 64))
    assert TABLE.stage[1].sides == (32, 64)
