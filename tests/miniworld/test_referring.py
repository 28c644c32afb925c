"""Referring expressions of the generated world: each fits one object, and none other nearly."""

from __future__ import annotations

from collections import Counter

import pytest

from regiontok.miniworld.kinds.asked import APART
from regiontok.miniworld.referring import (
    KINDS,
    VOCABULARY,
    expressions_of,
    valid_expressions,
)
from regiontok.miniworld.words import COLOURS, SHAPES, SIZES, TEXTURES
from regiontok.miniworld.world import World, WorldPicture

WORLD = World("test", size=128)


def _named(picture: WorldPicture, words: list[str]) -> list[int]:
    """The objects that words hold of, read from the text alone."""
    numbers = []
    for number, item in enumerate(picture.objects):
        own = {item.colour, item.shape, item.size, item.texture, "object"}
        if set(words) <= own:
            numbers.append(number)
    return numbers


def _meant(picture: WorldPicture, text: str) -> list[int]:
    """The objects that a whole expression holds of, by a second reading of the words."""
    words = text.split()
    looks = {*COLOURS, *SHAPES, *SIZES, *TEXTURES, "object"}
    places = {"leftmost": (1, 1), "rightmost": (1, -1), "topmost": (0, 1), "lowest": (0, -1)}
    relations = {"left": (1, 1), "right": (1, -1), "above": (0, 1), "below": (0, -1)}
    centre = [item.centre for item in picture.objects]
    for word, (axis, sign) in relations.items():
        if word in words:
            place = words.index(word)
            (anchor,) = _named(picture, [one for one in words[place:] if one in looks])
            subjects = _named(picture, [one for one in words[:place] if one in looks])
            return [n for n in subjects if sign * (centre[anchor][axis] - centre[n][axis]) > 0]
    for word, (axis, sign) in places.items():
        if word in words:
            subjects = _named(picture, [one for one in words if one in looks])
            return [min(subjects, key=lambda n: sign * centre[n][axis])]
    return _named(picture, words[1:])


def test_each_fits_one() -> None:
    kinds: Counter[str] = Counter()
    for index in range(12):
        picture = WORLD[index]
        found = valid_expressions(picture)
        assert len({one.text for one in found}) == len(found)
        for one in found:
            assert set(one.text.split()) <= set(VOCABULARY)
            assert _meant(picture, one.text) == [one.thing], one
            kinds[one.kind] += 1
    assert set(kinds) == set(KINDS)


def test_margins() -> None:
    """Who is meant by a place or a relation is never decided by less than a margin."""
    margin = APART * 128
    for index in range(12):
        picture = WORLD[index]
        for one in valid_expressions(picture):
            words = one.text.split()
            if one.kind == "relation":
                axis = 0 if {"above", "below"} & set(words) else 1
                (anchor,) = _named(picture, words[-2:])
                centres = [item.centre[axis] for item in picture.objects]
                assert abs(centres[one.thing] - centres[anchor]) >= margin


def test_drawn() -> None:
    picture = WORLD[5]
    four = expressions_of(WORLD, 5, picture, 4)
    assert four == expressions_of(WORLD, 5, picture, 8)[:4]
    assert len(set(four)) == 4
    assert four != expressions_of(World("val", size=128), 5, picture, 4)
    with pytest.raises(ValueError, match="1 to 32 expressions a picture, got 0"):
        expressions_of(WORLD, 5, picture, 0)
