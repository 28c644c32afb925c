"""Answers cannot be guessed; and a prior that can be guessed is found."""

from __future__ import annotations

import math

import pytest

from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.kinds.catalogue import KINDS, questions_of
from regiontok.miniworld.kinds.twins import twins_of
from regiontok.miniworld.priors import priors
from regiontok.miniworld.world import World


def question(text: str, answer: str, options: tuple[str, ...] = ()) -> WorldQuestion:
    return WorldQuestion("larger", text, answer, options, (), "Which?")


def test_the_commonest_answer_to_a_question_is_guessed() -> None:
    asked = [
        (number, question(f"{number // 2 % 2}?", "01"[number // 2 % 2])) for number in range(80)
    ]
    (prior,) = priors(asked)
    assert (prior.questions, prior.chance, prior.blind, prior.guesser) == (80, 50.0, 100.0, "text")


def test_an_option_that_is_always_right_is_guessed() -> None:
    options = [("red", "blue"), ("blue", "red")]
    asked = [(number, question("Which?", "red", options[number // 2 % 2])) for number in range(80)]
    (prior,) = priors(asked)
    assert (prior.blind, prior.guesser) == (100.0, "option")


def test_what_is_learnt_is_scored_on_other_pictures() -> None:
    """Forty questions that are asked once each cannot be guessed from one another."""
    asked = [(number, question(f"{number}?", f"{number}")) for number in range(40)]
    assert priors(asked)[0].blind == 0.0


@pytest.mark.slow
def test_a_blind_model_is_within_two_points_of_chance_on_every_kind() -> None:
    world = World("train", size=128)
    asked = [(index, one) for index in range(10_000) for one in questions_of(world, index)]
    twins = [(index, twins_of(world, index)) for index in range(1_000)]
    asked += [(index, one) for index, pair in twins if pair for one in pair.questions]
    table = priors(asked)
    assert {prior.kind for prior in table} == {*KINDS, "near_twins"}
    for prior in table:
        share = prior.chance / 100
        noise = 100 * math.sqrt(share * (1 - share) / prior.questions)
        assert prior.blind < prior.chance + 2 + 2 * noise, prior  # of twenty kinds one has 2 noises
