"""Questions in people's words, put as models of the generated world were trained on them."""

from __future__ import annotations

import pytest

from regiontok.conversation import PutQuestion
from regiontok.data.world import asked
from regiontok.miniworld.kinds.catalogue import EVERY_KIND, questions_of
from regiontok.miniworld.world import World
from regiontok.model.world_questions import (
    EXAMPLES,
    UnknownQuestion,
    phrasing_of,
    put_question,
)


def test_the_worlds_own_questions_are_put_as_in_training():
    world, known = World("val", size=128), set()
    for number in range(40):
        for question in questions_of(world, number, kinds=tuple(EVERY_KIND)):
            assert put_question(asked(question)).prompt == asked(question)  # a whole prompt passes
            if not question.options:
                assert put_question(question.text).prompt == asked(question)
                known.add(question.kind)
            elif question.kind in ("nearer", "larger", "closer_to"):
                put = put_question(question.text)
                assert set(put.options) == set(question.options)
                assert question.text in put.prompt
                known.add(question.kind)
    assert len(known) == 18


@pytest.mark.parametrize(
    ("typed", "prompt", "options"),
    [
        ("is there an orange star", "Is there an orange star in the image?", ()),
        ("How many are there?", "", ()),
        ("How many red objects are there?", "How many red objects are in the image?", ()),
        ("WHAT COLOR IS THE RING", "What colour is the ring?", ()),
        ("How large is the red ring?", "Is the red ring small, medium or large?", ()),
        ("What does the sign say?", "What is written in the image?", ()),
        (
            "Is the red ring to the left or to the right of a blue star?",
            "Is the red ring left or right of the blue star?",
            (),
        ),
        ("What colour is the cat?", "", ()),
        ("Is the red ring?", "", ()),
        ("", "", ()),
    ],
)
def test_other_wordings_are_understood_and_other_questions_refused(typed, prompt, options):
    if not prompt:
        with pytest.raises(UnknownQuestion, match=r"does not understand .*such as 'Is there a red"):
            put_question(typed)
        return
    put = put_question(typed)
    assert put.prompt.startswith(f"{prompt}\nAnswer ")
    assert put.options == options


def test_every_example_is_understood():
    for example in EXAMPLES:
        put_question(example)


def test_a_letter_says_its_option_and_other_models_are_asked_in_free_words():
    put = put_question("Which is larger, the red ring or the blue star?")
    assert (put.meaning(" B"), put.meaning("C"), put.meaning("")) == (" (blue star)", "", "")
    assert phrasing_of("").put("Why?") == PutQuestion("Why?")
    assert phrasing_of("world").independent
    with pytest.raises(ValueError, match="questions must be '' or 'world'"):
        phrasing_of("word")
