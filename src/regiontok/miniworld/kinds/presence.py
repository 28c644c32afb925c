"""Is an object in the picture? As POPE asks: random, popular and adversarial objects.

After: Li et al., Evaluating Object Hallucination in Large Vision-Language Models, EMNLP 2023.
Differs: an object is a colour and a shape. What is absent is any object (random), a shape in the
colour in which it is seen most often (popular), or one whose colour and whose shape are both in the
picture, in other objects (adversarial), which stands for POPE's objects that often occur together.
"""

from __future__ import annotations

from itertools import product

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.kinds.asked import WorldQuestion, is_popular, with_article
from regiontok.miniworld.words import COLOURS, SHAPES
from regiontok.miniworld.world import WorldPicture

Named = tuple[str, str]  # colour, shape


def ask_random(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """Any object of the world is absent."""
    return _ask("presence_random", picture, draws, list(product(COLOURS, SHAPES)), (True, False))


def ask_popular(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """An object that is seen often is absent, or present."""
    return _ask("presence_popular", picture, draws, list(product(COLOURS, SHAPES)), (True,))


def ask_adversarial(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """An object is absent whose colour and shape are both there."""
    colours = dict.fromkeys(item.colour for item in picture.objects)
    shapes = dict.fromkeys(item.shape for item in picture.objects)
    candidates = list(product(colours, shapes))
    return _ask("presence_adversarial", picture, draws, candidates, (True, False))


def _ask(
    kind: str,
    picture: WorldPicture,
    draws: Draws,
    candidates: list[Named],
    groups: tuple[bool, ...],
) -> WorldQuestion | None:
    """Ask for an object that is there or is not, by a coin.

    Whether it is a popular one is drawn before the coin, of those groups that hold both present
    and absent ones. So the name of an object says nothing about the answer.
    """
    present = dict.fromkeys((item.colour, item.shape) for item in picture.objects)
    absent = [name for name in candidates if name not in present]
    choices = [
        (there, away)
        for popular in groups
        if (there := [name for name in present if is_popular(*name) is popular])
        and (away := [name for name in absent if is_popular(*name) is popular])
    ]
    if not choices:
        return None
    there, away = draws.pick(choices)
    is_there = draws.coin()
    colour, shape = draws.pick(there if is_there else away)
    things = tuple(
        number
        for number, item in enumerate(picture.objects)
        if (item.colour, item.shape) == (colour, shape)
    )
    text = f"Is there {with_article(f'{colour} {shape}')} in the image?"
    answer = "yes" if is_there else "no"
    return WorldQuestion(kind, text, answer, (), things, "Is there a {object} in the image?")
