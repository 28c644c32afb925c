"""Referring expressions: words that fit exactly one object of a generated picture.

After: the referring expressions of RefCOCO (Kazemzadeh et al., ReferItGame, EMNLP 2014; Yu et al.,
ECCV 2016) in the words of CLEVR-Ref+ (Liu et al., CVPR 2019): names, attributes, places, relations.
Differs: generated, and unambiguous by a margin: an expression is valid only if one object fits it
and every other one clearly does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.kinds.asked import APART
from regiontok.miniworld.scenes import SceneObject
from regiontok.miniworld.words import COLOURS, SHAPES, SIZES, TEXTURES
from regiontok.miniworld.world import World, WorldPicture

KINDS = ("name", "attributes", "place", "relation")
# words of a relation or a place -> its axis of (y, x), and the sign of the way that it points
RELATIONS = {"left of": (1, -1), "right of": (1, 1), "above": (0, -1), "below": (0, 1)}
PLACES = {"leftmost": (1, -1), "rightmost": (1, 1), "topmost": (0, -1), "lowest": (0, 1)}
_ORDER = ("size", "texture", "colour", "shape")  # of the words in an expression
_NAMES = (("colour", "shape"), ("shape",), ("colour",))
_ATTRIBUTES = (
    ("size", "shape"),
    ("texture", "shape"),
    ("size", "colour", "shape"),
    ("texture", "colour", "shape"),
)
_MOST_DRAWS = 64  # numbers for the expressions of one picture
# all words of all expressions, in a fixed order
VOCABULARY = (
    *("the", "object", "of", "left", "right", "above", "below"),
    *PLACES,
    *SIZES,
    *TEXTURES,
    *COLOURS,
    *SHAPES,
)


class Expression(NamedTuple):
    """Words that fit one object of a picture.

    Attributes:
        text: the words.
        thing: number of the object.
        kind: a name of `KINDS`: "name" has colour and shape or one of them, "attributes" size or
            texture too; "place" and "relation" tell objects apart that their words alone do not.
    """

    text: str
    thing: int
    kind: str


@dataclass(frozen=True)
class Description:
    """What an expression says of its object.

    Attributes:
        words: (attribute, word) pairs that hold of the object.
        place: a word of `PLACES`, by which the object is the first of those with the words; "" for
            no such word.
        relation: words of `RELATIONS`, by which the object lies to the `anchor`; "" for none.
        anchor: number of the object that the relation is to.
    """

    words: tuple[tuple[str, str], ...]
    place: str = ""
    relation: str = ""
    anchor: int = -1

    def fits(self, picture: WorldPicture) -> list[bool | None]:
        """For each object, whether the description holds of it; None where that is not clear."""
        named = [
            all(getattr(item, name) == word for name, word in self.words)
            for item in picture.objects
        ]
        if self.place:
            return _at_place(picture, named, self.place)
        if self.relation:
            return _in_relation(picture, named, self.relation, self.anchor)
        return list(named)

    def text(self, picture: WorldPicture) -> str:
        """The description in words."""
        noun = _noun(self.words)
        if self.relation:
            item = picture.objects[self.anchor]
            return f"the {noun} {self.relation} the {item.colour} {item.shape}"
        return f"the {self.place} {noun}" if self.place else f"the {noun}"


def expressions_of(world: World, index: int, picture: WorldPicture, count: int) -> list[Expression]:
    """Some valid expressions about a picture, no two with the same words.

    Kinds that a picture allows are drawn equally often, and within a kind every valid expression.

    Args:
        world: the world.
        index: number of the picture.
        picture: that picture.
        count: expressions at most, up to 32; a picture may allow fewer.

    Raises:
        ValueError: If more are asked for.

    >>> world = World("test", size=128)
    >>> [expression.text for expression in expressions_of(world, 1, world[1], 2)]
    ['the leftmost object', 'the purple object above the purple ring']
    """
    if not 1 <= count <= _MOST_DRAWS // 2:
        raise ValueError(f"expected 1 to {_MOST_DRAWS // 2} expressions a picture, got {count}")
    draws = Draws(world.random(index, "expressions").random(_MOST_DRAWS))
    by_kind = {
        kind: list(group)
        for kind, group in groupby(valid_expressions(picture), key=lambda one: one.kind)
    }
    chosen: list[Expression] = []
    while by_kind and len(chosen) < count:
        kind = draws.pick(list(by_kind))
        chosen.append(by_kind[kind].pop(draws.index(len(by_kind[kind]))))
        if not by_kind[kind]:
            del by_kind[kind]
    return chosen


def valid_expressions(picture: WorldPicture) -> list[Expression]:
    """All expressions that fit exactly one object of a picture, kind by kind."""
    described = ((kind, one, one.fits(picture)) for kind, one in _candidates(picture))
    found = {
        one.text(picture): (fits.index(True), kind)
        for kind, one, fits in described
        if fits.count(True) == 1 and None not in fits
    }
    return [Expression(text, thing, kind) for text, (thing, kind) in found.items()]


def _candidates(picture: WorldPicture) -> Iterator[tuple[str, Description]]:
    """All descriptions whose words hold of some object, kind by kind."""
    for forms, kind in ((_NAMES, "name"), (_ATTRIBUTES, "attributes")):
        for words in _worded(picture, forms):
            yield kind, Description(words)
    shared = [words for words in _worded(picture, (*_NAMES, ())) if _shared(picture, words)]
    for words in shared:
        for place in PLACES:
            yield "place", Description(words, place=place)
    anchors = [
        number
        for number in range(len(picture.objects))
        if not _shared(picture, _words(picture.objects[number], ("colour", "shape")))
    ]
    for words in shared:
        for relation in RELATIONS:
            for anchor in anchors:
                yield "relation", Description(words, relation=relation, anchor=anchor)


def _worded(
    picture: WorldPicture, forms: Sequence[tuple[str, ...]]
) -> list[tuple[tuple[str, str], ...]]:
    """The words of every object in some forms, each once."""
    return list(dict.fromkeys(_words(item, form) for form in forms for item in picture.objects))


def _words(item: SceneObject, form: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, getattr(item, name)) for name in form)


def _shared(picture: WorldPicture, words: tuple[tuple[str, str], ...]) -> bool:
    """True if several objects have these words."""
    return Description(words).fits(picture).count(True) > 1


def _noun(words: tuple[tuple[str, str], ...]) -> str:
    by_name = {"shape": "object", **dict(words)}
    return " ".join(by_name[name] for name in _ORDER if name in by_name)


def _at_place(picture: WorldPicture, named: Sequence[bool], place: str) -> list[bool | None]:
    axis, sign = PLACES[place]
    margin = APART * picture.labels.shape[axis]
    ahead = [sign * item.centre[axis] for item in picture.objects]
    first = max(far for far, is_named in zip(ahead, named, strict=True) if is_named)
    fits: list[bool | None] = []
    for far, is_named in zip(ahead, named, strict=True):
        near_first = is_named and 0 < first - far < margin
        fits.append(None if near_first else is_named and far == first)
    return fits


def _in_relation(
    picture: WorldPicture, named: Sequence[bool], relation: str, anchor: int
) -> list[bool | None]:
    axis, sign = RELATIONS[relation]
    margin = APART * picture.labels.shape[axis]
    from_ = picture.objects[anchor].centre[axis]
    fits: list[bool | None] = []
    for number, (item, is_named) in enumerate(zip(picture.objects, named, strict=True)):
        far = sign * (item.centre[axis] - from_)
        if not is_named or number == anchor:
            fits.append(False)
        else:
            fits.append(None if abs(far) < margin else far > 0)
    return fits
