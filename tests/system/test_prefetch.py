"""Work ahead: order, bounds, errors in their turn, and a clean end whichever way it ends."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regiontok.system.prefetch import map_ahead

WAIT = 10  # seconds after which a test has hung


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=30), st.integers(0, 4), st.integers(1, 9))
def test_results_come_in_the_order_of_the_items(items, workers, most):
    assert list(map_ahead(lambda item: 2 * item, items, workers=workers, most=most)) == [
        2 * item for item in items
    ]
    assert running() == []


def test_order_is_kept_where_later_items_are_done_first():
    second = threading.Event()

    def work(item):
        if item == 0:
            assert second.wait(WAIT), "the second item waits for the first"
        else:
            second.set()
        return item

    assert list(map_ahead(work, [0, 1], workers=2)) == [0, 1]


def test_no_more_is_begun_than_was_allowed():
    taken, most = [], 3

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    with closing(map_ahead(lambda item: item, items(), workers=2, most=most)) as results:
        for count, _ in zip(range(1, 6), results, strict=False):
            assert len(taken) <= count - 1 + most
    assert len(taken) < 10


def test_the_next_items_are_done_while_the_caller_works_on_this_one():
    done = threading.Event()
    results = map_ahead(lambda item: item and done.set(), [0, 1], workers=1, most=2)
    next(results)
    assert done.wait(WAIT), "nothing was done ahead"
    results.close()


def test_an_error_comes_in_its_items_turn_and_ends_the_rest():
    def work(item):
        if item == 2:
            raise OSError("disk on fire")
        return item

    results = map_ahead(work, range(100), workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="disk on fire"):
        next(results)
    assert list(results) == []
    assert running() == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, GeneratorExit])
def test_closing_early_and_ctrl_c_begin_nothing_more_and_leave_no_thread(end):
    begun = []

    def work(item):
        begun.append(item)
        return item

    results = map_ahead(work, range(1000), workers=2, most=4)
    assert next(results) == 0
    if end is GeneratorExit:
        results.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt())
    assert running() == []
    assert len(begun) <= 4


def test_without_workers_nothing_is_done_before_it_is_asked_for():
    begun = []
    results = map_ahead(begun.append, "ab", workers=0)
    assert begun == []
    next(results)
    assert begun == ["a"]


@pytest.mark.parametrize(("workers", "most"), [(-1, None), (2, 0)])
def test_bounds_that_cannot_be_are_refused_before_anything_is_read(workers, most):
    with pytest.raises(ValueError, match=f"workers={workers}, most="):
        map_ahead(str, iter(()), workers=workers, most=most)


def test_what_is_begun_never_weighs_more_than_was_allowed():
    weights = [3, 3, 9, 1, 1, 1, 0, 0, 12, 2]
    begun, yielded, asked = [], [], []

    def weigh(item):
        asked.append(item)
        return weights[item]

    ahead = map_ahead(
        begun.append, range(len(weights)), workers=2, most=4, weight=weigh, most_weight=6
    )
    with closing(ahead) as results:
        for index, _ in enumerate(results):
            yielded.append(index)
            waiting = sum(weights[item] for item in begun if item > index)
            assert waiting <= 6 or [item for item in begun if item > index] == [index + 1]
            assert len(asked) <= index + 1 + 4
    assert sorted(begun) == yielded == list(range(len(weights)))
