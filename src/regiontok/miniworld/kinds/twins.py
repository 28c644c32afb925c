"""Pairs of pictures that are alike but for one thing, and one question with two answers.

After: Tong et al., Eyes Wide Shut?, CVPR 2024 (MMVP), whose pairs CLIP takes for the same.
Differs: the difference is made: a colour, a material, who is on the left, whether an object is
there, or one digit of a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.kinds.asked import (
    WorldQuestion,
    clearly_apart,
    name_of,
    unique,
    with_article,
)
from regiontok.miniworld.layout import Layout
from regiontok.miniworld.lettering import DIGITS
from regiontok.miniworld.words import COLOURS, TEXTURES
from regiontok.miniworld.world import World, WorldPicture

KIND = "near_twins"
_DRAWS = 16  # numbers that a pair needs at most


class Twins(NamedTuple):
    """Two pictures that are alike but for one thing.

    Attributes:
        pictures: both pictures.
        questions: the same question about each; the right options differ.
        difference: what is different: "colour", "material", "place", "presence" or "digit".
    """

    pictures: tuple[WorldPicture, WorldPicture]
    questions: tuple[WorldQuestion, WorldQuestion]
    difference: str


class _Difference(NamedTuple):
    layout: Layout  # of the second picture
    text: str
    answers: tuple[str, str]  # of the first and of the second picture
    things: tuple[tuple[int, ...], tuple[int, ...]]


def twins_of(world: World, index: int, picture: WorldPicture | None = None) -> Twins | None:
    """The twins whose first is picture `index` of a world; None if nothing in it can differ.

    Args:
        world: the world.
        index: number of the picture.
        picture: that picture, where it is there already.

    Raises:
        IndexError: If the split has no such picture.

    >>> twins = twins_of(World("test", size=128), 0)
    >>> twins.questions[0].text == twins.questions[1].text
    True
    >>> twins.questions[0].letter != twins.questions[1].letter
    True
    """
    picture = picture or world[index]
    draws = Draws(world.random(index, "twins").random(_DRAWS))
    first_tried = draws.index(len(_DIFFERENCES))
    names = list(_DIFFERENCES)
    in_reverse = draws.coin()
    for name in names[first_tried:] + names[:first_tried]:
        difference = _DIFFERENCES[name](picture, draws)
        if difference is None:
            continue
        second = WorldPicture.of(difference.layout, f"{picture.name}-twin")
        options = difference.answers[:: -1 if in_reverse else 1]
        questions = [
            WorldQuestion(KIND, difference.text, answer, options, things, name)
            for answer, things in zip(difference.answers, difference.things, strict=True)
        ]
        return Twins((picture, second), (questions[0], questions[1]), name)
    return None


def _colour(picture: WorldPicture, draws: Draws) -> _Difference | None:
    numbers = unique(picture, "shape")
    if not numbers:
        return None
    number = draws.pick(numbers)
    item = picture.objects[number]
    colour = draws.pick([word for word in COLOURS if word != item.colour])
    layout = picture.layout.with_item(number, colour=colour)
    text = f"What colour is the {item.shape}?"
    return _Difference(layout, text, (item.colour, colour), ((number,), (number,)))


def _material(picture: WorldPicture, draws: Draws) -> _Difference | None:
    numbers = unique(picture, "colour", "shape")
    if not numbers:
        return None
    number = draws.pick(numbers)
    item = picture.objects[number]
    texture = draws.pick([word for word in TEXTURES if word != item.texture])
    layout = picture.layout.with_item(number, texture=texture)
    text = f"What is the {name_of(item)}'s material?"
    return _Difference(layout, text, (item.texture, texture), ((number,), (number,)))


def _place(picture: WorldPicture, draws: Draws) -> _Difference | None:
    """Two objects that are each the only one of its colour exchange their colours."""
    pairs = clearly_apart(picture, 1, unique(picture, "colour"))
    if not pairs:
        return None
    left, right = draws.pick(pairs)
    colours = picture.objects[left].colour, picture.objects[right].colour
    layout = picture.layout.with_item(left, colour=colours[1])
    layout = layout.with_item(right, colour=colours[0])
    text = f"Is the {colours[0]} object to the left or to the right of the {colours[1]} object?"
    return _Difference(layout, text, ("left", "right"), ((left, right), (right, left)))


def _presence(picture: WorldPicture, draws: Draws) -> _Difference | None:
    numbers = unique(picture, "colour", "shape")
    if not numbers or len(picture.objects) < 3:
        return None
    number = draws.pick(numbers)
    text = f"Is there {with_article(name_of(picture.objects[number]))} in the image?"
    layout = picture.layout.without_item(number)
    return _Difference(layout, text, ("yes", "no"), ((number,), ()))


def _digit(picture: WorldPicture, draws: Draws) -> _Difference | None:
    if len(picture.texts) != 1 or picture.texts[0].kind != "digits":
        return None
    plate = picture.texts[0]
    position = draws.index(len(plate.text))
    digit = draws.pick([digit for digit in DIGITS if digit != plate.text[position]])
    text = plate.text[:position] + digit + plate.text[position + 1 :]
    layout = replace(picture.layout, plates=(plate._replace(text=text),))
    things = (len(picture.objects),)
    return _Difference(
        layout, "What is written in the image?", (plate.text, text), (things, things)
    )


_DIFFERENCES: dict[str, Callable[[WorldPicture, Draws], _Difference | None]] = {
    "colour": _colour,
    "material": _material,
    "place": _place,
    "presence": _presence,
    "digit": _digit,
}
