"""Captions of generated pictures: all that is seen, what there is, and what is beside what."""

from __future__ import annotations

from collections.abc import Sequence

from regiontok.miniworld.kinds.asked import clearly_apart, name_of, with_article
from regiontok.miniworld.kinds.counting import plural
from regiontok.miniworld.scenes import SceneObject
from regiontok.miniworld.world import WorldPicture

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
_BEHIND = {
    "plain": "a plain background",
    "gradient": "a background that fades",
    "stripes": "a striped background",
    "noise": "a cloudy background",
}


def captions_of(picture: WorldPicture) -> tuple[str, ...]:
    """Captions of a picture, the longest first: every one of them is true.

    >>> from regiontok.miniworld.world import World
    >>> captions = captions_of(World("test", size=128)[1])
    >>> captions[0][:46]
    'Four objects on a striped background: a medium'
    """
    long = (
        f"{_NUMBERS[len(picture.objects)].capitalize()} objects on {_BEHIND[picture.background]}: "
        f"{listed([_in_full(item) for item in picture.objects])}.{_said(picture)}"
    )
    names = listed([with_article(name_of(item)) for item in picture.objects])
    captions = [long, f"{names[0].upper()}{names[1:]}.", f"A picture with {_counted(picture)}."]
    return (*captions, *_beside(picture))


def listed(items: Sequence[str]) -> str:
    """Items with commas and "and".

    >>> listed(["a ring"]), listed(["a ring", "a star", "a heart"])
    ('a ring', 'a ring, a star and a heart')
    """
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else items[0]


def _in_full(item: SceneObject) -> str:
    return with_article(f"{item.size} {item.texture} {name_of(item)}")


def _said(picture: WorldPicture) -> str:
    if not picture.texts:
        return ""
    said = listed([f'"{plate.text}"' for plate in picture.texts])
    return f" {'A sign says' if len(picture.texts) == 1 else 'Two signs say'} {said}."


def _counted(picture: WorldPicture) -> str:
    """How many there are of each shape."""
    shapes = [item.shape for item in picture.objects]
    return listed(
        [
            f"{_NUMBERS[count]} {shape if count == 1 else plural(shape)}"
            for shape in dict.fromkeys(shapes)
            if (count := shapes.count(shape))
        ]
    )


def _beside(picture: WorldPicture) -> list[str]:
    """Which objects are beside each other, and above each other."""
    sentences = []
    for axis, place in ((1, "to the left of"), (0, "above")):
        for i, j in clearly_apart(picture, axis, range(len(picture.objects)))[:1]:
            first, second = (with_article(name_of(picture.objects[number])) for number in (i, j))
            sentences.append(f"{first[0].upper()}{first[1:]} {place} {second}.")
    return sentences
