"""Which caption is right: attributes exchanged, objects and relations replaced, words reordered.

After: Yuksekgonul et al., When and Why Vision-Language Models Behave Like Bags-of-Words, ICLR 2023
(ARO); Huang et al., ConMe, NeurIPS 2024.
Differs: all captions of a question are good sentences, and wrong ones of the same words where they
are reordered, so that a language model alone has nothing to go by. An object that is often seen in
its colour is in none of them.
"""

from __future__ import annotations

from itertools import product

from regiontok.miniworld.draws import Draws
from regiontok.miniworld.kinds.asked import (
    Pair,
    WorldQuestion,
    choice,
    clearly_apart,
    is_popular,
    name_of,
    turned,
    unique,
    with_article,
)
from regiontok.miniworld.scenes import SceneObject
from regiontok.miniworld.words import SHAPES
from regiontok.miniworld.world import WorldPicture

ASKED = "Which caption describes the image?"
PLACES = (("above", "below"), ("to the left of", "to the right of"))
WRONG_ORDERS = 4  # as ARO has them
Described = tuple[str, str, str]  # size, colour, shape


def ask_attribute_swap(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """Two objects are named with their own colours, or each with the other's."""
    feasible = _exchangeable(picture)
    if not feasible:
        return None
    i, j = turned(draws.pick(feasible), draws)
    first, second = picture.objects[i], picture.objects[j]
    right = _both(name_of(first), name_of(second))
    wrong = _both(f"{second.colour} {first.shape}", f"{first.colour} {second.shape}")
    return choice("attribute_swap", ASKED, right, [wrong], (i, j), draws)


def ask_object_swap(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """One of two objects is named by its shape, or by another one that is not there."""
    names = _ordinary(picture)
    present = {(item.colour, item.shape) for item in picture.objects}
    shape_of = [item.shape for item in picture.objects]
    # Equal shapes are commoner than by chance, as some pictures are planned around a shape: in no
    # caption are they equal.
    feasible = [(i, j) for i in names for j in names if shape_of[i] != shape_of[j]]
    if not feasible:
        return None
    i, j = draws.pick(feasible)
    first, second = picture.objects[i], picture.objects[j]
    shapes = [
        shape
        for shape in SHAPES
        if shape != first.shape
        and (second.colour, shape) not in present
        and not is_popular(second.colour, shape)
    ]
    replaced = f"{second.colour} {draws.pick(shapes)}"
    captions = [
        _both(*((name_of(first), name) if i < j else (name, name_of(first))))
        for name in (name_of(second), replaced)
    ]
    return choice("object_swap", ASKED, captions[0], captions[1:], (i, j), draws)


def ask_relation_swap(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """An object is beside another as it is, or the other way round."""
    axis = draws.index(2)
    feasible = clearly_apart(picture, axis, unique(picture, "colour", "shape"))
    if not feasible:
        return None
    pair = draws.pick(feasible)
    asked = turned(pair, draws)
    first, second = (with_article(name_of(picture.objects[number])) for number in asked)
    before, behind = PLACES[axis]
    right, wrong = (before, behind) if asked == pair else (behind, before)
    captions = [f"{first} {place} {second}" for place in (right, wrong)]
    return choice("relation_swap", ASKED, captions[0], captions[1:], asked, draws)


def ask_word_order(picture: WorldPicture, draws: Draws) -> WorldQuestion | None:
    """Sizes, colours and shapes of two objects are said of the right one, or exchanged."""
    beside = set(clearly_apart(picture, 1, range(len(picture.objects))))
    feasible = [
        pair
        for pair in _exchangeable(picture)
        if pair in beside and picture.objects[pair[0]].size != picture.objects[pair[1]].size
    ]
    if not feasible:
        return None
    left, right = draws.pick(feasible)
    first, second = (_described(picture.objects[number]) for number in (left, right))
    wrong = [
        caption
        for exchanged in product((False, True), repeat=3)
        if any(exchanged) and not _is_true(picture, caption := _exchange(first, second, exchanged))
    ]
    if len(wrong) < WRONG_ORDERS:
        return None
    captions = [_beside(first, second)]
    captions += [_beside(*caption) for caption in draws.shuffled(wrong)[:WRONG_ORDERS]]
    return choice("word_order", ASKED, captions[0], captions[1:], (left, right), draws)


def _ordinary(picture: WorldPicture) -> list[int]:
    """Objects of a colour that their shape has as seldom as others, whose name is no other's."""
    return [
        number
        for number in unique(picture, "colour", "shape")
        if not is_popular(picture.objects[number].colour, picture.objects[number].shape)
    ]


def _exchangeable(picture: WorldPicture) -> list[Pair]:
    """Ordered pairs of objects whose colours exchanged would name two that are not there."""
    present = {(item.colour, item.shape) for item in picture.objects}
    names = _ordinary(picture)
    return [
        (i, j)
        for i in names
        for j in names
        if i != j and _can_exchange(picture.objects[i], picture.objects[j], present)
    ]


def _can_exchange(a: SceneObject, b: SceneObject, present: set[tuple[str, str]]) -> bool:
    crossed = ((b.colour, a.shape), (a.colour, b.shape))
    return (
        a.colour != b.colour
        and a.shape != b.shape
        and not any(name in present or is_popular(*name) for name in crossed)
    )


def _both(first: str, second: str) -> str:
    return f"{with_article(first)} and {with_article(second)}"


def _described(item: SceneObject) -> Described:
    return item.size, item.colour, item.shape


def _exchange(
    first: Described, second: Described, exchanged: tuple[bool, ...]
) -> tuple[Described, Described]:
    """Two descriptions in which some words have changed places."""
    chosen = [
        (b, a) if swap else (a, b) for a, b, swap in zip(first, second, exchanged, strict=True)
    ]
    (size, other_size), (colour, other_colour), (shape, other_shape) = chosen
    return (size, colour, shape), (other_size, other_colour, other_shape)


def _is_true(picture: WorldPicture, caption: tuple[Described, Described]) -> bool:
    """True if the picture holds two objects, however little one is left of the other."""
    left, right = (
        [item.centre[1] for item in picture.objects if _described(item) == words]
        for words in caption
    )
    return bool(left and right) and min(left) < max(right)


def _beside(first: Described, second: Described) -> str:
    return f"{with_article(' '.join(first))} to the left of {with_article(' '.join(second))}"
