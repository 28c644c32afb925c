"""What a picture of the generated world shows, decided before anything has its place.

Answers must not be guessable, so what questions will be about is drawn first: a picture is either
about how many objects it has, 2 to 8 equally often, or about a group of 1 to 4 of one colour or
shape, equally often. Each shape has one colour in which it is seen more often than in others, as
POPE's "popular" objects; such an object is asked about so seldom that its colour is no better a
guess than any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from regiontok.miniworld._sample import Look
from regiontok.miniworld.draws import Draws
from regiontok.miniworld.lettering import CHARACTERS, DIGITS, LETTERS, NOUNS
from regiontok.miniworld.words import COLOURS, POPULAR, SHAPES, SIZES, TEXTURES

FEWEST, MOST = 2, 8  # objects of a picture
LARGEST_GROUP = 4
POPULAR_SHARE = 0.25  # of objects whose colour is drawn to be the popular one of their shape
PLATES = (0, 0, 0, 1, 1, 1, 1, 1, 2, 2)  # printed texts of a picture, equally often
# of a printed text: two in four are words
TEXT_KINDS = ("word", "word", "digits", "letters")
_SHAPE_OF = {colour: shape for shape, colour in POPULAR.items()}


class Group(NamedTuple):
    """The objects that a picture's counting question is about.

    Attributes:
        attribute: "shape" or "colour"; "" for all objects of the picture.
        value: the word that they share; "" for all objects.
        number: how many there are.
    """

    attribute: str
    value: str
    number: int


class PlannedObject(NamedTuple):
    """An object without a place.

    Attributes:
        look: how it looks.
        size: a word of `SIZES`.
        askable: whether questions may be about its attributes.
    """

    look: Look
    size: str
    askable: bool


class PlannedText(NamedTuple):
    """A printed text without a place.

    Attributes:
        text: what is printed.
        kind: "word", "digits" or "letters".
        font: a number in [0, 1) for its font.
        height: a number in [0, 1) for its height.
        shade: a number in [0, 1) for the tones of plate and ink.
    """

    text: str
    kind: str
    font: float
    height: float
    shade: float


class Plan(NamedTuple):
    """What a picture shows.

    Attributes:
        objects: the objects, in an order that says nothing.
        texts: the printed texts.
        group: what the counting question is about.
    """

    objects: tuple[PlannedObject, ...]
    texts: tuple[PlannedText, ...]
    group: Group


def draw_plan(rng: np.random.Generator) -> Plan:
    """Draw what one picture shows."""
    draws = Draws(rng.random(8))
    attribute = draws.pick(("", "shape", "colour"))
    if attribute:
        count = 1 + draws.index(LARGEST_GROUP)
        value = draws.pick(SHAPES if attribute == "shape" else COLOURS)
        fewest = max(FEWEST, count)
        total = fewest + draws.index(MOST - fewest + 1)
    else:
        total = count = FEWEST + draws.index(MOST - FEWEST + 1)
        value = ""
    group = Group(attribute, value, count)
    objects = [
        _draw_object(Draws(row), group, is_member=number < count)
        for number, row in enumerate(rng.random((total, 11)))
    ]
    order = Draws(rng.random(total)).shuffled(range(total))
    texts = tuple(
        _draw_text(Draws(row)) for row in rng.random((draws.pick(PLATES), 5 + CHARACTERS))
    )
    return Plan(tuple(objects[number] for number in order), texts, group)


def _draw_object(draws: Draws, group: Group, *, is_member: bool) -> PlannedObject:
    """One object, of the group or not."""
    shapes = _allowed(SHAPES, group, "shape", is_member)
    colours = _allowed(COLOURS, group, "colour", is_member)
    shape, colour = draws.pick(shapes), draws.pick(colours)
    if draws.number() < POPULAR_SHARE:
        if len(colours) == 1:
            shape = _SHAPE_OF[colour]
        elif POPULAR[shape] in colours:
            colour = POPULAR[shape]
    ordinary = POPULAR[shape] != colour
    # drawn in any case: the numbers of an object mean the same, whatever it is
    askable = draws.number() < _ordinary_to_popular(group, is_member) or ordinary
    look = Look(
        shape=shape,
        colour=colour,
        texture=draws.pick(TEXTURES),
        turn=draws.number(),
        stretch=draws.number(),
        phase=(draws.number(), draws.number()),
    )
    return PlannedObject(look, draws.pick(SIZES), askable)


def _allowed(
    words: Sequence[str], group: Group, attribute: str, is_member: bool
) -> tuple[str, ...]:
    """The words that an object may have."""
    if group.attribute != attribute:
        return tuple(words)
    return tuple(word for word in words if (word == group.value) is is_member)


def _ordinary_to_popular(group: Group, is_member: bool) -> float:
    """How much rarer a shape's ordinary colour is than its popular one.

    A popular object is askable so often. Of the objects outside a group of one colour, that colour
    is excluded; it is each shape's popular one equally often.
    """
    number = len(COLOURS)
    ordinary = (1 - POPULAR_SHARE) / number
    if group.attribute == "colour" and not is_member:
        return ordinary / (ordinary + POPULAR_SHARE * (number - 1) / number)
    return ordinary / (ordinary + POPULAR_SHARE)


def _draw_text(draws: Draws) -> PlannedText:
    kind = draws.pick(TEXT_KINDS)
    font, height, shade = draws.number(), draws.number(), draws.number()
    if kind == "word":
        text = draws.pick(NOUNS)
    else:
        text = "".join(
            draws.pick(DIGITS if kind == "digits" else LETTERS) for _ in range(CHARACTERS)
        )
    return PlannedText(text, kind, font, height, shade)
