"""What an object is like: colour, shape, size, material.

After: nothing published; the attribute questions of CLEVR (Johnson et al. 2017, arXiv:1612.06890)
come closest.
Differs: nothing known.
"""

from __future__ import annotations

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.kinds.asked import WorldQuestion, choice, name_of, unique
from regiontok.miniworld.world import WorldPicture


def ask_colour(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """The colour of the only object of a shape."""
    number = _asked_about(picture, draws, "shape")
    if number is None:
        return None
    item = picture.objects[number]
    text = f"What colour is the {item.shape}?"
    return WorldQuestion("colour", text, item.colour, (), (number,), "What colour is the {shape}?")


def ask_shape(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """The shape of the only object of a colour."""
    number = _asked_about(picture, draws, "colour")
    if number is None:
        return None
    item = picture.objects[number]
    text = f"What shape is the {item.colour} object?"
    template = "What shape is the {colour} object?"
    return WorldQuestion("shape", text, item.shape, (), (number,), template)


def ask_colour_choice(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """What `ask_colour` asks, with options that are both seen in the picture.

    It teaches what letters of options are, where the answer itself is known early.
    """
    return _with_options("colour_choice", "colour", ask_colour(picture, draws), picture, draws)


def ask_shape_choice(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """What `ask_shape` asks, with options that are both seen in the picture."""
    return _with_options("shape_choice", "shape", ask_shape(picture, draws), picture, draws)


def ask_named_choice(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """The colour or the shape of an object that is named by both, as a letter.

    The answer stands in the question: only the reading of options is left to be learnt.
    """
    number = _asked_about(picture, draws, "colour", "shape")
    if number is None:
        return None
    item = picture.objects[number]
    attribute = "colour" if draws.coin() else "shape"
    text = f"What {attribute} is the {name_of(item)}?"
    template = f"What {attribute} is the {{object}}?"
    answer = getattr(item, attribute)
    question = WorldQuestion("named_choice", text, answer, (), (number,), template)
    return _with_options("named_choice", attribute, question, picture, draws)


def ask_size(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """Whether an object is small, medium or large."""
    number = _asked_about(picture, draws, "colour", "shape")
    if number is None:
        return None
    item = picture.objects[number]
    text = f"Is the {name_of(item)} small, medium or large?"
    template = "Is the {object} small, medium or large?"
    return WorldQuestion("size", text, item.size, (), (number,), template)


def ask_material(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """The texture of an object."""
    number = _asked_about(picture, draws, "colour", "shape")
    if number is None:
        return None
    item = picture.objects[number]
    text = f"What is the {name_of(item)}'s material: plain, striped, dotted, checkered or speckled?"
    template = "What is the {object}'s material?"
    return WorldQuestion("material", text, item.texture, (), (number,), template)


def _asked_about(picture: WorldPicture, draws: Draws, *named_by: str) -> int | None:
    """An object whose name by these attributes is no other's, and that may be asked about."""
    numbers = [number for number in unique(picture, *named_by) if picture.askable[number]]
    return draws.pick(numbers) if numbers else None


def _with_options(
    kind: str,
    attribute: str,
    question: WorldQuestion | None,
    picture: WorldPicture,
    draws: Draws,
) -> WorldQuestion | None:
    """A question about an attribute with options: its answer, and another that is seen."""
    if question is None:
        return None
    seen = {getattr(item, attribute) for item in picture.objects}
    others = sorted(seen - {question.answer})
    if not others:
        return None
    wrong = [draws.pick(others)]
    text, things, template = question.text, question.things, question.template
    return choice(kind, text, question.answer, wrong, things, draws, template)
