"""The closed vocabulary of the generated world: its words, and phrases of its questions.

A question of the world is 30 to 150 bytes, 10 to 40 words, and 4 to 15 entries of this vocabulary.
Whatever text has no entry of its own is spelled byte by byte, so that nothing is unknown and every
text comes back as it was.

After: nothing published for a generated world; tokens that reach over words are SuperBPE's (Liu et
al. 2025, arXiv:2503.13423).
Differs: the phrases are not learned from a corpus: they are the templates of the questions.
"""

from __future__ import annotations

from regiontok.evaluation.prompts import CHOICE, SHORT
from regiontok.miniworld.kinds.counting import plural
from regiontok.miniworld.lettering import NOUNS
from regiontok.miniworld.words import COLOURS, SHAPES, SIZES, TEXTURES

_TURN = "\nassistant: "
_SHORT_TAIL = f"\n{SHORT}{_TURN}"
_CHOICE_TAIL = f"\n{CHOICE}{_TURN}"
# how questions begin, and what stands between the names of their objects
_OPENINGS = (
    *("Is there a", "Is there an", "How many", "How many objects", "What colour is the"),
    *("What shape is the", "Is the", "What is the", "Which caption describes the image?"),
    *("Considering the relative positions of the", "Which object is larger, the"),
    *(
        "Which object is closer to the",
        "Which object is closer to the camera taking this photo, the",
    ),
    *("What is written in the image?", "What is written on the", "Describe the image."),
    *("In which of eight columns is the", "In which of eight rows is the"),
    *(
        " and the",
        " and a",
        " and an",
        " or the",
        " in the image, the",
        " in the image, where is the",
    ),
    *(" located with respect to the", " to the left of a", " to the right of a"),
    *(" to the left of an", " to the right of an", " above a", " above an", " below a"),
    *(" below an", " the", " objects"),
)
# how questions with a short answer end
_ENDINGS = (
    *("", "?", " object?", " objects are in the image?", " in the image?", " are in the image?"),
    *(" small, medium or large?", "'s material: plain, striped, dotted, checkered or speckled?"),
    *(" sign in the image?", "What is written in the image?"),
)
_PLACES = (("left", "right"), ("above", "below"))
_CAPTION_WORDS = (
    "no one two three four five six seven eight No One Two Three Four Five Six Seven Eight objects "
    "on a A an An plain striped cloudy background that fades and sign signs say says picture with "
    "to the of is yes upper lower left right above below user assistant"
)


def _options() -> list[str]:
    """The places as options, in both orders, with the end of their question."""
    orders = [pair for places in _PLACES for pair in (places, places[::-1])]
    return [f"?\nA. {first}\nB. {second}{_CHOICE_TAIL}" for first, second in orders]


def phrases() -> tuple[str, ...]:
    """Stretches of text that are one entry each, the longest first."""
    letters = ["?\nA.", *(f"\n{letter}." for letter in "ABCDE")]
    captions = [f"\n{letter}. {article}" for letter in "ABCDE" for article in ("a", "an")]
    tails = [ending + _SHORT_TAIL for ending in _ENDINGS]
    turns = ["user: ", _TURN, "assistant: ", f"Describe the image.{_TURN}"]
    every = [*_OPENINGS, *filter(None, _ENDINGS), *_options(), *letters, *captions, *tails, *turns]
    every += [_CHOICE_TAIL]
    return tuple(sorted(dict.fromkeys(every), key=lambda phrase: (-len(phrase), phrase)))


def words() -> tuple[str, ...]:
    """The world's words, each by itself and behind a space."""
    plain = [*COLOURS, *SHAPES, *map(plural, SHAPES), *SIZES, *TEXTURES, *NOUNS]
    plain += _CAPTION_WORDS.split()
    return tuple(dict.fromkeys(form for word in plain for form in (word, f" {word}")))


def pattern() -> str:
    """The regular expression that cuts a text into phrases, words, digits and marks.

    A phrase ends where a word does. Words that are no entry are spelled, as printed codes are.
    """
    known = [_escaped(phrase) + _boundary(phrase) for phrase in phrases()]
    # most stretches are a word behind a space, which few phrases begin with
    inner = [phrase for phrase in known if phrase.startswith(" ")]
    other = [phrase for phrase in known if not phrase.startswith(" ")]
    outer = f"(?! )(?:{'|'.join(other)})"
    return "|".join([f"(?= )(?:{'|'.join(inner)})", outer, " ?[A-Za-z]+", r"[\s\S]"])


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in r".?*+()[]{}|\^$" else letter for letter in text)


def _boundary(phrase: str) -> str:
    return "(?![A-Za-z])" if phrase[-1].isalpha() else ""
