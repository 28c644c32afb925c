"""What is asked about a picture of the world, and the words in which objects are named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import NamedTuple

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.scenes import SceneObject
from regiontok.miniworld.words import POPULAR
from regiontok.miniworld.world import WorldPicture


class WorldQuestion(NamedTuple):
    """A question about a picture.

    Attributes:
        kind: name of its kind.
        text: the question, without options.
        answer: the right answer; where there are options, the text of the right one.
        options: the options, in the order of their letters; none for a short answer.
        things: which of the picture's masks it is about.
        template: the question without the names of what it is about: what a blind model that
            knows how questions are made can tell apart.
    """

    kind: str
    text: str
    answer: str
    options: tuple[str, ...]
    things: tuple[int, ...]
    template: str

    @property
    def letter(self) -> str:
        """The letter of the right option.

        Raises:
            ValueError: If there are no options.
        """
        return ascii_uppercase[self.options.index(self.answer)]

    @property
    def gold(self) -> str:
        """The reply that is expected: a letter, or the answer."""
        return self.letter if self.options else self.answer


Pair = tuple[int, int]
APART = 0.12  # of a picture's side: objects whose centres are closer are not asked for their places

Ask = Callable[[WorldPicture, Draws], WorldQuestion | None]


@dataclass(frozen=True)
class Kind:
    """A kind of question.

    Attributes:
        name: its name.
        ask: asks it about a picture; None where the picture allows no such question.
        chance: the share of right answers of one who guesses, in percent.
        bench: the real benchmark whose form it has.
    """

    name: str
    ask: Ask
    chance: float
    bench: str


def choice(
    kind: str,
    text: str,
    right: str,
    wrong: Sequence[str],
    things: tuple[int, ...],
    draws: Draws,
    template: str = "",
) -> WorldQuestion:
    """A question with options, in an order that is drawn."""
    options = tuple(draws.shuffled([right, *wrong]))
    return WorldQuestion(kind, text, right, options, things, template or text)


def name_of(item: SceneObject) -> str:
    """An object in two words.

    >>> from regiontok.miniworld.scenes import make_scene
    >>> name_of(make_scene(3, size=64, objects=(1, 1)).objects[0])
    'cyan star'
    """
    return f"{item.colour} {item.shape}"


def with_article(noun: str) -> str:
    """A noun with its indefinite article.

    >>> with_article("orange ring"), with_article("ring")
    ('an orange ring', 'a ring')
    """
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def is_popular(colour: str, shape: str) -> bool:
    """True for the colour in which a shape is seen more often than in any other."""
    return POPULAR[shape] == colour


def unique(picture: WorldPicture, *attributes: str) -> list[int]:
    """The objects that no other of the picture is equal to in these attributes."""
    values = [tuple(getattr(item, name) for name in attributes) for item in picture.objects]
    return [number for number, value in enumerate(values) if values.count(value) == 1]


def clearly_apart(picture: WorldPicture, axis: int, numbers: Sequence[int]) -> list[Pair]:
    """Pairs (i, j) of objects of which i lies clearly above (axis 0) or left of (axis 1) j."""
    margin = APART * picture.labels.shape[axis]
    centres = [item.centre[axis] for item in picture.objects]
    return [(i, j) for i in numbers for j in numbers if centres[j] - centres[i] >= margin]


def turned(pair: Pair, draws: Draws) -> Pair:
    """A pair as it is or turned round, by a coin."""
    return pair if draws.coin() else (pair[1], pair[0])
