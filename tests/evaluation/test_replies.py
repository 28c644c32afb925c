"""What replies say: letters and yes or no in the forms in which models write them."""

from __future__ import annotations

import numpy as np
import pytest

from regiontok.evaluation.replies import letter_of, yes_or_no
from regiontok.evaluation.words import anls, edit_distance, normalised, vqa_accuracy

OPTIONS = ("hot dog", "dog", "two cats", "none of these")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        (" **B** ", "B"),
        ("[B]\n", "B"),
        ("`B`", "B"),
        ("B. dog", "B"),
        ("B) dog", "B"),
        ("B.the dog sits", "B"),
        ("**B**. Because A is wrong", "B"),
        ("The answer is B.", "B"),
        ("Answer: B", "B"),
        ("The correct answer is **(B)**, since", "B"),
        ("Option D", "D"),
        ("I think (C) fits", "C"),
        ("It is a hot dog.", "A"),
        ("dog", "B"),
        ("A and B", ""),
        ("(A) or (B)", ""),
        ("", ""),
        ("E", ""),
        ("A suitcase on a bed", ""),
        ("I cannot say", ""),
        ("Zwei Hunde", ""),
    ],
)
def test_letters(reply, letter):
    assert letter_of(reply, OPTIONS) == letter


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ("Yes", "yes"),
        ("NO", "no"),
        ("no!", "no"),
        ("**Yes**, there is.", "yes"),
        ("There is not a dog.", "no"),
        ("Yes. No.", "yes"),
        ("Ja, ein Hund", "yes"),
        ("Non", "no"),
        ("是的", "yes"),
        ("yes and no", "yes"),
        ("None", ""),
        ("perhaps", ""),
        ("   ", ""),
    ],
)
def test_yes_and_no(reply, word):
    assert yes_or_no(reply) == word


def test_anls_takes_the_nearest_answer_and_nothing_below_a_half():
    assert anls("3 may 1999", ["May 3, 1999", "3 May 1999"]) == 1
    assert anls("3 may 1998", ["3 May 1999"]) == pytest.approx(0.9)
    assert anls("I do not know at all", ["3 May 1999"]) == 0


def test_edit_distance_is_that_of_the_plain_table():
    def plain(first, second):
        row = list(range(len(second) + 1))
        for i, letter in enumerate(first, start=1):
            previous, row[0] = row[0], i
            for j, other in enumerate(second, start=1):
                change = previous + (letter != other)
                previous, row[j] = row[j], min(change, row[j] + 1, row[j - 1] + 1)
        return row[-1]

    random = np.random.default_rng(0)
    for _ in range(300):
        first, second = ("".join(random.choice(list("abc"), random.integers(0, 80))) for _ in "ab")
        assert edit_distance(first, second) == plain(first, second)


def test_vqas_normalisation():
    assert normalised("The couldntve, a 1,000 dogs") == "couldn't've 1000 dogs"
    assert normalised("it's 3.5 m.") == "it 's 3.5 m"
    answers = ["stop"] * 2 + ["go"] * 8
    assert vqa_accuracy("Stop!", answers) == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert vqa_accuracy("go", answers) == 1
