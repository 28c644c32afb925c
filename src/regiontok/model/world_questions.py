"""Questions that people ask about the generated world, put as its models were trained on them.

A model that was trained on the world alone answers anything with some word of the world. So what it
was not trained on is refused, with examples of what it was.

After: nothing published.
Differs: nothing known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from regiontok.conversation import Phrasing, PutQuestion
from regiontok.evaluation.prompts import CHOICE, SHORT, ask_choice, ask_short
from regiontok.miniworld.kinds.asked import with_article
from regiontok.miniworld.kinds.counting import plural
from regiontok.miniworld.words import COLOURS, SHAPES, SIZES, TEXTURES
from regiontok.system.choices import check_choice
from regiontok.system.errors import RegiontokError

EXAMPLES = (
    "Is there a red ring in the image?",
    "How many circles are in the image?",
    "What colour is the star?",
    "Is the red ring to the left or to the right of the blue star?",
    "What is written in the image?",
)
NOTE = (
    "it was trained on generated scenes alone (regiontok miniworld): about other pictures its "
    "answers mean nothing"
)


class UnknownQuestion(RegiontokError, ValueError):
    """A question that a model was not trained on; the message has examples of others."""


@dataclass(frozen=True)
class _Form:
    """A way to ask, and how it is put.

    Attributes:
        pattern: what matches the question in lower case, without its mark.
        put: the question as it is put, from the groups of the match.
    """

    pattern: re.Pattern[str]
    put: Callable[..., PutQuestion]


def _words(words: Sequence[str]) -> str:
    return f"(?:{'|'.join(words)})"


_OBJECT = rf"(?:the |an? )?({_words(COLOURS)} {_words(SHAPES)})"
_GROUP = rf"(objects|{_words([plural(shape) for shape in SHAPES])}|{_words(COLOURS)} objects)"
_HERE = r"(?: in (?:the|this) (?:image|picture|photo))?"
_LEFT, _RIGHT = r"(?:to the )?left(?: of)?", r"(?:to the )?right"
_MATERIAL = f": {', '.join(TEXTURES[:-1])} or {TEXTURES[-1]}"


def _short(text: str) -> Callable[..., PutQuestion]:
    return lambda *words: PutQuestion(ask_short(text.format(*words), style="study"))


def _put_choice(text: str, options: tuple[str, ...]) -> PutQuestion:
    return PutQuestion(ask_choice(text, options, style="study"), options)


def _which(text: str) -> Callable[..., PutQuestion]:
    """Which of the last two objects."""
    return lambda *names: _put_choice(text.format(*names), names[-2:])


def _form(pattern: str, put: Callable[..., PutQuestion]) -> _Form:
    return _Form(re.compile(pattern), put)


_PAIR = f"{_OBJECT},? or {_OBJECT}"
_FORMS = (
    _form(
        rf"is there {_OBJECT}{_HERE}",
        lambda name: _short("Is there {} in the image?")(with_article(name)),
    ),
    _form(
        rf"how many {_GROUP}(?: are(?: there)?)?{_HERE}", _short("How many {} are in the image?")
    ),
    _form(rf"what colou?r is the ({_words(SHAPES)})", _short("What colour is the {}?")),
    _form(
        rf"what shape is the ({_words(COLOURS)}) (?:object|thing)",
        _short("What shape is the {} object?"),
    ),
    _form(
        rf"is {_OBJECT} {SIZES[0]},? {SIZES[1]},? or {SIZES[2]}",
        _short("Is the {} small, medium or large?"),
    ),
    _form(rf"(?:what size|how large) is {_OBJECT}", _short("Is the {} small, medium or large?")),
    _form(
        rf"what is {_OBJECT}'s (?:material|texture)(?::.*)?",
        _short(f"What is the {{}}'s material{_MATERIAL}?"),
    ),
    _form(
        rf"what (?:material|texture) is {_OBJECT}",
        _short(f"What is the {{}}'s material{_MATERIAL}?"),
    ),
    # in a word: the letters of CV-Bench's options are harder to learn than the relation
    _form(
        rf"is {_OBJECT} {_LEFT} or {_RIGHT} of {_OBJECT}",
        _short("Is the {} left or right of the {}?"),
    ),
    _form(rf"is {_OBJECT} above or below {_OBJECT}", _short("Is the {} above or below the {}?")),
    _form(
        rf"which(?: object| one)? is larger,? {_PAIR}",
        _which("Which object is larger, the {} or the {}?"),
    ),
    _form(
        r"which(?: object| one)? is (?:nearer|closer to the camera(?: taking this photo)?|in front)"
        rf",? {_PAIR}",
        _which("Which object is closer to the camera taking this photo, the {} or the {}?"),
    ),
    _form(
        rf"which(?: object| one)? is closer to {_OBJECT}{_HERE},? {_PAIR}",
        _which("Which object is closer to the {} in the image, the {} or the {}?"),
    ),
    _form(
        rf"what is written(?: on the sign)?{_HERE}|what does the sign say",
        _short("What is written in the image?"),
    ),
    _form(
        rf"what is written on the (left|right|upper|lower) sign{_HERE}",
        _short("What is written on the {} sign in the image?"),
    ),
    _form(
        rf"in which of eight (columns|rows) is {_OBJECT}",
        _short("In which of eight {} is the {}?"),
    ),
)


def put_question(question: str) -> PutQuestion:
    """A question about the world as its models were trained on it.

    Case, a missing mark and a few other wordings make no difference. A whole prompt, as `answer`
    writes it, passes as it is.

    Raises:
        UnknownQuestion: If no model of the world was trained on such a question.

    >>> put_question("what color is the Star").prompt.splitlines()[0]
    'What colour is the star?'
    >>> put_question("Which is larger, the red ring or the blue star?").options
    ('red ring', 'blue star')
    """
    text = question.strip()
    if text.endswith((SHORT, CHOICE)):
        return PutQuestion(text)
    plain = " ".join(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    for form in _FORMS:
        if match := form.pattern.fullmatch(plain.rstrip("?.! ")):
            return form.put(*match.groups())
    raise UnknownQuestion(
        f"this model does not understand {question.strip()!r}: it knows the generated world's "
        f"questions alone, such as {' '.join(map(repr, EXAMPLES))}. Shapes: {', '.join(SHAPES)}; "
        f"colours: {', '.join(COLOURS)}"
    )


PHRASINGS = {"": Phrasing(), "world": Phrasing(put_question, independent=True, note=NOTE)}


def phrasing_of(questions: str) -> Phrasing:
    """How a model is asked, by the name that its processor has of its questions.

    Raises:
        ValueError: If there is no such name.
    """
    check_choice("questions", questions, tuple(PHRASINGS))
    return PHRASINGS[questions]
