"""Records of the world are made when they are asked for, and hold what the world holds."""

from __future__ import annotations

import pytest

from regiontok.data.records import open_picture, read
from regiontok.data.world import WorldRecords
from regiontok.miniworld.kinds.catalogue import questions_of
from regiontok.miniworld.world import World
from regiontok.settings.recipe import Data


def test_a_source_gives_the_questions_and_pictures_of_the_world():
    world = World("val", size=128)
    records = read([Data(records="world(3, start=5, split='val', size=128, captions=False)")])
    assert len(records) == 3
    record = records[2]
    assert [turn.text for turn in record.turns[1::2]] == [
        question.gold for question in questions_of(world, 7)
    ]
    assert (open_picture(record.images[0]).pixels == world[7].pixels).all()
    assert read([Data(records="world(3)")]).digest != records.digest


def test_a_picture_without_such_a_question_is_described():
    records = WorldRecords(12, size=128, kinds="count_all", captions=False)
    asked = {record["conversations"][0]["value"] for record in records}
    assert len(asked) == 2
    assert "<image>\nDescribe the image." in asked


def test_further_rounds_ask_what_was_not_asked():
    once, thrice = (
        WorldRecords(6, size=128, captions=False, rounds=rounds)[4]["conversations"]
        for rounds in (1, 3)
    )
    assert thrice[: len(once)] == once
    assert len(thrice) > 1.5 * len(once)
    questions = [turn["value"] for turn in thrice[::2]]
    # one question may be of two kinds: "random" may draw what "popular" draws
    assert len(set(questions)) > 0.85 * len(questions)


def test_without_pictures_the_answer_stands_in_the_question():
    records = read(
        [
            Data(
                records="world(40, size=128, kinds='named_choice', captions=False, rounds=6, "
                "shown=False)"
            )
        ]
    )
    for record in map(records.__getitem__, range(len(records))):
        assert record.images == ()
        for question, answer in zip(record.turns[::2], record.turns[1::2], strict=True):
            head, *options = question.text.split("\n")[:3]
            right = options["AB".index(answer.text)].split(". ")[1]
            assert right in head


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("world(3, shown=False)", "without pictures nothing can be described"),
        ("world(3, kinds='count', captions=False, shown=False)", "kinds='named_choice'"),
        ("world(3, kinds='color')", r"not 'color' \(did you mean 'colour'"),
        ("world(5001, split='val')", "expected 1 to 5000 records of the split val"),
        ("world(3, splitt='val')", "splitt"),
        ("world(3, rounds=0)", "at least one round of questions is asked, not 0"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read([Data(records=text)])
