"""How near a free reply comes to the right answers: ANLS, relaxed accuracy and VQA accuracy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations

# words with apostrophes, which VQA's normalisation restores where a reply left one out
_APOSTROPHES = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've "
    "hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am "
    "mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't "
    "she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd "
    "someone'd've someone'll someone's something'd something'd've something'll that's there'd "
    "there'd've there're there's they'd they'd've they'll they're they've wasn't we'd've "
    "we've weren't what'll what're what's what've when's where'd where's where've who'd "
    "who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've "
    "y'all y'all'll y'all'd've you'd you'd've you'll you're you've 'twas"
).split()
_NUMBERS = {
    word: str(number)
    for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
} | {"none": "0"}
_ARTICLES = frozenset(("a", "an", "the"))
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ANY_MARK = re.compile(f"[{re.escape(_MARKS)}]")
_NUMBER_COMMA = re.compile(r"(?<=\d),+(?=\d)")
_PERIOD = re.compile(r"\.(?!\d)")


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """The fewest letters to put in, leave out or replace between two texts, or lists of words.

    After: Hyyrö, A bit-vector algorithm for computing Levenshtein and Damerau edit distances, 2003:
    one step a letter of the second text, on whole numbers with a bit a letter of the first.

    >>> edit_distance("kitten", "sitting")
    3
    """
    if not first or not second:
        return len(first) + len(second)
    places: dict[str, int] = {}
    for index, letter in enumerate(first):
        places[letter] = places.get(letter, 0) | 1 << index
    every, last = (1 << len(first)) - 1, 1 << (len(first) - 1)
    # a bit for each letter of the first text: the distance goes up there, or down
    up, down, distance = every, 0, len(first)
    for letter in second:
        equal = places.get(letter, 0)
        across = (((equal & up) + up) ^ up) | equal
        right_up = down | (every & ~(across | up))
        right_down = up & across
        distance += bool(right_up & last) - bool(right_down & last)
        right_up, right_down = (right_up << 1) | 1, right_down << 1
        vertical = equal | down
        up = (right_down | ~(vertical | right_up)) & every
        down = right_up & vertical & every
    return distance


def likeness(reply: str, answer: str, least: float = 0.5) -> float:
    """One less the edit distance over the longer text's length; 0 below `least`.

    >>> likeness("abcd", "abce"), likeness("abcd", "wxyz"), likeness("", "")
    (0.75, 0.0, 1.0)
    """
    longer = max(len(reply), len(answer))
    if not longer:
        return 1.0
    if abs(len(reply) - len(answer)) > (1 - least) * longer:
        return 0.0
    near = 1 - edit_distance(reply, answer) / longer
    return near if near >= least else 0.0


def anls(reply: str, answers: Iterable[str]) -> float:
    """Average normalised Levenshtein similarity of one reply: that to the nearest answer.

    >>> anls("The  Cat", ["the cat", "a cat"])
    1.0
    """
    said = " ".join(reply.strip().lower().split())
    return max((likeness(said, " ".join(a.strip().lower().split())) for a in answers), default=0.0)


def relaxed(reply: str, answer: str, tolerance: float = 0.05) -> bool:
    """Relaxed accuracy of ChartQA: numbers may differ by 5 %, words must be the same.

    >>> relaxed("10.4", "10"), relaxed("10.6", "10"), relaxed("50%", "0.5"), relaxed("Red", "red")
    (True, False, True, True)
    """
    said, right = _number(reply), _number(answer)
    if said is not None and right:
        return abs(said - right) / abs(right) <= tolerance
    return reply.lower() == answer.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def vqa_accuracy(reply: str, answers: Sequence[str]) -> float:
    """VQA accuracy as TextVQA's evaluator has it, against ten people's answers.

    For each person: a third for every other one who says what the reply says, one at most. The
    score is the mean over people.

    >>> round(vqa_accuracy("two", ["2", "2", "3", "4", "5", "6", "7", "8", "9", "10"]), 4)
    0.6
    """
    said = normalised(reply)
    same = [normalised(answer) == said for answer in answers]
    if not any(same):
        return 0.0
    shares = [min(1.0, (sum(same) - matches) / 3) for matches in same]
    return sum(shares) / len(shares)


@lru_cache(maxsize=65536)
def normalised(text: str) -> str:
    """A text as VQA's evaluator compares it: no articles, numbers as digits, no punctuation.

    >>> normalised("The two dogs, dont run!")
    "2 dogs don't run"
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = text.replace("\n", " ").replace("\t", " ").strip()
    plain = text
    for mark in _MARKS if _ANY_MARK.search(text) else "":
        beside_blank = f"{mark} " in text or f" {mark}" in text
        glue = beside_blank or _NUMBER_COMMA.search(text) is not None
        plain = plain.replace(mark, "" if glue else " ")
    words = (_NUMBERS.get(word, word) for word in _PERIOD.sub("", plain).split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _contractions() -> dict[str, str]:
    """Each word with an apostrophe, by what is left of it without one of them, or without any."""
    table: dict[str, str] = {}
    for word in _APOSTROPHES:
        places = [index for index, letter in enumerate(word) if letter == "'"]
        for count in range(1, len(places) + 1):
            for left_out in combinations(places, count):
                short = "".join(c for index, c in enumerate(word) if index not in left_out)
                table.setdefault(short, word)
    for word in _APOSTROPHES:
        table.pop(word, None)
    return table


_CONTRACTIONS = _contractions()
