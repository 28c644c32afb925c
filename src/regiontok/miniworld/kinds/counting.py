"""How many are there? All objects of a picture, 2 to 8, or those of a group, 1 to 4.

After: the counting task of CV-Bench (Tong et al., Cambrian-1, NeurIPS 2024).
Differs: pictures are planned so that all numbers are right equally often.
"""

from __future__ import annotations

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.world import WorldPicture

NUMBERS = ("1", "2", "3", "4")  # of a group


def ask_group(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """How many objects have the shape or colour that the picture was planned around."""
    attribute, value, count = picture.group
    if not attribute:
        return None
    things = tuple(
        number for number, item in enumerate(picture.objects) if getattr(item, attribute) == value
    )
    assert len(things) == count, f"{picture.name} holds {len(things)} of {count} {value}"
    noun = f"{plural(value)}" if attribute == "shape" else f"{value} objects"
    text = f"How many {noun} are in the image?"
    template = "How many {group} are in the image?"
    return WorldQuestion("count", text, str(count), (), things, template)


def ask_all(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """How many objects there are, in pictures that were not planned around a group."""
    if picture.group.attribute:
        return None
    text = "How many objects are in the image?"
    things = tuple(range(len(picture.objects)))
    return WorldQuestion("count_all", text, str(len(things)), (), things, text)


def plural(shape: str) -> str:
    """More than one of a shape.

    >>> plural("cross"), plural("ring")
    ('crosses', 'rings')
    """
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"
