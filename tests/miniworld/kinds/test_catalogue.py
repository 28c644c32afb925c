"""Every question has one right answer, by facts that are read off the picture independently."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.kinds.catalogue import EVERY_KIND, KINDS, questions_of
from regiontok.miniworld.words import COLOURS, SHAPES, SIZES
from regiontok.miniworld.world import World, WorldPicture

NAMED = re.compile(rf"(?:({'|'.join(SIZES)}) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")
WORLD = World("val", size=128)


@pytest.fixture(scope="module")
def asked() -> list[tuple[WorldPicture, WorldQuestion]]:
    pictures = list(WORLD.pictures(range(60)))
    return [
        (picture, question)
        for index, picture in enumerate(pictures)
        for question in questions_of(WORLD, index, picture)
    ]


def of_kind(asked, *kinds: str) -> list[tuple[WorldPicture, WorldQuestion]]:
    chosen = [(picture, question) for picture, question in asked if question.kind in kinds]
    assert chosen
    return chosen


def named(picture: WorldPicture, text: str) -> list[list[int]]:
    """For each name in a text, the objects that it is the name of."""
    return [
        [
            number
            for number, item in enumerate(picture.objects)
            if (item.colour, item.shape) == (colour, shape) and size in ("", item.size)
        ]
        for size, colour, shape in NAMED.findall(text)
    ]


def is_true(picture: WorldPicture, caption: str) -> bool:
    """Whether some two objects of a picture are what a caption says."""
    first, second = named(picture, caption)
    for i in first:
        for j in second:
            if i == j:
                continue
            (y, x), (other_y, other_x) = picture.objects[i].centre, picture.objects[j].centre
            holds = {
                " left of ": x < other_x,
                " right of ": x > other_x,
                " above ": y < other_y,
                " below ": y > other_y,
                " and ": True,
            }
            if next(value for words, value in holds.items() if words in caption):
                return True
    return False


def test_columns_and_rows_are_asked_where_they_are_named(asked) -> None:
    with_options = {"colour_choice", "shape_choice", "named_choice"}
    assert set(EVERY_KIND) - set(KINDS) == {"column", "row", *with_options}
    seen = Counter()
    for index in range(60):
        picture = WORLD[index]
        for question in questions_of(WORLD, index, picture, ["column", "row"]):
            (thing,) = question.things
            axis = ("row", "column").index(question.kind)
            inside = picture.masks[thing].any(1 - axis).nonzero()[0]
            low, high = (8 * edge / 128 for edge in (inside[0], inside[-1] + 1))
            assert low - 1 < "01234567abcdefgh".index(question.answer) % 8 < high  # or it is hidden
            seen[question.kind, question.answer] += 1
    assert len(seen) > 12


def test_questions_for_training_agree_with_those_of_benchmarks() -> None:
    choices = ["colour_choice", "shape_choice", "named_choice"]
    kinds = ["left_or_right", "above_or_below", *choices]
    seen = Counter()
    for index in range(60):
        picture = WORLD[index]
        for question in questions_of(WORLD, index, picture, kinds):
            first = picture.objects[question.things[0]]
            if question.kind in choices:
                attribute = "colour" if "What colour" in question.text else "shape"
                assert question.answer == getattr(first, attribute)
                seen_there = {getattr(item, attribute) for item in picture.objects}
                assert set(question.options) <= seen_there
                assert len(set(question.options)) == 2
                assert (question.answer in question.text) == (question.kind == "named_choice")
            else:
                second = picture.objects[question.things[1]]
                axis = ("above_or_below", "left_or_right").index(question.kind)
                is_before = first.centre[axis] < second.centre[axis]
                assert (question.answer in ("left", "above")) == is_before
                assert not question.options
            seen[question.kind, question.gold] += 1
    assert {gold for _, gold in seen} == {"left", "right", "above", "below", "A", "B"}


def test_every_kind_is_asked_and_about_what_is_there(asked) -> None:
    assert {question.kind for _, question in asked} == set(KINDS)
    for picture, question in asked:
        assert all(0 <= thing < len(picture.masks) for thing in question.things)
        assert question.answer in (question.options or (question.answer,))
        assert len(set(question.options)) == len(question.options)
        assert "{" not in question.text


def test_presence(asked) -> None:
    answers = Counter()
    kinds = ("presence_random", "presence_popular", "presence_adversarial")
    for picture, question in of_kind(asked, *kinds):
        ((numbers),) = named(picture, question.text)
        assert (question.answer == "yes") is bool(numbers)
        assert question.things == tuple(numbers)
        answers[question.kind, question.answer] += 1
        if question.kind == "presence_adversarial":
            _, colour, shape = NAMED.findall(question.text)[0]
            assert colour in {item.colour for item in picture.objects}
            assert shape in {item.shape for item in picture.objects}
    assert len(answers) == 6


def test_counting(asked) -> None:
    for picture, question in of_kind(asked, "count", "count_all"):
        word = question.text.split()[2]
        matching = [
            item
            for item in picture.objects
            if word in ("objects", item.colour) or word in (f"{item.shape}s", f"{item.shape}es")
        ]
        assert str(len(matching)) == question.answer == str(len(question.things))


def test_places(asked) -> None:
    for picture, question in of_kind(asked, "left_right", "above_below"):
        i, j = question.things
        assert named(picture, question.text)[:2] == [[i], [j]]
        axis, words = (
            (1, ("left", "right")) if "left" in question.options else (0, ("above", "below"))
        )
        ahead = picture.objects[j].centre[axis] - picture.objects[i].centre[axis]
        assert abs(ahead) >= 0.12 * 128
        assert question.answer == words[ahead < 0]


def test_nearer_larger_and_closer(asked) -> None:
    for picture, question in of_kind(asked, "nearer", "larger", "closer_to"):
        (right,), (wrong,) = (
            named(picture, text)[0]
            for text in (question.answer, *set(question.options) - {question.answer})
        )
        a, b = picture.objects[right], picture.objects[wrong]
        if question.kind == "nearer":
            assert a.depth < b.depth
            assert picture.hidden[wrong, right] > 0
        elif question.kind == "larger":
            assert SIZES.index(a.size) > SIZES.index(b.size)
        else:
            anchor = picture.objects[question.things[0]].centre
            way = [sum((p - q) ** 2 for p, q in zip(anchor, o.centre, strict=True)) for o in (a, b)]
            assert 2 * way[0] < way[1]


def test_attributes(asked) -> None:
    fields = {"colour": "colour", "shape": "shape", "size": "size", "material": "texture"}
    for picture, question in of_kind(asked, *fields):
        (thing,) = question.things
        assert getattr(picture.objects[thing], fields[question.kind]) == question.answer
        if question.kind in ("size", "material"):
            assert named(picture, question.text)[0] == [thing]
        else:
            words = question.text.replace("?", "").split()
            same = [item for item in picture.objects if {item.colour, item.shape} & set(words)]
            assert same == [picture.objects[thing]]


def test_one_caption_is_true(asked) -> None:
    kinds = ("attribute_swap", "object_swap", "relation_swap", "word_order")
    for picture, question in of_kind(asked, *kinds):
        assert [option for option in question.options if is_true(picture, option)] == [
            question.answer
        ]
        if question.kind in ("attribute_swap", "word_order"):
            words = {tuple(sorted(re.sub(r"\ban\b", "a", o).split())) for o in question.options}
            assert len(words) == 1  # the same words in another order


def test_reading(asked) -> None:
    for picture, question in of_kind(asked, "reading", "reading_code"):
        plate = picture.texts[question.things[0] - len(picture.objects)]
        assert plate.text == question.answer
        assert (plate.text.isalpha() and plate.text.islower()) or question.kind == "reading_code"
        if len(picture.texts) == 2:
            (other,) = (sign for sign in picture.texts if sign is not plate)
            place = question.text.split()[-5]
            axis, sign = {"left": (0, -1), "right": (0, 1), "upper": (1, -1), "lower": (1, 1)}[
                place
            ]
            middle = [box[axis] + box[axis + 2] for box in (plate.box, other.box)]
            assert sign * (middle[0] - middle[1]) > 0


def test_kinds_may_be_chosen_and_are_the_same_then() -> None:
    everything = questions_of(WORLD, 7)
    chosen = questions_of(WORLD, 7, kinds=["colour", "presence_random"])
    assert chosen == [one for one in everything if one.kind in ("colour", "presence_random")]
    with pytest.raises(ValueError, match=r"not 'color' .did you mean 'colour'"):
        questions_of(WORLD, 7, kinds=["color"])
