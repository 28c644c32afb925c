"""Answer priors: what a blind model, which knows how questions are made, gets right by guessing.

After: nothing published; what VQA's blind baselines measure (Goyal et al., Making the V in VQA
Matter, CVPR 2017).
Differs: guesses are learnt on one half of the pictures and scored on the other, both ways, so that
many rare questions do not look guessable.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from regiontok.miniworld.kinds.asked import WorldQuestion
from regiontok.miniworld.kinds.catalogue import EVERY_KIND
from regiontok.miniworld.kinds.twins import KIND as TWINS

Asked = tuple[int, WorldQuestion]  # with the number of the picture
_Guess = Callable[[WorldQuestion], str]


class Prior(NamedTuple):
    """What can be guessed of one kind of question.

    Attributes:
        kind: name of the kind.
        questions: how many were asked.
        chance: percent right of one who draws an answer.
        blind: percent right of the best of `GUESSERS`, which knows the questions alone.
        guesser: the name of that one.
    """

    kind: str
    questions: int
    chance: float
    blind: float
    guesser: str


def priors(asked: Iterable[Asked]) -> list[Prior]:
    """The answer priors of each kind, in the order in which kinds are listed.

    Args:
        asked: questions, each with the number of its picture.

    >>> from regiontok.miniworld.kinds.asked import WorldQuestion
    >>> question = WorldQuestion("count", "How many rings?", "2", (), (0, 1), "How many {group}?")
    >>> (prior,) = priors((number, question) for number in range(4))
    >>> prior.chance, prior.blind
    (25.0, 100.0)
    """
    by_kind: dict[str, list[Asked]] = defaultdict(list)
    for number, question in asked:
        by_kind[question.kind].append((number, question))
    result = []
    for kind in (*EVERY_KIND, TWINS):
        if of_kind := by_kind.get(kind):
            chance = EVERY_KIND[kind].chance if kind in EVERY_KIND else 50.0
            blind, guesser = max((_cross(of_kind, fit), name) for name, fit in GUESSERS.items())
            result.append(Prior(kind, len(of_kind), chance, blind, guesser))
    return result


def _cross(asked: Sequence[Asked], fit: Callable[[Sequence[WorldQuestion]], _Guess]) -> float:
    """Percent right on each half by what was learnt on the other."""
    halves = [[question for number, question in asked if number % 2 == half] for half in (0, 1)]
    right = 0
    for learnt, scored in (halves, halves[::-1]):
        guess = fit(learnt)
        right += sum(guess(question) == question.gold for question in scored)
    return 100 * right / len(asked)


def _by_template(learnt: Sequence[WorldQuestion]) -> _Guess:
    """The commonest reply to each template."""
    commonest = _commonest((question.template, question.gold) for question in learnt)
    return lambda question: commonest.get(question.template, "")


def _by_text(learnt: Sequence[WorldQuestion]) -> _Guess:
    """The commonest reply to each question, word for word; else that of its template."""
    by_template = _by_template(learnt)
    commonest = _commonest((question.text, question.gold) for question in learnt)
    return lambda question: commonest.get(question.text) or by_template(question)


def _by_option(learnt: Sequence[WorldQuestion]) -> _Guess:
    """The option that was right most often when it was shown; else the commonest reply."""
    by_template = _by_template(learnt)
    shown: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for question in learnt:
        shown.update(question.options)
        right[question.answer] += 1

    def guess(question: WorldQuestion) -> str:
        if not question.options:
            return by_template(question)
        # one right of two, seen before: an option that was shown once is no certainty
        shares = [(right[option] + 1) / (shown[option] + 2) for option in question.options]
        return question._replace(answer=question.options[shares.index(max(shares))]).letter

    return guess


def _commonest(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for key, gold in pairs:
        counts[key][gold] += 1
    return {key: counter.most_common(1)[0][0] for key, counter in counts.items()}


GUESSERS = {"template": _by_template, "text": _by_text, "option": _by_option}
