"""What answers took, by resolution."""

from __future__ import annotations

import math

from regiontok.evaluation.answers import Answer
from regiontok.evaluation.cost import Cost
from regiontok.evaluation.question import Question


def answer(tokens, *views, seconds=0.5):
    question = Question("1", "Is there a dog?", ("yes",))
    return Answer(question, "yes", visual_tokens=(tokens,), resolutions=(views,), seconds=seconds)


def test_each_of_a_few_resolutions_stands_by_itself_the_lowest_first():
    cost = Cost.of(
        [
            answer(49, (392, 392), seconds=2.0),
            answer(4, (112, 112)),
            answer(6, (112, 112)),
            answer(20, (112, 112), (224, 112)),
        ]
    )
    assert [counts.resolution for counts in cost.by_resolution] == [
        "112 x 112",
        "112 x 112 + 224 x 112",
        "392 x 392",
    ]
    assert cost.by_resolution[0].quantiles == (4, 4.5, 5, 5.5, 6)
    assert [counts.pictures for counts in cost.by_resolution] == [2, 1, 1]
    assert (cost.resolution, cost.tokens) == ("112 x 112 to 392 x 392", 19.75)
    assert cost.seconds == 0.875


def test_many_resolutions_are_classes_of_as_many_pictures():
    sides = [28 * number for number in range(1, 13)]
    cost = Cost.of([answer(number, (side, 28)) for number, side in enumerate(sides, 1)])
    assert [counts.pictures for counts in cost.by_resolution] == [3, 3, 3, 3]
    assert cost.by_resolution[1].resolution == "112 x 28 to 168 x 28"
    assert [counts.tokens for counts in cost.by_resolution] == [2, 5, 8, 11]
    uneven = Cost.of([*[answer(1, (28, 28))] * 100, *[answer(2, (side, 56)) for side in sides]])
    assert [counts.pictures for counts in uneven.by_resolution] == [100, 12]


def test_answers_of_which_no_resolution_was_noted():
    question = Question("1", "Is there a dog?", ("yes",))
    cost = Cost.of([Answer(question, "yes", visual_tokens=(3, 5))])
    assert (cost.resolution, cost.tokens, len(cost.by_resolution)) == ("", 4, 1)
    nothing = Cost.of([])
    assert math.isnan(nothing.tokens)
    assert math.isnan(nothing.seconds)
    assert (nothing.quantiles, nothing.by_resolution, nothing.all.spread) == ((), (), "")
