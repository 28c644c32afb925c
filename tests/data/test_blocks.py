"""A conversation's questions as blocks: with the beginning, each is the row of its own."""

from __future__ import annotations

import pytest

from regiontok.data.blocks import SHARED, independent_questions
from regiontok.data.collate import Collator, Example
from regiontok.data.labels import Labeller
from regiontok.data.record import Turn
from regiontok.model.mini import mini_tokenizer
from regiontok.model.splice import IGNORE
from regiontok.train.evaluate import last_answer


def talk(*pairs: tuple[str, str]) -> list[Turn]:
    return [
        Turn(role, text)
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


TURNS = talk(("<image>\nIs it red?", "yes"), ("Is it blue?", "no"), ("How many?", "2"))


@pytest.mark.parametrize("template", ["", "vicuna_v1"])
def test_a_block_behind_the_beginning_is_the_question_alone(template):
    labeller = Labeller(mini_tokenizer(), template, independent=True)
    alone = Labeller(mini_tokenizer(), template)
    ids, labels, blocks = labeller.row(TURNS)
    assert len(ids) == len(labels) == len(blocks)
    for number, question in enumerate(independent_questions(TURNS)):
        seen = [place for place, block in enumerate(blocks) if block in (SHARED, number)]
        row = [ids[place] for place in seen], [labels[place] for place in seen]
        assert row == alone(question)
    beginning = labeller.tokenizer.decode(
        [one for one, block in zip(ids, blocks, strict=True) if block == SHARED]
    )
    assert beginning.endswith("<image>\n")  # "I" and "H" differ
    assert labeller(TURNS) == (ids, labels)
    assert len(ids) < sum(len(alone(question)[0]) for question in independent_questions(TURNS))


def test_an_answer_is_never_predicted_from_the_beginning():
    """Equal questions have much in common, but each keeps an id before its answer."""
    turns = talk(("<image>\nWhich?", "a"), ("Which?", "b"))
    _, labels, blocks = Labeller(mini_tokenizer(), independent=True).row(turns)
    for number in (0, 1):
        first = blocks.index(number)
        assert labels[first] == IGNORE
        assert labels[first + 1] != IGNORE


@pytest.mark.parametrize(
    "turns",
    [
        talk(("<image>\nIs it red?", "yes")),
        talk(("Hello", "hi"), ("<image>\nRed?", "yes")),
        talk(("What is <image>?", "a"), ("Red?", "yes")),
        [*talk(("<image>\nA?", "a"), ("B?", "b")), Turn("user", "C?")],
    ],
)
def test_other_conversations_stay_whole(turns):
    assert independent_questions(turns) == [turns]


def test_system_turns_stand_before_each_question():
    system = Turn("system", "Be brief.")
    rows = independent_questions([system, *TURNS])
    assert [row[0] for row in rows] == [system] * 3
    assert rows[2][1].text == "<image>\nHow many?"


def test_a_batch_of_rows_with_and_without_blocks():
    with_blocks = Example([1, 9, 5, 6, 7], [IGNORE] * 4 + [7], (), blocks=(-1, -1, 0, 1, 1))
    plain = Example([1, 5], [IGNORE, 5])
    batch = Collator(placeholder=99)([with_blocks, plain])
    assert batch["blocks"].tolist() == [[-1, -1, 0, 1, 1], [-1] * 5]
    assert batch["segments"].tolist() == [[0] * 5, [0, 0, -1, -1, -1]]
    assert "blocks" not in Collator(placeholder=99)([plain])
    with pytest.raises(ValueError, match="an example has 2 ids and 1 blocks"):
        Collator(placeholder=99)([Example([1, 5], [IGNORE, 5], blocks=(0,))])


def test_the_last_answer_is_asked_for_without_the_other_questions():
    example = Example(
        [1, 2, 3, 4, 5, 6], [IGNORE, IGNORE, 3, IGNORE, IGNORE, 6], blocks=(-1, 0, 0, 1, 1, 1)
    )
    assert last_answer(example) == ([1, 4, 5], [6])
