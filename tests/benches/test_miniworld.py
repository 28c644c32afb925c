"""The bench of the generated world: its questions without files, and what guessing is worth."""

from __future__ import annotations

import pytest

from regiontok.evaluation.loading import load_questions
from regiontok.evaluation.scoring import score_replies
from regiontok.evaluation.tables import BenchDataError
from regiontok.settings import registry


def test_a_guesser_and_chance_stand_beside_a_perfect_score():
    bench = registry.build("bench", "miniworld(40, split='val', size=128)")
    questions = load_questions(bench, None).questions
    replies = [question.answer for question in questions]
    score = score_replies(bench, questions, replies, resamples=0)
    assert score.values["miniworld"].value == 100
    chance, guesser = (score.baselines[name] for name in ("chance", "guesser"))
    assert chance["miniworld_left_right"] == chance["miniworld_near_twins"] == 50
    assert chance["miniworld_colour"] == 12.5
    assert set(guesser) == set(chance) == set(score.values) - {"miniworld_near_twins_pairs"}
    assert 20 < guesser["miniworld"] < 60
    assert score.report()["baselines"]["chance"] == chance


def test_a_limit_makes_no_more_than_is_asked():
    bench = registry.build("bench", "miniworld(5000, size=128)")
    loaded = load_questions(bench, None, limit=30)
    assert 30 <= len(loaded.questions) < 60  # a picture's questions stay together


def test_some_kinds_alone_and_their_mean():
    bench = registry.build("bench", "miniworld(3, size=128, kinds='colour, material')")
    questions = load_questions(bench, None).questions
    assert {question.groups["kind"] for question in questions} == {"colour", "material"}
    score = score_replies(bench, questions, [""] * len(questions), resamples=0)
    assert set(score.values) == {"miniworld", "miniworld_colour", "miniworld_material"}
    with pytest.raises(ValueError, match="did you mean 'colour'"):
        registry.build("bench", "miniworld(kinds='color')")


@pytest.mark.parametrize("n", [0, 5001])
def test_the_split_has_not_so_many_pictures(n):
    with pytest.raises(ValueError, match=f"1 to 5000 pictures of the split test, not {n}"):
        registry.build("bench", f"miniworld({n})")


def test_other_benches_have_files():
    with pytest.raises(BenchDataError, match=r"pope has published files .*--data"):
        load_questions(registry.build("bench", "pope"), None)
