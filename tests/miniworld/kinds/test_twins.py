"""Twins differ in one thing, and the right option with it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from regiontok.miniworld.kinds.twins import twins_of
from regiontok.miniworld.world import World

DIFFERENCES = {"colour", "material", "place", "presence", "digit"}


def test_twins_are_alike_but_for_the_objects_that_are_asked_about() -> None:
    world = World("val", size=128)
    seen, first_letters = Counter(), Counter()
    for index in range(60):
        twins = twins_of(world, index)
        if twins is None:
            continue
        seen[twins.difference] += 1
        first, second = twins.pictures
        one, other = twins.questions
        assert (one.text, one.options) == (other.text, other.options)
        assert {one.letter, other.letter} == {"A", "B"}
        first_letters[one.letter] += 1
        differs = (first.pixels != second.pixels).any(-1)
        asked_about = first.masks[list(one.things)].any(0)
        # edges are smoothed over the pixels beside a mask
        near = np.zeros_like(asked_about)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                near |= np.roll(asked_about, (down, right), (0, 1))
        assert differs.any()
        # what is seen through the smoothed edges of objects in front of it lies farther away
        assert (differs & ~near).sum() <= 0.02 * differs.sum()
        if twins.difference != "presence":
            assert (first.labels == second.labels).all()
        else:
            assert len(second.objects) == len(first.objects) - 1
    assert set(seen) == DIFFERENCES
    assert min(first_letters.values()) > 15
