"""What is written? Words, and digits or letters that mean nothing.

After: the text recognition tasks of OCRBench (Liu et al. 2024, arXiv:2305.07895).
Differs: texts are printed by the generator, in seven fonts.
"""

from __future__ import annotations

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.lettering import Plate
from regiontok.miniworld.world import WorldPicture

APART = 0.12  # of a picture's side: two signs whose corners are closer are not told apart


def ask_word(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """The word on a sign."""
    return _ask("reading", picture, draws, ("word",))


def ask_code(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """The digits or letters on a sign, which are drawn one by one."""
    return _ask("reading_code", picture, draws, ("digits", "letters"))


def _ask(
    kind: str, picture: WorldPicture, draws: Draws, kinds: tuple[str, ...]
) -> WorldQuestion | None:
    numbers = [number for number, plate in enumerate(picture.texts) if plate.kind in kinds]
    if not numbers:
        return None
    number = draws.pick(numbers)
    plate = picture.texts[number]
    text = "What is written in the image?"
    if len(picture.texts) > 1:
        place = _place(plate, picture.texts[1 - number], picture.labels.shape)
        if not place:
            return None
        text = f"What is written on the {place} sign in the image?"
    things = (len(picture.objects) + number,)
    return WorldQuestion(kind, text, plate.text, (), things, text)


def _place(plate: Plate, other: Plate, size: tuple[int, ...]) -> str:
    """The word by which a sign is told from another; "" if none fits."""
    for axis, words in ((1, ("left", "right")), (0, ("upper", "lower"))):
        middles = [sign.corner[axis] + sign.size[axis] / 2 for sign in (plate, other)]
        if abs(middles[0] - middles[1]) >= APART * size[axis]:
            return words[middles[0] > middles[1]]
    return ""
